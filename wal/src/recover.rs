//! Recovery: reads the log, tells a torn tail from damage, and only then acts.
//!
//! Must stay true:
//! * [`scan`] changes nothing on the disk, so a refusal leaves everything as it
//!   was found; [`repair`] runs only after a scan that found no damage;
//! * frames are handed out in order, without a gap, each checked;
//! * memory is bounded by one frame, whatever the log's size.
//!
//! Files are prepared with zeros and used again, so behind the last frame of a
//! segment there may be zeros or frames of an earlier use. The latter never check
//! (their place has another segment number), so they are never taken for frames,
//! nor for proofs.
//!
//! A segment with a later file beside it ends where that one starts: it must hold
//! every frame up to there, and nothing behind is looked at. In the last segment
//! the first thing that is not the next frame, at the place of frame `n`, is
//! **damage** if any of these prove that `n` was durable:
//! * a later header in this segment says `durable_lsn >= n`;
//! * the caller's `must_have >= n` (the page file has applied it).
//!
//! Also damage: a frame that checks but is not the next LSN, or of another
//! epoch; a segment that does not start where the one before ended; a segment
//! header that does not check (a file gets its name after its header).
//! Anything else is the end of the log. It is reported as a torn tail if there
//! are signs of a frame that was begun (a header that checks, or bytes where only
//! zeros could be, or what looks like frame `n`); it was never acknowledged as
//! durable, and is cut.

use crate::error::{Error, ReplayError};
use crate::frame;
use crate::reader::{Found, Reader, read_segment_header};
use crate::segment::{self, HEADER_LEN, HeaderFlaw, Kind, SegmentHeader};
use crate::{Frame, Lsn, Recovery, SegmentInfo};
use platform::{Disk, Open};

/// What a scan found and what repair is to do.
pub(crate) struct Plan {
    /// Whole segments with frames or at least a header, oldest first.
    pub(crate) segments: Vec<SegmentInfo>,
    /// The last segment's bytes to keep, and from where no frame vouches for
    /// the others being on the disk.
    tail: Option<Tail>,
    /// The highest number and epoch in use (0 if the log is new).
    pub(crate) max_number: u64,
    pub(crate) max_epoch: u64,
    pub(crate) recovery: Recovery,
}

struct Tail {
    number: u64,
    keep: u64,
    unvouched_from: u64,
}

/// Goes through the whole log; see the module's page.
pub(crate) fn scan(
    disk: &dyn Disk,
    dir: &str,
    from: Lsn,
    must_have: Lsn,
    replay: &mut dyn FnMut(Frame<'_>) -> Result<(), ReplayError>,
) -> Result<Plan, Error> {
    let from = from.max(1);
    let need = must_have.max(from - 1);
    let mut numbers: Vec<u64> = disk
        .list(dir)
        .map_err(Error::io("list", dir))?
        .iter()
        .filter_map(|name| Kind::of(name))
        .filter_map(|(kind, number)| (kind == Kind::Segment).then_some(number))
        .collect();
    numbers.sort_unstable();
    let mut headers = Vec::with_capacity(numbers.len());
    for &number in &numbers {
        headers.push(header_of(disk, dir, number, &headers)?);
    }

    let mut plan = Plan {
        segments: Vec::new(),
        tail: None,
        max_number: numbers.last().copied().unwrap_or(0),
        max_epoch: headers.last().map_or(0, |h| h.epoch),
        recovery: Recovery::default(),
    };
    if let Some(oldest) = headers.first()
        && oldest.first_lsn > from
    {
        let why = format!(
            "the oldest segment starts at frame {}, frames from {from} on are needed",
            oldest.first_lsn
        );
        return Err(Error::corrupt(&segment::path(dir, oldest.number), 0, from, why));
    }
    let mut scan = Scan { from, need, next: None, replay };
    for (i, header) in headers.iter().enumerate() {
        scan.segment(disk, dir, header, headers.get(i + 1), &mut plan)?;
    }

    let last_lsn = scan.next.map_or(0, |next| next - 1);
    if last_lsn < need {
        let (file, offset) = match plan.segments.last() {
            Some(s) => (segment::path(dir, s.number), s.bytes),
            None => (dir.to_owned(), 0),
        };
        return Err(Error::corrupt(
            &file,
            offset,
            last_lsn + 1,
            format!(
                "the log ends after frame {last_lsn}, but frames up to {need} have been applied \
                 and were durable"
            ),
        ));
    }
    plan.recovery.last_lsn = last_lsn;
    Ok(plan)
}

struct Scan<'a> {
    from: Lsn,
    need: Lsn,
    /// The LSN that comes next; none before the first segment.
    next: Option<Lsn>,
    replay: &'a mut dyn FnMut(Frame<'_>) -> Result<(), ReplayError>,
}

impl Scan<'_> {
    /// Reads one segment; `after` is the one behind it, if there is one.
    fn segment(
        &mut self,
        disk: &dyn Disk,
        dir: &str,
        header: &SegmentHeader,
        after: Option<&SegmentHeader>,
        plan: &mut Plan,
    ) -> Result<(), Error> {
        let number = header.number;
        let path = segment::path(dir, number);
        let file = disk.open(&path, Open::Read).map_err(Error::io("open", &path))?;
        let mut reader = Reader::new(file, header).map_err(Error::io("read", &path))?;
        let mut at = HEADER_LEN;
        let mut next = header.first_lsn;
        // Up to where the frames themselves say they are on the disk: all frames
        // before `mark` are vouched for once a later one names `mark.0 - 1`.
        let mut vouched = 0;
        let mut unvouched_from = HEADER_LEN;
        let mut mark = (next, at);
        while after.is_none_or(|after| next < after.first_lsn) {
            let found = reader.frame_at(at).map_err(Error::io("read", &path))?;
            let head = match found {
                Found::Frame(head) => head,
                other => {
                    let flaw = match other {
                        Found::Bad(flaw) => flaw.to_string(),
                        _ => "the file ends".to_owned(),
                    };
                    if let Some(after) = after {
                        let why = format!(
                            "{flaw}; it was durable once: a later segment, {}, starts at frame {}, \
                             and was begun only after this one was durable",
                            segment::path(dir, after.number),
                            after.first_lsn
                        );
                        return Err(Error::corrupt(&path, at, next, why));
                    }
                    self.end(&mut reader, &path, at, next, header, &flaw, plan)?;
                    break;
                }
            };
            if head.lsn != next || head.epoch != header.epoch || head.durable_lsn >= head.lsn {
                let why = format!(
                    "a sound frame says LSN {}, epoch {}, durable LSN {}; the log was at LSN {next}, epoch {}",
                    head.lsn, head.epoch, head.durable_lsn, header.epoch
                );
                return Err(Error::corrupt(&path, at, next, why));
            }
            vouched = head.durable_lsn.max(vouched);
            if vouched + 1 >= mark.0 {
                unvouched_from = mark.1;
                mark = (next, at);
            }
            if head.lsn >= self.from {
                let payload = reader.payload(at, &head);
                let frame = Frame {
                    lsn: head.lsn,
                    wall_micros: head.wall_micros,
                    epoch: head.epoch,
                    payload,
                };
                (self.replay)(frame).map_err(|source| Error::Replay { lsn: head.lsn, source })?;
                plan.recovery.frames += 1;
            }
            at += frame::frame_len(head.payload_len);
            next += 1;
        }
        plan.tail = Some(Tail { number, keep: at, unvouched_from });
        plan.segments.push(SegmentInfo {
            number,
            first_lsn: header.first_lsn,
            last_lsn: next - 1,
            bytes: at,
            sealed: true,
        });
        self.next = Some(next);
        Ok(())
    }

    /// The verdict on the last segment's first bytes that are not frame `lsn`:
    /// see the module's page.
    #[expect(clippy::too_many_arguments, reason = "one place in the log, spelled out")]
    fn end(
        &self,
        reader: &mut Reader,
        path: &str,
        at: u64,
        lsn: Lsn,
        header: &SegmentHeader,
        flaw: &str,
        plan: &mut Plan,
    ) -> Result<(), Error> {
        let rest = reader.rest(at, lsn, header.epoch).map_err(Error::io("read", path))?;
        let torn = if header.recycled { rest.sound } else { rest.sound.max(rest.filled) };
        let torn = if torn == 0 && rest.looks_torn { frame::HEADER_LEN as u64 } else { torn };
        let proof = if let Some((offset, head)) = rest.witness {
            format!(
                "frame {} at offset {offset} says that frames up to {} were durable",
                head.lsn, head.durable_lsn
            )
        } else if lsn <= self.need && torn > 0 {
            format!("frames up to {} have been applied and were durable", self.need)
        } else {
            // A log that is merely too short is refused by the caller.
            if torn > 0 {
                plan.recovery.cut(path, at, torn);
            }
            return Ok(());
        };
        Err(Error::corrupt(path, at, lsn, format!("{flaw}; it was durable once: {proof}")))
    }
}

/// Reads the header of segment `number`, which follows those of `before`.
fn header_of(
    disk: &dyn Disk,
    dir: &str,
    number: u64,
    before: &[SegmentHeader],
) -> Result<SegmentHeader, Error> {
    let path = segment::path(dir, number);
    let file = disk.open(&path, Open::Read).map_err(Error::io("open", &path))?;
    let header = match read_segment_header(&*file, number).map_err(Error::io("read", &path))? {
        Ok(header) => header,
        Err(HeaderFlaw::Newer(found)) => {
            return Err(Error::NewerFormat { file: path, found, known: segment::VERSION });
        }
        Err(HeaderFlaw::Invalid) => {
            let why = "the segment's header does not check: it was durable before the file got \
                       its name";
            return Err(Error::corrupt(&path, 0, 0, why));
        }
    };
    if let Some(last) = before.last() {
        if header.first_lsn < last.first_lsn {
            let why = format!(
                "the segment starts at frame {}, the one before at {}",
                header.first_lsn, last.first_lsn
            );
            return Err(Error::corrupt(&path, 0, last.first_lsn, why));
        }
        if header.epoch < last.epoch {
            let why = format!("its epoch {} is below {}", header.epoch, last.epoch);
            return Err(Error::corrupt(&path, 0, header.first_lsn, why));
        }
    }
    Ok(header)
}

/// Acts on a scan without damage. Afterwards every frame that was handed out is
/// durable, and the last segment ends with its last frame.
///
/// The frames of the last segment that no later frame vouches for are written
/// again before the sync: the process that wrote them may have died of a failed
/// sync, after which a kernel can hold clean pages that never reached the disk.
pub(crate) fn repair(disk: &dyn Disk, dir: &str, plan: &Plan) -> Result<(), Error> {
    let Some(tail) = &plan.tail else { return Ok(()) };
    let path = segment::path(dir, tail.number);
    let file = disk.open(&path, Open::Write).map_err(Error::io("open", &path))?;
    if file.len().map_err(Error::io("read", &path))? != tail.keep {
        file.set_len(tail.keep).map_err(Error::io("cut", &path))?;
    }
    let Ok(header) = read_segment_header(&*file, tail.number).map_err(Error::io("read", &path))?
    else {
        return Err(Error::corrupt(&path, 0, 0, "its header changed during recovery"));
    };
    let mut reader = Reader::new(file.clone(), &header).map_err(Error::io("read", &path))?;
    reader.rewrite(tail.unvouched_from, tail.keep).map_err(Error::io("write", &path))?;
    file.sync().map_err(Error::io("sync", &path))
}
