//! A crash at any call leaves the last committed version or the one being
//! committed, whole; a failed write undoes a commit, a failed sync ends writing,
//! neither ends reading.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use btree::{Error, Op, Options, PageFile};
use common::*;
use platform::sim::{Fault, SimDisk, Times};

/// Five commits: two trees grow past one page, one shrinks, one goes.
fn changes() -> Vec<Change> {
    let put = |keys: std::ops::Range<u32>, value: u8| {
        keys.map(move |k| (k.to_be_bytes().to_vec(), Some(vec![value; 40])))
    };
    let delete = |keys: std::ops::Range<u32>| keys.map(|k| (k.to_be_bytes().to_vec(), None));
    vec![
        Change::from([(1, put(0..150, 1).collect()), (2, put(0..10, 1).collect())]),
        Change::from([(1, put(100..250, 2).collect())]),
        Change::from([(1, delete(0..200).collect()), (3, put(0..90, 3).collect())]),
        Change::from([(2, delete(0..10).collect()), (3, put(40..50, 4).collect())]),
        Change::from([(1, put(0..100, 5).collect()), (2, put(5..7, 5).collect())]),
    ]
}

/// Opens and commits until the disk fails; returns how many commits succeeded.
fn run(disk: &std::sync::Arc<SimDisk>, from: usize, models: &[Trees]) -> usize {
    let Ok(file) = open(disk.clone()) else { return from };
    for (n, change) in changes().iter().enumerate().skip(from) {
        if commit(&file, change, n as u8 + 1, &models[n]).is_err() {
            return n;
        }
    }
    changes().len()
}

/// `models()[n]` is what n commits make.
fn models() -> Vec<Trees> {
    let mut models = vec![Trees::new()];
    for change in changes() {
        let mut next = models.last().unwrap().clone();
        apply_to_model(&mut next, &change);
        models.push(next);
    }
    models
}

/// Opens what a crash left after `done` commits; returns which version it is.
fn found(disk: &std::sync::Arc<SimDisk>, done: usize, models: &[Trees]) -> usize {
    let file = open(disk.clone()).unwrap();
    let view = file.view();
    let version = usize::from(view.user()[0]);
    assert!(view.user().iter().all(|&b| usize::from(b) == version));
    assert!(version == done || version == done + 1, "{version} after {done}");
    assert_eq!(contents(&view).unwrap(), models[version]);
    assert_clean(&file);
    version
}

#[test]
fn a_crash_at_any_call_leaves_a_whole_version() {
    let models = models();
    let calls = {
        let disk = SimDisk::new(0);
        assert_eq!(run(&disk, 0, &models), changes().len());
        disk.calls()
    };
    let mut later = 0;
    for call in 1..=calls {
        for seed in 0..4 {
            // given: the machine stops at that call
            let disk = SimDisk::new(seed * 1000 + call);
            disk.crash_after(call);
            let done = run(&disk, 0, &models);
            // when: it comes back, or only the process was killed
            let disk = match seed {
                0 => disk.restart_worst(),
                1 => disk.kill(),
                _ => disk.restart(),
            };
            let version = found(&disk, done, &models);
            later += usize::from(version > done);
            // then: it goes on from there, through a second crash on the way
            disk.crash_after(call % 7 + 1);
            let done = run(&disk, version, &models);
            let disk = disk.restart();
            let version = found(&disk, done, &models);
            assert_eq!(run(&disk, version, &models), changes().len());
        }
    }
    assert!(later > 0, "some crash came after the switch and before its sync returned");
}

#[test]
fn what_was_opened_after_a_kill_is_durable() {
    let models = models();
    for call in 1.. {
        // given: the process killed at that call, its writes in the kernel only
        let disk = SimDisk::new(call);
        disk.crash_after(call);
        let done = run(&disk, 0, &models);
        if done == changes().len() {
            break;
        }
        let disk = disk.kill();
        // when: it starts again, reads, and the power fails
        let version = found(&disk, done, &models);
        let disk = disk.restart_worst();
        // then: what it read is still there
        assert_eq!(found(&disk, done, &models), version, "call {call}");
    }
}

#[test]
fn an_acknowledged_commit_survives_the_worst_restart() {
    let models = models();
    let mut disk = SimDisk::new(3);
    for n in 0..changes().len() {
        let file = open(disk.clone()).unwrap();
        commit(&file, &changes()[n], n as u8 + 1, &models[n]).unwrap();
        drop(file);
        disk = disk.restart_worst();
        let file = open(disk.clone()).unwrap();
        assert_eq!(contents(&file.view()).unwrap(), models[n + 1]);
    }
}

#[test]
fn a_failed_sync_ends_writing_and_not_reading() {
    let models = models();
    // The first sync of a commit (data) and the second (meta).
    for syncs_before in 0..2 {
        // given: a file with one commit
        let disk = SimDisk::new(9);
        let file = open(disk.clone()).unwrap();
        commit(&file, &changes()[0], 1, &models[0]).unwrap();
        let old = file.view();
        // when: a sync of the next one fails
        let mut write = file.begin();
        write.apply(1, [(b"new", Op::Put(b"1"))], &mut |_, _| {}).unwrap();
        if syncs_before == 0 {
            disk.fail_sync(PATH);
            assert!(matches!(write.commit().unwrap_err(), Error::Io { .. }));
        } else {
            // Write data, sync, write meta: the fourth call is the sync of the meta page.
            disk.crash_after(4);
            assert!(matches!(write.commit().unwrap_err(), Error::Io { .. }));
        }
        disk.clear_faults();
        // then: reads go on from the version before, writes are refused and say why
        assert!(file.poisoned().unwrap().contains("sync"));
        assert_eq!(file.view().epoch(), old.epoch());
        if syncs_before == 0 {
            assert_eq!(contents(&file.view()).unwrap(), models[1]);
        }
        let mut write = file.begin();
        let refused = write.apply(1, [(b"new", Op::Put(b"1"))], &mut |_, _| {});
        assert!(matches!(refused, Err(Error::Poisoned { .. })));
        assert!(matches!(write.commit(), Err(Error::Poisoned { .. })));
        let mut write = file.begin();
        write.set_user([9; 64]);
        let error = write.commit().unwrap_err().to_string();
        assert!(error.contains("takes no more writes"), "{error}");
        // and a restart finds a whole version
        drop(file);
        drop(old);
        let found = open(disk.restart()).unwrap();
        assert_clean(&found);
    }
}

#[test]
fn a_full_disk_at_any_byte_undoes_the_commit_and_nothing_else() {
    let models = models();
    for step in 0..14 {
        // given: two commits, and a third for which there is not enough space
        let disk = SimDisk::new(step);
        let file = open(disk.clone()).unwrap();
        commit(&file, &changes()[0], 1, &models[0]).unwrap();
        commit(&file, &changes()[1], 2, &models[1]).unwrap();
        let old = file.view();
        disk.set_budget(Some(step * 3500));
        let third = |file: &btree::PageFile| commit(file, &changes()[2], 3, &models[2]);
        let Err(failed) = third(&file) else {
            assert!(step > 9);
            continue;
        };
        // then: it says so, reads and this version go on, and trying again does no harm
        assert!(failed.is_no_space() && file.poisoned().is_none(), "{failed}");
        assert_eq!(contents(&file.view()).unwrap(), models[2]);
        assert!(third(&file).unwrap_err().is_no_space());
        // a restart in this state finds that version, or the third if only its
        // meta page failed
        for restarted in [disk.snapshot().restart(), disk.snapshot().kill()] {
            found(&restarted, 2, &models);
        }
        // when: there is space, then: the commit succeeds, and is durable
        disk.set_budget(None);
        third(&file).unwrap();
        assert_clean(&file);
        assert_eq!(contents(&old).unwrap(), models[2]);
        drop((old, file));
        assert_eq!(found(&disk.snapshot().restart_worst(), 3, &models), 3);
        // and both meta pages are whole again
        let file = open(disk).unwrap();
        assert!(file.damaged_meta().is_none());
        assert_eq!(run_on(&file, 3, &models), changes().len());
    }
}

/// Commits from change `from` on.
fn run_on(file: &btree::PageFile, from: usize, models: &[Trees]) -> usize {
    for (n, change) in changes().iter().enumerate().skip(from) {
        commit(file, change, n as u8 + 1, &models[n]).unwrap();
    }
    changes().len()
}

#[test]
fn writes_that_fail_anywhere_and_a_crash_after_them_leave_a_whole_version() {
    let models = models();
    let (mut failures, mut in_doubt) = (0, 0);
    for seed in 0..400u64 {
        // given: writes fail now and then, one of them perhaps that of a meta page;
        // the file is used on without a reopen, and the machine stops somewhere
        let disk = SimDisk::new(seed);
        let options = btree::Options { dirty_bytes: 8 << 10, ..options() };
        let Ok(file) = btree::PageFile::open(disk.clone(), PATH, options) else { continue };
        disk.crash_after(5 + seed % 60);
        let (mut done, mut random) = (0, Seeded(seed));
        while done < changes().len() && file.poisoned().is_none() && !disk.is_crashed() {
            match random.below(4) {
                0 => disk.fail(Fault::Write, PATH, Times::Next),
                1 => disk.set_budget(Some(random.below(30_000))),
                _ => {}
            }
            match commit(&file, &changes()[done], done as u8 + 1, &models[done]) {
                Ok(_) => done += 1,
                Err(_) => {
                    failures += 1;
                    assert_eq!(file.view().user()[0], done as u8);
                }
            }
            disk.clear_faults();
            disk.set_budget(None);
        }
        // then: what is found is the last version, or the next one
        let disk = if seed % 2 == 0 { disk.restart() } else { disk.kill() };
        let version = found(&disk, done, &models);
        in_doubt += u32::from(version > done);
        assert_eq!(run(&disk, version, &models), changes().len());
    }
    assert!(failures > 200 && in_doubt > 0, "{failures} {in_doubt}");
}

#[test]
fn a_failed_meta_page_is_undone_before_anything_is_written() {
    let models = models();
    for kind in 0..3 {
        // given: version 2, then a commit whose last write, the meta page, fails
        let disk = SimDisk::new(kind);
        let file = open(disk.clone()).unwrap();
        commit(&file, &changes()[0], 1, &models[0]).unwrap();
        commit(&file, &changes()[1], 2, &models[1]).unwrap();
        let bytes = {
            // What the third commit writes before its meta page.
            let enough = |budget: u64| {
                let trial = disk.snapshot();
                let file = open(trial.clone()).unwrap();
                trial.set_budget(Some(budget));
                commit(&file, &changes()[2], 3, &models[2]).is_ok()
            };
            (0..).map(|pages| pages * 4096).find(|&bytes| enough(bytes)).unwrap() - 4096
        };
        let metas = disk.file_bytes(PATH).unwrap()[..8192].to_vec();
        disk.set_budget(Some(bytes));
        assert!(commit(&file, &changes()[2], 3, &models[2]).unwrap_err().is_no_space());
        disk.set_budget(None);
        match kind {
            // when: something else is committed, then: it is what a restart finds
            0 => {
                let other = Change::from([(5, [(b"other".to_vec(), Some(vec![1]))].into())]);
                commit(&file, &other, 3, &models[2]).unwrap();
                assert_clean(&file);
                let mut want = models[2].clone();
                apply_to_model(&mut want, &other);
                let file = open(disk.restart_worst()).unwrap();
                assert_eq!(contents(&file.view()).unwrap(), want);
                assert!(file.damaged_meta().is_none());
            }
            // when: a transaction begins and is dropped, then: the page is as before
            1 => {
                let mut write = file.begin();
                write.apply(5, [(b"k", Op::Put(b"v"))], &mut |_, _| {}).unwrap();
                drop(write);
                assert_eq!(disk.durable_bytes(PATH).unwrap()[..8192], metas);
            }
            // when: the sync of that fails, then: that poisons
            _ => {
                disk.fail_sync(PATH);
                assert!(file.begin().drop_tree(1).is_err());
                assert!(file.poisoned().is_some());
                assert!(matches!(file.begin().drop_tree(1), Err(Error::Poisoned { .. })));
            }
        }
    }
}

#[test]
fn the_version_before_stands_while_the_next_is_written() {
    // given: versions 1 to 4 committed, the fifth half written
    let models = models();
    let disk = SimDisk::new(4);
    let options = btree::Options { dirty_bytes: 0, ..options() };
    let file = btree::PageFile::open(disk.clone(), PATH, options).unwrap();
    for (n, change) in changes().iter().take(4).enumerate() {
        commit(&file, change, n as u8 + 1, &models[n]).unwrap();
    }
    let mut write = file.begin();
    let ops = (0u32..3000).map(|k| (k.to_be_bytes(), Op::Put([9; 40])));
    write.apply(1, ops, &mut |_, _| {}).unwrap();
    // when: it ends there, all of it written, and the newest meta page (1) is lost
    let disk = disk.snapshot().kill();
    disk.corrupt(PATH, 4096 + 24, 1).unwrap();
    // then: version 3 is whole: its pages were not written over yet
    let found = open(disk).unwrap();
    assert!(found.damaged_meta().is_some());
    assert_eq!(contents(&found.view()).unwrap(), models[3]);
    assert_clean(&found);
}

#[test]
fn pages_written_early_are_not_reachable() {
    // given: a transaction many times larger than what it may hold in memory
    let disk = SimDisk::new(4);
    let file = open(disk.clone()).unwrap();
    commit(&file, &changes()[0], 1, &Trees::new()).unwrap();
    let before = contents(&file.view()).unwrap();
    let mut write = file.begin();
    let ops = |value: u8| (0u32..20_000).map(move |i| (i.to_be_bytes(), Op::Put([value; 30])));
    let calls = disk.calls();
    write.apply(1, ops(1), &mut |_, _| {}).unwrap();
    write.apply(1, ops(2), &mut |_, _| {}).unwrap();
    assert!(disk.calls() > calls, "pages were written early");
    // when: power is lost before the commit
    let crashed = disk.snapshot().restart();
    // then: nothing of it is there
    let found = open(crashed).unwrap();
    assert_eq!(contents(&found.view()).unwrap(), before);
    assert_clean(&found);
    // and committed, all of it is
    let view = write.commit().unwrap();
    assert_eq!(view.len(1), 20_000);
    assert_eq!(view.get(1, &7u32.to_be_bytes()).unwrap().as_deref(), Some(&[2; 30][..]));
    assert_clean(&file);
}

#[test]
fn a_crash_in_a_rename_or_a_trim_leaves_a_whole_version() {
    // given: commits that rename a tree, put another in its place, and trim it
    let ops = |value: u8| (0u32..700).map(move |k| (k.to_be_bytes(), Op::Put([value; 40])));
    let step = |file: &btree::PageFile, n: u8| {
        let mut write = file.begin();
        match n {
            0 => drop(write.apply(1, ops(1), &mut |_, _| {})?),
            1 => {
                write.rename_tree(1, 9)?;
                write.apply(1, ops(2), &mut |_, _| {})?;
            }
            _ => drop(write.trim_tree(9, 2, &mut |_, _| {})?),
        }
        write.set_user([n + 1; 64]);
        write.commit()
    };
    let steps = 5;
    let states: Vec<Trees> = {
        let file = open(SimDisk::new(0)).unwrap();
        let mut states = vec![Trees::new()];
        states.extend((0..steps).map(|n| contents(&step(&file, n).unwrap()).unwrap()));
        states
    };
    assert!(states[5][&9].len() < 300 && states[5][&1] == states[2][&1]);
    for call in 1.. {
        let disk = SimDisk::new(call);
        disk.crash_after(call);
        // when: the machine stops at that call
        let done = match open(disk.clone()) {
            Ok(file) => (0..steps).take_while(|&n| step(&file, n).is_ok()).count(),
            Err(_) => 0,
        };
        if done == usize::from(steps) {
            break;
        }
        // then: the version before or the one being written is there, whole
        let file = open(disk.restart()).unwrap();
        let found = usize::from(file.view().user()[0]);
        assert!(found == done || found == done + 1);
        assert_eq!(contents(&file.view()).unwrap(), states[found]);
        assert_clean(&file);
        // and goes on from there
        for n in found as u8..steps {
            step(&file, n).unwrap();
        }
        assert_eq!(contents(&file.view()).unwrap(), states[5]);
        assert_clean(&file);
    }
}

#[test]
fn a_crash_while_the_file_shrinks_leaves_a_whole_version() {
    // given: a large tree and a small one, the large one dropped
    let start = |disk: &std::sync::Arc<SimDisk>| -> Result<btree::PageFile, Error> {
        let file = open(disk.clone())?;
        let mut write = file.begin();
        write.apply(2, [(b"kept", Op::Put(b"kept"))], &mut |_, _| {})?;
        let ops = (0u32..9000).map(|k| (k.to_be_bytes(), Op::Put([1; 200])));
        write.apply(1, ops, &mut |_, _| {})?;
        write.commit()?;
        let mut write = file.begin();
        write.drop_tree(1)?;
        write.commit()?;
        Ok(file)
    };
    let shrunk = |file: &btree::PageFile| -> Result<u64, Error> {
        let mut bytes = 0;
        let mut steps = 0;
        while let Some(more) = file.shrink()? {
            bytes += more.bytes;
            steps += 1;
            assert!(steps < 12, "it ends");
        }
        Ok(bytes)
    };
    let length = |disk: &SimDisk| disk.file_bytes(PATH).unwrap().len();
    let (before, calls) = {
        let disk = SimDisk::new(0);
        let file = start(&disk).unwrap();
        let before = (length(&disk), disk.calls());
        assert!(before.0 > 450 * 4096);
        // when: it shrinks, then: what is free at its end is gone, and it is whole
        assert!(shrunk(&file).unwrap() > 400 * 4096);
        assert!(length(&disk) < 30 * 4096, "{}", length(&disk));
        assert_clean(&file);
        assert_eq!(shrunk(&file).unwrap(), 0);
        // and the version before is still there to be opened
        let lost = disk.snapshot();
        lost.corrupt(PATH, file.view().epoch() % 2 * 4096 + 50, 1).unwrap();
        assert_clean(&open(lost.kill()).unwrap());
        (before.1, disk.calls())
    };
    for call in before + 1..=calls {
        let disk = SimDisk::new(call);
        let file = start(&disk).unwrap();
        disk.crash_after(call - before);
        assert!(shrunk(&file).is_err());
        drop(file);
        for disk in [disk.restart(), disk.restart_worst(), disk.kill()] {
            // then: both versions can be opened, and the next attempt succeeds
            let lost = disk.snapshot();
            let file = open(disk.clone()).unwrap();
            assert_clean(&file);
            let whole = file.damaged_meta().is_none();
            let newest = file.view().epoch();
            assert_eq!(file.view().get(2, b"kept").unwrap().as_deref(), Some(&b"kept"[..]));
            shrunk(&file).unwrap();
            assert!(length(&disk) < 30 * 4096);
            assert_clean(&file);
            lost.corrupt(PATH, newest % 2 * 4096 + 50, 1).unwrap();
            if whole {
                let file = open(lost).unwrap();
                assert_eq!(file.view().epoch(), newest - 1);
                assert_eq!(file.view().len(2), 1);
                assert_clean(&file);
            }
        }
    }
}

#[test]
fn a_crash_while_holes_are_made_leaves_a_whole_version() {
    // given: a large tree that is dropped, and behind it in the file one that stays
    let start = |disk: &std::sync::Arc<SimDisk>| -> Result<btree::PageFile, Error> {
        let file = open(disk.clone())?;
        for tree in [1, 2] {
            let mut write = file.begin();
            let ops = (0u32..9000).map(|k| (k.to_be_bytes(), Op::Put([tree as u8; 200])));
            write.apply(tree, ops, &mut |_, _| {})?;
            write.commit()?;
        }
        let mut write = file.begin();
        write.drop_tree(1)?;
        write.commit()?;
        for n in 0..2 {
            let mut write = file.begin();
            write.apply(3, [(b"more", Op::Put([n]))], &mut |_, _| {})?;
            write.commit()?;
        }
        Ok(file)
    };
    let rest = |file: &btree::PageFile| -> Result<u64, Error> {
        let mut bytes = 0;
        while let Some(more) = file.shrink()? {
            bytes += more.bytes;
        }
        Ok(bytes)
    };
    let keeps = |file: &btree::PageFile| {
        let trees = contents(&file.view()).unwrap();
        assert_eq!(trees[&2].len(), 9000);
        assert!(trees[&2].values().all(|value| value[..] == [2; 200]));
    };
    let (before, calls) = {
        let disk = SimDisk::new(0);
        let file = start(&disk).unwrap();
        let (space, before) = (disk.used(), disk.calls());
        // when: there is nothing else to do, then: its space but for the 256 pages that
        // are taken first is given back, once,
        let freed = rest(&file).unwrap();
        assert!((150..250).contains(&(freed / 4096)), "{freed}");
        assert_eq!(disk.used() + freed, space);
        assert_eq!(rest(&file).unwrap(), 0);
        // both versions are whole,
        keeps(&file);
        assert_clean(&file);
        let lost = disk.snapshot();
        lost.corrupt(PATH, file.view().epoch() % 2 * 4096 + 50, 1).unwrap();
        let older = open(lost.kill()).unwrap();
        keeps(&older);
        assert_clean(&older);
        let calls = disk.calls();
        // and the holes are used again.
        let mut write = file.begin();
        let ops = (0u32..9000).map(|k| (k.to_be_bytes(), Op::Put([4; 200])));
        write.apply(4, ops, &mut |_, _| {}).unwrap();
        write.commit().unwrap();
        assert_clean(&file);
        assert!(disk.used() <= space + 40 * 4096);
        (before, calls)
    };
    for call in before + 1..=calls {
        let disk = SimDisk::new(call);
        let file = start(&disk).unwrap();
        disk.crash_after(call - before);
        assert!(rest(&file).is_err());
        drop(file);
        for disk in [disk.restart(), disk.restart_worst(), disk.kill()] {
            let file = open(disk.clone()).unwrap();
            keeps(&file);
            assert_clean(&file);
            rest(&file).unwrap();
            keeps(&file);
            assert_clean(&file);
        }
    }
}

#[test]
fn shrinking_fails_harmlessly_and_cuts_nothing_a_view_needs() {
    let disk = SimDisk::new(1);
    let file = open(disk.clone()).unwrap();
    let mut write = file.begin();
    let ops = (0u32..9000).map(|k| (k.to_be_bytes(), Op::Put([1; 200])));
    write.apply(1, ops, &mut |_, _| {}).unwrap();
    let old = write.commit().unwrap();
    let mut write = file.begin();
    write.drop_tree(1).unwrap();
    write.commit().unwrap();
    // while a view reads the dropped tree nothing happens
    assert!(file.shrink().unwrap().is_none());
    assert_eq!(contents(&old).unwrap()[&1].len(), 9000);
    drop(old);
    // a write that fails, or the cut, is tried again
    for fault in 0..12 {
        disk.fail(Fault::Write, PATH, Times::Next);
        let failed = file.shrink();
        disk.clear_faults();
        if fault < 2 {
            assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
        }
        assert_clean(&file);
        if file.shrink().unwrap().is_none() {
            break;
        }
    }
    assert!(disk.file_bytes(PATH).unwrap().len() < 30 * 4096);
    // and the file grows again
    let mut write = file.begin();
    let ops = (0u32..9000).map(|k| (k.to_be_bytes(), Op::Put([2; 200])));
    write.apply(1, ops, &mut |_, _| {}).unwrap();
    assert_eq!(write.commit().unwrap().len(1), 9000);
    assert_clean(&file);
    drop(file);
    assert_clean(&open(disk.restart_worst()).unwrap());
}

#[test]
fn pages_taken_and_given_back_unwritten_do_not_count() {
    // given: a transaction that makes pages at the end of the file and gives them back
    let disk = SimDisk::new(1);
    let file = open(disk.clone()).unwrap();
    let mut write = file.begin();
    let keys = || 0u32..3000;
    write.apply(1, keys().map(|k| (k.to_be_bytes(), Op::Put([1; 9]))), &mut |_, _| {}).unwrap();
    let gone = keys().map(|k| (k.to_be_bytes(), Op::<[u8; 9]>::Delete));
    write.apply(1, gone, &mut |_, _| {}).unwrap();
    write.set_user([7; 64]);
    write.commit().unwrap();
    assert_clean(&file);
    drop(file);
    // then: the file is as long as its meta page says
    let file = open(disk.restart_worst()).unwrap();
    assert_eq!(file.view().user(), &[7; 64]);
    assert_clean(&file);
}

#[test]
fn an_opening_writes_the_meta_page_it_goes_by_once_more() {
    // Given a page file of some commits (whose last may have failed to be synced, and
    // be in the kernel only, held for clean there),
    use platform::sim::Verb;
    let disk = SimDisk::new(1);
    for n in 0..4u8 {
        let file = PageFile::open(disk.clone(), "t.pages", Options::default()).unwrap();
        let mut write = file.begin();
        write.apply(1, [(vec![n], Op::Put(b"v".to_vec()))], &mut |_, _| {}).unwrap();
        let epoch = write.commit().unwrap().epoch();
        drop(file);
        // when it is opened,
        let bytes = disk.file_bytes("t.pages").unwrap();
        disk.record(0);
        disk.record(1000);
        let file = PageFile::open(disk.clone(), "t.pages", Options::default()).unwrap();
        // then that page alone is written, as it was, and synced after that.
        let calls = disk.take_calls();
        let writes: Vec<_> = calls.iter().filter(|call| call.verb == Verb::Write).collect();
        assert_eq!(writes.len(), 1, "{writes:?}");
        assert_eq!((writes[0].offset, writes[0].len), (epoch % 2 * 4096, 4096));
        let behind = calls.iter().skip_while(|call| call.verb != Verb::Write);
        assert!(behind.into_iter().any(|call| call.verb == Verb::Sync && call.ok));
        assert_eq!(disk.file_bytes("t.pages").unwrap(), bytes);
        assert_eq!(file.view().epoch(), epoch);
    }
}
