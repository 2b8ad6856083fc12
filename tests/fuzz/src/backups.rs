//! Backups: a file with bytes changed, checksums right again, then a restore.

use crate::bytes::{Bytes, Image, crc, edits, number, number32, put_file, set};
use crate::marks::{came_to, reached};
use lsm::{Batch, KeyspaceId, Lsm, Options, Restore};
use platform::Disk;
use platform::sim::{SimClock, SimDisk};
use std::sync::{Arc, OnceLock};

const KS: KeyspaceId = KeyspaceId(1);
/// Bytes of a manifest's head, of an entry in it, of a part's head, and of a frame's.
pub(crate) const HEAD: usize = 128;
pub(crate) const ENTRY: usize = 64;
pub(crate) const PART: usize = 32;
pub(crate) const FRAME: usize = 40;
/// Bits of the choice what is made right: a manifest's own checksum; what manifests say
/// of a changed part; the checksums in a part of frames.
pub(crate) const MANIFEST: u8 = 1;
pub(crate) const PARTS: u8 = 2;
pub(crate) const FRAMES: u8 = 4;

fn options() -> Options {
    Options {
        memtable_bytes: 2 << 10,
        wal_segment_bytes: 4 << 10,
        vlog_segment_bytes: 8 << 10,
        inline_max: 16,
        ..Options::default()
    }
}

fn value(n: u32) -> Vec<u8> {
    vec![n as u8; n as usize * 7 % 120]
}

/// A small store, backed up twice. Made once: it is the same every time.
fn made() -> &'static Image {
    static MADE: OnceLock<Image> = OnceLock::new();
    MADE.get_or_init(|| {
        let (disk, clock) = (SimDisk::new(0), Arc::new(SimClock::new(1)));
        let store = Lsm::open(disk, clock, options()).expect("an empty disk");
        let to = SimDisk::new(1);
        let copies: Arc<dyn Disk> = to.clone();
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
        Image::of(&to)
    })
}

/// A disk with the backups.
pub(crate) struct Laid {
    disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
    /// The paths of their files.
    pub(crate) files: Vec<String>,
}

impl Laid {
    pub(crate) fn new() -> Laid {
        let image = made();
        Laid { disk: image.disk(1), clock: Arc::new(SimClock::new(1)), files: image.files() }
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, path: &str) -> Vec<u8> {
        self.disk.file_bytes(path).expect("a listed file is there")
    }

    /// What all manifests say of the file `path` made right.
    fn reseal_entries(&self, path: &str, bytes: &[u8]) {
        for manifest in self.files.iter().filter(|file| file.ends_with(".manifest")) {
            let mut listed = self.bytes(manifest);
            for at in (HEAD..listed.len() - 8).step_by(ENTRY) {
                if path.ends_with(&name(&listed[at..at + ENTRY])) {
                    set(&mut listed, at + 40, crc(&[bytes]));
                    // Of values, what is at their end has a checksum of its own.
                    if path.contains(".values-") {
                        let last = bytes.len().saturating_sub(4096).max(PART);
                        set(&mut listed, at + 48, crc(&[bytes.get(last..).unwrap_or_default()]));
                    }
                }
            }
            reseal_manifest(&mut listed);
            put_file(&self.disk, manifest, &listed);
        }
    }
}

/// The name of the file that an entry of a manifest is about.
fn name(entry: &[u8]) -> String {
    let number = number(entry, 8);
    match number32(entry, 0) {
        1 => format!("{number:010}.pages"),
        2 => format!("{number:010}.values-{:010}", number32(entry, 4)),
        _ => format!("{number:010}.frames"),
    }
}

fn reseal_manifest(bytes: &mut [u8]) {
    if let Some(end) = bytes.len().checked_sub(8) {
        let sum = crc(&[&bytes[..end]]);
        set(bytes, end, sum);
    }
}

/// Makes the checksums in a part of frames right, as far as its lengths lead.
fn reseal_frames(bytes: &mut [u8]) {
    let mut at = PART;
    while bytes.len() >= at + FRAME {
        let len = number32(bytes, at) as usize;
        let Some(payload) = bytes.get(at + FRAME..at + FRAME + len) else { return };
        let sum = crc(&[&bytes[at..at + 32], payload]);
        set(bytes, at + 32, sum);
        at += FRAME + len.next_multiple_of(8);
    }
}

/// Where the corpus comes to.
pub(crate) const PLACES: &[&str] = &[
    "the backup checks",
    "restored: 60 keys",
    "restored: 30 keys",
    "a changed value",
    "listing: backup 2",
    "it does not match its checksum",
    "it does not begin like a manifest",
    "its length does not fit the number of its files",
    "a file is of no known kind",
    "reserved bytes are set",
    "a file in it is as long as no such file can be",
    "it does not match its checksum in the manifest",
    "its head is not that of this store's part",
    "its frames do not reach it",
    "its pages are not of the version its manifest describes",
    "it does not follow the part before it",
    "another one is there",
    "it ends at frame",
    "it is missing",
    "in it does not check",
    "the batch of commit",
    "the restored store does not verify",
];

/// Backs a small store up twice, changes bytes of one file (and makes checksums right,
/// if the input says so), and restores: a restore that is done has made a sound store,
/// and without those checksums the very store.
pub fn backup(data: &[u8]) {
    let mut input = Bytes(data);
    let laid = Laid::new();
    let path = &laid.files[usize::from(input.u8()) % laid.files.len()];
    let mut bytes = laid.bytes(path);
    let resealed = input.u8() & (MANIFEST | PARTS | FRAMES);
    for (at, to) in edits(&mut input, bytes.len(), 16) {
        bytes[at] = to;
    }
    let is_manifest = path.ends_with(".manifest");
    if is_manifest && resealed & MANIFEST != 0 {
        reseal_manifest(&mut bytes);
    }
    if path.ends_with(".frames") && resealed & FRAMES != 0 {
        reseal_frames(&mut bytes);
    }
    put_file(&laid.disk, path, &bytes);
    if !is_manifest && resealed & PARTS != 0 {
        laid.reseal_entries(path, &bytes);
    }

    let copies: Arc<dyn Disk> = laid.disk.clone();
    let checked = lsm::check_backup(&*copies, "b", None, &mut |_, _| {});
    came_to(&checked, "the backup checks");
    let listed = lsm::backups(&*copies, "b").expect("the directory can be listed");
    listed.unreadable.iter().for_each(|one| reached(format_args!("listing: {one}")));
    let what = Restore {
        disk: copies,
        dir: "b".to_owned(),
        number: None,
        archive: None,
        until: lsm::Until::Latest,
    };
    let target = SimDisk::new(2);
    let made: Arc<dyn Disk> = target.clone();
    let restored = lsm::restore(&what, &made, &*laid.clock, &options(), &mut |_, _| {});
    if let Err(error) = restored {
        return reached(format_args!("restoring: {error}"));
    }
    let store = Lsm::open(target, laid.clock, options()).expect("a restored store opens");
    let snapshot = store.snapshot().expect("one of few");
    // The newest backup whose manifest is whole: of 60 keys, or of 30.
    let keys = (0..60u32).take_while(|n| {
        let found = snapshot.get(KS, &n.to_be_bytes()).expect("a restored store is sound");
        let Some(found) = found else { return false };
        let is_same = *found == value(*n)[..];
        assert!(is_same || resealed != 0, "key {n}");
        if !is_same {
            reached("a changed value");
        }
        true
    });
    let keys = keys.count();
    assert!(resealed != 0 || keys == 60 || keys == 30, "{keys} keys");
    reached(format_args!("restored: {keys} keys"));
}
