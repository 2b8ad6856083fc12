//! A door for `tests/fuzz`; not part of the interface.

use super::pulse::Pulse;
use super::{GuestRequest, GuestResponse, HttpHandler, HttpOptions, Shared, answer, builder};
use crate::Security;
use crate::server::Closing;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Turns in which nothing is read or written, after which nothing more will come.
const QUIET: u32 = 8;

/// The file names below a directory that a path means, if it can mean any.
pub fn file_names(path: &str) -> Option<Vec<String>> {
    super::statics::parts(path)
}

struct Answers<F>(F);

impl<F: Fn(GuestRequest) -> GuestResponse + Send + Sync + 'static> HttpHandler for Answers<F> {
    async fn handle(&self, request: Arc<GuestRequest>) -> GuestResponse {
        (self.0)(Arc::unwrap_or_clone(request))
    }
}

/// What a client without a socket says, and what it was told.
#[derive(Default)]
struct Talk {
    said: Vec<u8>,
    read: usize,
    piece: usize,
    told: Vec<u8>,
}

#[derive(Clone, Default)]
struct Client(Arc<Mutex<Talk>>);

impl Client {
    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> (usize, usize) {
        let talk = self.talk();
        (talk.read, talk.told.len())
    }
}

impl AsyncRead for Client {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut talk = self.talk();
        let rest = &talk.said[talk.read..];
        let len = rest.len().min(talk.piece).min(buf.remaining());
        if len == 0 {
            return Poll::Pending; // It stays, and says no more.
        }
        buf.put_slice(&rest[..len]);
        talk.read += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.talk().told.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Serves one connection on which `said` arrives in pieces of so many bytes, until
/// nothing moves any more: what was sent.
///
/// # Panics
/// `answers` does, or there is no memory for a runtime.
pub fn connection(
    options: HttpOptions,
    said: &[u8],
    piece: usize,
    answers: impl Fn(GuestRequest) -> GuestResponse + Send + Sync + 'static,
) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let (_never, closing) = Closing::new();
    let shared = Arc::new(Shared::new(Security::Plaintext, options, Answers(answers), closing));
    let client = Client::default();
    *client.talk() = Talk { said: said.to_vec(), piece: piece.max(1), ..Talk::default() };
    runtime.expect("a runtime of one thread").block_on(async {
        let (pulse, peer) = (Pulse::new(), SocketAddr::from(([127, 0, 0, 1], 9)));
        let builder = builder(&shared.options);
        let service = service_fn(move |request| {
            let (shared, pulse) = (shared.clone(), pulse.clone());
            async move {
                Ok::<_, Infallible>(answer::answer(&shared, &pulse, peer, None, request).await)
            }
        });
        let mut serving = pin!(builder.serve_connection(TokioIo::new(client.clone()), service));
        let mut quiet = 0;
        while quiet < QUIET {
            let before = client.progress();
            tokio::select! {
                biased;
                _ = serving.as_mut() => break,
                () = tokio::task::yield_now() => {}
            }
            quiet = if client.progress() == before { quiet + 1 } else { 0 };
        }
    });
    let mut talk = client.talk();
    std::mem::take(&mut talk.told)
}
