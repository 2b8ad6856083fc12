//! Salvage where there is room for few lost ranges.

use super::*;
use crate::{KeyspaceId, SyncMode};
use platform::sim::{SimClock, SimDisk};

const KEYS: u64 = 2000;

fn options() -> Options {
    Options { sync: SyncMode::Async, inline_max: 0, ..Options::default() }
}

fn as_disk(disk: &Arc<SimDisk>) -> Arc<dyn Disk> {
    Arc::clone(disk) as _
}

fn value(key: u64) -> Vec<u8> {
    format!("the value of {key}").into_bytes()
}

/// Keys in the leaves of one tree, each value in the value log, and nothing in the log. One
/// key may have had a value of that length, and be deleted.
fn store(deleted: Option<(u64, usize)>) -> Arc<SimDisk> {
    let (disk, clock) = (SimDisk::new(1), Arc::new(SimClock::new(1)));
    let lsm = Lsm::open(as_disk(&disk), clock, options()).unwrap();
    let mut batch = Batch::new();
    for key in 0..KEYS {
        let long = deleted.filter(|(it, _)| *it == key).map(|(_, len)| vec![b'x'; len]);
        batch.put(KeyspaceId(1), &key.to_be_bytes(), &long.unwrap_or_else(|| value(key)));
    }
    lsm.commit(&batch).unwrap();
    lsm.flush().unwrap();
    if let Some((key, _)) = deleted {
        batch.clear();
        batch.delete(KeyspaceId(1), &key.to_be_bytes());
        lsm.commit(&batch).unwrap();
        lsm.flush().unwrap();
    }
    lsm.close().unwrap();
    disk
}

/// The leaves between others: the page of each, and its keys from and to below.
fn leaves(whole: &Arc<SimDisk>) -> Vec<(u64, u64, u64)> {
    let pages = whole.file_bytes(crate::PAGES).unwrap().len() / btree::PAGE_BYTES;
    let number = |key: &[u8]| key.try_into().map(u64::from_be_bytes).ok();
    let leaf = |page: u64| {
        let disk = whole.snapshot();
        rot(&disk, page);
        match &saved(&disk, 1).0.lost[..] {
            [Lost::Range { keyspace: Some(1), low, high: Some(high) }] => {
                Some((page, number(low)?, number(high)?))
            }
            _ => None,
        }
    };
    let mut leaves: Vec<_> = (0..pages as u64).filter_map(leaf).collect();
    leaves.sort_by_key(|(_, low, _)| *low);
    leaves
}

fn rot(disk: &SimDisk, page: u64) {
    disk.corrupt(crate::PAGES, page * btree::PAGE_BYTES as u64 + 100, 1).unwrap();
}

/// What is saved, with room for so many ranges; all of it is true.
fn saved(disk: &Arc<SimDisk>, most: usize) -> (Salvaged, u64) {
    let (target, clock) = (SimDisk::new(2), Arc::new(SimClock::new(1)));
    let pair = (&as_disk(disk), &as_disk(&target));
    let ranges = Ranges::new(most);
    let report = salvage_with(pair, clock.clone(), &options(), ranges, &mut |_| {}).unwrap();
    let lsm = Lsm::open(as_disk(&target), clock, options()).unwrap();
    let snapshot = lsm.snapshot().unwrap();
    let mut there = 0;
    for key in 0..KEYS {
        if let Some(value) = snapshot.get(KeyspaceId(1), &key.to_be_bytes()).unwrap() {
            assert_eq!(&*value, self::value(key), "{key} is a lie");
            there += 1;
        }
    }
    (report, there)
}

fn ranges(report: &Salvaged) -> usize {
    let of_one = |lost: &&Lost| matches!(lost, Lost::Range { keyspace: Some(1), .. });
    report.lost.iter().filter(of_one).count()
}

#[test]
fn beyond_the_lost_ranges_that_are_kept_they_are_told_and_nothing_is_guessed() {
    // Given a store with three leaves lost, none beside another,
    let whole = store(None);
    let disk = whole.snapshot();
    leaves(&whole).iter().step_by(2).take(3).for_each(|(page, ..)| rot(&disk, *page));
    // with room for all, each value that they named is found by scanning,
    let (report, there) = saved(&disk, 3);
    assert_eq!((ranges(&report), there), (3, KEYS), "{report}");
    let found = report.from_scan;
    assert!(found > 0 && report.doubtful.is_empty(), "{report}");
    // with room for fewer, all three are told, and of none a value is taken on trust.
    for most in [2, 0] {
        let (report, there) = saved(&disk, most);
        assert_eq!((ranges(&report), report.from_scan), (3, 0), "{report}");
        assert_eq!(there, KEYS - found);
        assert_eq!(report.doubtful.is_empty(), most == 0, "{report}");
    }
}

#[test]
fn what_is_not_looked_for_does_not_pass_for_what_is_dead() {
    // Given two leaves lost: from one a value was deleted that has as many bytes in the value
    // log as all that the other names,
    let of = leaves(&store(None));
    let ((_, deleted, _), (_, low, high)) = (of[1], of[of.len() - 2]);
    let record = |value: usize| 32 + size_of::<u64>() + value;
    let others = (low..high).map(|key| record(value(key).len())).sum::<usize>();
    let whole = store(Some((deleted, others - record(0))));
    let of = leaves(&whole);
    let has = |key| *of.iter().find(|(_, low, high)| (*low..*high).contains(&key)).unwrap();
    assert_eq!((has(low).1, has(low).2), (low, high));
    let disk = whole.snapshot();
    [has(deleted), has(low)].iter().for_each(|(page, ..)| rot(&disk, *page));
    // when there is room for one of them, the sum of what is dead is right, and proves nothing.
    let (report, _) = saved(&disk, 1);
    assert_eq!((ranges(&report), report.from_scan), (2, 0), "{report}");
    let (report, _) = saved(&disk, 2);
    assert_eq!((ranges(&report), report.from_scan), (2, 0), "the sums differ: {report}");
}
