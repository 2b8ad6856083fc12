//! Documents read with their versions and written under conditions, by Apply, several at
//! once, and by Updates among them: one order of all that explains every answer, and that
//! keeps to the order in time, is looked for by the tester of stateright. Nothing here knows
//! how the engine orders commits; that versions rise is asked too.
//!
//! All documents of a history are one object, so that what one Apply does to several of them
//! is one step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use engine::{Engine, Options, Principal, Role, SyncMode};
use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::doc::{Doc, DocBuf};
use proto::request::{Act, Condition, Step, StepsBuf};
use proto::{Key, Reply, Request, Status};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use crate::histories;
use crate::world::Dice;

/// Documents of one history.
const KEYS: u64 = 3;
const STORES: [&str; 2] = ["one", "two"];

/// What one step of an Apply is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Insert,
    Put,
    Replace,
    Delete,
    Check,
}

#[derive(Clone, Debug)]
enum Op {
    Read(u64),
    /// An Update with `upsert`.
    Update(u64, i64),
    Apply(Vec<(u64, Kind, Option<Condition>, i64)>),
}

#[derive(Clone, Debug, PartialEq)]
enum Ret {
    Read(Option<(i64, u64)>),
    Done,
    Applied(u64),
    /// Which step was refused, and which version was found, where that is told.
    Refused(usize, Option<Option<u64>>),
}

/// A document: its value, and its version where that is known yet.
type Document = Option<(i64, Option<u64>)>;

/// All documents of a history.
#[derive(Clone, Debug, Default)]
struct Documents {
    all: BTreeMap<u64, Document>,
    /// The highest version that was told.
    last: u64,
}

impl Documents {
    fn at(&mut self, key: u64) -> &mut Document {
        self.all.entry(key).or_default()
    }

    /// Whether a document has a version; one that is not known yet is that one from here on.
    fn has(&mut self, key: u64, version: u64) -> bool {
        match self.at(key) {
            Some((_, known)) => *known.get_or_insert(version) == version,
            None => false,
        }
    }

    /// The first step that is refused, if one is; `found`: what was told of its document.
    fn refused(
        &mut self,
        steps: &[(u64, Kind, Option<Condition>, i64)],
        told: Option<(usize, Option<Option<u64>>)>,
    ) -> Option<usize> {
        for (at, (key, kind, condition, _)) in steps.iter().enumerate() {
            if let Some((of, Some(found))) = told
                && of == at
                && !found.map_or(self.at(*key).is_none(), |version| self.has(*key, version))
            {
                // What was told is not what is here: no such step.
                return None;
            }
            let there = self.at(*key).is_some();
            let holds = match condition {
                None => true,
                Some(Condition::Absent) => !there,
                Some(Condition::Present) => there,
                // Of one that is not known: as it was told.
                Some(Condition::Version(wanted)) => {
                    let unknown = matches!(self.at(*key), Some((_, None)));
                    let was_refused = told.is_some_and(|(of, _)| of == at);
                    there && !(unknown && was_refused) && self.has(*key, *wanted)
                }
            };
            let may = match kind {
                Kind::Insert => !there,
                Kind::Replace | Kind::Delete => there,
                Kind::Put | Kind::Check => true,
            };
            if !holds || !may {
                return Some(at);
            }
        }
        None
    }

    fn write(&mut self, steps: &[(u64, Kind, Option<Condition>, i64)], version: Option<u64>) {
        for (key, kind, _, value) in steps {
            match kind {
                Kind::Check => {}
                Kind::Delete => *self.at(*key) = None,
                _ => *self.at(*key) = Some((*value, version)),
            }
        }
    }
}

impl SequentialSpec for Documents {
    type Op = Op;
    type Ret = Ret;

    /// Of what was asked when the machine went down, and nobody knows the answer of.
    fn invoke(&mut self, op: &Op) -> Ret {
        match op {
            Op::Read(_) => Ret::Done,
            Op::Update(key, value) => {
                *self.at(*key) = Some((*value, None));
                Ret::Done
            }
            Op::Apply(steps) => {
                match self.refused(steps, None) {
                    Some(at) => return Ret::Refused(at, None),
                    None => self.write(steps, None),
                }
                Ret::Done
            }
        }
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Ret) -> bool {
        match (op, ret) {
            (Op::Read(key), Ret::Read(found)) => match (found, self.at(*key).map(|(v, _)| v)) {
                (None, None) => true,
                (Some((value, version)), Some(is)) => is == *value && self.has(*key, *version),
                _ => false,
            },
            (Op::Update(key, value), Ret::Done) => {
                *self.at(*key) = Some((*value, None));
                true
            }
            (Op::Apply(steps), Ret::Applied(version)) => {
                let writes = steps.iter().any(|(_, kind, ..)| *kind != Kind::Check);
                if self.refused(steps, None).is_some() || writes && *version <= self.last {
                    return false;
                }
                self.write(steps, Some(*version));
                self.last = self.last.max(*version);
                true
            }
            (Op::Apply(steps), Ret::Refused(at, found)) => {
                self.refused(steps, Some((*at, *found))) == Some(*at)
            }
            _ => false,
        }
    }
}

struct World {
    disk: Arc<SimDisk>,
    engine: Engine,
}

impl World {
    fn open(disk: Arc<SimDisk>) -> World {
        let mut options = Options::default();
        options.storage.sync = SyncMode::Sync;
        let (clock, entropy) = (Arc::new(SimClock::new(1 << 50)), Arc::new(SimEntropy::new(1)));
        let engine = Engine::open(Arc::clone(&disk) as _, clock, entropy, options).unwrap();
        World { disk, engine }
    }

    fn new(seed: u64) -> World {
        let world = World::open(SimDisk::new(seed));
        for store in STORES {
            let made = world.ask(&Request::CreateStore { store, if_not_exists: false });
            assert!(matches!(Reply::decode(&made).unwrap().1, Reply::Empty));
        }
        world
    }

    fn ask(&self, request: &Request<'_>) -> Vec<u8> {
        let (mut packet, mut reply) = (Vec::new(), Vec::new());
        request.encode(1, &mut packet);
        self.engine.dispatch_packet(&Principal::new("root", Role::Admin), &packet, &mut reply);
        reply
    }

    /// Carries an operation out on the documents from `base` on. `None`: the machine went
    /// down.
    fn carry_out(&self, base: u64, op: &Op) -> Option<Ret> {
        let place = |key: u64| {
            let store = STORES[(key % 2) as usize];
            (store, Key(u128::from(base + key)))
        };
        let reply = match op {
            Op::Read(key) => {
                let (store, key) = place(*key);
                self.ask(&Request::ReadVersion { store, key })
            }
            Op::Update(key, value) => {
                let ((store, key), document) = (place(*key), &document(*value));
                self.ask(&Request::Update { store, key, document, upsert: true })
            }
            Op::Apply(all) => {
                let mut steps = StepsBuf::new();
                for (key, kind, condition, value) in all {
                    let ((store, key), document) = (place(*key), &document(*value));
                    let act = match kind {
                        Kind::Insert => Act::Insert(Some(key), document),
                        Kind::Put => Act::Put(key, document),
                        Kind::Replace => Act::Replace(key, document),
                        Kind::Delete => Act::Delete(key),
                        Kind::Check => Act::Check(key),
                    };
                    steps.push(Step { store, act, condition: *condition });
                }
                self.ask(&Request::Apply { steps: steps.as_steps() })
            }
        };
        Some(match Reply::decode(&reply).unwrap().1 {
            Reply::Versioned { version, document } => {
                let value = Doc::parse(document).unwrap().get("v").and_then(|v| v.as_i64());
                Ret::Read(Some((value.unwrap(), version)))
            }
            Reply::Key(_) => Ret::Done,
            Reply::Document(told) => {
                let version = Doc::parse(told).unwrap().get("version").and_then(|v| v.as_i64());
                Ret::Applied(version.unwrap() as u64)
            }
            Reply::Error { .. } if self.disk.is_crashed() => return None,
            Reply::Error { status: Status::NotFound, .. } if matches!(op, Op::Read(_)) => {
                Ret::Read(None)
            }
            Reply::Error { status, message } => {
                let number = |text: &str, end: &str| {
                    let (_, rest) = message.split_once(text)?;
                    rest.split_once(end)?.0.parse::<u64>().ok()
                };
                let step = number("step ", ":").unwrap() as usize - 1;
                let found = match status {
                    Status::ConditionFailed => Some(number("and has version ", ":")),
                    Status::KeyExists | Status::NotFound => None,
                    _ => panic!("{status}: {message}"),
                };
                Ret::Refused(step, found)
            }
            other => panic!("{other:?}"),
        })
    }
}

fn document(value: i64) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("v", value);
    // Some lie in leaves, some in the value log.
    if value % 3 == 0 {
        doc.push("more", "x".repeat(100).as_str());
    }
    doc.finish().unwrap()
}

/// What one client does next, by what it has seen.
fn next(dice: &mut Dice, seen: &BTreeMap<u64, u64>, fresh: i64) -> Op {
    let key = dice.upto(KEYS);
    match dice.upto(8) {
        0..3 => Op::Read(key),
        3 => Op::Update(key, fresh),
        _ => {
            let first = dice.upto(KEYS);
            let steps = (0..=dice.upto(2)).map(|n| {
                let key = (first + n) % KEYS;
                let kind = match dice.upto(7) {
                    0 => Kind::Insert,
                    1 => Kind::Delete,
                    2 => Kind::Check,
                    3 => Kind::Put,
                    _ => Kind::Replace,
                };
                let by_version = seen.get(&key).map(|version| Condition::Version(*version));
                let condition = match dice.upto(8) {
                    0 => Some(Condition::Absent),
                    1 => Some(Condition::Present),
                    2 if kind != Kind::Check => None,
                    _ => by_version.or(Some(Condition::Absent)),
                };
                (key, kind, condition, fresh)
            });
            Op::Apply(steps.collect())
        }
    }
}

/// What a client remembers.
fn note(seen: &mut BTreeMap<u64, u64>, op: &Op, ret: &Ret) {
    match (op, ret) {
        (Op::Read(key), Ret::Read(Some((_, version)))) => drop(seen.insert(*key, *version)),
        (Op::Read(key), Ret::Read(None)) => drop(seen.remove(key)),
        (Op::Apply(steps), Ret::Applied(version)) => {
            for (key, kind, ..) in steps.iter().filter(|(_, kind, ..)| *kind != Kind::Check) {
                match kind {
                    Kind::Delete => drop(seen.remove(key)),
                    _ => drop(seen.insert(*key, *version)),
                }
            }
        }
        (Op::Apply(steps), Ret::Refused(at, Some(Some(version)))) => {
            seen.insert(steps[*at].0, *version);
        }
        _ => {}
    }
}

type Tester = LinearizabilityTester<u64, Documents>;

#[test]
fn conditions_on_threads_have_one_order() {
    const THREADS: u64 = 4;
    let world = World::new(9);
    let (mut applied, mut refused) = (0, 0);
    for number in 0..histories(1000) {
        let tester = Mutex::new((Tester::default(), Vec::new()));
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (world, tester) = (&world, &tester);
                scope.spawn(move || {
                    let mut dice = Dice::new(number * THREADS + thread);
                    let mut seen = BTreeMap::new();
                    for n in 0..6 {
                        let op = next(&mut dice, &seen, (thread * 10 + n) as i64);
                        tester.lock().unwrap().0.on_invoke(thread, op.clone()).unwrap();
                        let ret = world.carry_out(number * KEYS, &op).unwrap();
                        note(&mut seen, &op, &ret);
                        let mut tester = tester.lock().unwrap();
                        tester.0.on_return(thread, ret.clone()).unwrap();
                        tester.1.push(ret);
                    }
                });
            }
        });
        if number % 50 == 0 {
            world.engine.flush().unwrap();
        }
        let (tester, answers) = tester.into_inner().unwrap();
        assert!(tester.is_consistent(), "history {number} has no order: {tester:#?}");
        applied += answers.iter().filter(|ret| matches!(ret, Ret::Applied(_))).count();
        refused += answers.iter().filter(|ret| matches!(ret, Ret::Refused(..))).count();
    }
    println!("{applied} applied, {refused} refused");
    assert!(applied > 500 && refused > 500, "{applied} {refused}");
}

#[test]
fn conditions_over_crashes_have_one_order() {
    let (mut crashes, mut versions) = (0, 0);
    for seed in 0..histories(300) {
        let (mut world, mut dice) = (World::new(seed), Dice::new(seed));
        let (mut tester, mut seen) = (Tester::default(), BTreeMap::new());
        let mut client = 0;
        world.disk.crash_after(3 + dice.upto(60));
        for n in 0..40 {
            let op = next(&mut dice, &seen, n);
            tester.on_invoke(client, op.clone()).unwrap();
            if dice.one_in(12) {
                // It may be the place of the crash.
                let _flushed = world.engine.flush();
            }
            match world.carry_out(0, &op) {
                Some(ret) => {
                    note(&mut seen, &op, &ret);
                    versions += usize::from(matches!(ret, Ret::Read(Some(_))));
                    tester.on_return(client, ret).unwrap();
                }
                None => {
                    // Who asked is answered by nobody any more.
                    client += 1;
                    crashes += 1;
                    let World { disk, engine } = world;
                    drop(engine);
                    world = World::open(if dice.one_in(2) {
                        disk.restart_worst()
                    } else {
                        disk.restart()
                    });
                    if dice.one_in(2) {
                        world.disk.crash_after(3 + dice.upto(60));
                    }
                }
            }
        }
        assert!(tester.is_consistent(), "seed {seed} has no order: {tester:#?}");
    }
    println!("{crashes} crashes, {versions} versions read");
    assert!(crashes > 100 && versions > 500, "{crashes} {versions}");
}

/// The tester bites: answers that no order explains.
#[test]
fn answers_of_no_order_are_told() {
    let by = |version| Some(Condition::Version(version));
    let put = |condition, value| Op::Apply(vec![(1, Kind::Put, condition, value)]);
    for (why, history) in [
        (
            "two that swap one version",
            vec![
                (0, put(None, 1), Ret::Applied(5)),
                (1, put(by(5), 2), Ret::Applied(6)),
                (2, put(by(5), 3), Ret::Applied(7)),
            ],
        ),
        (
            "a version that falls",
            vec![(0, put(None, 1), Ret::Applied(5)), (1, put(None, 2), Ret::Applied(4))],
        ),
        (
            "an old version read",
            vec![
                (0, put(None, 1), Ret::Applied(5)),
                (1, put(by(5), 2), Ret::Applied(6)),
                (2, Op::Read(1), Ret::Read(Some((2, 5)))),
            ],
        ),
        (
            "refused for what is not there",
            vec![
                (0, put(None, 1), Ret::Applied(5)),
                (1, put(by(5), 2), Ret::Refused(0, Some(Some(4)))),
            ],
        ),
        (
            "half of an Apply",
            vec![
                (
                    0,
                    Op::Apply(vec![(1, Kind::Put, None, 1), (2, Kind::Put, None, 1)]),
                    Ret::Applied(5),
                ),
                (1, Op::Read(2), Ret::Read(None)),
            ],
        ),
    ] {
        let mut tester = Tester::default();
        for (client, op, ret) in history {
            tester.on_invoke(client, op).unwrap().on_return(client, ret).unwrap();
        }
        assert!(!tester.is_consistent(), "{why}");
    }
}
