//! A run as data: configuration and actions, drawn from a seed beforehand.
//!
//! Invariants:
//! * an action says all it needs: any of them can be left out and the rest still makes a
//!   run, so that shrinking is leaving out;
//! * same seed, same plan; how actors come in between each other follows from the plan's
//!   seed too, and is drawn as it goes.

use std::time::Duration;

use engine::{StorageOptions, SyncMode};
use platform::sim::Fault;
use simulation::{End, Rng};

/// How the service is opened, and who is there.
#[derive(Clone, Debug)]
pub struct Config {
    /// The storage of every opening.
    pub storage: StorageOptions,
    /// Actors: each is a guest's instance, or a client of the wire, or runs jobs, as its
    /// next action says.
    pub actors: usize,
    /// Keys per store.
    pub keys: u64,
    /// Values of the fields `n` and `u`.
    pub values: u64,
    /// Fuel between two places where others may go on.
    pub slice: u64,
    /// They do at one in so many of them.
    pub every: u64,
    /// Watchers.
    pub watchers: usize,
}

/// What a step writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// See [`crate::model::Row`].
    pub n: i64,
    /// As there.
    pub u: i64,
    /// As there.
    pub v: i64,
}

/// A job that is scheduled.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// What it is known by.
    pub id: u64,
    /// In so many milliseconds.
    pub in_ms: i64,
    /// It is delivered to a service outside, and does nothing here.
    pub outside: bool,
    /// What it does.
    pub steps: Vec<Step>,
    /// What its route answers, or the service outside; 0: that one is left alone, since calls
    /// of it have failed.
    pub status: u16,
}

/// The job of the timetable's one entry.
pub const TICK: u64 = u64::MAX;
/// It fires every so many milliseconds.
pub const EVERY: i64 = 500;

impl Job {
    /// What the timetable has done each time.
    pub fn tick() -> Job {
        let steps = vec![Step::Inc(0, 0), Step::Inc(0, 1)];
        Job { id: TICK, in_ms: 0, outside: false, steps, status: 200 }
    }

    /// Whether it never comes to an end.
    pub fn is_endless(&self) -> bool {
        self.status == 0 || self.status >= 500 || self.steps.contains(&Step::Trap)
    }
}

/// One thing that a call, a client or a job does. Stores by their place in
/// [`crate::model::STORES`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A document.
    Read(usize, u128),
    /// A document and its version.
    Version(usize, u128),
    /// A new document, under a key that is made if there is none.
    Insert(usize, Option<u128>, Fields),
    /// A document, whatever was there.
    Put(usize, u128, Fields),
    /// A document in the place of one.
    Replace(usize, u128, Fields),
    /// A document goes.
    Delete(usize, u128),
    /// All documents.
    All(usize),
    /// Those with that `n`, by its index.
    Find(usize, i64),
    /// Those with an `n` from, and to.
    Between(usize, i64, i64),
    /// How many have at least that `n`.
    Count(usize, i64),
    /// The one that was written last, by an index that may be there.
    Newest(usize),
    /// Those with that `n` are counted up.
    Inc(usize, i64),
    /// Those with that `n` get another.
    Move(usize, i64, i64),
    /// Those with that `n` go.
    Remove(usize, i64),
    /// A place to come back to.
    Savepoint,
    /// Back to the savepoint of that number.
    Rollback(u64),
    /// What was done so far takes effect.
    Commit,
    /// What was done so far does not.
    Abort,
    /// A job, once this takes effect.
    Schedule(Job),
    /// Who runs jobs finds one of that key there.
    Take(u128),
    /// Who minds the timetable finds that it has fired last at that time.
    Fired(i64),
    /// It fires at that time, with a job under that key.
    Fire(i64, Option<u128>),
    /// A guest does nothing for so many turns of a loop.
    Spin(u32),
    /// A guest's instance ends.
    Trap,
}

/// How a client's transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There is none: each step is by itself.
    None,
    /// It commits.
    Commit,
    /// It aborts.
    Abort,
    /// It goes away, and the session ends.
    Leave,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Action {
    /// An actor's guest is called. `get`: as a request that is to change nothing.
    Call {
        /// Who.
        actor: usize,
        /// See above.
        get: bool,
        /// What its guest does.
        steps: Vec<Step>,
        /// What it answers.
        status: u16,
    },
    /// An actor asks over the wire.
    Wire {
        /// Who.
        actor: usize,
        /// What.
        steps: Vec<Step>,
        /// As what.
        ending: Ending,
    },
    /// An actor runs a job that is due, if one is.
    RunJob(usize),
    /// An actor minds the timetable.
    Mind(usize),
    /// A watcher asks for a page.
    Watch(usize),
    /// So many pieces of the storage's background work.
    Work(u32),
    /// So many of the engine's.
    Tend(u32),
    /// A store has an index more, or not any more, while others go on.
    Index(usize, bool),
    /// What is in memory goes to the trees.
    Flush,
    /// What is acknowledged becomes durable.
    Sync,
    /// Time goes by, in microseconds.
    Wait(u64),
    /// All come to an end of what they do, and everything is compared.
    Settle,
    /// The service stops in order, and starts.
    Reopen,
    /// The machine ends here.
    Crash(End),
    /// It ends at the so-manieth disk call from here.
    CrashAt(u64, End),
    /// The so-manieth matching disk call fails.
    Fault(Fault, &'static str, u64),
    /// From now on only so many more bytes fit on the disk.
    Full(u64),
    /// All faults end, there is room again.
    Mend,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What else is drawn follows from it.
    pub seed: u64,
    /// How the service is opened.
    pub config: Config,
    /// What happens, in order; what actors do goes on meanwhile.
    pub actions: Vec<Action>,
}

impl Config {
    fn draw(rng: &mut Rng) -> Config {
        let storage = StorageOptions {
            sync: if rng.one_in(2) { SyncMode::Sync } else { SyncMode::Async },
            wal_segment_bytes: rng.pick(&[8 << 10, 64 << 10]),
            memtable_bytes: rng.pick(&[4 << 10, 16 << 10, 1 << 20]),
            max_frozen: rng.pick(&[1, 2]),
            vlog_segment_bytes: rng.pick(&[16 << 10, 1 << 20]),
            cache_bytes: rng.pick(&[64 << 10, 1 << 20]),
            inline_max: rng.pick(&[0, 16, 256]),
            gc_dead_ratio: rng.pick(&[10, 30]),
            rest_after: Duration::ZERO,
            // What happened is read off the log: all of it is kept.
            wal_keep_bytes: 1 << 30,
            wal_retain_bytes: 1 << 30,
            ..StorageOptions::default()
        };
        Config {
            storage,
            actors: rng.within(1, 5) as usize,
            keys: rng.pick(&[2, 4, 12]),
            values: rng.pick(&[2, 5, 20]),
            slice: rng.pick(&[1, 1, 7, 100]),
            every: rng.pick(&[2, 20, 100]),
            watchers: rng.below(3) as usize,
        }
    }
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Plan {
        let mut rng = Rng::new(seed);
        let config = Config::draw(&mut rng);
        let count = rng.pick(&[10, 30, 80, 150]);
        // Some runs without faults, some without crashes.
        let (calm, lasting) = (rng.one_in(3), rng.one_in(4));
        let (mut made, mut actions) = (0, Vec::new());
        for _ in 0..count {
            let mut draw = Draw { rng: &mut rng, config: &config, made: &mut made };
            let action = draw.action(calm, lasting);
            actions.push(action);
        }
        Plan { seed, config, actions }
    }
}

struct Draw<'a> {
    rng: &'a mut Rng,
    config: &'a Config,
    /// What was written last.
    made: &'a mut i64,
}

impl Draw<'_> {
    fn action(&mut self, calm: bool, lasting: bool) -> Action {
        let actor = self.rng.below(self.config.actors as u64) as usize;
        match self.rng.below(100) {
            0..=49 => self.call(actor),
            50..=64 => self.wire(actor),
            65..=68 => Action::RunJob(actor),
            69 => Action::Mind(actor),
            70..=74 if self.config.watchers > 0 => {
                Action::Watch(self.rng.below(self.config.watchers as u64) as usize)
            }
            75..=79 => Action::Work(self.rng.within(1, 4) as u32),
            80 => match self.rng.below(3) {
                0 => Action::Index(self.store(), self.rng.one_in(2)),
                _ => Action::Tend(1),
            },
            81 => Action::Flush,
            82..=83 => Action::Sync,
            84..=86 => Action::Wait(1 << self.rng.below(26)),
            87..=88 => Action::Settle,
            89 => Action::Reopen,
            90..=91 if !lasting => Action::Crash(self.end()),
            92..=94 if !lasting => {
                let most = self.rng.pick(&[3, 10, 30]);
                Action::CrashAt(self.rng.within(1, most), self.end())
            }
            95..=96 if !calm => {
                let fault =
                    self.rng.pick(&[Fault::Read, Fault::Write, Fault::Sync, Fault::Descriptors]);
                let place = self.rng.pick(&["", "wal", "vlog", "trees"]);
                Action::Fault(fault, place, self.rng.below(6))
            }
            97 if !calm => Action::Full(self.rng.below(8) << 10),
            98..=99 if !calm => Action::Mend,
            _ => self.call(actor),
        }
    }

    fn end(&mut self) -> End {
        self.rng.pick(&[End::Kill, End::Power, End::WorstPower])
    }

    fn call(&mut self, actor: usize) -> Action {
        let get = self.rng.one_in(5);
        let count = self.rng.within(1, 6);
        let mut steps: Vec<Step> = (0..count).map(|_| self.step(get, 0)).collect();
        if self.rng.one_in(25) {
            steps.push(Step::Trap);
        }
        let status = self.rng.pick(&[200, 200, 200, 200, 200, 200, 404, 500]);
        Action::Call { actor, get, steps, status }
    }

    fn wire(&mut self, actor: usize) -> Action {
        let ending = self.rng.pick(&[
            Ending::None,
            Ending::None,
            Ending::Commit,
            Ending::Commit,
            Ending::Abort,
            Ending::Leave,
        ]);
        if ending == Ending::None && self.rng.one_in(2) {
            return Action::Wire { actor, steps: self.contended(), ending };
        }
        let most = if ending == Ending::None { 2 } else { 5 };
        let count = self.rng.within(1, most);
        let mut steps: Vec<Step> = (0..count).map(|_| self.step(false, 0)).collect();
        steps.retain(|step| match step {
            // They are the guest's, or the end's.
            Step::Spin(_) | Step::Commit | Step::Abort | Step::Schedule(_) => false,
            Step::Savepoint | Step::Rollback(_) => ending != Ending::None,
            _ => true,
        });
        Action::Wire { actor, steps, ending }
    }

    /// A write that is refused by what others write to the same document, and a look at what
    /// there is behind it.
    fn contended(&mut self) -> Vec<Step> {
        let (store, key) = self.place();
        let write = match self.rng.below(3) {
            0 => Step::Insert(store, Some(key), self.fields()),
            1 => Step::Replace(store, key, self.fields()),
            _ => Step::Delete(store, key),
        };
        let read = match self.rng.below(3) {
            0 => Step::Read(store, key),
            1 => Step::Version(store, key),
            _ => Step::All(store),
        };
        vec![write, read]
    }

    /// A document: often the one that everybody is at.
    fn place(&mut self) -> (usize, u128) {
        if self.rng.one_in(3) { (0, 1) } else { (self.store(), self.key()) }
    }

    fn store(&mut self) -> usize {
        self.rng.below(3) as usize
    }

    fn key(&mut self) -> u128 {
        u128::from(self.rng.within(1, self.config.keys))
    }

    fn value(&mut self) -> i64 {
        self.rng.below(self.config.values) as i64
    }

    fn fields(&mut self) -> Fields {
        *self.made += 1;
        let u = self.rng.below(self.config.values + self.config.keys) as i64;
        Fields { n: self.value(), u, v: *self.made }
    }

    /// `depth`: of jobs that schedule jobs.
    fn step(&mut self, reads: bool, depth: u32) -> Step {
        let (store, key) = self.place();
        let most = if reads { 35 } else { 100 };
        match self.rng.below(most) {
            0..=9 => Step::Read(store, key),
            10..=13 => Step::Version(store, key),
            14..=19 => Step::Find(store, self.value()),
            20..=23 => {
                let low = self.value();
                Step::Between(store, low, low + self.value())
            }
            24..=26 => Step::Count(store, self.value()),
            27 => Step::All(store),
            28..=29 => Step::Newest(store),
            30..=34 => Step::Spin(self.rng.within(1, 200) as u32),
            35..=44 => {
                let key = self.rng.one_in(2).then_some(key);
                Step::Insert(store, key, self.fields())
            }
            45..=59 => Step::Put(store, key, self.fields()),
            60..=66 => Step::Replace(store, key, self.fields()),
            67..=73 => Step::Delete(store, key),
            74..=79 => Step::Inc(store, self.value()),
            80..=84 => Step::Move(store, self.value(), self.value()),
            85..=87 => Step::Remove(store, self.value()),
            88..=90 => Step::Savepoint,
            91..=92 => Step::Rollback(self.rng.within(1, 2)),
            93 => Step::Commit,
            94 => Step::Abort,
            _ if depth < 2 => {
                *self.made += 1;
                let id = *self.made as u64;
                let in_ms = self.rng.pick(&[0, 0, 5, 60_000]);
                if self.rng.one_in(3) {
                    let status = self.rng.pick(&[200, 200, 200, 404, 503, 0]);
                    let steps = Vec::new();
                    return Step::Schedule(Job { id, in_ms, outside: true, steps, status });
                }
                let count = self.rng.within(1, 3);
                let mut steps: Vec<Step> =
                    (0..count).map(|_| self.step(false, depth + 1)).collect();
                // One attempt is one transaction, so that it is done once.
                steps.retain(|step| !matches!(step, Step::Commit | Step::Abort));
                let status = self.rng.pick(&[200, 200, 200, 200, 404, 500]);
                Step::Schedule(Job { id, in_ms, outside: false, steps, status })
            }
            _ => Step::Put(store, key, self.fields()),
        }
    }
}
