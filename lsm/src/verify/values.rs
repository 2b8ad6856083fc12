//! Verifying the value log: each record of each segment, dead ones too.
//!
//! What must stay true: behind a damaged record the next whole one is found, so
//! that every damaged stretch is named; bytes behind the tail that the page file
//! vouches for are no fault, since the next opening cuts them.

use std::collections::VecDeque;

use btree::View;
use platform::Disk;
use vlog::{Scan, SegmentFile};

use super::{At, Walk};
use crate::meta::Meta;
use crate::tree::SEGMENTS;
use crate::{Error, VLOG_DIR, directory, segments};

/// What is left of the value log.
pub(super) struct Segments {
    left: VecDeque<u32>,
    /// The tail's segment and length; `None`: all there is, nothing vouches for it.
    tail: Option<(u32, u64)>,
    current: Option<Current>,
    bytes: u64,
}

struct Current {
    id: u32,
    file: SegmentFile,
    scan: Scan,
    /// Where the next record begins.
    at: u64,
    end: u64,
    sound: bool,
}

impl Segments {
    pub(super) fn new(disk: &dyn Disk, meta: &Meta, all: bool) -> Result<Self, Error> {
        let there = !directory::names(disk, VLOG_DIR)?.is_empty();
        let ids = if there { SegmentFile::ids(disk, VLOG_DIR)? } else { Vec::new() };
        let tail = (!all).then_some((meta.tail.segment, meta.tail.len));
        let mut bytes = 0;
        for id in &ids {
            if let Ok(file) = SegmentFile::open(disk, VLOG_DIR, *id) {
                bytes += file.len();
            }
        }
        Ok(Segments { left: ids.into(), tail, current: None, bytes })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Walk {
    /// Scans segments; false when there are no more.
    pub(super) fn walk_values(&mut self, left: &mut u64) -> Result<bool, Error> {
        let Some(mut segments) = self.values.take() else { return Ok(false) };
        while *left > 0 {
            let Some(current) = &mut segments.current else {
                let Some(id) = segments.left.pop_front() else { return Ok(false) };
                segments.current = self.begin_segment(id, segments.tail);
                continue;
            };
            let before = current.at;
            let ended = self.scan(current, left);
            self.done += current.at - before;
            if ended {
                if !current.sound {
                    self.found.remove(&current.id);
                }
                segments.current = None;
            }
        }
        self.values = Some(segments);
        Ok(true)
    }

    fn begin_segment(&mut self, id: u32, tail: Option<(u32, u64)>) -> Option<Current> {
        let path = SegmentFile::path_of(VLOG_DIR, id);
        if tail.is_some_and(|(last, _)| id > last) {
            if self.closed {
                self.report.note(&path, At::File, "nothing vouches for it: an opening removes it");
            }
            return None;
        }
        self.report.segments += 1;
        let file = match SegmentFile::open(&*self.disk, VLOG_DIR, id) {
            Ok(file) => file,
            // A living store removes segments that hold nothing.
            Err(vlog::Error::Missing { .. }) if !self.closed => return None,
            Err(error) => {
                self.report.fault(&path, At::File, None, error.to_string());
                return None;
            }
        };
        if let Err(error) = file.check_header() {
            self.report.fault(&path, At::Offset(0), None, plain(error));
        }
        let end = match tail {
            Some((last, len)) if last == id => {
                if file.len() < len {
                    let what = format!("it ends here, the page file vouches for {len} bytes");
                    self.report.fault(&path, At::Offset(file.len()), None, what);
                    self.incomplete = true;
                } else if file.len() > len && self.closed {
                    let what = format!("nothing vouches for {} bytes: an opening cuts them", {
                        file.len() - len
                    });
                    self.report.note(&path, At::Offset(len), what);
                }
                len.min(file.len())
            }
            _ => file.len(),
        };
        self.found.insert(id, 0);
        let at = SegmentFile::FIRST;
        let scan = file.scan(at, end);
        Some(Current { id, file, scan, at, end, sound: true })
    }

    /// Scans on; true at the end.
    fn scan(&mut self, current: &mut Current, left: &mut u64) -> bool {
        while *left > 0 {
            match current.scan.next() {
                Ok(Some((at, _))) => {
                    let len = u64::from(at.len);
                    self.report.records += 1;
                    self.report.record_bytes += len;
                    *self.found.entry(current.id).or_default() += len;
                    current.at = at.offset + len;
                    *left = left.saturating_sub(len);
                }
                Ok(None) => return true,
                Err(error) => {
                    current.sound = false;
                    self.incomplete = true;
                    let path = current.file.path().to_owned();
                    let whole = current.file.find(current.at + 1, current.end);
                    let (next, what) = (whole.at, plain(error));
                    let what = match (next, whole.unread) {
                        (Some(next), 0) => format!("{what}; whole again at {next}"),
                        (Some(next), bytes) => format!(
                            "{what}; whole again at {next}, of the bytes before it {bytes} cannot \
                             be read"
                        ),
                        (None, 0) => format!("{what}; nothing whole follows"),
                        (None, bytes) => format!(
                            "{what}; nothing whole follows in what can be read ({bytes} bytes \
                             cannot)"
                        ),
                    };
                    self.report.fault(&path, At::Offset(current.at), None, what);
                    *left = left.saturating_sub(next.unwrap_or(current.end) - current.at);
                    current.at = next.unwrap_or(current.end);
                    current.scan = current.file.scan(current.at, current.end);
                }
            }
        }
        false
    }

    /// Compares the table of dead bytes with what was found.
    pub(super) fn compare_dead(&mut self, view: &View) {
        let file = self.file.clone();
        let rows = match segments::table(view) {
            Ok(rows) => rows,
            Err(error) => {
                if !self.incomplete {
                    self.report.fault(&file, At::File, Some(SEGMENTS), error.to_string());
                }
                return;
            }
        };
        for (id, row) in &rows {
            // One wholly dead may be unlinked already: its row goes later.
            self.report.dead_bytes += row.dead;
            if !self.found.contains_key(id) && !row.is_dead() && *id <= self.meta.tail.segment {
                let path = SegmentFile::path_of(VLOG_DIR, *id);
                if SegmentFile::open(&*self.disk, VLOG_DIR, *id).is_err() {
                    let what = "it is missing: the page file's table of segments has it";
                    self.report.fault(&path, At::File, None, what);
                    self.incomplete = true;
                }
            }
        }
        if self.incomplete {
            return;
        }
        for (id, found) in &self.found {
            let live = self.live.get(id).copied().unwrap_or(0);
            let row = rows.get(id).copied().unwrap_or_default();
            let path = SegmentFile::path_of(VLOG_DIR, *id);
            if found.checked_sub(live) != Some(row.dead) {
                let what = format!(
                    "{found} bytes of records, {live} of them pointed at, the table says {} dead",
                    row.dead
                );
                self.report.fault(&path, At::File, None, what);
            }
            if row.bytes != *found {
                let what = format!("{found} bytes of records, the table says {}", row.bytes);
                self.report.fault(&path, At::File, None, what);
            }
        }
    }
}

/// A value-log error without the file and the advice: the fault has the file.
fn plain(error: vlog::Error) -> String {
    match error {
        vlog::Error::Corrupt { why, .. } => why,
        other => other.to_string(),
    }
}
