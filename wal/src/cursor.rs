//! Reads the durable frames of a living log, for archive, replication, watch.
//!
//! Must stay true: a frame is handed out only when it is durable, so nothing
//! that a power cut could take back is ever shipped; LSNs come dense and in
//! order; no lock is held while reading.

use crate::error::Error;
use crate::frame::{Head, frame_len};
use crate::log::Inner;
use crate::reader::{Found, Reader, read_segment_header};
use crate::segment::{self, HEADER_LEN};
use crate::{Frame, Lsn};
use platform::Open;
use std::sync::Arc;

/// A place in the log. Made by [`crate::Wal::cursor`]; outlives the `Wal` value.
pub struct Cursor {
    log: Arc<Inner>,
    reader: Option<Reader>,
    /// Offset of the next frame in the reader's segment.
    at: u64,
    /// The LSN of the frame at `at`.
    next: Lsn,
    /// The first frame to hand out.
    want: Lsn,
    /// Frames up to here were durable, so whole, when the reader last looked.
    horizon: Lsn,
}

impl Cursor {
    pub(crate) fn new(log: Arc<Inner>, from: Lsn) -> Result<Self, Error> {
        let want = from.max(1);
        let (_, oldest) = log.segment_of(want);
        if want < oldest {
            return Err(Error::Gone { wanted: want, oldest });
        }
        Ok(Self { log, reader: None, at: 0, next: want, want, horizon: 0 })
    }

    /// The next durable frame, or `None` if there is none yet: ask again later.
    ///
    /// # Errors
    /// [`Error::Gone`] if truncation overtook this cursor, [`Error::Corrupt`],
    /// [`Error::Io`]. After an error the cursor stays where it was.
    #[allow(clippy::should_implement_trait)] // lending: the frame borrows the buffer
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, Error> {
        let Some(head) = self.find()? else { return Ok(None) };
        let at = self.at;
        self.at += frame_len(head.payload_len);
        self.next = head.lsn + 1;
        self.want = self.next;
        let Some(reader) = &self.reader else { return Ok(None) };
        Ok(Some(Frame {
            lsn: head.lsn,
            wall_micros: head.wall_micros,
            epoch: head.epoch,
            payload: reader.payload(at, &head),
        }))
    }

    /// The LSN of the frame that [`Cursor::next`] hands out next.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.want
    }

    /// Stands on the frame `want` and returns its head, if it is durable.
    fn find(&mut self) -> Result<Option<Head>, Error> {
        if self.want > self.horizon {
            self.horizon = self.log.durable_lsn();
            if self.want > self.horizon {
                return Ok(None);
            }
            // What was read ahead may be half of a frame: look again.
            if let Some(reader) = &mut self.reader {
                let path = segment::path(&self.log.dir, reader.number());
                reader.refresh().map_err(Error::io("read", &path))?;
            }
        }
        loop {
            let Some(reader) = &mut self.reader else {
                self.enter(self.want)?;
                continue;
            };
            let path = segment::path(&self.log.dir, reader.number());
            match reader.frame_at(self.at).map_err(Error::io("read", &path))? {
                Found::Frame(head) if head.lsn != self.next => {
                    let why = format!("a sound frame says LSN {}", head.lsn);
                    return Err(Error::corrupt(&path, self.at, self.next, why));
                }
                Found::Frame(head) if head.lsn >= self.want => return Ok(Some(head)),
                Found::Frame(head) => {
                    self.at += frame_len(head.payload_len);
                    self.next += 1;
                }
                // Behind the last frame of a segment stands anything; and a segment
                // that was truncated may be in use again under another number.
                other => {
                    let here = reader.number();
                    if self.log.segment_of(self.next).0 != here {
                        self.enter(self.next)?;
                        continue;
                    }
                    let what = match other {
                        Found::Bad(flaw) => flaw.to_string(),
                        Found::Mark(_) => "an end mark stands here".to_owned(),
                        _ => "the file ends".to_owned(),
                    };
                    let why = format!("{what}, but the frame was durable");
                    return Err(Error::corrupt(&path, self.at, self.next, why));
                }
            }
        }
    }

    /// Opens the segment that holds frame `lsn` and stands at its first frame.
    fn enter(&mut self, lsn: Lsn) -> Result<(), Error> {
        let (number, first) = self.log.segment_of(lsn);
        if first > lsn {
            return Err(Error::Gone { wanted: lsn, oldest: first });
        }
        let path = segment::path(&self.log.dir, number);
        let file = match self.log.disk.open(&path, Open::Read) {
            Ok(file) => file,
            // Truncated between the look-up and here.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let (_, oldest) = self.log.segment_of(0);
                if oldest > lsn {
                    return Err(Error::Gone { wanted: lsn, oldest });
                }
                return Err(Error::io("open", &path)(e));
            }
            Err(e) => return Err(Error::io("open", &path)(e)),
        };
        let Ok(header) = read_segment_header(&*file, number).map_err(Error::io("read", &path))?
        else {
            // Retired and begun anew since it was opened?
            let (_, oldest) = self.log.segment_of(0);
            if oldest > lsn {
                return Err(Error::Gone { wanted: lsn, oldest });
            }
            return Err(Error::corrupt(&path, 0, lsn, "the segment's header does not check"));
        };
        self.reader = Some(Reader::new(file, &header).map_err(Error::io("read", &path))?);
        self.at = HEADER_LEN;
        self.next = header.first_lsn;
        Ok(())
    }
}
