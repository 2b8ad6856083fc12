//! Signs of life of one HTTP connection, and when their absence ends it.
//!
//! What must stay true: receiving bytes alone is no sign of life, or a client
//! that sends one byte now and then would hold its place for ever. What counts is
//! a request that came in whole, a handler at work, a response being taken. The
//! verdict is a pure function of these and the time. Nor is writing one, in HTTP/2:
//! each ping is answered. There a response is being taken when its next piece is.

use platform::real::coarse_millis;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What to do with a connection now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// No request and nothing to do: say goodbye.
    Idle,
    /// Someone keeps us waiting in the middle of something: cut it off.
    Cut(&'static str),
}

#[derive(Debug)]
pub(super) struct Pulse {
    /// When it began, by [`coarse_millis`].
    epoch: u64,
    /// Milliseconds since `epoch` of the last sign of life.
    last: AtomicU64,
    /// When the first byte after a quiet time came, plus 1; 0: none has.
    header_since: AtomicU64,
    /// Requests begun whose responses are not wholly handed over.
    requests: AtomicUsize,
    /// Those of them that are with us: body being read, handler at work.
    handlers: AtomicUsize,
    /// HTTP/2 frames need not be headers, nor responses: the header's clock does not run,
    /// and writing is no sign of life.
    h2: AtomicBool,
}

impl Pulse {
    pub(super) fn new() -> Arc<Pulse> {
        Arc::new(Pulse {
            epoch: coarse_millis(),
            last: AtomicU64::new(0),
            header_since: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
            handlers: AtomicUsize::new(0),
            h2: AtomicBool::new(false),
        })
    }

    fn now(&self) -> u64 {
        coarse_millis().saturating_sub(self.epoch)
    }

    /// A piece of a response was taken.
    pub(super) fn beat(&self) {
        self.last.store(self.now(), Relaxed);
    }

    fn wrote(&self, is_taken: bool) {
        if is_taken && !self.h2.load(Relaxed) {
            self.beat();
        }
    }

    fn received(&self) {
        let quiet = self.requests.load(Relaxed) == 0 && !self.h2.load(Relaxed);
        if quiet && self.header_since.load(Relaxed) == 0 {
            self.header_since.store(self.now() + 1, Relaxed);
        }
    }

    /// A request's header has come in whole.
    pub(super) fn begin(self: &Arc<Self>, h2: bool) -> (InFlight, AtWork) {
        self.h2.store(h2, Relaxed);
        self.header_since.store(0, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        self.handlers.fetch_add(1, Relaxed);
        self.beat();
        (InFlight(self.clone()), AtWork(self.clone()))
    }

    /// Something is waited for that is ours to do, until the answer is dropped.
    pub(super) fn at_work(self: &Arc<Self>) -> AtWork {
        self.handlers.fetch_add(1, Relaxed);
        AtWork(self.clone())
    }

    pub(super) fn verdict(&self, header: Duration, idle: Duration) -> Verdict {
        self.verdict_at(self.now(), header, idle)
    }

    fn verdict_at(&self, now: u64, header: Duration, idle: Duration) -> Verdict {
        let passed = |since: u64, limit: Duration| {
            u128::from(now.saturating_sub(since)) >= limit.as_millis()
        };
        let header_since = self.header_since.load(Relaxed);
        if self.handlers.load(Relaxed) > 0 {
            Verdict::Keep
        } else if header_since > 0 && passed(header_since - 1, header) {
            Verdict::Cut("its header took too long")
        } else if !passed(self.last.load(Relaxed), idle) {
            Verdict::Keep
        } else if self.requests.load(Relaxed) > 0 {
            Verdict::Cut("it did not take its response")
        } else {
            Verdict::Idle
        }
    }
}

/// A request, until its response is handed over.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Pulse>);

impl InFlight {
    /// Whether other responses share the connection: what is written says nothing then.
    pub(super) fn is_one_of_many(&self) -> bool {
        self.0.h2.load(Relaxed)
    }

    /// A piece of the response was taken.
    pub(super) fn beat(&self) {
        self.0.beat();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Relaxed);
        self.0.beat();
    }
}

/// A request, until its response begins; or a body, while its next piece is made.
#[derive(Debug)]
pub(super) struct AtWork(Arc<Pulse>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.handlers.fetch_sub(1, Relaxed);
        self.0.beat();
    }
}

/// A stream whose bytes are noticed.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) pulse: Arc<Pulse>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pulse.received();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.pulse.wrote(polled.is_ready());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.pulse.wrote(polled.is_ready());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Duration = Duration::from_millis(10_000);
    const IDLE: Duration = Duration::from_millis(30_000);

    fn verdict(pulse: &Pulse, now: u64) -> Verdict {
        pulse.verdict_at(now, HEADER, IDLE)
    }

    #[test]
    fn a_quiet_connection_is_idle_after_its_time() {
        let pulse = Pulse::new();
        assert_eq!(verdict(&pulse, 29_999), Verdict::Keep);
        assert_eq!(verdict(&pulse, 30_000), Verdict::Idle);
    }

    #[test]
    fn bytes_without_a_request_start_the_clock_of_the_header_once() {
        let pulse = Pulse::new();
        pulse.received();
        pulse.header_since.store(5_001, Relaxed);
        pulse.received();
        assert_eq!(verdict(&pulse, 14_999), Verdict::Keep);
        assert!(matches!(verdict(&pulse, 15_000), Verdict::Cut(_)));
        let _request = pulse.begin(false);
        assert_eq!(verdict(&pulse, 15_000), Verdict::Keep);
    }

    #[test]
    fn a_handler_may_take_its_time_a_reader_may_not() {
        let pulse = Pulse::new();
        let (in_flight, at_work) = pulse.begin(false);
        assert_eq!(verdict(&pulse, 999_999), Verdict::Keep);
        drop(at_work);
        assert!(matches!(verdict(&pulse, 999_999), Verdict::Cut(_)));
        drop(in_flight);
        assert_eq!(verdict(&pulse, 999_999), Verdict::Idle);
    }

    #[test]
    fn frames_of_http2_do_not_start_the_clock_of_the_header() {
        let pulse = Pulse::new();
        drop(pulse.begin(true));
        pulse.received();
        assert_eq!(verdict(&pulse, 29_000), Verdict::Keep);
        assert_eq!(verdict(&pulse, 99_000), Verdict::Idle);
    }
}
