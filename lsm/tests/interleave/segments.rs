//! The segments of the value log as readers see them (`vlog/src/table.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use loom::sync::atomic::AtomicBool;
use loom::thread;
use platform::sim::SimDisk;
use platform::{Disk, Open};

use crate::explore;
use crate::table::{Opened, Segment, Table, find};

fn table(ids: &[u32]) -> Arc<Table> {
    Arc::new(Table::new(ids.iter().map(|id| Segment::new(*id, 0)).collect()))
}

#[test]
fn one_added_and_one_removed_at_once_are_both() {
    explore(|| {
        let table = table(&[1, 2]);
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.retain(|id| id != 1))
        };
        table.push(Segment::new(3, 0));
        let now = table.now();
        assert!(find(&now, 2).is_some() && find(&now, 3).is_some(), "seen at once, and stays");
        other.join().unwrap();
        assert!(!table.contains(1) && table.contains(2) && table.contains(3), "a change is lost");
    });
}

#[test]
fn who_sees_how_much_may_be_read_finds_it_written() {
    explore(|| {
        let table = table(&[1]);
        // The bytes: who has not learned of them in the right order may not find them.
        let bytes = Arc::new(AtomicBool::new(false));
        let writer = {
            let (table, bytes) = (Arc::clone(&table), Arc::clone(&bytes));
            thread::spawn(move || {
                bytes.store(true, Relaxed);
                table.set_len(1, 100);
            })
        };
        if find(&table.now(), 1).unwrap().len() == 100 {
            assert!(bytes.load(Relaxed), "it may be read, and is not written");
        }
        writer.join().unwrap();
        assert_eq!(find(&table.now(), 1).unwrap().len(), 100);
    });
}

#[test]
fn no_more_files_are_open_than_may_be_and_a_reader_keeps_its_own() {
    explore(|| {
        let disk = SimDisk::new(0);
        let opened = move || {
            let file = disk.open("f", Open::Create).unwrap();
            Arc::new(Opened { file, map: None })
        };
        let table = table(&[1, 2]);
        let other = {
            let (table, opened) = (Arc::clone(&table), opened.clone());
            thread::spawn(move || {
                table.keep_open(find(&table.now(), 2).unwrap(), opened());
            })
        };
        table.keep_open(find(&table.now(), 1).unwrap(), opened());
        let mine = find(&table.now(), 1).unwrap().opened();
        other.join().unwrap();
        assert_eq!(table.open_files(), 1, "as many as may be");
        assert!(mine.as_ref().is_none_or(|opened| opened.file.len().is_ok()));
    });
}
