//! A run: the service on its disk, the actors, and what was promised.
//!
//! Invariants:
//! * one thread runs at a time, and which one follows from the seed (`baton.rs`);
//! * whatever is answered goes to the oracle, which is asked whenever all are at rest, and
//!   after every end of the machine;
//! * an error needs somebody to blame: a fault that struck, a disk without room. What the
//!   engine may answer besides, the model knows.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;
use std::time::Duration;

use engine::{
    Calls, Engine, JobOptions, Lsn, OpenError, Options, Principal, Retry, Role, Step as Piece,
    SyncMode,
};
use parking_lot::Mutex;
use platform::sim::{SimClock, SimDisk, SimEntropy, Tally};
use proto::doc::DocBuf;
use proto::{Reply, Request};
use runtime_api::{Module, Runtime};
use runtime_wasmi::WasmiRuntime;
use simulation::{End, Marks, Rng, mix};

use crate::actor::{Service, Told, drop_instance};
use crate::baton::Baton;
use crate::guest::{BetweenInstructions, GUEST, SimHost};
use crate::model::{DEAD, Event, FORGETS, JOBS, STORES, State, UNIQUE, Work, is_fault};
use crate::oracle::{Found, Oracle, alike};
use crate::packets::{packet, packet_of, page, watched};
use crate::plan::{Action, Config, Job, Plan, Step};

/// What went wrong, in words.
pub type Failure = String;

/// The longest a call waits for its turn.
const TURN_NANOS: u64 = 20_000_000;

/// A watcher of the stores.
#[derive(Default)]
struct Watcher {
    stores: Vec<usize>,
    /// Where it goes on: the token of its last page, or the commit behind which it began.
    since: Option<Result<String, Lsn>>,
    /// What it was told, and is not compared yet.
    told: Vec<(Lsn, Event)>,
    /// Up to where that is whole.
    whole: Lsn,
    /// Up to where it was compared.
    compared: Lsn,
}

/// See the module.
pub struct World {
    config: Config,
    seed: u64,
    disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
    module: Arc<dyn Module>,
    baton: Baton,
    rng: Rng,
    service: Option<Service>,
    told: Arc<Mutex<Told>>,
    oracle: Oracle,
    watchers: Vec<Watcher>,
    jobs: Arc<BTreeMap<u64, Job>>,
    /// A power cut may take nothing up to here.
    promised: Lsn,
    /// How the machine ends when the planned call comes.
    end: End,
    struck: Tally,
    pub(crate) marks: Marks,
    hash: u64,
    pub(crate) history: Option<Vec<String>>,
    pub(crate) tally: Tally,
    openings: u64,
}

/// The clock and the interpreter of a run: compiled once each.
fn module(clock: &Arc<SimClock>, slice: u64) -> Arc<dyn Module> {
    let wasm = wat::parse_str(GUEST).expect("the guest is WebAssembly");
    let clock = Arc::new(BetweenInstructions(Arc::clone(clock)));
    WasmiRuntime::new(clock).with_slice(slice).compile(&wasm).expect("and one of this ABI")
}

fn scheduled<'a>(steps: &'a [Step], all: &mut BTreeMap<u64, Job>) {
    for step in steps {
        if let Step::Schedule(job) = step {
            all.insert(job.id, job.clone());
            scheduled(&job.steps, all);
        }
    }
}

impl World {
    pub(crate) fn new(plan: &Plan, tell: bool) -> World {
        let Plan { seed, config, actions } = plan;
        let clock = Arc::new(SimClock::new(1_700_000_000_000_000));
        let mut jobs = BTreeMap::new();
        for action in actions {
            if let Action::Call { steps, .. } | Action::Wire { steps, .. } = action {
                scheduled(steps, &mut jobs);
            }
        }
        let mut rng = Rng::new(mix(*seed));
        let watchers = (0..config.watchers).map(|_| {
            let stores = [vec![0, 1, 2], vec![0], vec![1, 2], vec![2]];
            Watcher { stores: stores[rng.below(4) as usize].clone(), ..Watcher::default() }
        });
        World {
            watchers: watchers.collect(),
            config: config.clone(),
            seed: *seed,
            disk: SimDisk::new(*seed),
            module: module(&clock, config.slice),
            clock,
            baton: Baton::new(config.actors, *seed, config.every),
            rng: Rng::new(*seed),
            service: None,
            told: Arc::default(),
            oracle: Oracle::default(),
            jobs: Arc::new(jobs),
            promised: 0,
            end: End::Power,
            struck: Tally::default(),
            marks: Marks::default(),
            hash: *seed,
            history: tell.then(Vec::new),
            tally: Tally::default(),
            openings: 0,
        }
    }

    /// Everything that was done, answered, and asked of the disk.
    pub(crate) fn hash(&self) -> u64 {
        mix(self.hash ^ self.disk.trace())
    }

    /// How many transactions were found to be right.
    pub(crate) fn checked(&self) -> (u64, u64) {
        self.oracle.checked
    }

    fn tell(&mut self, what: String) {
        for byte in what.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        if let Some(history) = &mut self.history {
            history.push(what);
        }
    }

    fn is_sync(&self) -> bool {
        self.config.storage.sync == SyncMode::Sync
    }

    /// Whether somebody is to blame for an error.
    fn blame(&self) -> bool {
        faults(&self.disk.tally()) != faults(&self.struck)
    }

    fn service(&self) -> Option<Service> {
        self.service.clone()
    }

    /// Opens the service; makes its stores if there are none.
    pub(crate) fn begin(&mut self) -> Result<(), Failure> {
        self.open(None)?;
        self.make_stores()
    }

    fn engine(&mut self) -> Result<Engine, OpenError> {
        self.openings += 1;
        let storage = self.config.storage.clone();
        let options = Options { storage, ..Options::default() };
        let entropy = SimEntropy::new(mix(self.seed ^ self.openings));
        let disk = Arc::clone(&self.disk) as _;
        Engine::open(disk, Arc::clone(&self.clock) as _, Arc::new(entropy), options)
    }

    /// Opens the service. `end`: how the machine ended before, if it did not stop in order.
    fn open(&mut self, end: Option<End>) -> Result<(), Failure> {
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
        let acknowledged = Arc::new(move || told.lock().acknowledged);
        let seed = mix(self.seed ^ self.openings);
        let host = SimHost::new(&engine, calls, acknowledged, Arc::clone(&self.clock), seed);
        let retry = Retry { max_attempts: 1_000_000, base_millis: 10, most_millis: 10_000 };
        let (began, commits) = {
            let mut began = Ok(());
            let options = JobOptions { retry, ..JobOptions::default() };
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

    fn ask(&self, engine: &Engine, request: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        engine.dispatch_packet(&Principal::new("root", Role::Admin), request, &mut reply);
        reply
    }

    /// Before faults strike.
    fn make_stores(&mut self) -> Result<(), Failure> {
        let Some(service) = self.service() else { return Ok(()) };
        let mut failed = None;
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
        });
        self.oracle.own(commits.iter().map(|commit| commit.lsn));
        drop(service);
        self.sync()?;
        failed.map_or(Ok(()), |why| Err(format!("the stores cannot be made: {why}")))
    }

    pub(crate) fn mark(&mut self, state: &'static str) {
        self.marks.mark(state);
    }

    /// One action.
    pub(crate) fn act(&mut self, action: &Action) -> Result<(), Failure> {
        match action {
            Action::Call { actor, get, steps, status } => {
                let (get, steps, status) = (*get, steps.clone(), *status);
                self.give(*actor, action, move |service, whose| {
                    service.run_call(whose, get, status, &steps);
                })
            }
            Action::Wire { actor, steps, ending } => {
                let (steps, ending) = (steps.clone(), *ending);
                self.give(*actor, action, move |service, whose| {
                    service.run_wire(whose, &steps, ending);
                })
            }
            Action::RunJob(actor) => {
                let jobs = Arc::clone(&self.jobs);
                self.give(*actor, action, move |service, whose| {
                    let of = |id| jobs.get(&id).map(|job: &Job| (job.steps.clone(), job.status));
                    service.run_job(whose, of);
                })
            }
            other => {
                self.tell(format!("{other:?}"));
                self.at_once(other)
            }
        }
    }

    fn at_once(&mut self, action: &Action) -> Result<(), Failure> {
        match action {
            Action::Watch(watcher) => self.watch(*watcher).map(drop),
            Action::Work(pieces) => self.background("work", *pieces, |engine| {
                engine.maintenance().map(|piece| matches!(piece, Piece::Idle))
            }),
            Action::Tend(pieces) => {
                self.background("tend", *pieces, |engine| engine.tend().map(|more| !more))
            }
            Action::Flush => self.background("flush", 1, |engine| engine.flush().map(|_| true)),
            Action::Sync => self.sync(),
            Action::Wait(micros) => {
                self.clock.advance(Duration::from_micros(*micros));
                Ok(())
            }
            Action::Settle => self.settle(),
            Action::Reopen => {
                self.rest()?;
                self.reopen()
            }
            Action::Crash(end) => {
                self.disk.crash_after(0);
                self.end = *end;
                self.stand_up(*end)
            }
            Action::CrashAt(calls, end) => {
                self.disk.crash_after(*calls);
                self.end = *end;
                Ok(())
            }
            Action::Fault(fault, place, after) => {
                self.disk.fail(*fault, place, platform::sim::Times::After(*after));
                Ok(())
            }
            Action::Full(bytes) => {
                self.disk.set_capacity(Some(self.disk.used() + bytes));
                Ok(())
            }
            Action::Mend => {
                self.mend();
                Ok(())
            }
            Action::Call { .. } | Action::Wire { .. } | Action::RunJob(_) => Ok(()),
        }
    }

    /// Gives an actor something to do, once it is idle, and lets some go on.
    fn give(
        &mut self,
        actor: usize,
        action: &Action,
        task: impl FnOnce(&Service, &str) + Send + 'static,
    ) -> Result<(), Failure> {
        while self.baton.is_busy(actor) {
            self.go_on()?;
        }
        let Some(service) = self.service() else { return Ok(()) };
        self.tell(format!("actor {actor}: {action:?}"));
        let whose = format!("actor {actor}");
        self.baton.give(actor, Box::new(move || task(&service, &whose)));
        for _ in 0..self.rng.below(6) {
            self.go_on()?;
        }
        Ok(())
    }

    /// One of those who are at something goes on.
    fn go_on(&mut self) -> Result<(), Failure> {
        let busy = self.baton.busy();
        if busy.is_empty() {
            return Ok(());
        }
        let actor = busy[self.rng.below(busy.len() as u64) as usize];
        let micros = 1 << self.rng.below(11);
        self.clock.advance(Duration::from_micros(micros));
        self.baton.resume(actor);
        self.tell(format!("  {actor}"));
        self.hear()?;
        if self.disk.is_crashed() { self.stand_up(self.end) } else { Ok(()) }
    }

    /// What actors have told.
    fn hear(&mut self) -> Result<(), Failure> {
        if let Some(panic) = self.baton.panics().pop() {
            return Err(format!("panic: {panic}"));
        }
        let (segments, own, happened, failure) = {
            let mut told = self.told.lock();
            let Told { segments, own, happened, failure, .. } = &mut *told;
            (
                std::mem::take(segments),
                std::mem::take(own),
                std::mem::take(happened),
                failure.take(),
            )
        };
        for what in happened {
            self.note(&what);
            self.tell(what);
        }
        for segment in &segments {
            self.note_segment(segment);
        }
        self.oracle.add(segments);
        self.oracle.own(own);
        match failure {
            Some(why) if !self.disk.is_crashed() && !self.blame() => Err(why),
            _ => Ok(()),
        }
    }

    fn background(
        &mut self,
        name: &str,
        pieces: u32,
        piece: impl Fn(&Engine) -> Result<bool, engine::Refusal>,
    ) -> Result<(), Failure> {
        for _ in 0..pieces {
            let Some(service) = self.service() else { return Ok(()) };
            let mut done = Ok(true);
            let (commits, _) = service.engine.watched(|| done = piece(&service.engine));
            self.oracle.own(commits.iter().map(|commit| commit.lsn));
            drop(service);
            if self.disk.is_crashed() {
                return self.stand_up(self.end);
            }
            match done {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(refusal) => {
                    self.tell(format!("{name}: {refusal}"));
                    if !self.blame() {
                        return Err(format!("{name} failed, and nobody is to blame: {refusal}"));
                    }
                    self.mark("background work that failed");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Failure> {
        let Some(service) = self.service() else { return Ok(()) };
        let synced = service.engine.sync();
        drop(service);
        if self.disk.is_crashed() {
            return self.stand_up(self.end);
        }
        match synced {
            Ok(lsn) => {
                self.promised = self.promised.max(lsn);
                Ok(())
            }
            Err(refusal) if self.blame() => {
                self.tell(format!("sync: {refusal}"));
                Ok(())
            }
            Err(refusal) => Err(format!("sync failed, and nobody is to blame: {refusal}")),
        }
    }

    /// A page for a watcher; whether there was anything in it.
    fn watch(&mut self, watcher: usize) -> Result<bool, Failure> {
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
                let Some((events, token, durable)) = page(document) else {
                    return Err(format!("a page of events cannot be read: {document:?}"));
                };
                let count = events.len();
                self.tell(format!("watcher {watcher}: {count} events, {durable} durable"));
                // What is told is durable, whatever the mode.
                self.promised = self.promised.max(durable);
                let one = &mut self.watchers[watcher];
                one.told.extend(events);
                one.since = Some(Ok(token));
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

    /// All come to an end of what they do.
    fn rest(&mut self) -> Result<(), Failure> {
        while !self.baton.busy().is_empty() {
            self.go_on()?;
        }
        Ok(())
    }

    /// Everything is compared.
    fn settle(&mut self) -> Result<(), Failure> {
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
    fn compare(&mut self) -> Result<(), Failure> {
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
    fn look(
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
    fn compare_watchers(&mut self) -> Result<(), Failure> {
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

    /// Faults end, there is room again.
    fn mend(&mut self) {
        self.disk.clear_faults();
        self.disk.set_capacity(None);
        let sound = |service: &Service| service.engine.poisoned().is_none();
        if self.service.as_ref().is_some_and(sound) {
            self.struck = self.disk.tally();
        }
    }

    /// Nobody has anything of this opening any more.
    fn let_go(&mut self) -> Option<Engine> {
        for actor in 0..self.config.actors {
            self.baton.give(actor, Box::new(drop_instance));
            self.baton.resume(actor);
        }
        let Service { engine, host, .. } = self.service.take()?;
        drop(host);
        Arc::into_inner(engine)
    }

    /// The service stops in order, and starts. All are at rest.
    fn reopen(&mut self) -> Result<(), Failure> {
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
    fn stand_up(&mut self, end: End) -> Result<(), Failure> {
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

    /// The service is back: is what there was there?
    fn recovered(&mut self, engine: &Engine, found: Lsn, end: Option<End>) -> Result<(), Failure> {
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
        self.told.lock().acknowledged = found;
        // Watchers were told what lasts, and go on from there.
        Ok(())
    }

    /// What the log says of the commits behind `lsn`.
    fn log_since(&self, engine: &Engine, lsn: Lsn) -> Result<Found, Failure> {
        let mut found = Found::new();
        let mut since = Err(lsn);
        let mut stores: Vec<usize> = (0..STORES.len()).collect();
        let reply = self.ask(engine, &packet(&Request::DescribeStore { store: engine::JOBS }));
        if matches!(Reply::decode(&reply), Ok((_, Reply::Document(_)))) {
            stores.extend([JOBS, DEAD]);
        }
        loop {
            let reply = self.ask(engine, &watched(&stores, &since));
            let read = match Reply::decode(&reply) {
                Ok((_, Reply::Document(document))) => page(document),
                Ok((_, Reply::Error { status: proto::Status::UnknownStore, .. })) => {
                    return Ok(found);
                }
                _ => None,
            };
            let Some((events, token, _)) = read else {
                return Err(format!("the log cannot be read behind {lsn}: {reply:?}"));
            };
            if events.is_empty() {
                return Ok(found);
            }
            for (lsn, event) in events {
                found.entry(lsn).or_default().push(event);
            }
            since = Ok(token);
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
        for _ in 0..self.jobs.len() * 3 {
            if self.oracle.state.jobs.is_empty() {
                break;
            }
            self.clock.advance(Duration::from_secs(100));
            self.act(&Action::RunJob(0))?;
            self.settle()?;
        }
        let failing = |id: &u64| {
            self.jobs
                .get(id)
                .is_some_and(|job| job.status >= 500 || job.steps.contains(&Step::Trap))
        };
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

    fn note(&mut self, what: &str) {
        for (word, mark) in [
            ("at the attempt 2", "a call run again"),
            ("at the attempt 3", "a call in its turn"),
            ("at the attempt 4", "a call in its turn"),
            ("at the attempt 5", "a call in its turn"),
            ("trap: Unreachable", "a trap"),
            ("Settled", "a job done with its call"),
            ("Gone", "a job that was gone"),
            ("it is no more", "a client's transaction that was let go of"),
        ] {
            if what.contains(word) {
                self.mark(mark);
            }
        }
    }

    fn note_segment(&mut self, segment: &crate::oracle::Segment) {
        use crate::oracle::Fate;
        self.mark(match segment.fate {
            Fate::Committed(_) => "committed",
            Fate::Read => "read",
            Fate::Dropped => "dropped",
            Fate::Unknown => "unknown",
        });
        if segment.whose.contains("Commit") && segment.fate == Fate::Dropped {
            self.mark("a client's transaction in conflict");
        }
        for (_, reply) in &segment.steps {
            if let Ok((_, Reply::Error { status: proto::Status::NotUnique, .. })) =
                Reply::decode(reply)
            {
                self.mark("not unique");
            }
        }
    }
}

/// Faults that a service may answer with an error.
fn faults(tally: &Tally) -> u64 {
    tally.failed_reads
        + tally.short_reads
        + tally.failed_writes
        + tally.failed_syncs
        + tally.failed_names
        + tally.no_space
        + tally.no_descriptors
}
