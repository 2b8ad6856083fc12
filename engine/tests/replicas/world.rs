//! Two servers and what may happen to them.
//!
//! What is known: of each commit of the present primary what all of it looked like (`at`).
//! A crash may take commits of the primary that were not durable; none that a replica has.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{Bootstrap, Offered, Place, Principal, Role, Step, place};
use platform::Disk;
use platform::sim::SimClock;
use proto::doc::{Binary, Doc, DocBuf, Value};
use proto::{Key, Request, Status, json};

use crate::node::{Node, storage};

pub type Seen = BTreeMap<&'static str, u64>;

pub struct World {
    seed: u64,
    state: u64,
    primary: Node,
    replica: Node,
    /// All of the primary after each of its commits.
    at: BTreeMap<u64, String>,
    /// The last page that was taken.
    before: Option<Vec<u8>>,
    /// The beginning of a frame of the wrong length was taken for one.
    is_damaged: bool,
    pub seen: Seen,
}

fn doc(text: &str) -> Vec<u8> {
    json::parse_json(text).unwrap()
}

impl World {
    pub fn new(seed: u64) -> World {
        let (mut primary, replica) = (Node::new(seed * 2 + 1), Node::new(seed * 2 + 2));
        primary.open();
        let state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let at = BTreeMap::new();
        let mut world = World {
            seed,
            state,
            primary,
            replica,
            at,
            before: None,
            is_damaged: false,
            seen: Seen::new(),
        };
        world.note();
        world.bootstrap();
        world
    }

    fn below(&mut self, n: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % n
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Remembers what the primary is.
    fn note(&mut self) {
        let (lsn, dump) = (self.primary.lsn(), self.primary.dump());
        if self.primary.is_crashed() {
            return;
        }
        let before = self.at.insert(lsn, dump.clone());
        assert!(before.is_none_or(|before| before == dump), "seed {}: commit {lsn}", self.seed);
    }

    /// The replica is what the primary was.
    fn compare(&mut self) {
        let lsn = self.replica.lsn();
        let Some(was) = self.at.get(&lsn) else {
            // One piece of the primary's own work may be two commits.
            let newest = self.at.last_key_value().map_or(0, |(lsn, _)| *lsn);
            assert!(lsn < newest, "seed {}: it is at commit {lsn}, which nobody made", self.seed);
            return self.saw("between two looks");
        };
        let is = self.replica.dump();
        if self.replica.is_crashed() {
            return;
        }
        assert_eq!(*was, is, "seed {}: at commit {lsn}", self.seed);
    }

    pub fn step(&mut self) {
        let what = self.below(30);
        match what {
            0..=11 => self.write(),
            12..=16 => self.page(),
            17 => drop(self.primary.engine().sync()),
            18 => drop(self.primary.engine().flush()),
            19 => drop(self.replica.engine().flush()),
            20 => {
                Self::upkeep(&self.primary);
                Self::upkeep(&self.replica);
            }
            21 => {
                for _ in 0..10 {
                    let tended = self.primary.engine().tend();
                    if self.primary.is_crashed() {
                        break;
                    }
                    // Each piece is a commit.
                    self.note();
                    if !matches!(tended, Ok(true)) {
                        break;
                    }
                }
            }
            22 => self.damaged(),
            23 => self.twice(),
            24 => {
                let calls = self.below(60);
                self.primary.disk.crash_after(calls);
            }
            25 => {
                let calls = self.below(60);
                self.replica.disk.crash_after(calls);
            }
            26 if self.below(3) == 0 => self.promote(),
            27 if self.below(4) == 0 => {
                self.replica.close();
                self.replica.disk = platform::sim::SimDisk::new(self.seed + 77);
                self.bootstrap();
            }
            28 => {
                let refused = self.replica.ask(Request::NextNumbers { sequence: "n", count: 1 });
                if !self.replica.is_crashed() {
                    assert_eq!(refused, Err(Status::NotLeader));
                    self.saw("write refused");
                }
            }
            _ => self.follow(),
        }
        self.mend();
        self.compare();
    }

    fn upkeep(node: &Node) {
        for _ in 0..20 {
            if !matches!(node.engine().maintenance(), Ok(step) if step != Step::Idle) {
                break;
            }
        }
    }

    /// Whoever crashed is started again.
    fn mend(&mut self) {
        if self.primary.is_crashed() {
            let how = self.below(3);
            self.primary.restart(how);
            self.primary.open();
            let lsn = self.primary.lsn();
            assert!(
                lsn >= self.replica_lsn(),
                "seed {}: the primary lost a commit that the replica has",
                self.seed
            );
            // Some were not durable; one may be there that nobody was told of.
            self.at.split_off(&(lsn + 1));
            self.note();
            self.saw("primary crashed");
        }
        if self.replica.is_crashed() {
            let how = self.below(3);
            self.replica.restart(how);
            self.replica.open();
            self.saw("replica crashed");
        }
    }

    /// Nobody crashes from here on.
    fn calm(&mut self) {
        self.mend();
        self.primary.disk.disarm();
        self.replica.disk.disarm();
    }

    fn replica_lsn(&self) -> u64 {
        if self.replica.is_crashed() { 0 } else { self.replica.lsn() }
    }

    fn write(&mut self) {
        let store = ["s0", "s1", "s2"][self.below(3) as usize];
        let key = Key(u128::from(self.below(12)));
        let n = self.below(1000);
        let long = if self.below(4) == 0 { 3000 } else { 20 };
        let document = doc(&format!(r#"{{"n": {n}, "text": "{}"}}"#, "x".repeat(long)));
        let index = doc(r#"{"fields": ["n"], "name": "by_n"}"#);
        let user = doc(r#"{"role": "none", "key": "a-key-of-my-own-choice"}"#);
        let what = self.below(20);
        let said = match what {
            0..=8 => {
                let request = Request::Update { store, key, document: &document, upsert: true };
                self.primary.ask(request)
            }
            9..=11 => self.primary.ask(Request::Delete { store, key }),
            12 | 13 => self.primary.ask(Request::CreateStore { store, if_not_exists: true }),
            14 => {
                let request =
                    Request::CreateIndex { store, if_not_exists: true, definition: &index };
                self.primary.ask(request)
            }
            15 if self.below(3) == 0 => {
                self.primary.ask(Request::DropStore { store, if_exists: false })
            }
            16 => {
                let text = format!("{store}.filter(n > 500).set({{m: {n}}})");
                self.primary.ask(Request::Query { text: &text, parameters: None })
            }
            17 => {
                drop(
                    self.primary
                        .ask(Request::CreateSequence { sequence: "n", if_not_exists: true }),
                );
                if !self.primary.is_crashed() {
                    self.note();
                }
                self.primary.ask(Request::NextNumbers { sequence: "n", count: 3 })
            }
            18 if self.below(8) == 0 => {
                let request =
                    Request::CreateUser { user: "u", if_not_exists: false, definition: &user };
                self.primary.ask(request)
            }
            19 => self.primary.ask(Request::DropUser { user: "u", if_exists: true }),
            _ => return,
        };
        if self.primary.is_crashed() {
            return;
        }
        match (what, said) {
            (15, Ok(_)) => self.saw("store dropped"),
            (_, Err(Status::NotLeader)) => panic!("seed {}: the primary follows", self.seed),
            _ => {}
        }
        self.note();
    }

    /// A page of the primary, or why there is none.
    fn asked(&mut self, bytes: u32) -> Result<Vec<u8>, Status> {
        let Ok(what) = self.replica.engine().follow_request(bytes, 0) else {
            return Err(Status::WrongRole);
        };
        let who = Principal::new("replica", Role::Replica);
        self.primary.ask_as(&who, Request::Follow { what: &what })
    }

    fn page(&mut self) {
        let bytes = [50, 300, 5000, 1 << 20][self.below(4) as usize];
        let _more = self.one_page(bytes);
    }

    /// Whether there is more.
    fn one_page(&mut self, bytes: u32) -> Option<bool> {
        match self.asked(bytes) {
            Ok(page) => {
                let before = self.replica.lsn();
                let took = self.replica.engine().take_followed(&page);
                if self.replica.is_crashed() {
                    self.saw("crashed while applying");
                    return None;
                }
                let took = match took {
                    // What came damaged shows at last, and is asked for anew.
                    Err(refusal) if self.is_damaged && refusal.status == Status::BadFollow => {
                        self.is_damaged = false;
                        assert_eq!(self.replica.lsn(), before, "nothing was applied");
                        self.saw("damaged length found");
                        return Some(true);
                    }
                    took => took.unwrap_or_else(|why| panic!("seed {}: {why}", self.seed)),
                };
                self.saw(if took.frames == 0 && took.more { "piece" } else { "page" });
                assert_eq!(self.replica.lsn(), before + took.frames as u64);
                self.before = Some(page);
                Some(took.more)
            }
            Err(_) if self.primary.is_crashed() || self.replica.is_crashed() => None,
            Err(Status::TooFarBehind) => {
                self.saw("log was gone");
                self.replica.engine().want_bootstrap().ok()?;
                self.replica.close();
                self.bootstrap();
                None
            }
            Err(status) => panic!("seed {}: a page was refused: {status}", self.seed),
        }
    }

    fn follow(&mut self) {
        drop(self.primary.engine().sync());
        for page in 0.. {
            assert!(page < 1000, "seed {}: it never has all", self.seed);
            if self.one_page(4000) != Some(true) {
                break;
            }
            self.compare();
        }
    }

    /// A page on whose way a byte of its frames was changed.
    fn damaged(&mut self) {
        drop(self.primary.engine().sync());
        let Ok(page) = self.asked(1 << 20) else { return };
        let Some(Value::Binary(frames)) = Doc::parse(&page).unwrap().get("frames") else {
            panic!()
        };
        if frames.bytes.is_empty() {
            return;
        }
        let mut bytes = frames.bytes.to_vec();
        let (at, bit) = (self.below(bytes.len() as u64) as usize, self.below(8));
        bytes[at] ^= 1 << bit;
        let mut damaged = DocBuf::new();
        for (name, value) in Doc::parse(&page).unwrap() {
            match name {
                "frames" => damaged.push(name, Value::Binary(Binary { subtype: 0, bytes: &bytes })),
                _ => damaged.push(name, value),
            };
        }
        let damaged = damaged.finish().unwrap();
        let before = self.replica.lsn();
        match self.replica.engine().take_followed(&damaged) {
            _ if self.replica.is_crashed() => {}
            Err(refusal) => {
                assert_eq!(refusal.status, Status::BadFollow, "{refusal}");
                assert_eq!(self.replica.lsn(), before, "nothing was applied");
                self.saw("damaged page refused");
            }
            // A length that grew: the rest of that frame is waited for, and shows then.
            Ok(took) => {
                let lsn = self.replica.lsn();
                assert_eq!(lsn, before + took.frames as u64);
                self.is_damaged = true;
            }
        }
    }

    /// A page that was taken comes once more.
    fn twice(&mut self) {
        let Some(page) = self.before.take() else { return };
        let before = self.replica.lsn();
        let took = self.replica.engine().take_followed(&page);
        if self.replica.is_crashed() {
            return;
        }
        match took {
            Ok(took) => assert_eq!((took.frames, self.replica.lsn()), (0, before)),
            Err(refusal) => {
                assert!(
                    matches!(refusal.status, Status::BadFollow | Status::Diverged),
                    "{refusal}"
                );
                assert_eq!(self.replica.lsn(), before);
                self.saw("page sent twice refused");
            }
        }
    }

    /// The replica takes over; the primary goes, or is told to, before or after.
    fn promote(&mut self) {
        self.calm();
        let told = self.below(2) == 0;
        if told {
            self.primary.ask(Request::Demote).unwrap();
        }
        let from = self.replica.lsn();
        self.replica.ask(Request::Promote).unwrap();
        std::mem::swap(&mut self.primary, &mut self.replica);
        self.saw("promoted");
        self.before = None;
        // What the old primary had beyond is not this one's.
        let old = std::mem::take(&mut self.at);
        let lost = self.replica.lsn() > from;
        self.at = old.into_iter().filter(|(lsn, _)| *lsn <= from).collect();
        self.note();
        drop(self.primary.engine().sync());
        if !told {
            self.replica.ask(Request::Demote).unwrap();
        }
        let before = self.replica.dump();
        match self.asked(1 << 20) {
            Ok(page) => {
                assert!(!lost, "seed {}: it had commits of its own", self.seed);
                self.replica.engine().take_followed(&page).unwrap();
                self.saw("old primary followed");
            }
            Err(Status::Diverged) => {
                assert!(lost, "seed {}: it had none of its own", self.seed);
                assert_eq!(before, self.replica.dump(), "nothing is merged");
                self.saw("old primary diverged");
                self.replica.close();
                self.replica.disk = platform::sim::SimDisk::new(self.seed + 99);
                self.bootstrap();
            }
            Err(Status::TooFarBehind) => {
                self.replica.engine().want_bootstrap().unwrap();
                self.replica.close();
                self.bootstrap();
            }
            Err(status) => panic!("seed {}: {status}", self.seed),
        }
    }

    /// Makes the replica's data from a snapshot, over crashes of its disk.
    fn bootstrap(&mut self) {
        let who = Principal::new("replica", Role::Replica);
        (self.before, self.is_damaged) = (None, false);
        if self.below(2) == 0 {
            let calls = self.below(150);
            self.replica.disk.crash_after(calls);
        }
        let mut last = String::new();
        for attempt in 0.. {
            assert!(attempt < 500, "seed {}: it never begins: {last}", self.seed);
            if self.replica.is_crashed() {
                self.saw("bootstrap cut off");
                let how = self.below(3);
                self.replica.restart(how);
            }
            if self.primary.is_crashed() {
                // Its replica is away: nothing of it is to be compared.
                let how = self.below(3);
                self.primary.restart(how);
                self.primary.open();
                let lsn = self.primary.lsn();
                self.at.split_off(&(lsn + 1));
                self.note();
            }
            let disk: Arc<dyn Disk> = self.replica.disk.clone();
            let clock = SimClock::new(1_700_000_000_000_000);
            let options = storage(self.seed);
            match place(&*disk) {
                Ok(Place::Empty | Place::Behind) => {}
                Ok(Place::Ready) => {
                    match Bootstrap::complete(&disk, &clock, &options) {
                        Ok(()) => self.saw("completed after a crash"),
                        Err(refusal) => last = refusal.to_string(),
                    }
                    continue;
                }
                Ok(Place::Replica) => break,
                Ok(other) => panic!("seed {}: {other:?}", self.seed),
                Err(_) if self.replica.is_crashed() => continue,
                Err(error) => panic!("seed {}: {error}", self.seed),
            }
            let what = Bootstrap::ask("n");
            let told = match self.primary.ask_as(&who, Request::Snapshot { what: &what }) {
                Ok(told) => told,
                Err(status) => {
                    last = status.to_string();
                    continue;
                }
            };
            let mut incoming = match Bootstrap::offered(&disk, &told) {
                Ok(Offered::Making) => {
                    drop(self.primary.engine().tend_snapshot(&|| true));
                    continue;
                }
                Ok(Offered::Ready(incoming)) => incoming,
                Ok(Offered::Failed(why)) => {
                    last = why;
                    continue;
                }
                Err(refusal) => {
                    last = refusal.to_string();
                    continue;
                }
            };
            while let Some(what) = incoming.next(5000) {
                let piece = self.primary.ask_as(&who, Request::Snapshot { what: &what });
                let Ok(piece) = piece else { break };
                if incoming.take(&piece).is_err() {
                    break;
                }
            }
            if incoming.next(1).is_none()
                && let Err(refusal) = incoming.finish(&clock, &options)
            {
                last = refusal.to_string();
            }
        }
        self.replica.disk.disarm();
        self.saw("bootstrap");
        self.replica.open();
        self.compare();
    }

    pub fn end(&mut self) {
        self.calm();
        while matches!(self.primary.engine().tend(), Ok(true)) {
            self.note();
        }
        self.note();
        self.follow();
        self.compare();
        assert_eq!(self.primary.lsn(), self.replica.lsn());
        self.primary.check();
        self.replica.check();
        if self.primary.dump().contains("by_n") || self.built() {
            self.saw("index built");
        }
    }

    fn built(&self) -> bool {
        let text = "s0.filter(n = 5).explain()";
        let told = self.replica.ask(Request::Query { text, parameters: None });
        told.is_ok_and(|told| json::to_json(Doc::trusted(&told)).contains("by_n"))
    }
}
