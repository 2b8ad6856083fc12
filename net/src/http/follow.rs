//! Event streams (`text/event-stream`) that follow something by themselves: a guest has said
//! what, once, and is not called again.
//!
//! What must stay true: what is sent is whole events; nothing is read before what was read
//! before it was taken by the connection, so that a slow reader holds one piece of it and
//! no more. Between two pieces nothing is held but what follows, and a timer, in the
//! response's body: when the client goes, they do.

use super::body::ResponseBody;
use super::pieces::{Giver, pieces};
use super::{HttpHandler, Shared};
use crate::traffic::Live;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::header::HeaderName;
use std::pin::Pin;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

/// By which a guest has the host follow, and says what: a document in JSON.
pub(super) const WATCH: HeaderName = HeaderName::from_static("planck-watch");

/// What an event stream follows.
pub trait Follow: Send + 'static {
    /// What comes next. May block, briefly: it runs where that holds up nobody else.
    fn next(&mut self) -> Followed;

    /// What tells a client that somebody is there, and how far it is: whole lines of an
    /// event stream that no page is shown as an event.
    fn beat(&self) -> Bytes;
}

/// What came of following.
pub enum Followed {
    /// Whole events.
    Events(Bytes),
    /// There is nothing yet; there may be when this ends.
    Nothing(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// The last events: there will be no more.
    End(Bytes),
}

/// The same response with a body that follows.
pub(super) fn go_on<H: HttpHandler>(
    shared: &Arc<Shared<H>>,
    follow: Box<dyn Follow>,
    response: Response<ResponseBody>,
    place: Live,
) -> Response<ResponseBody> {
    let (giver, more) = pieces();
    let (mut head, first) = response.into_parts();
    head.headers.remove(hyper::header::CONTENT_LENGTH);
    let run = run(Arc::clone(shared), follow, first, giver, place);
    Response::from_parts(head, ResponseBody::driven(more, Box::pin(run)))
}

/// Dropped before its end, what it gives breaks off.
async fn run<H: HttpHandler>(
    shared: Arc<Shared<H>>,
    mut follow: Box<dyn Follow>,
    mut first: ResponseBody,
    giver: Giver,
    _place: Live,
) {
    while let Some(frame) = first.frame().await {
        // Cut where it is made: so is this.
        let Ok(frame) = frame else { return };
        if let Ok(data) = frame.into_data() {
            giver.feed(data).await;
        }
    }
    let mut closing = shared.closing.clone();
    loop {
        let turn = shared.following.clone().acquire_owned().await;
        let job = tokio::task::spawn_blocking(move || {
            let next = follow.next();
            (follow, next)
        });
        // It panicked: that is in the log, and the stream breaks off.
        let Ok((back, next)) = job.await else { return };
        drop(turn);
        follow = back;
        match next {
            Followed::Events(events) => {
                giver.feed(events).await;
                if closing.is_now() {
                    return giver.finish(Bytes::new());
                }
            }
            Followed::End(events) => return giver.finish(events),
            Followed::Nothing(mut news) => {
                let beat = shared.options.heartbeat;
                let mut next = Instant::now() + beat;
                loop {
                    tokio::select! {
                        biased;
                        () = closing.wait() => return giver.finish(Bytes::new()),
                        () = &mut news => break,
                        () = sleep_until(next) => {}
                    }
                    next += beat;
                    giver.feed(follow.beat()).await;
                }
            }
        }
    }
}
