//! Serializability, black-box: transactions interleaved step by step by a seed, with
//! single commits, flushes and savepoints between. Each keeps what it read. Afterwards
//! all that committed are done again one after the other, in the order of LSNs, on a plain
//! map: each must read there, by the same looks, exactly what it read, versions included:
//! the commit that wrote a value, or none for what the transaction wrote itself.
//!
//! The check knows nothing of validation. It was seen to fail with validation left out,
//! with ranges left out, and against a wrong LSN.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;

use lsm::{Batch, Direction, Error, KeyspaceId, Lsm, Lsn, Options, Snapshot, Transaction};
use platform::sim::{SimClock, SimDisk};

const KS: KeyspaceId = KeyspaceId(3);
const KEYS: u64 = 24;
/// Transactions at a time.
const AT_ONCE: usize = 4;
const SEEDS: u64 = 400;
const STEPS: usize = 220;

/// What each key has, and which commit wrote it.
type Map = BTreeMap<u8, (u64, Lsn)>;

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % n
    }
}

/// What a transaction does, and what it saw.
#[derive(Clone, Debug)]
enum Deed {
    Get(u8, Option<u64>),
    Version(u8, Option<(u64, Lsn)>),
    /// Puts if the version is that one; whether it was.
    Swap(u8, Lsn, u64, bool),
    /// From a key on, so many in that direction.
    Some(u8, bool, usize, Vec<(u8, u64)>),
    Count(u64),
    /// Puts, or removes, what it has read first or not.
    Put(u8, u64),
    Remove(u8),
    Blind(u8, u64),
    Savepoint,
    Rollback(usize),
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().unwrap())
}

fn some(view: &Snapshot, from: u8, down: bool, most: usize) -> Vec<(u8, u64)> {
    let (key, direction) = ([from], if down { Direction::Reverse } else { Direction::Forward });
    let (low, high) =
        if down { (Unbounded, Included(&key[..])) } else { (Included(&key[..]), Unbounded) };
    let mut cursor = view.range(KS, low, high, direction).unwrap();
    let mut found = Vec::new();
    while found.len() < most
        && let Some((key, value)) = cursor.next().unwrap()
    {
        found.push((key[0], number(value)));
    }
    found
}

struct Running {
    transaction: Transaction,
    deeds: Vec<Deed>,
    savepoints: Vec<lsm::Savepoint>,
}

impl Running {
    fn begin(lsm: &Lsm) -> Running {
        Running { transaction: lsm.begin().unwrap(), deeds: Vec::new(), savepoints: Vec::new() }
    }

    fn put(&mut self, key: u8, value: Option<u64>, blind: bool) {
        let (view, mut batch) = (self.transaction.view(), Batch::new());
        let there = match blind {
            true => view.glance(KS, &[key]).unwrap(),
            false => view.contains(KS, &[key]).unwrap(),
        };
        match (there, value) {
            (there, Some(n)) => batch.put_versioned(KS, &[key], &n.to_be_bytes(), !there),
            (true, None) => batch.delete_present(KS, &[key]),
            (false, None) => {}
        }
        if blind {
            batch.unread(KS, &[key]);
        }
        self.transaction.write(&batch).unwrap();
    }

    fn step(&mut self, rng: &mut Rng, fresh: u64) {
        let key = rng.below(KEYS) as u8;
        let view = self.transaction.view();
        let version = |key| {
            let found = view.get_versioned(KS, &[key]).unwrap();
            found.map(|(value, version)| (number(&value), version))
        };
        let deed = match rng.below(19) {
            16 => Deed::Version(key, version(key)),
            17..19 => {
                // A version that it has seen, or a wrong one.
                let wanted = version(key).map_or(0, |(_, version)| version + rng.below(8) / 7);
                let holds = version(key).is_some_and(|(_, version)| version == wanted);
                Deed::Swap(key, wanted, fresh, holds)
            }
            0..4 => Deed::Get(key, view.get(KS, &[key]).unwrap().as_deref().map(number)),
            4..7 => {
                let (down, most) = (rng.below(2) == 0, rng.below(5) as usize);
                Deed::Some(key, down, most, some(&view, key, down, most))
            }
            7 => match view.count_seen(KS).unwrap() {
                Some(count) => Deed::Count(count),
                None => return,
            },
            8..11 => Deed::Put(key, fresh),
            11 => Deed::Remove(key),
            12 => Deed::Blind(key, fresh),
            13 => Deed::Savepoint,
            14 if !self.savepoints.is_empty() => {
                Deed::Rollback(rng.below(self.savepoints.len() as u64) as usize)
            }
            _ => return,
        };
        match deed {
            Deed::Put(key, n) => self.put(key, Some(n), false),
            Deed::Blind(key, n) => self.put(key, Some(n), true),
            Deed::Remove(key) => self.put(key, None, false),
            Deed::Swap(key, _, n, true) => self.put(key, Some(n), false),
            Deed::Savepoint => self.savepoints.push(self.transaction.savepoint()),
            Deed::Rollback(to) => {
                self.savepoints.truncate(to + 1);
                self.transaction.rollback(self.savepoints[to]);
            }
            _ => {}
        }
        self.deeds.push(deed);
    }
}

/// Does it again on a map; what it comes to, if it sees what it saw.
/// `lsn`: what it was committed as.
fn again(deeds: &[Deed], before: &Map, lsn: Lsn) -> Result<Map, String> {
    let (mut map, mut savepoints) = (before.clone(), Vec::new());
    for deed in deeds {
        let same = match deed {
            Deed::Get(key, seen) => map.get(key).map(|(value, _)| *value) == *seen,
            Deed::Version(key, seen) => map.get(key) == seen.as_ref(),
            Deed::Swap(key, wanted, n, seen) => {
                let holds = map.get(key).is_some_and(|(_, version)| version == wanted);
                if *seen {
                    map.insert(*key, (*n, 0));
                }
                holds == *seen
            }
            Deed::Some(from, down, most, seen) => {
                let pair = |(key, (value, _)): (&u8, &(u64, Lsn))| (*key, *value);
                let found: Vec<_> = match down {
                    true => map.range(..=from).rev().take(*most).map(pair).collect(),
                    false => map.range(from..).take(*most).map(pair).collect(),
                };
                found == *seen
            }
            Deed::Count(seen) => map.len() as u64 == *seen,
            Deed::Put(key, n) | Deed::Blind(key, n) => {
                map.insert(*key, (*n, 0));
                true
            }
            Deed::Remove(key) => {
                map.remove(key);
                true
            }
            Deed::Savepoint => {
                savepoints.push(map.clone());
                true
            }
            Deed::Rollback(to) => {
                savepoints.truncate(to + 1);
                map.clone_from(&savepoints[*to]);
                true
            }
        };
        if !same {
            return Err(format!("{deed:?} is not what is there: {map:?}"));
        }
    }
    map.values_mut().filter(|(_, version)| *version == 0).for_each(|(_, version)| *version = lsn);
    Ok(map)
}

/// What was seen in one run: commits, conflicts.
#[derive(Default)]
struct Tally {
    commits: u64,
    conflicts: u64,
}

fn run(seed: u64, tally: &mut Tally) {
    let mut rng = Rng(seed);
    let options = Options { memtable_bytes: 4 << 10, ..Options::default() };
    let lsm = Lsm::open(SimDisk::new(seed), Arc::new(SimClock::new(0)), options).unwrap();
    let mut running: Vec<Option<Running>> = (0..AT_ONCE).map(|_| None).collect();
    // By LSN: what was done there.
    let mut history: BTreeMap<Lsn, Vec<Deed>> = BTreeMap::new();
    // What only reads stands behind the commit it saw.
    let mut readers: Vec<(Lsn, Vec<Deed>)> = Vec::new();
    for fresh in 1..=STEPS as u64 {
        let at = rng.below(AT_ONCE as u64) as usize;
        match rng.below(24) {
            0 => {
                let (key, mut batch) = (rng.below(KEYS) as u8, Batch::new());
                let is_new = lsm.get(KS, &[key]).unwrap().is_none();
                batch.put_versioned(KS, &[key], &fresh.to_be_bytes(), is_new);
                let lsn = lsm.commit(&batch).unwrap();
                history.insert(lsn, vec![Deed::Put(key, fresh)]);
            }
            1 => drop(lsm.flush().unwrap()),
            2 => running[at] = None,
            3..6 => {
                let Some(done) = running[at].take() else { continue };
                let (wrote, saw, before) =
                    (!done.transaction.is_empty(), done.transaction.lsn(), lsm.last_lsn());
                match lsm.commit_transaction(done.transaction, || Ok::<_, Error>(())) {
                    Ok(lsn) if lsm.last_lsn() > before => {
                        assert_eq!(lsn, before + 1);
                        history.insert(lsn, done.deeds);
                        tally.commits += 1;
                    }
                    Ok(_) if wrote => readers.push((before, done.deeds)),
                    Ok(lsn) => {
                        assert_eq!(lsn, saw);
                        readers.push((saw, done.deeds));
                    }
                    Err(Error::Conflict { .. }) if wrote => tally.conflicts += 1,
                    Err(error) => panic!("seed {seed}: {error}"),
                }
            }
            _ => running[at].get_or_insert_with(|| Running::begin(&lsm)).step(&mut rng, fresh),
        }
    }
    let (mut states, mut map) = (BTreeMap::from([(0, Map::new())]), Map::new());
    for (lsn, deeds) in &history {
        map = again(deeds, &map, *lsn)
            .unwrap_or_else(|why| panic!("seed {seed}, commit {lsn}: {why}"));
        states.insert(*lsn, map.clone());
    }
    for (lsn, deeds) in &readers {
        let told = again(deeds, &states[lsn], *lsn);
        assert!(told.is_ok(), "seed {seed}, who read at {lsn}: {told:?}");
    }
    let now = some(&lsm.snapshot().unwrap(), 0, false, usize::MAX);
    let want: Vec<_> = map.iter().map(|(key, (value, _))| (*key, *value)).collect();
    assert_eq!(now, want, "seed {seed}");
    assert_eq!(lsm.count(KS), now.len() as u64, "seed {seed}");
}

#[test]
fn every_history_is_one_after_the_other_in_the_order_of_commits() {
    let mut tally = Tally::default();
    for seed in 0..SEEDS {
        run(seed, &mut tally);
    }
    println!("{} commits, {} conflicts", tally.commits, tally.conflicts);
    assert!(tally.commits > SEEDS && tally.conflicts > SEEDS / 2, "it was worth running");
}
