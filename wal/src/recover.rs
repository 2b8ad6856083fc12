//! Recovery: reads the log, tells a torn tail from damage, and only then acts.
//!
//! Must stay true:
//! * [`scan`] changes nothing on the disk, so a refusal leaves everything as it
//!   was found; [`repair`] runs only after a scan that found no damage;
//! * frames are handed out in order, without a gap, each checked;
//! * memory is bounded by one frame, whatever the log's size.
//!
//! How a torn tail is told from damage follows from the order of writing (see
//! the crate's page). The first thing that is not the next frame, at the place
//! of frame `n`, is **damage** if any of these prove that `n` was durable:
//! * a later segment file exists (its creation came after the sync of this one);
//! * a later header in this segment says `durable_lsn >= n`;
//! * the caller's `must_have >= n` (the page file has applied it).
//!
//! Also damage: a frame that checks but is not the next LSN, or of another
//! epoch; a segment that does not start where the one before ended; a segment
//! header that does not check, unless it is the last file and no longer than a
//! header (its creation was torn; no frame was ever in it).
//! Anything else is a torn tail: never acknowledged as durable, and cut.

use crate::error::{Error, ReplayError};
use crate::reader::{Found, Reader, read_segment_header};
use crate::segment::{self, HEADER_LEN, HeaderFlaw};
use crate::{Frame, Lsn, Recovery, SegmentInfo};
use platform::{Disk, Open};

/// What a scan found and what repair is to do.
pub(crate) struct Plan {
    /// Whole segments with frames or at least a header, oldest first.
    pub(crate) segments: Vec<SegmentInfo>,
    /// A last file whose creation was torn.
    torn_file: Option<u64>,
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
        .filter_map(|name| segment::number_of(name))
        .collect();
    numbers.sort_unstable();

    let mut plan = Plan {
        segments: Vec::new(),
        torn_file: None,
        tail: None,
        max_number: numbers.last().copied().unwrap_or(0),
        max_epoch: 0,
        recovery: Recovery::default(),
    };
    let mut scan = Scan { from, need, next: None, replay };
    for (i, &number) in numbers.iter().enumerate() {
        let last = i + 1 == numbers.len();
        scan.segment(disk, dir, number, last, &mut plan)?;
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
    fn segment(
        &mut self,
        disk: &dyn Disk,
        dir: &str,
        number: u64,
        last: bool,
        plan: &mut Plan,
    ) -> Result<(), Error> {
        let path = segment::path(dir, number);
        let file = disk.open(&path, Open::Read).map_err(Error::io("open", &path))?;
        let header = match read_segment_header(&*file, number).map_err(Error::io("read", &path))? {
            Ok(header) => header,
            Err(HeaderFlaw::Newer(found)) => {
                return Err(Error::NewerFormat { file: path, found, known: segment::VERSION });
            }
            Err(HeaderFlaw::Invalid) => {
                let len = file.len().map_err(Error::io("read", &path))?;
                if last && len <= HEADER_LEN {
                    plan.torn_file = Some(number);
                    return Ok(());
                }
                let why = "the segment's header does not check, and frames were written after it";
                return Err(Error::corrupt(&path, 0, self.next.unwrap_or(0), why));
            }
        };
        match self.next {
            None if header.first_lsn > self.from => {
                let why = format!(
                    "the oldest segment starts at frame {}, frames from {} on are needed",
                    header.first_lsn, self.from
                );
                return Err(Error::corrupt(&path, 0, self.from, why));
            }
            Some(next) if header.first_lsn != next => {
                let why = format!(
                    "the segment starts at frame {}, the one before ended at {}",
                    header.first_lsn,
                    next - 1
                );
                return Err(Error::corrupt(&path, 0, next, why));
            }
            _ => {}
        }
        if header.epoch < plan.max_epoch {
            let why = format!("its epoch {} is below {}", header.epoch, plan.max_epoch);
            return Err(Error::corrupt(&path, 0, header.first_lsn, why));
        }
        plan.max_epoch = header.epoch;

        let mut reader = Reader::new(file, &header).map_err(Error::io("read", &path))?;
        let mut at = HEADER_LEN;
        let mut next = header.first_lsn;
        // Up to where the frames themselves say they are on the disk: all frames
        // before `mark` are vouched for once a later one names `mark.0 - 1`.
        let mut vouched = 0;
        let mut unvouched_from = HEADER_LEN;
        let mut mark = (next, at);
        loop {
            let found = reader.frame_at(at).map_err(Error::io("read", &path))?;
            let head = match found {
                Found::Frame(head) => head,
                Found::End => break,
                Found::Zeros if last && next > self.need => {
                    plan.recovery.cut(&path, at, reader.end() - at);
                    break;
                }
                Found::Zeros if last => break, // too short: said by the caller
                Found::Zeros => {
                    let why = "zeros follow, and a later segment shows that this one was whole";
                    return Err(Error::corrupt(&path, at, next, why));
                }
                Found::Bad(flaw) => {
                    self.refuse_if_durable(&mut reader, &path, at, next, last, &flaw.to_string())?;
                    plan.recovery.cut(&path, at, reader.end() - at);
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
            at += crate::frame::frame_len(head.payload_len);
            next += 1;
        }
        plan.tail = Some(Tail { number, keep: at, unvouched_from });
        plan.segments.push(SegmentInfo { number, first_lsn: header.first_lsn, bytes: at });
        self.next = Some(next);
        Ok(())
    }

    /// The verdict on what is not frame `lsn`: see the module's page.
    fn refuse_if_durable(
        &self,
        reader: &mut Reader,
        path: &str,
        at: u64,
        lsn: Lsn,
        last: bool,
        flaw: &str,
    ) -> Result<(), Error> {
        let proof = if !last {
            "a later segment, begun only after this one was durable".to_owned()
        } else if lsn <= self.need {
            format!("frames up to {} have been applied and were durable", self.need)
        } else {
            let witness = reader
                .find_header(at + 8, |head| head.durable_lsn >= lsn)
                .map_err(Error::io("read", path))?;
            match witness {
                None => return Ok(()),
                Some((offset, head)) => format!(
                    "frame {} at offset {offset} says that frames up to {} were durable",
                    head.lsn, head.durable_lsn
                ),
            }
        };
        Err(Error::corrupt(path, at, lsn, format!("{flaw}; it was durable once: {proof}")))
    }
}

/// Acts on a scan without damage. Afterwards every frame that was handed out is
/// durable, and the last segment ends with its last frame.
///
/// The frames of the last segment that no later frame vouches for are written
/// again before the sync: the process that wrote them may have died of a failed
/// sync, after which a kernel can hold clean pages that never reached the disk.
pub(crate) fn repair(disk: &dyn Disk, dir: &str, plan: &Plan) -> Result<(), Error> {
    if let Some(number) = plan.torn_file {
        let path = segment::path(dir, number);
        disk.remove(&path).map_err(Error::io("remove", &path))?;
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    }
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
