//! The body of a response that is made while it is sent: pieces, from a thread that may
//! wait to a connection that may not.
//!
//! What must stay true: at most [`IN_FLIGHT`] pieces wait at once, and the last besides;
//! a body is whole only if it was ended, whatever becomes of who gives it; who gives knows
//! at its next piece that nobody takes them any more.

use bytes::Bytes;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Pieces that wait to be taken.
const IN_FLIGHT: usize = 2;

/// A place for pieces, and where they come out.
pub fn pieces() -> (Giver, Pieces) {
    let shared = Arc::new(Shared::default());
    (Giver { shared: Arc::clone(&shared) }, Pieces { shared })
}

/// A part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What it holds.
    pub bytes: Bytes,
    /// Whether what was given with it ends with it: to who sends messages, that is one.
    pub is_end: bool,
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Piece {
        Piece { bytes, is_end: true }
    }
}

/// Why a piece was not taken.
#[derive(Debug)]
pub enum Ungiven {
    /// Too many wait, and none was taken in time.
    Full(Piece),
    /// Nobody takes them any more.
    Gone,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Piece>,
    end: End,
    gone: bool,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Whole,
    Cut,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    room: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one step: a holder that panicked leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives pieces. Dropped before [`Giver::finish`], the body breaks off.
#[derive(Debug)]
pub struct Giver {
    shared: Arc<Shared>,
}

impl Giver {
    /// Gives a piece if there is room now.
    ///
    /// # Errors
    /// There is none, or nobody takes it.
    pub fn try_give(&self, piece: impl Into<Piece>) -> Result<(), Ungiven> {
        let piece = piece.into();
        let state = self.shared.lock();
        if state.gone {
            return Err(Ungiven::Gone);
        }
        if state.waiting.len() >= IN_FLIGHT {
            return Err(Ungiven::Full(piece));
        }
        Self::put(state, piece);
        Ok(())
    }

    /// Gives a piece; waits for room on this thread.
    ///
    /// # Errors
    /// There was none in time, or nobody takes it.
    pub fn give(&self, piece: impl Into<Piece>, patience: Duration) -> Result<(), Ungiven> {
        let piece = piece.into();
        let until = Instant::now().checked_add(patience);
        let mut state = self.shared.lock();
        loop {
            if state.gone {
                return Err(Ungiven::Gone);
            }
            if state.waiting.len() < IN_FLIGHT {
                Self::put(state, piece);
                return Ok(());
            }
            // A patience beyond all clocks is one that has no end.
            let left = until
                .map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Ungiven::Full(piece));
            }
            let waited = self.shared.room.wait_timeout(state, left.min(Duration::from_secs(3600)));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives a piece as a part of the body that takes it, which comes back to this when the
    /// pieces are out: so nobody has to be woken. If nobody takes it, it is lost.
    pub(super) async fn feed(&self, piece: Bytes) {
        let mut left = Some(Piece::from(piece));
        poll_fn(|_| match left.take().map(|piece| self.try_give(piece)) {
            Some(Err(Ungiven::Full(piece))) => {
                left = Some(piece);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        })
        .await;
    }

    /// Whether nobody takes them any more.
    pub fn is_gone(&self) -> bool {
        self.shared.lock().gone
    }

    /// Ends the body with a last piece, which need not wait for room.
    pub fn finish(self, last: Bytes) {
        let mut state = self.shared.lock();
        state.end = End::Whole;
        Self::put(state, last.into());
    }

    fn put(mut state: MutexGuard<'_, State>, piece: Piece) {
        // A piece of nothing is none: it would end a body of HTTP/1.1.
        if !piece.bytes.is_empty() {
            state.waiting.push_back(piece);
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.end == End::Open {
            state.end = End::Cut;
            Self::put(state, Bytes::new().into());
        }
    }
}

/// Takes pieces. Dropped, it is known that nobody does.
#[derive(Debug)]
pub struct Pieces {
    shared: Arc<Shared>,
}

/// The body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut;

impl Pieces {
    /// The next piece; `None` behind the last. After an end it stays at that.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Cut>>> {
        let mut state = self.shared.lock();
        if let Some(piece) = state.waiting.pop_front() {
            drop(state);
            self.shared.room.notify_one();
            return Poll::Ready(Some(Ok(piece)));
        }
        match state.end {
            End::Whole => Poll::Ready(None),
            End::Cut => Poll::Ready(Some(Err(Cut))),
            End::Open => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Pieces {
    /// As [`Pieces::poll_next`].
    pub(super) async fn next(&mut self) -> Option<Result<Piece, Cut>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.gone = true;
        state.waiting.clear();
        drop(state);
        self.shared.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn piece(n: u8) -> Piece {
        Bytes::copy_from_slice(&[n]).into()
    }

    /// What comes next now.
    fn next(pieces: &mut Pieces) -> Poll<Option<Result<Piece, Cut>>> {
        pieces.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn two_wait_and_no_third() {
        let (giver, mut pieces) = pieces();
        assert!(giver.try_give(piece(1)).is_ok() && giver.try_give(piece(2)).is_ok());
        assert!(matches!(giver.try_give(piece(3)), Err(Ungiven::Full(_))));
        assert!(matches!(giver.give(piece(3), Duration::from_millis(5)), Err(Ungiven::Full(_))));
        assert_eq!(next(&mut pieces), Poll::Ready(Some(Ok(piece(1)))));
        assert!(giver.give(piece(3), Duration::ZERO).is_ok());
        giver.finish(piece(4).bytes);
        for n in 2..5 {
            assert_eq!(next(&mut pieces), Poll::Ready(Some(Ok(piece(n)))));
        }
        assert_eq!(next(&mut pieces), Poll::Ready(None));
        assert_eq!(next(&mut pieces), Poll::Ready(None));
    }

    #[test]
    fn what_is_not_ended_breaks_off_behind_what_was_given() {
        let (giver, mut pieces) = pieces();
        giver.try_give(piece(1)).unwrap();
        drop(giver);
        assert_eq!(next(&mut pieces), Poll::Ready(Some(Ok(piece(1)))));
        assert_eq!(next(&mut pieces), Poll::Ready(Some(Err(Cut))));
        assert_eq!(next(&mut pieces), Poll::Ready(Some(Err(Cut))));
    }

    #[test]
    fn who_waits_for_room_is_woken_by_the_end_of_who_takes() {
        let (giver, pieces) = pieces();
        giver.try_give(piece(1)).unwrap();
        giver.try_give(piece(2)).unwrap();
        let waiting = std::thread::spawn(move || (giver.give(piece(3), LONG), giver));
        std::thread::sleep(Duration::from_millis(20));
        drop(pieces);
        let (outcome, giver) = waiting.join().unwrap();
        assert!(matches!(outcome, Err(Ungiven::Gone)) && giver.is_gone());
        assert!(matches!(giver.try_give(piece(4)), Err(Ungiven::Gone)));
    }

    #[tokio::test]
    async fn many_pieces_come_in_order_and_wake_who_waits_for_them() {
        let (giver, mut pieces) = pieces();
        let giving = std::thread::spawn(move || {
            for n in 0..=255 {
                giver.give(piece(n), LONG).unwrap();
                // Nothing, which is no end.
                giver.give(Bytes::new(), LONG).unwrap();
            }
            giver.finish(Bytes::new());
        });
        for n in 0..=255 {
            let next = pieces.next().await;
            assert_eq!(next, Some(Ok(piece(n))));
        }
        assert_eq!(pieces.next().await, None);
        giving.join().unwrap();
    }
}
