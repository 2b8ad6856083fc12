//! The same log on the operating system's files: mapped and direct writes.

use super::*;
use crate::SyncMode;
use platform::Disk;
use platform::real::RealDisk;

#[test]
fn on_real_files_frames_come_back_through_rotation_recycling_and_mode_changes() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir.path()).unwrap());
    let (mut last, mut first) = (0, 1);
    for life in 0..6u8 {
        let sync = if life % 2 == 0 { SyncMode::Async } else { SyncMode::Sync };
        let opts = Options { sync, segment_bytes: 64 << 10, salt: life.into(), spare_segments: 2 };
        let mut found = first - 1;
        let wal = Wal::open(disk.clone(), "wal", opts, first, last, &mut |frame| {
            found += 1;
            assert_eq!(frame.lsn, found);
            assert_eq!(frame.payload, payload(found));
            Ok(())
        })
        .unwrap();
        assert_eq!(found, last, "life {life}");
        // Some 200 KiB: three rotations, among them a frame larger than a segment.
        for _ in 0..150 {
            last = wal.append(1, &payload(last + 1)).unwrap();
            if last.is_multiple_of(7) {
                wal.wait_durable(last).unwrap();
            }
        }
        wal.sync().unwrap();
        let mut cursor = wal.cursor(first).unwrap();
        for lsn in first..=last {
            let frame = cursor.next().unwrap().unwrap();
            assert_eq!((frame.lsn, frame.payload), (lsn, &payload(lsn)[..]));
        }
        assert!(wal.segments().len() > 3);
        wal.truncate_below(last - 20).unwrap();
        first = wal.segments()[0].first_lsn;
        assert!(wal.spare_segments() > 0);
    }
}

fn payload(lsn: Lsn) -> Vec<u8> {
    let len = if lsn.is_multiple_of(100) { 90_000 } else { lsn * 37 % 3000 };
    (0..len).map(|i| (lsn + i) as u8).collect()
}
