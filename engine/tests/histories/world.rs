//! An engine with lists of two kinds, and clients that read them and append to them by
//! packets.
//!
//! Lists of even number are the array of a document, which is appended to by one edit. Those
//! of odd number are the documents of a range of an index, which are counted or read before
//! one more is put behind them: there nothing stands in the way of two who do so but what
//! they have read.

use super::check::{Fate, List, Op, Transaction};
use engine::{Engine, Options, Principal, Role, SyncMode};
use platform::Entropy;
use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::doc::{Doc, Value};
use proto::request::{Act, Condition, Part, StepsBuf};
use proto::{Key, Reply, Request, Status, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const LISTS: u64 = 6;

/// Moments, each later than all before.
#[derive(Default)]
pub struct Clock(AtomicU64);

impl Clock {
    fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

pub struct Dice(SimEntropy);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(SimEntropy::new(seed))
    }

    /// Less than `n`.
    pub fn upto(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.upto(n) == 0
    }
}

pub struct World {
    pub disk: Arc<SimDisk>,
    pub engine: Engine,
    /// The next value, as none is appended twice.
    next: Arc<AtomicU64>,
}

enum Answer {
    Done,
    Count(u64),
    Documents(Vec<Vec<u8>>),
    Versioned(u64, Vec<u8>),
    Refused(Status, String),
}

impl World {
    pub fn new(seed: u64) -> World {
        let world = World::open(SimDisk::new(seed), Arc::default());
        let who = Principal::new("root", Role::Admin);
        for store in ["arrays", "parts"] {
            world.must(&who, &Request::CreateStore { store, if_not_exists: false });
        }
        let definition = &json::parse_json(r#"{"fields":["list"]}"#).unwrap();
        world
            .must(&who, &Request::CreateIndex { store: "parts", if_not_exists: false, definition });
        while world.engine.tend().unwrap() {}
        let document = &json::parse_json(r#"{"values":[]}"#).unwrap();
        for list in (0..LISTS).step_by(2) {
            let key = Some(Key(u128::from(list)));
            world.must(&who, &Request::Insert { store: "arrays", key, document });
        }
        world
    }

    fn open(disk: Arc<SimDisk>, next: Arc<AtomicU64>) -> World {
        let mut options = Options::default();
        options.storage.sync = SyncMode::Sync;
        let (clock, entropy) = (Arc::new(SimClock::new(1 << 50)), Arc::new(SimEntropy::new(1)));
        let engine = Engine::open(Arc::clone(&disk) as _, clock, entropy, options).unwrap();
        World { disk, engine, next }
    }

    /// On what is left of its disk.
    pub fn after_the_crash(self, worst: bool) -> World {
        let World { disk, engine, next } = self;
        drop(engine);
        World::open(if worst { disk.restart_worst() } else { disk.restart() }, next)
    }

    fn ask(&self, who: &Principal, request: &Request<'_>) -> Answer {
        let (mut packet, mut reply) = (Vec::new(), Vec::new());
        request.encode(1, &mut packet);
        self.engine.dispatch_packet(who, &packet, &mut reply);
        match Reply::decode(&reply).unwrap().1 {
            Reply::Error { status, message } => Answer::Refused(status, message.to_owned()),
            Reply::Count(count) => Answer::Count(count),
            Reply::Document(document) => Answer::Documents(vec![document.to_vec()]),
            Reply::Rows(rows) => {
                assert!(rows.cursor.is_none() && rows.next.is_none(), "one page");
                Answer::Documents(rows.iter().map(|(_, document)| document.to_vec()).collect())
            }
            Reply::Versioned { version, document } => Answer::Versioned(version, document.to_vec()),
            Reply::Empty | Reply::Key(_) | Reply::Keys(_) => Answer::Done,
        }
    }

    fn must(&self, who: &Principal, request: &Request<'_>) {
        if let Answer::Refused(status, message) = self.ask(who, request) {
            panic!("{status}: {message}");
        }
    }

    /// All lists, read by one that nobody disturbs.
    pub fn all(&self, clock: &Clock) -> Transaction {
        let mut client = Client::new(u64::MAX);
        client.begin(self, clock, true).unwrap();
        for list in 0..LISTS {
            client.read(self, list).unwrap();
        }
        client.commit(self, clock).unwrap()
    }
}

/// One that has at most one transaction.
pub struct Client {
    who: Principal,
    /// The number that the engine gave it, or 0: an operation by itself.
    number: u64,
    open: Option<Transaction>,
}

/// Something that was refused: what becomes of the transaction.
type Step<T> = Result<T, Fate>;

impl Client {
    pub fn new(number: u64) -> Client {
        let who = Principal::new("root", Role::Admin);
        Client { who: who.in_session(number.wrapping_add(1)), number: 0, open: None }
    }

    /// Does one thing more; the transaction that has ended by it.
    pub fn step(&mut self, world: &World, clock: &Clock, dice: &mut Dice) -> Option<Transaction> {
        let list = dice.upto(LISTS);
        let done = match (&self.open, dice.upto(10)) {
            (None, 0..3) => return self.alone(world, clock, list, dice.one_in(2)),
            (None, 3) => return self.swap(world, clock, list & !1),
            (None, chance) => self.begin(world, clock, chance == 9),
            (Some(_), 0..2) => {
                return self
                    .commit(world, clock)
                    .map_or_else(|fate| self.give_up(clock, fate), Some);
            }
            (Some(_), 2) if dice.one_in(4) => {
                let _aborted = self.ask(world, &Request::Abort { transaction: self.number });
                return self.give_up(clock, Fate::Dropped);
            }
            (Some(_), 2..6) => self.read(world, list),
            (Some(_), _) => self.append(world, list, dice.one_in(2)),
        };
        done.err().and_then(|fate| self.give_up(clock, fate))
    }

    /// Ends what is open without a commit.
    pub fn give_up(&mut self, clock: &Clock, fate: Fate) -> Option<Transaction> {
        let mut ended = self.open.take()?;
        ended.ended = if fate == Fate::Unknown { u64::MAX } else { clock.now() };
        ended.fate = fate;
        Some(ended)
    }

    fn begin(&mut self, world: &World, clock: &Clock, read_only: bool) -> Step<()> {
        let began = clock.now();
        self.number = 0;
        let begun = self.ask(world, &Request::Begin { read_only, millis: 0 })?;
        let Answer::Documents(begun) = begun else { panic!("a document") };
        let number = Doc::parse(&begun[0]).unwrap().get("transaction").and_then(|n| n.as_i64());
        self.number = number.unwrap() as u64;
        self.open = Some(Transaction { began, ended: 0, fate: Fate::Unknown, ops: Vec::new() });
        Ok(())
    }

    /// Makes it take effect.
    fn commit(&mut self, world: &World, clock: &Clock) -> Step<Transaction> {
        self.ask(world, &Request::Commit { transaction: self.number }).map_err(|fate| {
            let wrote = |op: &Op| matches!(op, Op::Append(..));
            let wrote = self.open.iter().flat_map(|open| &open.ops).any(wrote);
            if world.disk.is_crashed() && wrote { Fate::Unknown } else { fate }
        })?;
        Ok(self.give_up(clock, Fate::Committed).expect("it is open"))
    }

    /// One operation without a transaction.
    fn alone(
        &mut self,
        world: &World,
        clock: &Clock,
        list: List,
        write: bool,
    ) -> Option<Transaction> {
        self.number = 0;
        let ops = Vec::new();
        self.open = Some(Transaction { began: clock.now(), ended: 0, fate: Fate::Unknown, ops });
        let done = match write {
            // Of the other kind, one operation does not know what is its place.
            true => {
                self.append(world, list & !1, false).map_err(|fate| match world.disk.is_crashed() {
                    true => Fate::Unknown,
                    false => fate,
                })
            }
            false => self.read(world, list),
        };
        self.give_up(clock, done.err().unwrap_or(Fate::Committed))
    }

    /// Two lists that are read with their versions, and appended to if they still have them:
    /// without a transaction, and one all the same, if it is done.
    fn swap(&mut self, world: &World, clock: &Clock, list: List) -> Option<Transaction> {
        self.number = 0;
        let ops = Vec::new();
        self.open = Some(Transaction { began: clock.now(), ended: 0, fate: Fate::Unknown, ops });
        let done = self.append_if(world, &[list, (list + 2) % LISTS]);
        let done = done.map_err(|fate| if world.disk.is_crashed() { Fate::Unknown } else { fate });
        let mut ended = self.give_up(clock, done.err().unwrap_or(Fate::Committed))?;
        if ended.fate != Fate::Committed {
            // What was read is of one moment only if it is done.
            ended.ops.retain(|op| matches!(op, Op::Append(..)));
        }
        Some(ended)
    }

    /// Appends to lists in documents if they are what they were when they were read.
    fn append_if(&mut self, world: &World, lists: &[List]) -> Step<()> {
        let mut steps = StepsBuf::new();
        for list in lists {
            let (store, key) = ("arrays", Key(u128::from(*list)));
            let read = self.ask(world, &Request::ReadVersion { store, key })?;
            let Answer::Versioned(version, document) = read else { panic!("a version") };
            let mut values = values_of(&document);
            self.note(Op::Read(*list, values.clone()));
            values.push(world.next.fetch_add(1, Ordering::SeqCst));
            let document = &json::parse_json(&format!(r#"{{"values":{values:?}}}"#)).unwrap();
            // What the transaction has written itself has none yet.
            let condition = (version > 0).then_some(Condition::Version(version));
            steps.push(proto::request::Step { store, act: Act::Replace(key, document), condition });
            self.note(Op::Append(*list, values[values.len() - 1]));
        }
        self.ask(world, &Request::Apply { steps: steps.as_steps() }).map(drop)
    }

    fn note(&mut self, op: Op) {
        self.open.as_mut().expect("it is open").ops.push(op);
    }

    fn read(&mut self, world: &World, list: List) -> Step<()> {
        let values = self.values(world, list)?;
        self.note(Op::Read(list, values));
        Ok(())
    }

    fn values(&self, world: &World, list: List) -> Step<Vec<u64>> {
        if list.is_multiple_of(2) {
            let key = Key(u128::from(list));
            let read = self.ask(world, &Request::Read { store: "arrays", key })?;
            let Answer::Documents(read) = read else { panic!("a document") };
            return Ok(values_of(&read[0]));
        }
        let text = &format!("parts.filter(list = {list})");
        let found = self.ask(world, &Request::Query { text, parameters: None })?;
        let Answer::Documents(found) = found else { panic!("documents") };
        let part = |document: &Vec<u8>| {
            let document = Doc::parse(document).unwrap();
            (number(document.get("at").unwrap()), number(document.get("value").unwrap()))
        };
        let mut parts: Vec<(u64, u64)> = found.iter().map(part).collect();
        parts.sort_unstable();
        Ok(parts.into_iter().map(|(_, value)| value).collect())
    }

    /// `seen`: it reads the list first, as it must to know where it stands.
    fn append(&mut self, world: &World, list: List, seen: bool) -> Step<()> {
        let value = world.next.fetch_add(1, Ordering::SeqCst);
        if list.is_multiple_of(2) && seen {
            return self.append_if(world, &[list]);
        }
        if list.is_multiple_of(2) {
            self.note(Op::Append(list, value));
            let text = &format!("arrays.filter(key = '{list:032x}').push({{values: {value}}})");
            let pushed = self.ask(world, &Request::Query { text, parameters: None })?;
            assert!(matches!(pushed, Answer::Count(1)), "there is one");
            return Ok(());
        }
        let at = if seen {
            let values = self.values(world, list)?;
            let at = values.len() as u64;
            self.note(Op::Read(list, values));
            at
        } else {
            let text = &format!("parts.filter(list = {list}).count()");
            match self.ask(world, &Request::Query { text, parameters: None })? {
                Answer::Count(count) => count,
                _ => panic!("a count"),
            }
        };
        self.note(Op::Append(list, value));
        let text = format!(r#"{{"list":{list},"at":{at},"value":{value}}}"#);
        let document = &json::parse_json(&text).unwrap();
        self.ask(world, &Request::Insert { store: "parts", key: None, document }).map(drop)
    }

    /// Asks, within the transaction if it is about documents.
    fn ask(&self, world: &World, request: &Request<'_>) -> Step<Answer> {
        use Request::{Abort, Begin, Commit};
        let mut room = Vec::new();
        let whole = matches!(request, Begin { .. } | Commit { .. } | Abort { .. });
        let answer = if whole || self.number == 0 {
            world.ask(&self.who, request)
        } else {
            let part = Part::of(request, &mut room);
            world.ask(&self.who, &Request::Within { transaction: self.number, part })
        };
        match answer {
            Answer::Refused(Status::TransactionConflict, _) => Err(Fate::Dropped),
            Answer::Refused(Status::ConditionFailed, _) if self.number == 0 => Err(Fate::Dropped),
            // A read-only one writes nothing.
            Answer::Refused(Status::NotInTransaction, _) => Err(Fate::Dropped),
            Answer::Refused(_, _) if world.disk.is_crashed() => Err(Fate::Dropped),
            Answer::Refused(status, message) => panic!("{status}: {message}"),
            answer => Ok(answer),
        }
    }
}

fn values_of(document: &[u8]) -> Vec<u64> {
    let values = Doc::parse(document).unwrap().get("values").and_then(|v| v.as_array());
    values.unwrap().iter().map(number).collect()
}

fn number(value: Value<'_>) -> u64 {
    value.as_i64().unwrap() as u64
}
