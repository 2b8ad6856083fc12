//! What is kept elsewhere: the log's archive, and backups.

use crate::bytes::{Bytes, crc, edits};
use lsm::{Batch, KeyspaceId, Lsm, Options, Restore};
use platform::sim::{SimClock, SimDisk};
use platform::{Disk, Open};
use std::sync::Arc;
use wal::Wal;
use wal::archive::{Archive, Archiver, Progress, StoreId, Until};

const STORE: StoreId = StoreId([7; 16]);
/// Bytes of an archived file's header, of a block's, and of its end.
const HEADER: usize = 128;
const BLOCK: usize = 64;
const FOOTER: usize = 32;

/// Puts other bytes into a file, as it is or cut.
fn put(disk: &SimDisk, path: &str, bytes: &[u8]) {
    let file = disk.open(path, Open::Write).expect("the file is there");
    file.write_at(bytes, 0).expect("the simulated disk takes it");
    file.set_len(bytes.len() as u64).expect("the simulated disk takes it");
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn store_sum(bytes: &mut [u8], at: usize, sum: u64) {
    bytes[at..at + 8].copy_from_slice(&sum.to_le_bytes());
}

/// Makes the checksums right of an archived file that may still have its parts.
fn reseal(bytes: &mut [u8], which: u8) {
    if bytes.len() < HEADER + BLOCK + FOOTER {
        return;
    }
    if which & 1 != 0 {
        let sum = crc(&[&bytes[..HEADER - 8]]);
        store_sum(bytes, HEADER - 8, sum);
    }
    if which & 2 != 0 {
        let first = number(bytes, 32).to_le_bytes();
        let stored = u32::from_le_bytes(bytes[HEADER + 12..HEADER + 16].try_into().expect("four"));
        let from = HEADER + BLOCK;
        if let Some(stored) = bytes.get(from..from + stored as usize) {
            let sum = crc(&[stored]);
            store_sum(bytes, HEADER + 40, sum);
        }
        let place = [&STORE.0[..], &first, &(HEADER as u64).to_le_bytes()].concat();
        let sum = crc(&[&place, &bytes[HEADER..from - 8]]);
        store_sum(bytes, from - 8, sum);
    }
    if which & 4 != 0 {
        let end = bytes.len() - FOOTER;
        let file_bytes = bytes.len() as u64;
        store_sum(bytes, end + 8, file_bytes);
        let body = crc(&[&bytes[HEADER..end]]);
        store_sum(bytes, end + 16, body);
        let whole = crc(&[&bytes[..HEADER], &bytes[end..end + 24]]);
        store_sum(bytes, end + 24, whole);
    }
}

/// Archives a small log, changes or cuts a file, makes checksums right where the
/// input says so, and reads: what was not made right again gives no wrong frame.
pub fn archive(data: &[u8]) {
    let mut input = Bytes(data);
    let (from, to) = (SimDisk::new(0), SimDisk::new(1));
    let options = wal::Options { segment_bytes: 4096, salt: 1, ..wal::Options::default() };
    let log = Wal::open(from, "w", options, 1, 0, &mut |_| Ok(())).expect("an empty disk");
    let mut payloads = Vec::new();
    for n in 0..6u8 {
        // Every other one cannot be packed.
        let byte = |i: usize| if n % 2 == 0 { n } else { (i * 151 + usize::from(n)) as u8 };
        let payload: Vec<u8> = (0..usize::from(input.u8()) * 3).map(byte).collect();
        log.append(u64::from(n), &payload).expect("the simulated disk takes it");
        payloads.push(payload);
        if n % 3 == 2 {
            log.sync().expect("the simulated disk syncs");
            log.rotate_now().expect("the simulated disk takes it");
        }
    }
    let disk: Arc<dyn Disk> = to.clone();
    let mut archiver = Archiver::open(disk.clone(), "a", STORE, &log).expect("an empty archive");
    while archiver.step(&log, 1000).expect("the simulated disk takes it") != Progress::Idle {}
    drop((archiver, log));

    let files: Vec<String> = to.list("a").expect("it was made");
    let path = format!("a/{}", files[usize::from(input.u8()) % files.len()]);
    let mut bytes = to.file_bytes(&path).expect("a listed file is there");
    let resealed = input.u8() & 7;
    let cut = usize::from(input.u8());
    for (at, to) in edits(&mut input, bytes.len(), 16) {
        bytes[at] = to;
    }
    if cut < 16 {
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
    }
    reseal(&mut bytes, resealed);
    put(&to, &path, &bytes);

    let Ok(archive) = Archive::open(disk, "a") else { return };
    let _ = archive.verify(Some(STORE), &mut |_, _, _| {});
    let Ok(mut frames) = archive.frames(1, Until::End, Some(STORE)) else { return };
    let mut next = 1;
    while let Ok(Some(frame)) = frames.next() {
        assert_eq!(frame.lsn, next, "LSNs are dense");
        if resealed == 0 {
            assert_eq!(frame.payload, payloads[next as usize - 1], "a frame as it was");
        }
        next += 1;
    }
}

const KS: KeyspaceId = KeyspaceId(1);

fn options() -> Options {
    Options {
        memtable_bytes: 2 << 10,
        wal_segment_bytes: 4 << 10,
        vlog_segment_bytes: 8 << 10,
        inline_max: 16,
        ..Options::default()
    }
}

/// Backs a small store up twice, changes bytes of one file (of a manifest with its
/// checksum made right, if the input says so), and restores: a restore that is done
/// has made a sound store, and without that checksum the very store.
pub fn backup(data: &[u8]) {
    let mut input = Bytes(data);
    let (disk, clock) = (SimDisk::new(0), Arc::new(SimClock::new(1)));
    let store = Lsm::open(disk, clock.clone(), options()).expect("an empty disk takes a store");
    let to = SimDisk::new(1);
    let copies: Arc<dyn Disk> = to.clone();
    let value = |n: u32| vec![n as u8; n as usize * 7 % 120];
    for n in 0..60u32 {
        let mut batch = Batch::new();
        batch.put(KS, &n.to_be_bytes(), &value(n));
        store.commit(&batch).expect("the simulated disk takes it");
        if n == 20 {
            store.flush().expect("the simulated disk takes it");
        }
        if n % 30 == 29 {
            let backup = store.backup(&copies, "b", Default::default()).expect("a sound store");
            backup.run(&mut |_| ()).expect("the simulated disk takes it");
        }
    }
    store.close().expect("the simulated disk syncs");

    let files: Vec<String> = to.files().into_iter().filter(|f| !f.ends_with("LOCK")).collect();
    let path = &files[usize::from(input.u8()) % files.len()];
    let mut bytes = to.file_bytes(path).expect("a listed file is there");
    let resealed = input.u8() & 1 != 0 && path.ends_with(".manifest");
    for (at, to) in edits(&mut input, bytes.len(), 16) {
        bytes[at] = to;
    }
    if resealed {
        let end = bytes.len() - 8;
        let sum = crc(&[&bytes[..end]]);
        store_sum(&mut bytes, end, sum);
    }
    put(&to, path, &bytes);

    let _ = lsm::check_backup(&*copies, "b", None, &mut |_, _| {});
    let what = Restore {
        disk: copies,
        dir: "b".to_owned(),
        number: None,
        archive: None,
        until: lsm::Until::Latest,
    };
    let target = SimDisk::new(2);
    let made: Arc<dyn Disk> = target.clone();
    if lsm::restore(&what, &made, &*clock, &options(), &mut |_, _| {}).is_err() {
        return;
    }
    let store = Lsm::open(target, clock, options()).expect("a restored store opens");
    let snapshot = store.snapshot().expect("one of few");
    // The newest backup whose manifest is whole: of 60 keys, or of 30.
    let keys = (0..60u32).take_while(|n| {
        let found = snapshot.get(KS, &n.to_be_bytes()).expect("a restored store is sound");
        let Some(found) = found else { return false };
        assert_eq!(*found, value(*n)[..], "key {n}");
        true
    });
    let keys = keys.count();
    assert!(resealed || keys == 60 || keys == 30, "{keys} keys");
}
