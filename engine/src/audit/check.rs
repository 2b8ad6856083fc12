//! The proof that an audit log is whole: every line, and each to the one before.
//!
//! What must stay true: it only reads, in bounded memory; the first line that is not what
//! it must be is named by file and line; what a start had to cut is told. What it cannot
//! see: that lines are missing at the very end, or that somebody wrote the whole chain
//! anew. Against both the number and hash of a line, noted elsewhere, help.

use std::fmt;
use std::io;

use platform::{Disk, Open};
use serde_json::Value;

use super::files::{Lines, list, path};
use super::line::{self, Link, NOTHING};

/// Notes kept in words; more are only counted.
const KEPT: usize = 100;

/// What [`verify_audit`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Files read.
    pub files: u64,
    /// Good lines.
    pub lines: u64,
    /// The number of the first one.
    pub first: u64,
    /// The number of the last good one, 0 if there is none, and its hash.
    pub last: (u64, String),
    /// What is to be known and breaks nothing: cuts that starts had to make, a line that
    /// is being written.
    pub notes: Vec<String>,
    /// How many more notes there are.
    pub more_notes: u64,
    /// The first line that is not what it must be.
    pub fault: Option<String>,
    /// A line's number, and the hash it must have.
    noted: Option<(u64, String)>,
}

impl AuditReport {
    fn note(&mut self, note: String) {
        match self.notes.len() < KEPT {
            true => self.notes.push(note),
            false => self.more_notes += 1,
        }
    }
}

impl fmt::Display for AuditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (last, hash) = &self.last;
        match (&self.fault, self.lines) {
            (Some(fault), _) => write!(f, "the chain is BROKEN: {fault}")?,
            (None, 0) => f.write_str("the audit log has no line")?,
            (None, lines) => write!(
                f,
                "the chain is whole: {lines} lines, {} to {last}, in {} files; line {last} has \
                 the hash {hash}",
                self.first, self.files
            )?,
        }
        if self.fault.is_some() && self.lines > 0 {
            write!(f, "\n{} lines before it are good, the last of them is {last}", self.lines)?;
        }
        if self.first > 1 {
            let before = self.first - 1;
            write!(f, "\nlines 1 to {before} are not there: old files are removed")?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\nnote: {note}"))?;
        match self.more_notes {
            0 => Ok(()),
            more => write!(f, "\nand {more} notes more"),
        }
    }
}

/// Checks the audit log on a disk; `None`: there is none. `noted` is a line's number, and
/// the hash it must have.
///
/// # Errors
/// The disk cannot be read.
pub fn verify_audit(
    disk: &dyn Disk,
    noted: Option<(u64, &str)>,
) -> io::Result<Option<AuditReport>> {
    let files = match list(disk) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if files.is_empty() {
        return Ok(None);
    }
    let mut report = AuditReport { last: (0, NOTHING.to_string()), ..AuditReport::default() };
    let mut last = None;
    report.noted = noted.map(|(line, hash)| (line, hash.to_ascii_lowercase()));
    for (at, first) in files.iter().enumerate() {
        report.files += 1;
        let newest = at + 1 == files.len();
        if let Some(fault) = file(disk, *first, newest, &mut last, &mut report)? {
            report.fault = Some(fault);
            break;
        }
    }
    if let (None, Some((line, _))) = (&report.fault, noted)
        && !(report.first..=report.last.0).contains(&line)
    {
        report.fault = Some(format!("line {line} is not there, and its hash was noted"));
    }
    Ok(Some(report))
}

/// Checks one file; what is wrong with it.
fn file(
    disk: &dyn Disk,
    first: u64,
    newest: bool,
    last: &mut Option<Link>,
    report: &mut AuditReport,
) -> io::Result<Option<String>> {
    let name = path(first);
    let file = disk.open(&name, Open::Read)?;
    if let Some(before) = *last
        && first != before.seq + 1
    {
        let missing = before.seq + 1;
        return Ok(Some(format!("line {missing} is missing: the next file is {name}")));
    }
    let mut lines = Lines::new(&*file);
    let mut number = 0;
    while let Some(piece) = lines.next()? {
        number += 1;
        let place = format!("{name}, its line {number} at byte {}", piece.offset);
        if !piece.ended {
            if newest && piece.bytes.len() < line::MAX_LINE {
                let bytes = piece.bytes.len();
                report.note(format!(
                    "{place}: {bytes} bytes of a line that has no end: it is being written, or the \
                     machine stopped while it was; the next start cuts it"
                ));
                return Ok(None);
            }
            return Ok(Some(format!("{place}: it has no end, and more follows")));
        }
        let Some(link) = line::read(piece.bytes) else {
            return Ok(Some(format!(
                "{place}: it is not the line that was written there: its hash does not fit it"
            )));
        };
        let expected = last.map_or(first, |before| before.seq + 1);
        if link.seq != expected {
            let found = link.seq;
            return Ok(Some(format!(
                "{place}: line {expected} is due and this is line {found}: lines were taken out or \
                 put in"
            )));
        }
        let follows = match *last {
            Some(before) => link.prev == before.hash,
            None => link.seq > 1 || link.prev == NOTHING,
        };
        if !follows {
            return Ok(Some(format!(
                "{place}: line {expected} does not follow from the line before it: that one was \
                 changed, or this one was put in its place"
            )));
        }
        if report
            .noted
            .as_ref()
            .is_some_and(|(line, hash)| *line == link.seq && *hash != *link.hash.to_hex())
        {
            return Ok(Some(format!("{place}: line {expected} has not the hash that was noted")));
        }
        if let Some(cut) = cut_in(piece.bytes) {
            report.note(format!("line {expected}: at this start {cut}"));
        }
        if report.lines == 0 {
            report.first = link.seq;
        }
        report.lines += 1;
        report.last = (link.seq, link.hash.to_string());
        *last = Some(link);
    }
    Ok(None)
}

/// What a line says of a cut.
fn cut_in(bytes: &[u8]) -> Option<String> {
    let word = b"\"cut_bytes\":";
    if !bytes.windows(word.len()).any(|part| part == word) {
        return None;
    }
    let line: Value = serde_json::from_slice(bytes).ok()?;
    let start = line.get("what")?.as_str()? == "Start";
    let bytes = start.then(|| line.get("cut_bytes")?.as_u64())??;
    let file = line.get("cut_file")?.as_str()?;
    let kept = match line.get("cut_kept_in").and_then(Value::as_str) {
        Some(kept) => format!("; they are in {kept}"),
        None => ", a piece of one line".to_owned(),
    };
    Some(format!("{bytes} bytes could not be read at the end of {file} and were cut{kept}"))
}
