//! A line of the audit log that a crash tore: cut where it can be one, damage anywhere
//! else.

use std::sync::Arc;

use platform::sim::SimDisk;
use platform::{Disk, Open};

use super::kit::*;
use crate::{AuditOptions, AuditReport, Options, verify_audit};

/// Files of the least size.
fn small() -> Options {
    Options { audit: Some(AuditOptions { file_bytes: 16 << 10, keep: 9 }), ..options() }
}

fn files(disk: &SimDisk) -> Vec<String> {
    disk.files().into_iter().filter(|path| path.ends_with(".jsonl")).collect()
}

fn checked(disk: &SimDisk) -> AuditReport {
    verify_audit(disk, None).unwrap().unwrap()
}

fn cut_to(disk: &SimDisk, file: &str, len: usize) {
    disk.open(file, Open::Write).unwrap().set_len(len as u64).unwrap();
}

/// A log of several files, whole.
fn log() -> Arc<SimDisk> {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), small());
    for n in 0..90 {
        done(&engine, create(&format!("s{n}")));
    }
    engine.close().unwrap();
    assert!(files(&disk).len() > 2, "{:?}", files(&disk));
    disk.kill()
}

/// Where the lines of a file end.
fn ends(disk: &SimDisk, file: &str) -> Vec<usize> {
    let bytes = disk.file_bytes(file).unwrap();
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect()
}

#[test]
fn the_last_line_of_the_newest_file_is_cut_wherever_it_is_torn() {
    let whole = log();
    let newest = files(&whole).pop().unwrap();
    let ends = ends(&whole, &newest);
    let lines = checked(&whole).lines;
    let (before, end) = (ends[ends.len() - 2], ends[ends.len() - 1]);
    for len in before..end {
        let disk = whole.snapshot();
        cut_to(&disk, &newest, len);
        // It is accepted before a start, and said.
        let report = checked(&disk);
        assert_eq!((report.fault.as_ref(), report.lines), (None, lines - 1), "{len}: {report}");
        assert_eq!(report.notes.len(), usize::from(len > before), "{report}");
        // And cut by it; the lines before are all there, and the chain goes on.
        let engine = open_on(disk.clone(), small());
        let begun = engine.audit_begin().unwrap();
        assert_eq!(begun.line, lines, "{len}: the number of the line that was torn");
        let cut = begun.cut.as_ref().map(|cut| (cut.file.as_str(), cut.bytes, &cut.kept_in));
        let torn = (newest.as_str(), (len - before) as u64, &None);
        assert_eq!(cut, Some(torn).filter(|_| len > before), "{len}");
        let report = checked(&disk);
        assert_eq!((report.fault.as_ref(), report.lines), (None, lines), "{len}: {report}");
    }
}

#[test]
fn a_newest_file_with_a_piece_of_its_first_line_only_is_begun_anew() {
    let whole = log();
    let names = files(&whole);
    let (newest, older) = (&names[names.len() - 1], &names[..names.len() - 1]);
    let first = ends(&whole, newest)[0];
    let before: usize = older.iter().map(|file| ends(&whole, file).len()).sum();
    for len in [0, 1, 20, first - 1] {
        let disk = whole.snapshot();
        cut_to(&disk, newest, len);
        let engine = open_on(disk.clone(), small());
        let begun = engine.audit_begin().unwrap();
        assert_eq!((begun.line, begun.cut.is_some()), (before as u64 + 1, len > 0), "{len}");
        let report = checked(&disk);
        assert_eq!((report.fault.as_ref(), report.lines), (None, before as u64 + 1), "{report}");
    }
}

#[test]
fn a_torn_line_in_any_other_file_is_damage_and_stays_so() {
    let whole = log();
    let names = files(&whole);
    for file in &names[..names.len() - 1] {
        let ends = ends(&whole, file);
        let (before, end) = (ends[ends.len() - 2], ends[ends.len() - 1]);
        for len in [before, before + 1, (before + end) / 2, end - 2, end - 1] {
            let disk = whole.snapshot();
            cut_to(&disk, file, len);
            let fault = checked(&disk).fault.unwrap_or_else(|| panic!("{file} cut to {len}"));
            let words = if len == before { "is missing: the next file is " } else { "has no end" };
            assert!(fault.contains(words), "{fault}");
            // No start cuts it, or mends it: who tore it is to be found out.
            let engine = open_on(disk.clone(), small());
            assert_eq!(engine.audit_begin().unwrap().cut, None);
            assert_eq!(disk.file_bytes(file).unwrap().len(), len);
            assert_eq!(checked(&disk).fault, Some(fault));
        }
    }
}
