//! A run as data: configuration and actions, drawn from a seed beforehand.
//!
//! Invariants:
//! * an action says all it needs: any of them can be left out and the rest still
//!   makes a run, so that shrinking is leaving out;
//! * same seed, same plan.

use std::time::Duration;

use lsm::{Options, SyncMode};
use platform::sim::Fault;

use crate::model::{Bytes, Write};
use crate::rng::{Rng, mix};

/// How the store is opened, and how large its world is.
#[derive(Clone, Debug)]
pub struct Config {
    /// The options of every opening.
    pub options: Options,
    /// Keyspaces used.
    pub keyspaces: u32,
    /// Keys per keyspace.
    pub keys: u32,
    /// Values have at most so many bytes, mostly far fewer.
    pub value_max: u32,
    /// The disk has room for this many bytes when the store is first opened; then more.
    pub room_at_birth: Option<u64>,
    /// The log is archived, on a disk of its own.
    pub archive: bool,
    /// What a crash left is verified before it is opened.
    pub verify_crashed: bool,
}

/// One write, small.
#[derive(Clone, Copy, Debug)]
pub enum Put {
    /// Keyspace, key number, bytes of value, what they are made of.
    Value(u32, u32, u32, u32),
    /// Keyspace, key number.
    Delete(u32, u32),
    /// Keyspace.
    Drop(u32),
}

/// What a commit requires of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Require {
    /// It has no value.
    Absent,
    /// It has one.
    Present,
    /// It has the value it had after so many commits less than now.
    ValueOf(u64),
}

/// How far a restore is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// As far as it can.
    Latest,
    /// So many commits before the last backup's end.
    Back(u64),
    /// To the moment of the commit so many before the last backup's end.
    Wall(u64),
}

/// What happens to the disk of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// It ends at the so-manieth call.
    Crash(u64),
    /// A read fails, after so many others.
    Read(u64),
}

/// How a machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process is killed; the kernel lives on.
    Kill,
    /// The power goes: of what was not synced the seed chooses.
    Power,
    /// The power goes and nothing unsynced is left.
    WorstPower,
}

/// Part of a keyspace that is read.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The keyspace.
    pub keyspace: u32,
    /// First key number, if bounded, and whether it is part of it.
    pub lo: Option<(u32, bool)>,
    /// Last key number, likewise.
    pub hi: Option<(u32, bool)>,
    /// From the end.
    pub reverse: bool,
    /// Where to seek to after some steps.
    pub seek: Option<u32>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Action {
    /// `Lsm::commit`.
    Commit(Vec<Put>),
    /// `Lsm::commit_with` that reads a counter and writes one more.
    Count(u32, u32),
    /// A commit that requires something of a key.
    CommitIf(Require, u32, u32, Vec<Put>),
    /// `Lsm::reserve` of so many numbers.
    Reserve(u32, u32, u64),
    /// Takes a snapshot into a slot.
    Snapshot(usize),
    /// Gives it back.
    Release(usize),
    /// Reads a key through a slot's snapshot, or a new one.
    Get(usize, u32, u32),
    /// Reads many keys of a keyspace at once.
    Many(usize, u32, Vec<u32>),
    /// Reads all keys that begin as a key does, so many bytes of it; from the end?
    Prefix(usize, u32, u32, usize, bool),
    /// Reads a range through a slot's snapshot, or a new one.
    Scan(usize, Range),
    /// Compares everything a new snapshot shows, both ways.
    Compare,
    /// So many steps of background work.
    Step(u32),
    /// `Lsm::flush`.
    Flush,
    /// `Lsm::sync`.
    Sync,
    /// Time goes by, in microseconds.
    Wait(u64),
    /// Closes in order and opens again.
    Reopen,
    /// The next opening has memtables of so many bytes.
    Resize(usize),
    /// The machine ends here; recovery is crashed after so many calls each.
    Crash(End, Vec<u64>),
    /// The machine ends at the so-manieth disk call from here.
    CrashAt(u64, End),
    /// The machine ends at the so-manieth call to the archive's disk.
    CrashAtArchive(u64, End),
    /// `Lsm::archive_now`, and the archive read from end to end.
    Archive,
    /// A backup (from scratch?), with a commit in the middle.
    Backup(bool, Put),
    /// A restore into an empty disk, struck there if at all; life may go on there.
    Restore(Asked, Option<Strike>, bool),
    /// Verifies the running store.
    Verify,
    /// Closes without a sync, verifies, opens and compares.
    VerifyAndOpen,
    /// The newest meta page rots; the store opens nevertheless.
    RotMeta,
    /// Salvages the closed store into an empty disk, and compares what is there. So many
    /// sectors cannot be read meanwhile.
    Salvage(u32),
    /// A reader of the log takes hold of it, in a slot.
    Hold(usize),
    /// It reads what has come.
    ReadHeld(usize),
    /// The so-manieth matching call strikes; `@`: on the archive's disk.
    Fault(Fault, &'static str, u64),
    /// From now on only so many more bytes fit on the disk.
    Full(u64),
    /// From now on no file can be opened.
    NoHandles,
    /// All faults end, there is room again.
    Mend,
    /// Bits rot.
    Rot(&'static str, usize),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the disk's fates, and names in reports, follow from.
    pub seed: u64,
    /// How the store is opened.
    pub config: Config,
    /// What happens, in order.
    pub actions: Vec<Action>,
}

/// Snapshots held at a time.
pub const SLOTS: usize = 4;

/// A share of old snapshots, or of those who hold the log, that no run uses up.
pub const PLENTY: u64 = 1 << 30;

/// Where faults strike: a kind of file, or anything.
const PLACES: &[&str] = &["", "wal", "vlog", "trees", "@"];

/// The key with a number: short ones, long ones, ones that share a beginning.
pub fn key(number: u32) -> Vec<u8> {
    let mut key = number.to_be_bytes()[2..].to_vec();
    match number % 16 {
        3 => key.extend([7; 40]),
        7 => key.splice(0..0, *b"a common beginning ").for_each(drop),
        11 if number % 5 == 1 => key.extend([number as u8; 900]),
        _ => {}
    }
    key
}

/// The value made of a number: half of it hard to compress.
pub fn value(len: u32, of: u32) -> Bytes {
    let word = mix(u64::from(of)).to_le_bytes();
    let mut bytes = vec![0; len as usize];
    for (i, chunk) in bytes.chunks_mut(8).enumerate() {
        let word =
            if i % 2 == 0 { word } else { mix(u64::from(of) ^ (i as u64) << 32).to_le_bytes() };
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    bytes.into()
}

impl Put {
    /// As the model knows it.
    pub fn write(self) -> Write {
        match self {
            Put::Value(keyspace, number, len, of) => {
                Write::Put(keyspace, key(number), value(len, of))
            }
            Put::Delete(keyspace, number) => Write::Delete(keyspace, key(number)),
            Put::Drop(keyspace) => Write::Drop(keyspace),
        }
    }
}

/// The kinds of action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Commit,
    Count,
    Snapshot,
    Release,
    Get,
    Scan,
    Compare,
    Step,
    Flush,
    Sync,
    Wait,
    Reopen,
    Crash,
    CrashAt,
    Fault,
    Full,
    NoHandles,
    Mend,
    RotMeta,
    Bulk,
    Resize,
    CommitIf,
    Reserve,
    Archive,
    CrashAtArchive,
    Hold,
    ReadHeld,
    Backup,
    Restore,
    Verify,
    VerifyAndOpen,
    Many,
    Prefix,
    Salvage,
}

/// How often each kind comes.
const USUAL: &[(Kind, u64)] = &[
    (Kind::Commit, 40),
    (Kind::Count, 4),
    (Kind::Snapshot, 5),
    (Kind::Release, 3),
    (Kind::Get, 6),
    (Kind::Scan, 5),
    (Kind::Compare, 2),
    (Kind::Step, 12),
    (Kind::Flush, 3),
    (Kind::Sync, 4),
    (Kind::Wait, 2),
    (Kind::Reopen, 2),
    (Kind::Crash, 2),
    (Kind::CrashAt, 4),
    (Kind::Fault, 5),
    (Kind::Full, 2),
    (Kind::NoHandles, 1),
    (Kind::Mend, 5),
    (Kind::RotMeta, 1),
    (Kind::Bulk, 3),
    (Kind::Resize, 1),
    (Kind::CommitIf, 4),
    (Kind::Reserve, 2),
    (Kind::Archive, 3),
    (Kind::CrashAtArchive, 1),
    (Kind::Hold, 2),
    (Kind::ReadHeld, 4),
    (Kind::Backup, 2),
    (Kind::Restore, 2),
    (Kind::Verify, 1),
    (Kind::VerifyAndOpen, 1),
    (Kind::Many, 3),
    (Kind::Prefix, 2),
    (Kind::Salvage, 1),
];

/// How often each kind comes in one plan, drawn for each anew: a run that does one
/// thing much and another never finds what an even mix does not.
struct Weights(Vec<(Kind, u64)>);

impl Weights {
    fn new(rng: &mut Rng) -> Self {
        let mut weights = USUAL.to_vec();
        // Without faults in a third of the runs, without crashes in some.
        let (calm, lasting) = (rng.one_in(3), rng.one_in(6));
        for (kind, weight) in &mut weights {
            let fault = matches!(kind, Kind::Fault | Kind::Full | Kind::NoHandles);
            let crash = matches!(kind, Kind::Crash | Kind::CrashAt | Kind::CrashAtArchive);
            match rng.below(5) {
                _ if *kind == Kind::Commit => {}
                _ if calm && fault || lasting && crash => *weight = 0,
                0 => *weight = 0,
                1 => *weight *= 4,
                _ => {}
            }
        }
        Weights(weights)
    }

    fn pick(&self, rng: &mut Rng) -> Kind {
        let mut at = rng.below(self.0.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in &self.0 {
            if at < *weight {
                return *kind;
            }
            at -= weight;
        }
        Kind::Commit
    }
}

impl Config {
    fn draw(rng: &mut Rng) -> Self {
        let options = Options {
            sync: if rng.one_in(2) { SyncMode::Sync } else { SyncMode::Async },
            wal_segment_bytes: rng.pick(&[2 << 10, 4 << 10, 16 << 10, 64 << 10]),
            wal_salt: rng.next_u64(),
            memtable_bytes: rng.pick(&[1 << 10, 4 << 10, 8 << 10, 32 << 10, 1 << 20]),
            max_frozen: rng.pick(&[1, 1, 2, 3]),
            vlog_segment_bytes: rng.pick(&[4 << 10, 8 << 10, 32 << 10, 1 << 20]),
            vlog_buffer_bytes: rng.pick(&[256, 4 << 10, 64 << 10]),
            cache_bytes: rng.pick(&[32 << 10, 64 << 10, 1 << 20]),
            inline_max: rng.pick(&[0, 16, 64, 256]),
            run_leaves: rng.pick(&[0, 1, 1, 2]),
            run_percent: rng.pick(&[10, 30, 100, 100]),
            gc_dead_ratio: rng.pick(&[1, 10, 30, 30, 60, 100]),
            gc_step_bytes: rng.pick(&[1 << 10, 4 << 10, 64 << 10]),
            rest_after: rng.pick(&[Duration::ZERO, Duration::ZERO, Duration::from_secs(10)]),
            wal_retain_bytes: rng.pick(&[2 << 10, PLENTY]),
            wal_keep_bytes: rng.pick(&[0, 0, 0, 1, 6 << 10, PLENTY]),
            max_pinned_bytes: rng.pick(&[0, 8 << 10, PLENTY, PLENTY]),
            ..Options::default()
        };
        Config {
            options,
            keyspaces: rng.within(1, 4) as u32,
            keys: rng.pick(&[4, 16, 60, 300]),
            value_max: rng.pick(&[40, 300, 300, 2000, 9000]),
            room_at_birth: if rng.one_in(10) { Some(rng.below(6) << 12) } else { None },
            archive: rng.one_in(3),
            verify_crashed: rng.one_in(4),
        }
    }
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let config = Config::draw(&mut rng);
        let weights = Weights::new(&mut rng);
        let count = rng.pick(&[30, 100, 200, 400]);
        let mut draw = Draw { rng, config: &config, made: 0 };
        let mut actions: Vec<Action> = (0..count).map(|_| draw.action(&weights)).collect();
        if draw.rng.one_in(2) {
            draw.damage(&mut actions);
        }
        Plan { seed, config, actions }
    }
}

struct Draw<'a> {
    rng: Rng,
    config: &'a Config,
    made: u32,
}

impl Draw<'_> {
    fn keyspace(&mut self) -> u32 {
        self.rng.below(self.config.keyspaces.into()) as u32
    }

    fn key(&mut self) -> u32 {
        self.rng.below(self.config.keys.into()) as u32
    }

    fn put(&mut self) -> Put {
        let (keyspace, key) = (self.keyspace(), self.key());
        match self.rng.below(60) {
            0 => Put::Drop(keyspace),
            1..=12 => Put::Delete(keyspace, key),
            n => {
                self.made += 1;
                let most =
                    if n < 16 { self.config.value_max } else { self.config.value_max.min(300) };
                Put::Value(keyspace, key, self.rng.below(u64::from(most) + 1) as u32, self.made)
            }
        }
    }

    fn end(&mut self) -> End {
        self.rng.pick(&[End::Kill, End::Power, End::Power, End::WorstPower])
    }

    fn bound(&mut self) -> Option<(u32, bool)> {
        let open = self.rng.one_in(3);
        (!open).then(|| (self.key(), self.rng.one_in(2)))
    }

    fn range(&mut self) -> Range {
        Range {
            keyspace: self.keyspace(),
            lo: self.bound(),
            hi: self.bound(),
            reverse: self.rng.one_in(2),
            seek: if self.rng.one_in(2) { Some(self.key()) } else { None },
        }
    }

    fn slot(&mut self) -> usize {
        self.rng.below(SLOTS as u64) as usize
    }

    /// Faults that a healthy medium may show.
    fn fault(&mut self) -> Action {
        let fault = self.rng.pick(&[
            Fault::Read,
            Fault::ShortRead,
            Fault::Write,
            Fault::Write,
            Fault::Sync,
            Fault::Sync,
            Fault::Name,
            Fault::Descriptors,
        ]);
        Action::Fault(fault, self.rng.pick(PLACES), self.rng.below(6))
    }

    fn action(&mut self, weights: &Weights) -> Action {
        match weights.pick(&mut self.rng) {
            Kind::Count => Action::Count(self.keyspace(), self.key()),
            Kind::Snapshot => Action::Snapshot(self.slot()),
            Kind::Release => Action::Release(self.slot()),
            Kind::Get => Action::Get(self.slot(), self.keyspace(), self.key()),
            Kind::Scan => Action::Scan(self.slot(), self.range()),
            Kind::Compare => Action::Compare,
            Kind::Step => Action::Step(self.rng.within(1, 4) as u32),
            Kind::Flush => Action::Flush,
            Kind::Sync => Action::Sync,
            Kind::Wait => Action::Wait(1 << self.rng.below(34)),
            Kind::Reopen => Action::Reopen,
            Kind::Crash => {
                let again = self.rng.pick(&[0, 0, 0, 1, 2, 3]);
                Action::Crash(self.end(), (0..again).map(|_| self.rng.within(1, 12)).collect())
            }
            Kind::CrashAt => {
                let most = self.rng.pick(&[3, 10, 30, 100]);
                Action::CrashAt(self.rng.within(1, most), self.end())
            }
            Kind::Fault => self.fault(),
            Kind::Full => Action::Full(self.rng.pick(&[0, 4 << 10, 12 << 10, 40 << 10])),
            Kind::NoHandles => Action::NoHandles,
            Kind::Mend => Action::Mend,
            Kind::CommitIf => {
                let back = self.rng.below(4);
                let require = self.rng.pick(&[
                    Require::Absent,
                    Require::Present,
                    Require::ValueOf(0),
                    Require::ValueOf(back),
                ]);
                let puts = (0..self.rng.within(1, 3)).map(|_| self.put()).collect();
                Action::CommitIf(require, self.keyspace(), self.key(), puts)
            }
            Kind::Reserve => Action::Reserve(self.keyspace(), self.key(), self.rng.within(1, 50)),
            Kind::Archive => Action::Archive,
            Kind::CrashAtArchive => Action::CrashAtArchive(self.rng.within(1, 20), self.end()),
            Kind::Hold => Action::Hold(self.rng.below(2) as usize),
            Kind::ReadHeld => Action::ReadHeld(self.rng.below(2) as usize),
            Kind::Backup => Action::Backup(self.rng.one_in(4), self.put()),
            Kind::Restore => {
                let back = self.rng.below(12);
                let asked = self.rng.pick(&[Asked::Latest, Asked::Back(back), Asked::Wall(back)]);
                let strike = match self.rng.below(4) {
                    0 => Some(Strike::Crash(self.rng.within(1, 40))),
                    1 => Some(Strike::Read(self.rng.below(40))),
                    _ => None,
                };
                Action::Restore(asked, strike, self.rng.one_in(3))
            }
            Kind::Verify => Action::Verify,
            Kind::Many => {
                let keys = (0..self.rng.within(1, 12)).map(|_| self.key()).collect();
                Action::Many(self.slot(), self.keyspace(), keys)
            }
            Kind::Prefix => {
                let bytes = self.rng.pick(&[0, 1, 2, 4, 19]);
                let reverse = self.rng.one_in(2);
                Action::Prefix(self.slot(), self.keyspace(), self.key(), bytes, reverse)
            }
            Kind::Salvage => Action::Salvage(self.rng.pick(&[0, 1, 1, 3, 10])),
            Kind::VerifyAndOpen => Action::VerifyAndOpen,
            Kind::RotMeta => Action::RotMeta,
            Kind::Resize => Action::Resize(self.rng.pick(&[1 << 10, 4 << 10, 32 << 10])),
            Kind::Bulk => {
                Action::Commit((0..self.rng.within(10, 40)).map(|_| self.put()).collect())
            }
            Kind::Commit => {
                Action::Commit((0..self.rng.within(1, 6)).map(|_| self.put()).collect())
            }
        }
    }

    /// The end of a run whose medium goes bad.
    fn damage(&mut self, actions: &mut Vec<Action>) {
        let place = self.rng.pick(PLACES);
        let at = self.rng.within(actions.len() as u64 / 2, actions.len() as u64) as usize;
        match self.rng.below(3) {
            0 => {
                let after = self.rng.below(4);
                actions.insert(at, Action::Fault(Fault::LostWrite, place, after));
            }
            1 => {
                let after = self.rng.below(4);
                actions.insert(at, Action::Fault(Fault::Misdirected, place, after));
            }
            _ => {
                let bits = self.rng.pick(&[1, 1, 3, 20, 100]);
                actions.push(Action::Rot(place, bits));
            }
        }
        let end = self.end();
        if self.rng.one_in(2) {
            actions.push(Action::VerifyAndOpen);
        }
        actions.extend([Action::Compare, Action::Flush, Action::Crash(end, Vec::new())]);
        actions.push(Action::Salvage(self.rng.pick(&[0, 0, 1, 5])));
        actions.extend([Action::Compare, Action::Flush, Action::Reopen, Action::Compare]);
        actions.push(Action::Restore(Asked::Latest, None, true));
        actions.extend([Action::Compare, Action::Flush, Action::Compare]);
    }
}

/// For reports: the value's bytes, shortened.
pub fn short(value: Option<&[u8]>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(bytes) if bytes.len() <= 8 => format!("{} bytes {bytes:02x?}", bytes.len()),
        Some(bytes) => format!("{} bytes {:02x?}..", bytes.len(), &bytes[..8]),
    }
}

/// The value of a counter.
pub fn counter(count: u64) -> Bytes {
    count.to_le_bytes().as_slice().into()
}
