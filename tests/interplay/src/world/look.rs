//! Whether everything is as it should be: at rest, and after an end of the machine.
//!
//! Invariant: what is compared was told to somebody, or is in the log.

use std::ops::Bound::{Excluded, Included};

use engine::{Engine, Lsn};
use proto::{Reply, Request, Status};
use simulation::End;

use super::{Failure, World};
use crate::model::{DEAD, Event, JOBS, STORES, State, Work, is_fault};
use crate::oracle::{Found, alike};
use crate::packets::{Page, packet, packet_of, page, watched};
use crate::plan::Step;

impl World {
    /// A page for a watcher; whether there was anything in it.
    pub(super) fn watch(&mut self, watcher: usize) -> Result<bool, Failure> {
        let Some(service) = self.service() else { return Ok(false) };
        // A commit that cannot be lost.
        let at = self.promised;
        let Some(one) = self.watchers.get_mut(watcher) else { return Ok(false) };
        if one.since.is_none() {
            (one.since, one.compared, one.whole) = (Some(Err(at)), at, at);
        }
        let Some(since) = &one.since else { return Ok(false) };
        let request = watched(&one.stores, since);
        let reply = self.ask(&service.engine, &request);
        drop(service);
        if self.disk.is_crashed() {
            self.stand_up(self.end)?;
            return Ok(false);
        }
        match Reply::decode(&reply) {
            Ok((_, Reply::Document(document))) => {
                let Some(Page { events, next, durable }) = page(document) else {
                    return Err(format!("a page of events cannot be read: {document:?}"));
                };
                let count = events.len();
                self.tell(format!("watcher {watcher}: {count} events, {durable} durable"));
                // What is told is durable, whatever the mode.
                self.promised = self.promised.max(durable);
                let one = &mut self.watchers[watcher];
                one.told.extend(events);
                one.since = Some(Ok(next));
                if count == 0 {
                    one.whole = one.whole.max(durable);
                }
                Ok(count > 0)
            }
            Ok((_, Reply::Error { status, message })) => {
                let text = format!("watcher {watcher}: {status} {message}");
                self.tell(text.clone());
                if self.blame() && is_fault(status) { Ok(false) } else { Err(text) }
            }
            other => Err(format!("a watcher was answered {other:?}")),
        }
    }

    /// Everything is compared.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        self.rest()?;
        let Some(service) = self.service() else { return Ok(()) };
        if service.engine.poisoned().is_some() || self.blame() {
            // What of it is there shows when it is opened again.
            drop(service);
            self.mend();
            return self.reopen();
        }
        drop(service);
        let upto = self.oracle.last_told();
        self.oracle.settle(upto, None, false)?;
        self.compare()?;
        self.compare_watchers()
    }

    /// What the stores hold, and what their indexes say, is what the model does.
    pub(super) fn compare(&mut self) -> Result<(), Failure> {
        let Some(service) = self.service() else { return Ok(()) };
        let mut steps = Vec::new();
        for store in 0..STORES.len() {
            steps.push(Step::All(store));
            for n in 0..self.config.values as i64 {
                steps.push(Step::Find(store, n));
            }
            for key in self.oracle.state.stores[store].keys() {
                steps.push(Step::Version(store, *key));
            }
        }
        let work = || Work::on(&self.oracle.state);
        for step in &steps {
            let Some(request) = packet_of(step, None) else { continue };
            self.look(&service.engine, &request, |reply| work().step(step, Some(reply)))?;
        }
        for store in STORES {
            let request = packet(&Request::CheckIndexes { store, index: None });
            self.look(&service.engine, &request, |reply| match reply {
                Reply::Error { status, message } => {
                    Err(format!("the indexes of {store}: {status} {message}"))
                }
                _ => Ok(()),
            })?;
        }
        let State { jobs, dead, .. } = &self.oracle.state;
        for (store, jobs) in [(engine::JOBS, jobs), (engine::DEAD, dead)] {
            let scan = Request::Scan { store, after: None, limit: 0, reverse: false };
            self.look(&service.engine, &packet(&scan), |reply| {
                let Reply::Rows(rows) = reply else { return Err(format!("{store}: {reply:?}")) };
                let found: Vec<u128> = rows.iter().filter_map(|(key, _)| Some(key?.0)).collect();
                let expected: Vec<u128> = jobs.keys().copied().collect();
                if found == expected {
                    return Ok(());
                }
                Err(format!("in {store} there are {found:?}, and should be {expected:?}"))
            })?;
        }
        Ok(())
    }

    /// Asks, and has the answer judged, unless a fault struck.
    pub(super) fn look(
        &self,
        engine: &Engine,
        request: &[u8],
        judge: impl FnOnce(&Reply<'_>) -> Result<(), String>,
    ) -> Result<(), Failure> {
        let reply = self.ask(engine, request);
        let (_, reply) = Reply::decode(&reply).map_err(|error| error.to_string())?;
        match &reply {
            Reply::Error { status, .. } if is_fault(*status) && self.blame() => Ok(()),
            reply => judge(reply).map_err(|why| format!("at rest: {why}")),
        }
    }

    /// What watchers were told is what there was.
    pub(super) fn compare_watchers(&mut self) -> Result<(), Failure> {
        for watcher in 0..self.watchers.len() {
            if self.watchers[watcher].since.is_none() {
                continue;
            }
            while self.watch(watcher)? {}
            let (at, history) = (self.oracle.at, &self.oracle.history);
            let one = &mut self.watchers[watcher];
            let whole = one.whole.min(at).max(one.compared);
            for (lsn, (events, besides)) in history.range((Excluded(one.compared), Included(whole)))
            {
                let split = one.told.iter().take_while(|(other, _)| other == lsn).count();
                let seen: Vec<Event> = one.told.drain(..split).map(|(_, event)| event).collect();
                let events: Vec<Event> = events
                    .iter()
                    .filter(|event| one.stores.contains(&event.store))
                    .cloned()
                    .collect();
                alike(&events, besides, &seen)
                    .map_err(|why| format!("watcher {watcher}, commit {lsn}: {why}"))?;
            }
            one.compared = one.compared.max(whole);
            if let Some((lsn, event)) = one.told.first()
                && *lsn <= whole
            {
                return Err(format!("watcher {watcher} was told of {lsn} again: {event:?}"));
            }
        }
        Ok(())
    }

    /// The service is back: is what there was there?
    pub(super) fn recovered(
        &mut self,
        engine: &Engine,
        found: Lsn,
        end: Option<End>,
    ) -> Result<(), Failure> {
        let Some(end) = end else { return Ok(()) };
        let told = self.oracle.last_told();
        let forgives = end != End::Kill && !self.is_sync();
        if found < self.promised {
            return Err(format!("found commits up to {found}, promised were {}", self.promised));
        }
        if found < told {
            self.mark("commits lost to a power cut");
        }
        let log = self.log_since(engine, self.oracle.at.min(found))?;
        let unknown = found > told;
        self.oracle.settle(found, Some(&log), forgives)?;
        if unknown {
            self.mark("a commit found that nobody was told of");
        }
        self.promised = found;
        self.told.lock().known.commit = found;
        // Watchers were told what lasts, and go on from there.
        Ok(())
    }

    /// What the log says of the commits behind `lsn`; a fault that strikes while it is read
    /// is the oracle's trouble, and not the service's.
    fn log_since(&mut self, engine: &Engine, lsn: Lsn) -> Result<Found, Failure> {
        let read = self.read_log(engine, lsn);
        if read.is_err() && self.blame() {
            self.mend();
            return self.read_log(engine, lsn);
        }
        read
    }

    fn read_log(&self, engine: &Engine, lsn: Lsn) -> Result<Found, Failure> {
        let mut found = Found::new();
        let mut since = Err(lsn);
        let mut stores: Vec<usize> = (0..STORES.len()).collect();
        let reply = self.ask(engine, &packet(&Request::DescribeStore { store: engine::JOBS }));
        match Reply::decode(&reply) {
            Ok((_, Reply::Document(_))) => stores.extend([JOBS, DEAD]),
            // Nobody has made them yet.
            Ok((_, Reply::Error { status: Status::UnknownStore, .. })) => {}
            other => return Err(format!("the store of jobs cannot be looked at: {other:?}")),
        }
        loop {
            let reply = self.ask(engine, &watched(&stores, &since));
            let read = match Reply::decode(&reply) {
                Ok((_, Reply::Document(document))) => page(document),
                Ok((_, Reply::Error { status: Status::UnknownStore, .. })) => {
                    return Ok(found);
                }
                _ => None,
            };
            let Some(Page { events, next, .. }) = read else {
                return Err(format!("the log cannot be read behind {lsn}: {reply:?}"));
            };
            if events.is_empty() {
                return Ok(found);
            }
            for (lsn, event) in events {
                found.entry(lsn).or_default().push(event);
            }
            since = Ok(next);
        }
    }
}
