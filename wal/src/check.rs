//! Reads a log without changing it, and goes on behind damage: for verify and
//! salvage.
//!
//! Must stay true: what recovery calls damage is a fault here, what it would cut
//! is told as torn; every frame handed out checked at its place; memory is bounded
//! by one frame.

use crate::error::Error;
use crate::frame;
use crate::reader::{Found, Reader, read_segment_header};
use crate::recover;
use crate::segment::{self, HEADER_LEN, HeaderFlaw, Kind, SegmentHeader};
use crate::{Frame, Lsn};
use platform::{BLOCK, Disk, Open};

/// Something that does not hold in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFault {
    /// The file, or the directory.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// The frame that should be there, as far as it is known.
    pub lsn: Lsn,
    /// What does not hold.
    pub what: String,
    /// Only what a crash may leave: the next opening cuts it.
    pub torn: bool,
}

/// What [`check`] read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Segments.
    pub segments: u64,
    /// Frames that check.
    pub frames: u64,
    /// The last frame of those without a gap before them.
    pub last_lsn: Lsn,
    /// The last frame of all.
    pub newest_lsn: Lsn,
    /// The newest epoch that a segment's header or a frame names; 0: none could be read.
    pub newest_epoch: u64,
}

/// Reads the log in `dir`, of which frames from `from` on are needed and those up
/// to `must_have` were durable. `each` is given every frame that checks, and
/// whether frames are missing between it and `from`.
///
/// # Errors
/// [`Error::Io`] if the directory cannot be listed. All else is a fault.
pub fn check(
    disk: &dyn Disk,
    dir: &str,
    from: Lsn,
    must_have: Lsn,
    each: &mut dyn FnMut(&Frame<'_>, bool),
    fault: &mut dyn FnMut(LogFault),
) -> Result<Checked, Error> {
    let names = disk.list(dir).map_err(Error::io("list", dir))?;
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| Kind::of(name))
        .filter_map(|(kind, number)| (kind == Kind::Segment).then_some(number))
        .collect();
    numbers.sort_unstable();
    let from = from.max(1);
    let need = must_have.max(from - 1);
    let mut walk =
        Walk { from, need, next: None, gap: false, each, fault, out: Checked::default() };
    // Recovery's own judgement on what lies behind the end of a log without damage.
    let behind = recover::scan(disk, dir, from, must_have, &mut |_| Ok(()))
        .map_or_else(|_| Vec::new(), |plan| plan.behind().to_vec());
    let mut headers = Vec::new();
    for number in numbers {
        if behind.contains(&number) {
            let what = "a segment that was never durable, which an opening removes";
            walk.tell(&segment::path(dir, number), 0, 0, what, true);
            continue;
        }
        headers.extend(walk.header(disk, dir, number));
    }
    walk.out.segments = headers.len() as u64;
    walk.out.newest_epoch = headers.iter().map(|header| header.epoch).max().unwrap_or(0);
    if let Some(oldest) = headers.first()
        && oldest.first_lsn > from
    {
        let what = format!(
            "the oldest segment starts at frame {}, frames from {from} on are needed",
            oldest.first_lsn
        );
        walk.tell(&segment::path(dir, oldest.number), 0, from, what, false);
        walk.gap = true;
    }
    for (i, header) in headers.iter().enumerate() {
        walk.segment(disk, dir, header, headers.get(i + 1));
    }
    let last = walk.next.map_or(0, |next| next - 1);
    if last < need {
        let what = format!(
            "the log ends after frame {last}, but frames up to {need} have been applied and were \
             durable"
        );
        walk.tell(dir, 0, last + 1, what, false);
    }
    Ok(walk.out)
}

struct Walk<'a> {
    from: Lsn,
    need: Lsn,
    /// The LSN that comes next; none before the first segment.
    next: Option<Lsn>,
    /// Frames are missing before it.
    gap: bool,
    each: &'a mut dyn FnMut(&Frame<'_>, bool),
    fault: &'a mut dyn FnMut(LogFault),
    out: Checked,
}

impl Walk<'_> {
    fn tell(&mut self, file: &str, offset: u64, lsn: Lsn, what: impl Into<String>, torn: bool) {
        (self.fault)(LogFault { file: file.to_owned(), offset, lsn, what: what.into(), torn });
    }

    fn header(&mut self, disk: &dyn Disk, dir: &str, number: u64) -> Option<SegmentHeader> {
        let path = segment::path(dir, number);
        let read = disk.open(&path, Open::Read).and_then(|f| read_segment_header(&*f, number));
        let what = match read {
            Ok(Ok(header)) => return Some(header),
            Ok(Err(HeaderFlaw::Other(found))) => {
                format!("it has log format {found}, this version reads {}", segment::VERSION)
            }
            Ok(Err(HeaderFlaw::Misnamed(header))) => {
                format!("its header says that it is segment {}", header.number)
            }
            Ok(Err(HeaderFlaw::Invalid)) => "the segment's header does not check".to_owned(),
            Err(error) => error.to_string(),
        };
        self.tell(&path, 0, 0, what, false);
        None
    }

    /// Reads one segment; `after` is the next one whose header checks.
    fn segment(
        &mut self,
        disk: &dyn Disk,
        dir: &str,
        header: &SegmentHeader,
        after: Option<&SegmentHeader>,
    ) {
        let path = segment::path(dir, header.number);
        match self.next {
            Some(next) if header.first_lsn > next => {
                let what = format!("it starts at frame {}, the one before ended", header.first_lsn);
                self.tell(&path, 0, next, what, false);
                self.gap |= header.first_lsn > self.from;
            }
            _ => {}
        }
        let reader = disk.open(&path, Open::Read).and_then(|file| Reader::new(file, header));
        let mut reader = match reader {
            Ok(reader) => reader,
            Err(error) => return self.tell(&path, 0, header.first_lsn, error.to_string(), false),
        };
        let (mut at, mut next) = (HEADER_LEN, header.first_lsn);
        while after.is_none_or(|after| next < after.first_lsn) {
            let found = match reader.frame_at(at) {
                Ok(found) => found,
                Err(error) => {
                    self.tell(&path, at, next, error.to_string(), false);
                    match whole_after(&mut reader, at, next, header.epoch) {
                        Some(offset) => at = offset,
                        None => break,
                    }
                    continue;
                }
            };
            let flaw = match found {
                Found::Frame(head)
                    if head.lsn >= next
                        && head.epoch == header.epoch
                        && head.durable_lsn < head.lsn =>
                {
                    if head.lsn > next {
                        // Behind damage that was told.
                        self.gap |= next >= self.from || head.lsn > self.from;
                    }
                    let frame = Frame {
                        lsn: head.lsn,
                        wall_micros: head.wall_micros,
                        epoch: head.epoch,
                        payload: reader.payload(at, &head),
                    };
                    (self.each)(&frame, self.gap);
                    self.out.frames += 1;
                    self.out.newest_lsn = self.out.newest_lsn.max(head.lsn);
                    if !self.gap {
                        self.out.last_lsn = self.out.last_lsn.max(head.lsn);
                    }
                    at += frame::frame_len(head.payload_len);
                    next = head.lsn + 1;
                    continue;
                }
                Found::Frame(head) => format!(
                    "a sound frame says LSN {}, epoch {}, durable LSN {}; the log was at LSN {next}, \
                     epoch {}",
                    head.lsn, head.epoch, head.durable_lsn, header.epoch
                ),
                Found::Mark(lsn) if lsn == next && after.is_none() => break,
                Found::Mark(_) => "an end mark stands here".to_owned(),
                Found::Bad(flaw) => flaw.to_string(),
                Found::End => "the file ends".to_owned(),
            };
            if !self.verdict(&mut reader, &path, at, next, header, after, &flaw) {
                break;
            }
            match whole_after(&mut reader, at, next, header.epoch) {
                Some(offset) => at = offset,
                None => break,
            }
        }
        if let Some(after) = after
            && next < after.first_lsn
        {
            self.gap |= after.first_lsn > self.from;
            next = after.first_lsn;
        }
        self.next = Some(next.max(self.next.unwrap_or(0)));
    }

    /// Tells what is wrong at `at`; whether to look for whole frames behind it.
    #[expect(clippy::too_many_arguments, reason = "one place in the log, spelled out")]
    fn verdict(
        &mut self,
        reader: &mut Reader,
        path: &str,
        at: u64,
        lsn: Lsn,
        header: &SegmentHeader,
        after: Option<&SegmentHeader>,
        flaw: &str,
    ) -> bool {
        if let Some(after) = after {
            let what = format!("{flaw}; the next segment starts at frame {}", after.first_lsn);
            self.tell(path, at, lsn, what, false);
            return true;
        }
        let rest = match reader.rest(at, lsn, header.epoch) {
            Ok(rest) => rest,
            Err(error) => {
                self.tell(path, at, lsn, error.to_string(), false);
                return false;
            }
        };
        let torn = if header.recycled { rest.sound } else { rest.sound.max(rest.filled) };
        let torn = if torn == 0 && rest.looks_torn { frame::HEADER_LEN as u64 } else { torn };
        let damaged = rest.witness.is_some() || (lsn <= self.need && torn > 0);
        if damaged {
            self.tell(path, at, lsn, format!("{flaw}; it was durable once"), false);
        } else if torn > 0 {
            let what = format!("{flaw}; {torn} bytes of a torn end, which an opening cuts");
            self.tell(path, at, lsn, what, true);
        }
        damaged
    }
}

/// Where the next whole frame of this segment lies, behind blocks too that the disk
/// does not give.
fn whole_after(reader: &mut Reader, at: u64, lsn: Lsn, epoch: u64) -> Option<u64> {
    let mut at = at + 8;
    loop {
        match reader.frame_at(at) {
            Ok(Found::Frame(head)) if head.lsn > lsn && head.epoch == epoch => return Some(at),
            Ok(Found::End) => return None,
            Ok(_) => at += 8,
            Err(_) => at = (at + 1).next_multiple_of(BLOCK as u64),
        }
    }
}
