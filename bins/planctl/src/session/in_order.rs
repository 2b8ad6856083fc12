//! Requests one after the other over QUIC, which knows no order.
//!
//! What must stay true: as over TCP, a request is begun when the one before was
//! answered, and answers come in the order in which was asked.

use planck_client::{Error, Result, Session};
use proto::Request;
use std::pin::Pin;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A request that waits for its turn.
type Asking = Pin<Box<dyn Future<Output = Result<Vec<u8>>> + Send>>;

/// See the module. Who asks bounds what waits, by taking answers.
#[derive(Debug)]
pub(super) struct InOrder {
    to: UnboundedSender<Asking>,
    answers: UnboundedReceiver<Result<Vec<u8>>>,
}

impl InOrder {
    /// Carried on by a task of `runtime`.
    pub(super) fn start(runtime: &Runtime) -> InOrder {
        let (to, mut asked) = unbounded_channel::<Asking>();
        let (answered, answers) = unbounded_channel();
        runtime.spawn(async move {
            while let Some(asking) = asked.recv().await {
                if answered.send(asking.await).is_err() {
                    return;
                }
            }
        });
        InOrder { to, answers }
    }

    pub(super) fn send(&self, session: &Session, request: &Request<'_>) -> Result<()> {
        self.to.send(Box::pin(session.call(request))).map_err(|_| Error::Broken)
    }

    /// The answer to the oldest request.
    pub(super) async fn receive(&mut self) -> Result<Vec<u8>> {
        self.answers.recv().await.unwrap_or(Err(Error::Broken))
    }
}
