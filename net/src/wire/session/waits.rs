//! A session one of whose requests waits for something to come to pass.
//!
//! What must stay true: it goes on listening, so that a Cancel, the end of the client and
//! that of the server end the wait; what is behind in the session waits with it.

use super::{Next, Tcp, receive};
use crate::wire::WireHandler;
use crate::wire::wait::Waiting;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;

impl<H: WireHandler> Tcp<'_, H> {
    /// Waits until a request has its answer, and goes on listening.
    pub(super) async fn wait(&mut self, mut waiting: Waiting) -> Next {
        let shared = self.shared;
        loop {
            let Some(is_last) = self.news(&mut waiting).await else { return Next::Gone };
            let turns =
                async { (shared.waiters.turn().await, shared.replies.share(shared.place()).await) };
            let (Some((turn, share)), _) = self.meanwhile(turns, true).await else {
                return Next::Gone;
            };
            self.share = Some(share);
            let session = self.session.clone();
            let mut out = std::mem::take(&mut self.outbox);
            let job = tokio::task::spawn_blocking({
                let shared = shared.clone();
                move || {
                    let asked = waiting.ask(&shared, &session, is_last, &mut out);
                    (waiting, asked, out)
                }
            });
            let (Some(Ok((back, asked, out))), broken) = self.meanwhile(job, false).await else {
                tracing::error!("a request that waited was lost");
                return Next::Gone;
            };
            // Not before its thread has nothing to do: the next one needs no other.
            drop(turn);
            (waiting, self.outbox) = (back, out);
            if broken {
                return Next::Gone;
            }
            match asked {
                ControlFlow::Continue(()) => self.share = None,
                ControlFlow::Break(over) => {
                    self.wire.answered(1);
                    return self.tell(over).await;
                }
            }
        }
    }

    /// Waits for news of a request, and says whether it is asked for the last time; `None`:
    /// the connection broke off.
    async fn news(&mut self, waiting: &mut Waiting) -> Option<bool> {
        loop {
            if self.ended || waiting.cancelled.load(Relaxed) {
                return Some(true);
            }
            let wants = self.wire.wants() > 0;
            let received = tokio::select! {
                biased;
                () = self.closing.wait() => return Some(true),
                is_news = waiting.news() => return Some(!is_news),
                received = receive(&mut self.stream, &mut self.wire), if wants => received,
            };
            match received {
                Ok(0) => self.ended = true,
                Ok(_) => self.listen(),
                Err(error) => {
                    tracing::debug!(peer = %self.peer, %error, "a session broke off as it waited");
                    return None;
                }
            }
        }
    }
}
