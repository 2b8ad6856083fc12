//! Recovery: reads the log, tells its end from damage, and only then acts.
//!
//! Must stay true:
//! * [`scan`] changes nothing on the disk, so a refusal leaves everything as it
//!   was found; [`repair`] runs only after a scan that found no damage;
//! * frames are handed out in order, without a gap, each checked;
//! * memory is bounded by one frame and a header per segment, whatever the log's
//!   size, and every byte is looked at once or twice;
//! * a segment all of whose frames have been applied (the next begins at or before
//!   the first frame that is needed) is not read but for its header: it is kept for
//!   those who follow the log, who check each frame, and nothing rests on it. So
//!   opening costs what is to be replayed, and no more for a log that is kept long.
//!
//! Files are prepared with zeros and used again, so behind the last frame of a
//! segment there may be zeros or frames of an earlier use. The latter never check
//! (their place has another segment number or epoch), so they are never taken for
//! frames, nor for proofs.
//!
//! A segment goes on in the next file if that one's header says it begins with the
//! next frame. Otherwise the first thing that is not the next frame, at the place
//! of frame `n`, ends the log, unless any of these proves that `n` was durable,
//! or that this segment was ended: then it is **damage**:
//! * a header in this segment or in a later file says `durable_lsn >= n`;
//! * a later file begins another life (its epoch is higher): it was made after all
//!   before it was durable;
//! * an end mark stands there (written by recovery before it began another life),
//!   and the next file is not that life's;
//! * the caller's `must_have >= n` (the page file has applied it).
//!
//! Also damage: a frame that checks but is not the next LSN, or of another epoch;
//! a segment that starts before the one in front of it; a header that does not
//! check in the oldest file, or behind an end mark (a life's first segment gets its
//! name after its header), or that checks under another number and is no spare's.
//!
//! At the end, files behind it (of the same life, made but never durable) are
//! removed. It is reported as a torn tail if there are signs of a frame that was
//! begun (a header that checks, or bytes where only zeros could be, or what looks
//! like frame `n`); it was never acknowledged as durable, and is cut.

use crate::error::{Error, ReplayError};
use crate::frame;
use crate::reader::{Found, Reader, read_segment_header};
use crate::segment::{self, HEADER_LEN, HeaderFlaw, Kind, SegmentHeader};
use crate::{Frame, Lsn, Recovery, SegmentInfo};
use platform::{Disk, Open, shortage};

/// What a scan found and what repair is to do.
pub(crate) struct Plan {
    /// The segments of the log, oldest first.
    pub(crate) segments: Vec<SegmentInfo>,
    /// Files behind the end, newest first.
    remove: Vec<u64>,
    /// What to make durable, oldest first; the last is the last segment.
    keep: Vec<Keep>,
    /// The highest number and epoch in use (0 if the log is new).
    pub(crate) max_number: u64,
    pub(crate) max_epoch: u64,
    pub(crate) recovery: Recovery,
}

impl Plan {
    /// The numbers of the files behind the end of the log.
    pub(crate) fn behind(&self) -> &[u64] {
        &self.remove
    }

    /// The header of the last segment.
    pub(crate) fn last(&self) -> Option<SegmentHeader> {
        self.keep.last().map(|keep| keep.header)
    }
}

/// The end mark of an earlier life that found no space. Until it is there no other
/// life may begin.
pub(crate) struct Unmarked {
    path: String,
    at: u64,
    mark: [u8; frame::HEADER_LEN],
    /// Why it is not there.
    pub(crate) why: std::io::Error,
}

impl Unmarked {
    /// Puts it there, durably.
    pub(crate) fn put(&self, disk: &dyn Disk) -> std::io::Result<()> {
        let file = disk.open(&self.path, Open::Write)?;
        let put = file.write_at(&self.mark, self.at).and_then(|()| file.sync());
        put.inspect_err(|_| drop(file.set_len(self.at)))
    }
}

struct Keep {
    header: SegmentHeader,
    last_lsn: Lsn,
    /// Bytes up to the end of the last frame.
    bytes: u64,
    /// No frame vouches for those from here on being on the disk.
    unvouched_from: u64,
}

/// A file of the log: its header, or why it has none.
struct Listed {
    number: u64,
    path: String,
    header: Result<SegmentHeader, HeaderFlaw>,
}

impl Listed {
    fn sound(&self) -> Option<&SegmentHeader> {
        self.header.as_ref().ok()
    }
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
    let files = list(disk, dir)?;
    check_headers(&files, from)?;
    let epochs = files.iter().filter_map(Listed::sound).map(|h| h.epoch);
    let mut plan = Plan {
        segments: Vec::new(),
        remove: Vec::new(),
        keep: Vec::new(),
        max_number: files.last().map_or(0, |f| f.number),
        max_epoch: epochs.max().unwrap_or(0),
        recovery: Recovery::default(),
    };
    let mut scan = Scan { disk, from, need, vouched: need, next: None, replay };
    for at in 0..files.len() {
        if !scan.segment(&files, at, &mut plan)? {
            plan.remove = files[at + 1..].iter().rev().map(|f| f.number).collect();
            break;
        }
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
    let vouched = scan.vouched;
    let count = plan.keep.len();
    let mut at = 0;
    plan.keep.retain(|keep| {
        at += 1;
        at == count || keep.last_lsn > vouched
    });
    Ok(plan)
}

/// See [`crate::newest_epoch`].
pub(crate) fn newest_epoch(disk: &dyn Disk, dir: &str) -> Result<u64, Error> {
    let files = list(disk, dir)?;
    Ok(files.iter().filter_map(Listed::sound).map(|header| header.epoch).max().unwrap_or(0))
}

fn list(disk: &dyn Disk, dir: &str) -> Result<Vec<Listed>, Error> {
    let names = disk.list(dir).map_err(Error::io("list", dir))?;
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| Kind::of(name))
        .filter_map(|(kind, number)| (kind == Kind::Segment).then_some(number))
        .collect();
    numbers.sort_unstable();
    let mut files = Vec::with_capacity(numbers.len());
    for number in numbers {
        let path = segment::path(dir, number);
        let file = disk.open(&path, Open::Read).map_err(Error::io("open", &path))?;
        let header = read_segment_header(&*file, number).map_err(Error::io("read", &path))?;
        if let Err(HeaderFlaw::Other(found)) = header {
            return Err(Error::OtherFormat { file: path, found, known: segment::VERSION });
        }
        files.push(Listed { number, path, header });
    }
    Ok(files)
}

/// What the headers alone show to be damage.
fn check_headers(files: &[Listed], from: Lsn) -> Result<(), Error> {
    let Some(oldest) = files.first() else { return Ok(()) };
    let Some(first) = oldest.sound() else {
        let why = "the oldest segment's header does not check: it was durable before the file \
                   got its name";
        return Err(Error::corrupt(&oldest.path, 0, from, why));
    };
    if first.first_lsn > from {
        let why = format!(
            "the oldest segment starts at frame {}, frames from {from} on are needed",
            first.first_lsn
        );
        return Err(Error::corrupt(&oldest.path, 0, from, why));
    }
    let mut before = first;
    for file in files {
        match &file.header {
            Ok(header) => {
                if header.first_lsn < before.first_lsn || header.epoch < before.epoch {
                    let why = format!(
                        "the segment starts at frame {} in epoch {}, the one before at frame {} \
                         in epoch {}",
                        header.first_lsn, header.epoch, before.first_lsn, before.epoch
                    );
                    return Err(Error::corrupt(&file.path, 0, before.first_lsn, why));
                }
                before = header;
            }
            // A spare's old header, under a name it was just given, is from before
            // the oldest segment. Another one is of a file in the wrong place.
            Err(HeaderFlaw::Misnamed(header)) if header.first_lsn > first.first_lsn => {
                let why = format!("its header says that it is segment {}", header.number);
                return Err(Error::corrupt(&file.path, 0, header.first_lsn, why));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

struct Scan<'a> {
    disk: &'a dyn Disk,
    from: Lsn,
    need: Lsn,
    /// Frames up to here are said to be durable by others.
    vouched: Lsn,
    /// The LSN that comes next; none before the first segment.
    next: Option<Lsn>,
    replay: &'a mut dyn FnMut(Frame<'_>) -> Result<(), ReplayError>,
}

/// Where the chain of frames breaks.
struct Break<'a> {
    files: &'a [Listed],
    at_file: usize,
    header: SegmentHeader,
    offset: u64,
    lsn: Lsn,
    flaw: String,
}

impl Scan<'_> {
    /// Reads the frames of one file; whether the log goes on in the next.
    fn segment(
        &mut self,
        files: &[Listed],
        at_file: usize,
        plan: &mut Plan,
    ) -> Result<bool, Error> {
        let file = &files[at_file];
        let path = &file.path;
        let Some(&header) = file.sound() else {
            // The one before it ended where nothing could follow.
            return Err(Error::corrupt(path, 0, self.next.unwrap_or(0), "its header is gone"));
        };
        let after = files.get(at_file + 1).and_then(Listed::sound);
        let opened = self.disk.open(path, Open::Read).map_err(Error::io("open", path))?;
        if let Some(after) = after.filter(|after| after.first_lsn <= self.from) {
            // Its file may be longer than its frames, which nobody needs to know exactly.
            let bytes = opened.len().map_err(Error::io("read", path))?;
            self.end(plan, &header, after.first_lsn, bytes, bytes);
            return Ok(true);
        }
        let mut reader = Reader::new(opened, &header).map_err(Error::io("read", path))?;
        let mut at = HEADER_LEN;
        let mut next = header.first_lsn;
        let mut unvouched_from = HEADER_LEN;
        // All frames before `mark` are vouched for once one names `mark.0 - 1`.
        let mut mark = (next, at);
        let mut goes_on = true;
        if header.epoch > plan.keep.last().map_or(0, |keep| keep.header.epoch) {
            self.vouched = self.vouched.max(next - 1);
        }
        while after.is_none_or(|after| next < after.first_lsn) {
            let found = reader.frame_at(at).map_err(Error::io("read", path))?;
            let head = match found {
                Found::Frame(head) => head,
                other => {
                    let (flaw, ended) = match other {
                        Found::Bad(flaw) => (flaw.to_string(), false),
                        Found::Mark(lsn) => ("an end mark stands here".to_owned(), lsn == next),
                        _ => ("the file ends".to_owned(), false),
                    };
                    let place = Break { files, at_file, header, offset: at, lsn: next, flaw };
                    self.verdict(&mut reader, &place, ended, plan)?;
                    goes_on = false;
                    break;
                }
            };
            if head.lsn != next || head.epoch != header.epoch || head.durable_lsn >= head.lsn {
                let why = format!(
                    "a sound frame says LSN {}, epoch {}, durable LSN {}; the log was at LSN \
                     {next}, epoch {}",
                    head.lsn, head.epoch, head.durable_lsn, header.epoch
                );
                return Err(Error::corrupt(path, at, next, why));
            }
            self.vouched = self.vouched.max(head.durable_lsn);
            if self.vouched + 1 >= mark.0 {
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
        self.end(plan, &header, next, at, unvouched_from);
        Ok(goes_on)
    }

    /// Notes a segment whose frames end before `next`, at `bytes`.
    fn end(
        &mut self,
        plan: &mut Plan,
        header: &SegmentHeader,
        next: Lsn,
        bytes: u64,
        unvouched_from: u64,
    ) {
        let SegmentHeader { number, first_lsn, .. } = *header;
        let last_lsn = next - 1;
        plan.keep.push(Keep { header: *header, last_lsn, bytes, unvouched_from });
        plan.segments.push(SegmentInfo { number, first_lsn, last_lsn, bytes, sealed: true });
        self.next = Some(next);
    }

    /// Whether the break is damage or the end of the log: see the module's page.
    fn verdict(
        &self,
        reader: &mut Reader,
        at: &Break<'_>,
        ended: bool,
        plan: &mut Plan,
    ) -> Result<(), Error> {
        let path = &at.files[at.at_file].path;
        let later = &at.files[at.at_file + 1..];
        if ended {
            // Another life follows, or was about to.
            let Some(next) = later.first() else { return Ok(()) };
            let why = match next.sound() {
                None => "the segment's header does not check: it was durable before the file got \
                         its name"
                    .to_owned(),
                Some(header) => format!(
                    "the segment starts at frame {}, the one before was ended at {}",
                    header.first_lsn,
                    at.lsn - 1
                ),
            };
            return Err(Error::corrupt(&next.path, 0, at.lsn, why));
        }
        let rest =
            reader.rest(at.offset, at.lsn, at.header.epoch).map_err(Error::io("read", path))?;
        let torn = if at.header.recycled { rest.sound } else { rest.sound.max(rest.filled) };
        let torn = if torn == 0 && rest.looks_torn { frame::HEADER_LEN as u64 } else { torn };
        let mut proof = rest.witness.map(|(offset, head)| {
            format!(
                "frame {} at offset {offset} says that frames up to {} were durable",
                head.lsn, head.durable_lsn
            )
        });
        for file in later {
            if proof.is_some() {
                break;
            }
            proof = self.proof_in(file, at)?;
        }
        if proof.is_none() && at.lsn <= self.need && (torn > 0 || !later.is_empty()) {
            proof = Some(format!("frames up to {} have been applied and were durable", self.need));
        }
        let Some(proof) = proof else {
            // A log that is merely too short is refused by the caller.
            if torn > 0 {
                plan.recovery.cut(path, at.offset, torn);
            }
            return Ok(());
        };
        // Is it this segment that is damaged, or the header of the next?
        match later.first() {
            Some(next) if torn == 0 && next.sound().is_none() => {
                let why =
                    format!("the segment's header does not check; it was durable once: {proof}");
                Err(Error::corrupt(&next.path, 0, at.lsn, why))
            }
            _ => {
                let why = format!("{}; it was durable once: {proof}", at.flaw);
                Err(Error::corrupt(path, at.offset, at.lsn, why))
            }
        }
    }

    /// A proof in a later file that the frame of the break was durable.
    fn proof_in(&self, file: &Listed, at: &Break<'_>) -> Result<Option<String>, Error> {
        // Where its header is gone, it may still be of this life.
        let header = SegmentHeader { number: file.number, ..at.header };
        let header = file.sound().unwrap_or(&header);
        if header.epoch > at.header.epoch {
            return Ok(Some(format!(
                "segment {} begins another life, after all before it was durable",
                file.path
            )));
        }
        let path = &file.path;
        let opened = self.disk.open(path, Open::Read).map_err(Error::io("open", path))?;
        let mut reader = Reader::new(opened, header).map_err(Error::io("read", path))?;
        let rest =
            reader.rest(HEADER_LEN, at.lsn, header.epoch).map_err(Error::io("read", path))?;
        Ok(rest.witness.map(|(offset, head)| {
            format!(
                "frame {} in {path} at offset {offset} says that frames up to {} were durable",
                head.lsn, head.durable_lsn
            )
        }))
    }
}

/// Acts on a scan without damage. Afterwards every frame that was handed out is
/// durable, under a durable name, and the last segment ends with its last frame
/// and an end mark; only the mark may be missing, on a full disk, and is given back.
///
/// The frames that no later frame vouches for are written again before the sync:
/// the process that wrote them may have died of a failed sync, after which a
/// kernel can hold clean pages that never reached the disk.
pub(crate) fn repair(disk: &dyn Disk, dir: &str, plan: &Plan) -> Result<Option<Unmarked>, Error> {
    let mut unmarked = None;
    // Newest first: what is left is always a run without a hole.
    for &number in &plan.remove {
        let path = segment::path(dir, number);
        disk.remove(&path).map_err(Error::io("remove", &path))?;
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    }
    for (i, keep) in plan.keep.iter().enumerate() {
        let path = segment::path(dir, keep.header.number);
        let file = disk.open(&path, Open::Write).map_err(Error::io("open", &path))?;
        let last = i + 1 == plan.keep.len();
        if last && file.len().map_err(Error::io("read", &path))? != keep.bytes {
            file.set_len(keep.bytes).map_err(Error::io("cut", &path))?;
        }
        if keep.unvouched_from < keep.bytes || last {
            file.write_at(&keep.header.encode(), 0).map_err(Error::io("write", &path))?;
        }
        let mut reader =
            Reader::new(file.clone(), &keep.header).map_err(Error::io("read", &path))?;
        reader.rewrite(keep.unvouched_from, keep.bytes).map_err(Error::io("write", &path))?;
        if last {
            let mark = frame::mark(reader.place(keep.bytes), keep.last_lsn + 1, keep.header.epoch);
            match file.write_at(&mark, keep.bytes) {
                Err(why) if shortage(&why).is_some() => {
                    file.set_len(keep.bytes).map_err(Error::io("cut", &path))?;
                    let (path, at) = (path.clone(), keep.bytes);
                    unmarked = Some(Unmarked { path, at, mark, why });
                }
                written => written.map_err(Error::io("write", &path))?,
            }
        }
        file.sync().map_err(Error::io("sync", &path))?;
    }
    if plan.keep.is_empty() {
        return Ok(None);
    }
    // Renames of the process that died may still be on their way.
    disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    Ok(unmarked)
}
