//! How the service starts, stops, and comes back after the machine has ended.
//!
//! Invariant: what an opening finds goes to the oracle before anybody uses it.

use std::sync::Arc;
use std::time::Duration;

use engine::{Calls, Engine, JobOptions, OpenError, Options, Principal, Retry, Role};
use platform::Clock;
use platform::sim::SimEntropy;
use proto::doc::DocBuf;
use proto::{Reply, Request};
use simulation::{End, mix};

use super::{Failure, TURN_NANOS, World};
use crate::actor::{Service, drop_instance, entry};
use crate::guest::SimHost;
use crate::model::{FORGETS, STORES, UNIQUE};
use crate::packets::{OUTSIDE, packet};
use crate::plan::{Action, Job};

impl World {
    /// Opens the service; makes its stores if there are none.
    pub(crate) fn begin(&mut self) -> Result<(), Failure> {
        self.open(None)?;
        self.make_stores()
    }

    pub(super) fn engine(&mut self) -> Result<Engine, OpenError> {
        self.openings += 1;
        let storage = self.config.storage.clone();
        let options = Options { storage, ..Options::default() };
        let entropy = SimEntropy::new(mix(self.seed ^ self.openings));
        let disk = Arc::clone(&self.disk) as _;
        Engine::open(disk, Arc::clone(&self.clock) as _, Arc::new(entropy), options)
    }

    /// Opens the service. `end`: how the machine ended before, if it did not stop in order.
    pub(super) fn open(&mut self, end: Option<End>) -> Result<(), Failure> {
        let opened = self.engine();
        let engine = match opened {
            Ok(engine) => engine,
            Err(_) if self.disk.is_crashed() => return self.stand_up(self.end),
            Err(error) => {
                self.tell(format!("open: {error}"));
                if !self.blame() {
                    return Err(format!("it does not open, and nobody is to blame: {error}"));
                }
                self.mark("failed to open");
                self.mend();
                match self.engine() {
                    Ok(engine) => engine,
                    Err(_) if self.disk.is_crashed() => return self.stand_up(self.end),
                    Err(error) => return Err(format!("it does not open: {error}")),
                }
            }
        };
        if self.disk.is_crashed() {
            drop(engine);
            return self.stand_up(self.end);
        }
        // The log up to here was found, and is kept from now on.
        let found = match engine.sync() {
            Ok(lsn) => lsn,
            Err(_) if self.disk.is_crashed() => {
                drop(engine);
                return self.stand_up(self.end);
            }
            Err(refusal) => return Err(format!("it opened, and cannot sync: {refusal}")),
        };
        self.tell(format!("opened at {found}"));
        self.recovered(&engine, found, end)?;
        let engine = Arc::new(engine);
        let principal = Principal::service("sim");
        let calls = Calls::new(Arc::clone(&engine), principal, TURN_NANOS, true);
        let told = Arc::clone(&self.told);
        let known = Arc::new(move || told.lock().known);
        let seed = mix(self.seed ^ self.openings);
        let host = SimHost::new(&engine, calls, known, Arc::clone(&self.clock), seed);
        let retry = Retry { max_attempts: 1_000_000, base_millis: 10, most_millis: 10_000 };
        let (began, commits) = {
            let mut began = Ok(());
            let upstreams = vec![OUTSIDE.to_owned()];
            let options = JobOptions { retry, upstreams, ..JobOptions::default() };
            let (commits, _) = engine.watched(|| began = engine.begin_jobs(options, || {}));
            (began, commits)
        };
        self.oracle.own(commits.iter().map(|commit| commit.lsn));
        self.service = Some(Service {
            engine,
            module: Arc::clone(&self.module),
            host: Arc::new(host),
            told: Arc::clone(&self.told),
        });
        match began {
            Ok(()) => Ok(()),
            Err(_) if self.disk.is_crashed() => self.stand_up(self.end),
            Err(refusal) if self.blame() => {
                self.tell(format!("jobs: {refusal}"));
                self.mend();
                self.reopen()
            }
            Err(refusal) => Err(format!("jobs cannot be run: {refusal}")),
        }
    }

    pub(super) fn ask(&self, engine: &Engine, request: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        engine.dispatch_packet(&Principal::new("root", Role::Admin), request, &mut reply);
        reply
    }

    /// Before faults strike.
    pub(super) fn make_stores(&mut self) -> Result<(), Failure> {
        let Some(service) = self.service() else { return Ok(()) };
        let mut failed = None;
        let now = self.clock.wall_micros().cast_signed() / 1000;
        self.oracle.state.fired = now;
        let (commits, _) = service.engine.watched(|| {
            for (at, store) in STORES.into_iter().enumerate() {
                let index = |field, unique| {
                    let mut doc = DocBuf::new();
                    doc.array("fields", |fields| {
                        fields.item(field);
                    });
                    doc.push("unique", unique);
                    doc.finish().expect("the definition of an index")
                };
                let mut change = DocBuf::new();
                change.push("before_images", at != FORGETS);
                let change = change.finish().expect("the change of a store");
                let (n, u) = (index("n", false), index("u", at == UNIQUE));
                for request in [
                    Request::CreateStore { store, if_not_exists: false },
                    Request::AlterStore { store, change: &change },
                    Request::CreateIndex { store, if_not_exists: false, definition: &n },
                    Request::CreateIndex { store, if_not_exists: false, definition: &u },
                ] {
                    let reply = self.ask(&service.engine, &packet(&request));
                    if let Ok((_, Reply::Error { message, .. })) = Reply::decode(&reply) {
                        failed.get_or_insert(message.to_owned());
                    }
                }
            }
            while service.engine.tend() == Ok(true) {}
            // It fires first behind that.
            let noted = entry(&service.engine)
                .and_then(|entry| service.engine.note_cron(&entry, now, false));
            if let Err(refusal) = noted {
                failed.get_or_insert(refusal.message);
            }
        });
        self.oracle.own(commits.iter().map(|commit| commit.lsn));
        drop(service);
        self.sync()?;
        failed.map_or(Ok(()), |why| Err(format!("the stores cannot be made: {why}")))
    }

    /// Faults end, there is room again.
    pub(super) fn mend(&mut self) {
        self.disk.clear_faults();
        self.disk.set_capacity(None);
        let sound = |service: &Service| service.engine.poisoned().is_none();
        if self.service.as_ref().is_some_and(sound) {
            self.struck = self.disk.tally();
        }
    }

    /// Nobody has anything of this opening any more.
    pub(super) fn let_go(&mut self) -> Option<Engine> {
        for actor in 0..self.config.actors {
            self.baton.give(actor, Box::new(drop_instance));
            self.baton.resume(actor);
        }
        let Service { engine, host, .. } = self.service.take()?;
        drop(host);
        Arc::into_inner(engine)
    }

    /// The service stops in order, and starts. All are at rest.
    pub(super) fn reopen(&mut self) -> Result<(), Failure> {
        self.rest()?;
        let Some(engine) = self.let_go() else { return self.open(Some(self.end)) };
        // After a failed sync nothing that was not durable before is promised.
        let is_sound = engine.poisoned().is_none() && !self.blame();
        let closed = engine.close();
        if self.disk.is_crashed() {
            return self.stand_up(self.end);
        }
        if let Err(refusal) = &closed {
            self.tell(format!("close: {refusal}"));
            if is_sound && !self.blame() {
                return Err(format!("close failed, and nobody is to blame: {refusal}"));
            }
        }
        let end = if is_sound && closed.is_ok() { End::Kill } else { End::Power };
        self.struck = self.disk.tally();
        self.mark("reopened");
        self.open(Some(end))
    }

    /// The machine has ended; it comes back, and so does the service.
    pub(super) fn stand_up(&mut self, end: End) -> Result<(), Failure> {
        self.mark("crash");
        if !self.baton.busy().is_empty() {
            self.mark("crash while calls were under way");
        }
        self.stop();
        self.hear()?;
        self.baton.set_ending(false);
        drop(self.let_go());
        self.told.lock().at_work.clear();
        self.tally += self.disk.tally();
        self.disk = match end {
            End::Kill => self.disk.kill(),
            End::Power => self.disk.restart(),
            End::WorstPower => self.disk.restart_worst(),
        };
        self.tell(format!("{end:?}"));
        self.struck = self.disk.tally();
        self.open(Some(end))
    }

    /// All come to an end, whatever they are at.
    pub(crate) fn stop(&mut self) {
        self.disk.crash_after(0);
        self.baton.set_ending(true);
        while let Some(actor) = self.baton.busy().first().copied() {
            self.clock.advance(Duration::from_secs(1));
            self.baton.resume(actor);
        }
    }

    /// The end of a run: with faults gone, everything is there and goes on.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.disk.disarm();
        self.mend();
        self.rest()?;
        self.settle()?;
        self.disk.disarm();
        self.mend();
        // Every job comes to its end, but those that never can.
        for _ in 0..(self.jobs.len() + self.oracle.state.jobs.len()) * 3 {
            if self.oracle.state.jobs.is_empty() {
                break;
            }
            self.clock.advance(Duration::from_secs(100));
            self.act(&Action::RunJob(0))?;
            self.settle()?;
        }
        let failing = |id: &u64| self.jobs.get(id).is_some_and(Job::is_endless);
        if let Some(id) = self.oracle.state.jobs.values().find(|id| !failing(id)) {
            return Err(format!("job {id} was never done"));
        }
        self.sync()?;
        self.settle()?;
        self.reopen()?;
        self.settle()?;
        for (watcher, one) in self.watchers.iter().enumerate() {
            if one.since.is_some() && one.compared < self.oracle.at {
                return Err(format!("watcher {watcher} was told up to {} only", one.compared));
            }
        }
        let _engine = self.let_go();
        self.tally += self.disk.tally();
        Ok(())
    }
}
