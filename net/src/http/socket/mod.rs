//! WebSockets (RFC 6455): each message is a call of the guest.
//!
//! What must stay true: a connection has one call at a time, in the order of what came, and
//! while one runs nothing is read, so whoever sends waits. Between calls a connection holds
//! no instance: its request, a buffer, a timer. Whatever it does wrong, it is told by a
//! code; whatever it does not do ends it in time. Who was accepted is told of as closed,
//! once, if the guest can be asked.
//!
//! ```text
//! GET + upgrade   planck-websocket: open                   101 accepts, all else is an answer
//! MESSAGE         planck-message: text | binary, its body  a body goes back as a message
//! TICK            asked for by planck-again-ms             as MESSAGE
//! CLOSE           planck-close: the code                   whatever it says, nobody hears it
//! ```
//! Each with `planck-connection`, the id of the connection.

mod calls;
mod frame;
mod handshake;
mod reader;

pub(super) use calls::{CLOSE, MESSAGE, TICK};
pub(super) use handshake::{Handshake, VERSION, asked};

use super::message::{GuestRequest, GuestResponse, Refused};
use super::pieces::{Cut, Piece, Pieces};
use super::{GOODBYE, HttpHandler, Shared};
use crate::traffic::{Lasting, Live};
use bytes::Bytes;
use calls::Outcome;
use frame::{Event, Frame, Kind, Utf8, head};
use hyper::Response;
use hyper::header::{CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use reader::{Ended, Reader};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, WriteHalf, split};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Says that a request asks for a WebSocket.
pub(super) const SOCKET: HeaderName = HeaderName::from_static("planck-websocket");
/// Names the connection.
pub(super) const ID: HeaderName = HeaderName::from_static("planck-connection");

/// Bytes that are written in one go.
const PIECE: usize = 64 << 10;
/// For the last call of a connection.
const FAREWELL: Duration = Duration::from_secs(10);

/// What a connection does once it is one of HTTP no more.
type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a request leaves what its connection does next.
#[derive(Default)]
pub(super) struct Door(Mutex<Option<Job>>);

impl Door {
    fn leave(&self, job: Job) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
    }

    /// What was left, if anything was.
    pub(super) fn take(&self) -> Option<Job> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A place among what lasts, before the guest is asked.
pub(super) fn place<H>(shared: &Shared<H>) -> Result<Live, Refused> {
    shared.live(Lasting::Sockets)
}

/// Accepts: the response, and behind the door what comes after it. `request` is that of the
/// handshake, `answer` the guest's with status 101.
pub(super) fn accept<H: HttpHandler>(
    shared: &Arc<Shared<H>>,
    door: &Door,
    handshake: Handshake,
    request: &GuestRequest,
    answer: GuestResponse,
    place: Live,
) -> Result<Response<()>, String> {
    let mut response = Response::new(());
    *response.status_mut() = hyper::StatusCode::SWITCHING_PROTOCOLS;
    let mut protocol = None;
    for (name, value) in &answer.headers {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("{name:?} is not a header's name"))?;
        let value = HeaderValue::from_maybe_shared(value.clone())
            .map_err(|_| format!("the value of header {name} has a byte HTTP does not allow"))?;
        if name == hyper::header::SEC_WEBSOCKET_PROTOCOL {
            let chosen = value.to_str().unwrap_or_default();
            if protocol.is_some() || !handshake.protocols.iter().any(|offered| offered == chosen) {
                return Err(format!("the client did not offer the protocol {chosen:?}"));
            }
            protocol = Some(value.clone());
        }
        response.headers_mut().append(name, value);
    }
    super::message::strip(response.headers_mut());
    // What they wish for is read of the answer itself.
    super::message::strip_ours(response.headers_mut());
    for ours in [
        hyper::header::CONTENT_LENGTH,
        hyper::header::CONTENT_TYPE,
        hyper::header::SEC_WEBSOCKET_EXTENSIONS,
    ] {
        response.headers_mut().remove(ours);
    }
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, handshake.accept);
    let socket = Socket {
        shared: Arc::clone(shared),
        request: calls::base(request, protocol),
        tick: None,
        pinged: None,
        place,
    };
    let upgrade = handshake.upgrade;
    door.leave(Box::pin(async move {
        match upgrade.await {
            Ok(io) => socket.run(io, answer).await,
            // It went before it was one.
            Err(_) => socket.farewell(1006).await,
        }
    }));
    Ok(response)
}

/// How a connection ends.
enum End {
    /// We say so: a code, and a reason.
    Ours(u16, String),
    /// We say so, since it sent what is none: nothing of it is read any more.
    Fault(u16, &'static str),
    /// The client says so.
    Theirs(Option<u16>),
    /// It is gone.
    Gone,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Gone
    }
}

struct Socket<H> {
    shared: Arc<Shared<H>>,
    /// Of which those of the calls are made.
    request: GuestRequest,
    /// When the guest wants to be called.
    tick: Option<Instant>,
    /// When it was last asked whether it is there.
    pinged: Option<Instant>,
    place: Live,
}

type Io = TokioIo<Upgraded>;
type Writer = WriteHalf<Io>;

enum Next {
    Heard(Result<Event, Ended>),
    Tick,
    Silence,
    Draining,
}

impl<H: HttpHandler> Socket<H> {
    async fn run(mut self, io: Upgraded, accepted: GuestResponse) {
        let (read, mut write) = split(TokioIo::new(io));
        let options = &self.shared.options;
        let mut reader = Reader::new(read, options.max_body_size, options.idle_timeout);
        let Err(end) = self.talk(&mut reader, &mut write, accepted).await;
        let code = match end {
            End::Ours(code, reason) => {
                if self.close(&mut write, Some(code), &reason).await.is_ok() {
                    let theirs = async {
                        while !matches!(
                            reader.next(&self.shared).await,
                            Ok(Event::Close(_)) | Err(_)
                        ) {}
                    };
                    timeout(GOODBYE, theirs).await.ok();
                }
                code
            }
            End::Fault(code, reason) => {
                if self.close(&mut write, Some(code), reason).await.is_ok() {
                    // Closing over bytes not read would take the close with it.
                    timeout(GOODBYE, reader.discard()).await.ok();
                }
                code
            }
            End::Theirs(code) => {
                self.close(&mut write, code, "").await.ok();
                code.unwrap_or(1005)
            }
            End::Gone => 1006,
        };
        drop((reader, write));
        self.farewell(code).await;
    }

    /// To the end, which is the only way out.
    async fn talk(
        &mut self,
        reader: &mut Reader<Io>,
        write: &mut Writer,
        accepted: GuestResponse,
    ) -> Result<std::convert::Infallible, End> {
        self.tell(write, accepted).await?;
        let mut closing = self.shared.closing.clone();
        let beat = self.shared.options.heartbeat;
        loop {
            let quiet = self.pinged.map_or(reader.heard, |at| at.max(reader.heard)) + beat;
            let tick = self.tick.unwrap_or_else(|| quiet + beat);
            let next = tokio::select! {
                biased;
                () = closing.wait() => Next::Draining,
                event = reader.next(&self.shared) => Next::Heard(event),
                () = sleep_until(tick), if self.tick.is_some() => Next::Tick,
                () = sleep_until(quiet) => Next::Silence,
            };
            match next {
                Next::Draining => return Err(End::Ours(1001, "the server stops".to_owned())),
                Next::Heard(Err(ended)) => return Err(ended.into()),
                Next::Heard(Ok(Event::Message(kind, message))) => {
                    self.shared.refusals.traffic.heard();
                    let kind = if kind == Kind::Text { "text" } else { "binary" };
                    let answer = self.ask(MESSAGE, Some(kind), message.into()).await?;
                    reader.let_go();
                    self.tell(write, answer).await?;
                }
                Next::Heard(Ok(Event::Ping(payload))) => {
                    self.send(write, Frame::Pong, payload.into()).await?;
                }
                Next::Heard(Ok(Event::Close(code))) => return Err(End::Theirs(code)),
                Next::Heard(Ok(Event::Pong | Event::Grows(_))) => {}
                Next::Tick => {
                    self.tick = None;
                    let answer = self.ask(TICK, None, Bytes::new()).await?;
                    self.tell(write, answer).await?;
                }
                Next::Silence => {
                    let now = Instant::now();
                    match self.pinged {
                        Some(at) if at > reader.heard && at + beat <= now => return Err(End::Gone),
                        _ if reader.heard + beat > now => {}
                        _ => {
                            self.pinged = Some(now);
                            self.send(write, Frame::Ping, Bytes::new()).await?;
                        }
                    }
                }
            }
        }
    }

    /// A call, repeated while the pool is busy: what came is not lost.
    async fn ask(
        &self,
        method: &'static str,
        kind: Option<&'static str>,
        body: Bytes,
    ) -> Result<GuestResponse, End> {
        let mut closing = self.shared.closing.clone();
        let request = Arc::new(calls::request(&self.request, method, kind, None, body));
        loop {
            match calls::call(&self.shared, &request).await {
                Outcome::Answer(answer) => return Ok(answer),
                Outcome::Busy(pause) => tokio::select! {
                    () = closing.wait() => {
                        return Err(End::Ours(1001, "the server stops".to_owned()));
                    }
                    () = sleep(pause) => {}
                },
                Outcome::Failed(code) => return Err(End::Ours(code, String::new())),
            }
        }
    }

    /// Sends what a call was answered with, and does as its headers say.
    async fn tell(&mut self, write: &mut Writer, mut answer: GuestResponse) -> Result<(), End> {
        let wishes = calls::wishes(&answer).map_err(|fault| self.fault(&fault))?;
        if let Some(after) = wishes.again {
            self.tick = Some(Instant::now() + after);
        }
        if !answer.body.is_empty() {
            let mut utf8 = Utf8::default();
            let body = std::mem::take(&mut answer.body);
            self.part(write, wishes.kind, body, (true, true), &mut utf8).await?;
        }
        if let Some(more) = answer.more {
            self.pieces(write, wishes.kind, more).await?;
        }
        match wishes.close {
            Some((code, reason)) => Err(End::Ours(code, reason)),
            None => Ok(()),
        }
    }

    /// Each `host_write` is a message, and so is what is returned in the end.
    async fn pieces(&self, write: &mut Writer, kind: Kind, mut more: Pieces) -> Result<(), End> {
        let (mut is_first, mut utf8) = (true, Utf8::default());
        loop {
            match more.next().await {
                None => return Ok(()),
                // Why it broke off stands in the log.
                Some(Err(Cut)) => return Err(End::Ours(1011, String::new())),
                Some(Ok(Piece { bytes, is_end })) => {
                    self.part(write, kind, bytes, (is_first, is_end), &mut utf8).await?;
                    is_first = is_end;
                }
            }
        }
    }

    /// A message, or a part of one.
    async fn part(
        &self,
        write: &mut Writer,
        kind: Kind,
        part: Bytes,
        (is_first, is_last): (bool, bool),
        utf8: &mut Utf8,
    ) -> Result<(), End> {
        if kind == Kind::Text && !(utf8.takes(&part) && (!is_last || utf8.ends())) {
            let fault = "its message is no UTF-8; give it content-type application/octet-stream";
            return Err(self.fault(fault));
        }
        if is_last {
            self.shared.refusals.traffic.told();
        }
        self.send(write, Frame::Data(kind, is_first, is_last), part).await?;
        Ok(())
    }

    /// A fault of the guest.
    fn fault(&self, fault: &str) -> End {
        let (path, request_id) = (self.request.path(), self.request.id());
        tracing::error!(
            path,
            request_id,
            fault,
            "the guest's answer on a WebSocket cannot be sent; correct the guest"
        );
        End::Ours(1011, String::new())
    }

    /// Writes a frame; who does not take it in time is gone.
    async fn send(&self, write: &mut Writer, frame: Frame, mut payload: Bytes) -> io::Result<()> {
        let patience = self.shared.options.idle_timeout;
        let first = head(frame, payload.len());
        taken(patience, write.write_all(&first)).await?;
        while !payload.is_empty() {
            let piece = payload.split_to(payload.len().min(PIECE));
            taken(patience, write.write_all(&piece)).await?;
        }
        taken(patience, write.flush()).await
    }

    async fn close(&self, write: &mut Writer, code: Option<u16>, why: &str) -> io::Result<()> {
        let mut payload = code.map(|code| code.to_be_bytes().to_vec()).unwrap_or_default();
        if code.is_some() {
            payload.extend_from_slice(why.as_bytes());
        }
        self.send(write, Frame::Close, payload.into()).await?;
        taken(self.shared.options.idle_timeout, write.shutdown()).await
    }

    /// The last call: it may come to nothing.
    async fn farewell(self, code: u16) {
        let request = calls::request(&self.request, CLOSE, None, Some(code), Bytes::new());
        let request = Arc::new(request);
        let telling = async {
            while let Outcome::Busy(pause) = calls::call(&self.shared, &request).await {
                sleep(pause).await;
            }
        };
        timeout(FAREWELL, telling).await.ok();
        drop(self.place);
    }
}

async fn taken(
    patience: Duration,
    writing: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    timeout(patience, writing).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
