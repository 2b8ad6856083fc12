//! Linearizability: several writers, a flusher and readers at once; all note what
//! they did and saw and when, and the notes are compared afterwards.
//!
//! Time is a counter that everybody raises before and after each call. What must
//! hold: commits have one order (their LSNs), which keeps the order of calls that
//! did not overlap; a snapshot is behind no commit that had returned before it was
//! asked for, and ahead of none that was called after it was had; it shows what the
//! commits up to its LSN wrote, no more and no less, by each way to read; a get without
//! a snapshot answers as one at some such LSN would; no read is behind one that had
//! returned before it began; and what a commit read before it wrote is what the commits
//! before it left.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use lsm::{Batch, Direction, KeyspaceId, Lsm, Lsn, Options, Snapshot, Step, SyncMode};
use platform::sim::{SimClock, SimDisk};

const SPACES: [KeyspaceId; 2] = [KeyspaceId(1), KeyspaceId(2)];
const KEYS: u64 = 120;
const WRITERS: u64 = 3;
const COMMITS: u64 = 700;

/// When a call began and ended.
#[derive(Clone, Copy)]
struct Span(u64, u64);

struct Commit {
    when: Span,
    lsn: Lsn,
    /// Keyspace, key, value.
    writes: Vec<Known>,
    /// What it read first, with all others locked out.
    read: Option<Known>,
}

/// Keyspace, key, and the value there.
type Known = (usize, u64, Option<u64>);

enum Seen {
    One(Known),
    All(usize, Vec<(u64, u64)>),
}

struct Look {
    when: Span,
    lsn: Lsn,
    seen: Vec<Seen>,
}

/// A get without a snapshot.
#[derive(Clone, Copy)]
struct Get {
    when: Span,
    known: Known,
}

fn mix(n: u64) -> u64 {
    let x = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 7
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

/// Eight bytes, and for some enough more to lie in the value log.
fn value(n: u64) -> Vec<u8> {
    let mut bytes = n.to_be_bytes().to_vec();
    bytes.resize(8 + (n % 3) as usize * 40, 7);
    bytes
}

struct Run {
    lsm: Lsm,
    time: AtomicU64,
    writing: AtomicUsize,
}

impl Run {
    fn timed<T>(&self, f: impl FnOnce() -> T) -> (Span, T) {
        let began = self.time.fetch_add(1, SeqCst);
        let out = f();
        (Span(began, self.time.fetch_add(1, SeqCst)), out)
    }

    fn write(&self, writer: u64) -> Vec<Commit> {
        let commits = (0..COMMITS).map(|n| {
            let seed = mix(n * WRITERS + writer);
            let mut batch = Batch::new();
            let mut writes = Vec::new();
            for i in 0..=seed % 3 {
                let at = mix(seed ^ i);
                let (space, key) = ((at % 2) as usize, mix(at) % KEYS);
                let id = (!at.is_multiple_of(5)).then_some((n * WRITERS + writer) * 4 + i);
                match id {
                    Some(id) => batch.put(SPACES[space], &key.to_be_bytes(), &value(id)),
                    None => batch.delete(SPACES[space], &key.to_be_bytes()),
                }
                writes.push((space, key, id));
            }
            let asked = (n % 3 == 0).then(|| ((seed % 2) as usize, mix(!seed) % KEYS));
            let (when, (lsn, read)) = self.timed(|| match asked {
                None => (self.lsm.commit(&batch).unwrap(), None),
                Some((space, key)) => {
                    let decide = |latest: &Snapshot| {
                        let got = latest.get(SPACES[space], &key.to_be_bytes())?;
                        Ok::<_, lsm::Error>((batch, got.map(|value| number(&value))))
                    };
                    let (lsn, got) = self.lsm.commit_with(decide).unwrap();
                    (lsn, Some((space, key, got)))
                }
            });
            Commit { when, lsn, writes, read }
        });
        let commits = commits.collect();
        self.writing.fetch_sub(1, SeqCst);
        commits
    }

    fn read(&self, reader: u64) -> (Vec<Look>, Vec<Get>) {
        let (mut looks, mut gets) = (Vec::new(), Vec::new());
        for round in 0.. {
            let last = self.writing.load(SeqCst) == 0;
            let (when, snapshot) = self.timed(|| self.lsm.snapshot().unwrap());
            let mut seen = Vec::new();
            for i in 0..20 {
                let n = mix(round * 64 + i + reader);
                let (space, key) = ((n % 2) as usize, mix(n) % KEYS);
                let got = snapshot.get(SPACES[space], &key.to_be_bytes()).unwrap();
                seen.push(Seen::One((space, key, got.map(|value| number(&value)))));
                let got = || self.lsm.get(SPACES[space], &key.to_be_bytes()).unwrap();
                let (when, got) = self.timed(got);
                gets.push(Get { when, known: (space, key, got.map(|value| number(&value))) });
            }
            let space = (round % 2) as usize;
            let keys: Vec<u64> = (0..8).map(|i| mix(round * 8 + i + reader) % KEYS).collect();
            let bytes: Vec<[u8; 8]> = keys.iter().map(|key| key.to_be_bytes()).collect();
            let found = snapshot.multi_get(SPACES[space], &bytes).unwrap();
            for (key, got) in keys.into_iter().zip(found) {
                seen.push(Seen::One((space, key, got.map(|value| number(&value)))));
            }
            let direction = [Direction::Forward, Direction::Reverse][(round / 2 % 2) as usize];
            let all = (Bound::Unbounded, Bound::Unbounded);
            let mut cursor = snapshot.range(SPACES[space], all.0, all.1, direction).unwrap();
            let mut entries = Vec::new();
            while let Some((key, value)) = cursor.next().unwrap() {
                entries.push((number(key), number(value)));
            }
            if direction == Direction::Reverse {
                entries.reverse();
            }
            seen.push(Seen::All(space, entries));
            looks.push(Look { when, lsn: snapshot.lsn(), seen });
            if last {
                break;
            }
        }
        (looks, gets)
    }

    fn flush(&self) -> u64 {
        let mut flushes = 0;
        while self.writing.load(SeqCst) > 0 {
            flushes += u64::from(matches!(self.lsm.step().unwrap(), Step::Flushed(_)));
            std::thread::yield_now();
        }
        flushes
    }
}

#[test]
fn commits_and_snapshots_are_linearizable() {
    for sync in [SyncMode::Async, SyncMode::Sync] {
        let options = Options { sync, memtable_bytes: 16 << 10, ..Options::default() };
        let lsm = Lsm::open(SimDisk::new(5), Arc::new(SimClock::new(0)), options).unwrap();
        let base = lsm.last_lsn();
        let writing = AtomicUsize::new(WRITERS as usize);
        let run = Run { lsm, time: AtomicU64::new(0), writing };
        let (mut commits, reads) = std::thread::scope(|scope| {
            let run = &run;
            let flusher = scope.spawn(|| run.flush());
            let readers = [1, 2].map(|n| scope.spawn(move || run.read(n)));
            let writers = [0, 1, 2].map(|n| scope.spawn(move || run.write(n)));
            let commits: Vec<_> = writers.into_iter().flat_map(|w| w.join().unwrap()).collect();
            let reads = readers.map(|reader| reader.join().unwrap());
            flusher.join().unwrap();
            (commits, reads)
        });
        let (looks, gets): (Vec<_>, Vec<_>) = reads.into_iter().unzip();
        let looks: Vec<_> = looks.into_iter().flatten().collect();
        let gets = gets.concat();
        assert!(run.lsm.flushed_lsn() > base, "flushes went on beside");
        commits.sort_by_key(|commit| commit.lsn);
        check_order(&commits, &looks, &gets, base);
        check(base, &commits, looks);
    }
}

fn check(base: Lsn, commits: &[Commit], mut looks: Vec<Look>) {
    let lsns = commits.iter().map(|commit| commit.lsn);
    assert!(lsns.eq(base + 1..=base + WRITERS * COMMITS), "one order, dense");
    // The latest that any of the commits up to here began: none behind may have
    // ended before that.
    let mut began = 0;
    for commit in commits.iter() {
        began = began.max(commit.when.0);
        assert!(commit.when.1 > began, "commit {} came after one called later", commit.lsn);
    }
    looks.sort_by_key(|look| look.lsn);
    let mut spaces = [BTreeMap::new(), BTreeMap::new()];
    let mut done = commits.iter().peekable();
    let apply = |spaces: &mut [BTreeMap<u64, u64>; 2], commit: &Commit| {
        if let Some((space, key, got)) = commit.read {
            let was = spaces[space].get(&key).copied();
            assert_eq!(got, was, "commit {} rests on what was not so", commit.lsn);
        }
        for (space, key, value) in &commit.writes {
            match value {
                Some(value) => spaces[*space].insert(*key, *value),
                None => spaces[*space].remove(key),
            };
        }
    };
    for look in looks {
        while let Some(commit) = done.next_if(|commit| commit.lsn <= look.lsn) {
            assert!(commit.when.0 < look.when.1, "seen before it was called");
            apply(&mut spaces, commit);
        }
        for later in commits.iter().filter(|commit| commit.lsn > look.lsn) {
            assert!(later.when.1 > look.when.0, "{} was done before", later.lsn);
        }
        for seen in look.seen {
            match seen {
                Seen::One((space, key, got)) => {
                    assert_eq!(got, spaces[space].get(&key).copied(), "at {}", look.lsn);
                }
                Seen::All(space, got) => {
                    let want = spaces[space].iter().map(|(key, value)| (*key, *value));
                    assert!(want.eq(got), "keyspace {space} at {}", look.lsn);
                }
            }
        }
    }
    done.for_each(|commit| apply(&mut spaces, commit));
}

/// What a key had, from which commit on.
type Values = Vec<(Lsn, Option<u64>)>;

/// Whether each read can be given an LSN: a snapshot has one; a get takes the first that
/// explains its answer. It is behind no commit and no read that had ended before it
/// began, and ahead of no commit that began after it had ended.
fn check_order(commits: &[Commit], looks: &[Look], gets: &[Get], base: Lsn) {
    let mut values: BTreeMap<(usize, u64), Values> = BTreeMap::new();
    for commit in commits {
        for (space, key, value) in &commit.writes {
            values.entry((*space, *key)).or_default().push((commit.lsn, *value));
        }
    }
    let snapshots = looks.iter().map(|look| (look.when, Ok(look.lsn)));
    let mut reads: Vec<_> =
        snapshots.chain(gets.iter().map(|get| (get.when, Err(get.known)))).collect();
    reads.sort_by_key(|(when, _)| when.0);
    // By when it ended: the furthest LSN of all that ended until then.
    let mut ended: BTreeMap<u64, Lsn> = BTreeMap::from([(0, base)]);
    for commit in commits {
        ended.insert(commit.when.1, commit.lsn);
    }
    let mut furthest = base;
    ended.values_mut().for_each(|lsn| {
        furthest = furthest.max(*lsn);
        *lsn = furthest;
    });
    for (when, what) in reads {
        let least = *ended.range(..=when.0).next_back().unwrap().1;
        let begun = commits.iter().filter(|commit| commit.when.0 < when.1);
        let most = begun.map(|commit| commit.lsn).max().unwrap_or(base);
        let lsn = match what {
            Ok(lsn) => lsn,
            Err((space, key, got)) => {
                let all = values.get(&(space, key)).map_or(&[][..], Vec::as_slice);
                let at = all.partition_point(|(lsn, _)| *lsn <= least);
                let now = at.checked_sub(1).and_then(|last| all[last].1);
                let later = all[at..].iter().find(|(_, value)| *value == got);
                let first = if now == got { Some(least) } else { later.map(|(lsn, _)| *lsn) };
                first.unwrap_or_else(|| {
                    panic!("{space} {key}: {got:?} was never there from {least} on")
                })
            }
        };
        assert!(least <= lsn && lsn <= most, "{lsn} is not of {least} to {most}");
        // Who begins after this one ended is not behind it.
        let reached = lsn.max(*ended.range(..=when.1).next_back().unwrap().1);
        ended.insert(when.1, reached);
        let later = ended.range_mut((Bound::Excluded(when.1), Bound::Unbounded));
        for (_, lsn) in later.take_while(|(_, lsn)| **lsn < reached) {
            *lsn = reached;
        }
    }
}
