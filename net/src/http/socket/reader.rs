//! What comes over a WebSocket, one thing at a time.
//!
//! What must stay true: a large message has its share of the memory for all before it comes,
//! and its time; reading can be given up at any moment and goes on where it was.

use super::super::Shared;
use super::super::receive::{BODY_RATE, SMALL_BODY};
use super::End;
use super::frame::{Decoder, Event, Fault};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, ReadHalf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

/// Bytes read at once.
const BUFFER: usize = 8 << 10;

/// Why nothing comes any more.
#[derive(Debug)]
pub(super) enum Ended {
    Gone,
    Fault(Fault),
    /// There is no memory for its message now.
    Crowded,
    /// Its message takes too long.
    Slow,
}

impl From<Ended> for End {
    fn from(ended: Ended) -> End {
        match ended {
            Ended::Gone => End::Gone,
            Ended::Fault(fault) => {
                let (code, why) = fault.close();
                End::Fault(code, why)
            }
            Ended::Crowded => End::Fault(1013, "the server receives too much at once; try again"),
            Ended::Slow => End::Fault(1008, "the message came too slowly"),
        }
    }
}

pub(super) struct Reader<S> {
    read: ReadHalf<S>,
    decoder: Decoder,
    buffer: Box<[u8]>,
    /// What of the buffer is not decoded.
    start: usize,
    end: usize,
    /// When something came last.
    pub(super) heard: Instant,
    /// When the message began that has not ended.
    begun: Option<Instant>,
    patience: Duration,
    /// Of the memory for large messages, in KiB.
    share: Option<OwnedSemaphorePermit>,
}

impl<S: AsyncRead> Reader<S> {
    pub(super) fn new(read: ReadHalf<S>, limit: usize, patience: Duration) -> Reader<S> {
        Reader {
            read,
            decoder: Decoder::new(limit),
            buffer: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
            heard: Instant::now(),
            begun: None,
            patience,
            share: None,
        }
    }

    /// The next thing that comes. May be dropped, and called again.
    pub(super) async fn next<H>(&mut self, shared: &Shared<H>) -> Result<Event, Ended> {
        loop {
            let mut bytes = &self.buffer[self.start..self.end];
            let event = self.decoder.feed(&mut bytes).map_err(Ended::Fault)?;
            self.start = self.end - bytes.len();
            match event {
                Some(Event::Grows(due)) => self.make_room(shared, due)?,
                Some(event) => {
                    if !self.decoder.is_within() {
                        self.begun = None;
                    }
                    return Ok(event);
                }
                None => self.read().await?,
            }
        }
    }

    /// The message was dealt with: its memory is for others.
    pub(super) fn let_go(&mut self) {
        self.share = None;
    }

    /// Reads what comes until nothing does, and makes nothing of it.
    pub(super) async fn discard(&mut self) {
        while let Ok(read) = self.read.read(&mut self.buffer).await {
            if read == 0 {
                return;
            }
        }
    }

    fn make_room<H>(&mut self, shared: &Shared<H>, due: usize) -> Result<(), Ended> {
        let have = self.share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = due.div_ceil(1024).saturating_sub(have);
        if due <= SMALL_BODY || more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let Ok(more) = shared.buffers.clone().try_acquire_many_owned(more) else {
            return Err(Ended::Crowded);
        };
        match &mut self.share {
            Some(share) => share.merge(more),
            None => self.share = Some(more),
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Ended> {
        let reading = self.read.read(&mut self.buffer);
        let read = if self.decoder.is_within() {
            let begun = *self.begun.get_or_insert_with(Instant::now);
            let granted = Duration::from_secs(self.decoder.received() as u64 / BODY_RATE);
            let read = timeout_at(begun + self.patience + granted, reading).await;
            read.map_err(|_| Ended::Slow)?
        } else {
            self.begun = None;
            reading.await
        };
        match read {
            Ok(0) => Err(Ended::Gone),
            Ok(read) => {
                (self.start, self.end) = (0, read);
                self.heard = Instant::now();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(_) => Err(Ended::Gone),
        }
    }
}
