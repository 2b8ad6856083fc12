//! A run: the service on its disk, the actors, and what was promised.
//!
//! Invariants:
//! * one thread runs at a time, and which one follows from the seed (`baton.rs`);
//! * whatever is answered goes to the oracle, which is asked whenever all are at rest, and
//!   after every end of the machine;
//! * an error needs somebody to blame: a fault that struck, a disk without room. What the
//!   engine may answer besides, the model knows.

mod life;
mod look;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::{Engine, Lsn, Step as Piece, SyncMode};
use parking_lot::Mutex;
use platform::sim::{SimClock, SimDisk, Tally};
use proto::doc::DocBuf;
use proto::{Reply, Request, Status};
use runtime_api::{Module, Runtime};
use runtime_wasmi::WasmiRuntime;
use simulation::{End, Marks, Rng, mix};

use crate::actor::{Service, Told};
use crate::baton::Baton;
use crate::guest::{BetweenInstructions, GUEST};
use crate::model::{Event, STORES, is_fault};
use crate::oracle::{Fate, Oracle, Segment};
use crate::packets::packet;
use crate::plan::{Action, Config, Job, Plan, Step, TICK};

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
    /// Who went on last.
    last: usize,
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

fn scheduled(steps: &[Step], all: &mut BTreeMap<u64, Job>) {
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
        let mut jobs = BTreeMap::from([(TICK, Job::tick())]);
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
            last: 0,
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
    pub(crate) fn checked(&self) -> [u64; 2] {
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
                    service.run_job(whose, &jobs);
                })
            }
            Action::Mind(actor) => {
                let clock = Arc::clone(&self.clock);
                self.give(*actor, action, move |service, whose| service.mind(whose, &*clock))
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
            Action::Index(store, there) => self.index(*store, *there),
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
            Action::Call { .. } | Action::Wire { .. } => Ok(()),
            Action::RunJob(_) | Action::Mind(_) => Ok(()),
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
        // One may do much while another stands where it is.
        let same = busy.contains(&self.last) && self.rng.one_in(2);
        let any = busy[self.rng.below(busy.len() as u64) as usize];
        let actor = if same { self.last } else { any };
        self.last = actor;
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

    /// An index is made, to be built by what tends the engine, or goes.
    fn index(&mut self, store: usize, there: bool) -> Result<(), Failure> {
        let mut definition = DocBuf::new();
        definition.push("name", "v").array("fields", |fields| {
            fields.item("v");
        });
        let definition = definition.finish().expect("the definition of an index");
        let name = STORES[store];
        let request = match there {
            true => packet(&Request::CreateIndex {
                store: name,
                if_not_exists: true,
                definition: &definition,
            }),
            false => packet(&Request::DropIndex { store: name, index: "v", if_exists: true }),
        };
        self.mark(if there { "an index made" } else { "an index dropped" });
        let Some(service) = self.service() else { return Ok(()) };
        let mut reply = Vec::new();
        let asked = || reply = self.ask(&service.engine, &request);
        let (commits, _) = service.engine.watched(asked);
        self.oracle.own(commits.iter().map(|commit| commit.lsn));
        drop(service);
        if self.disk.is_crashed() {
            return self.stand_up(self.end);
        }
        match Reply::decode(&reply) {
            Ok((_, Reply::Error { status, message })) if !(is_fault(status) && self.blame()) => {
                Err(format!("an index of {name}: {status} {message}"))
            }
            _ => Ok(()),
        }
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

    /// All come to an end of what they do.
    fn rest(&mut self) -> Result<(), Failure> {
        while !self.baton.busy().is_empty() {
            self.go_on()?;
        }
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
            ("fires", "the timetable fired"),
            ("delivered 1 times", "a job delivered outside"),
            ("delivered 2 times", "a job delivered outside again"),
            ("it is no more", "a client's transaction that was let go of"),
        ] {
            if what.contains(word) {
                self.mark(mark);
            }
        }
    }

    fn note_segment(&mut self, segment: &Segment) {
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
            if let Ok((_, Reply::Error { status: Status::NotUnique, .. })) = Reply::decode(reply) {
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
