//! One call: a place, the circuit, a connection, the head of the answer.
//!
//! What must stay true: a call that has a place gives it back, and gives the circuit its
//! verdict, however it ends: [`Flight`] does both when it is dropped.

use super::body::Arriving;
use super::breaker::{Admitted, Breaker, Circuit, Verdict};
use super::headers::Fixed;
use super::line::{Call, Idle, Line, Route};
use super::stats::{Failure, UpstreamStats};
use super::{Refused, UpstreamOptions};
use hyper::body::{Body, Incoming};
use hyper::header::HeaderValue;
use hyper::{Method, Response};
use platform::Histogram;
use proto::http::HeadersBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

/// A service that may be called.
pub(super) struct Upstream {
    name: String,
    pub(super) route: Route,
    pub(super) fixed: Fixed,
    pub(super) host: HeaderValue,
    timeout: Duration,
    max_in_flight: usize,
    max_response_size: u64,
    open_duration: Duration,
    places: Arc<Semaphore>,
    pub(super) idle: Arc<Idle>,
    breaker: Mutex<Breaker>,
    counts: Mutex<UpstreamStats>,
    /// Nanoseconds until the heads of answers.
    latency: Histogram,
}

/// How a call that had a place ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// With a response of that status.
    Responded(u16),
    /// Without one, or with half of one.
    Failed(Failure),
}

/// A call that has a place.
pub(super) struct Flight {
    pub(super) upstream: Arc<Upstream>,
    /// What dropping it says.
    pub(super) end: End,
    /// It has less time than the upstream may expect: that the time was over says nothing.
    hurried: bool,
    admitted: Option<Admitted>,
    _places: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let End::Responded(status) = self.end {
            let class = usize::from(status / 100).saturating_sub(2).min(3);
            self.upstream.counts().responses[class] += 1;
        }
        let verdict = match self.end {
            // What stands before the service says that it is not there.
            End::Responded(502..=504) => Verdict::Fails,
            End::Responded(_) => Verdict::Works,
            End::Failed(Failure::Timeout) if self.hurried => Verdict::Unknown,
            End::Failed(
                Failure::Timeout | Failure::Unreachable | Failure::Broken | Failure::Address,
            ) => Verdict::Fails,
            End::Failed(_) => Verdict::Unknown,
        };
        if let Some(admitted) = self.admitted.take() {
            self.upstream.settle(admitted, verdict);
        }
    }
}

/// Takes one back from what is counted when it is dropped.
struct Waiting<'a>(&'a Upstream);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.counts().waiting -= 1;
    }
}

/// The head of an answer, and what its body is read from.
pub(super) type Answer = (u16, HeadersBuf, Arriving);

impl Upstream {
    /// # Errors
    /// What is wrong with the options.
    pub(super) fn new(
        options: UpstreamOptions,
        route: Route,
        fixed: Fixed,
    ) -> Result<Upstream, String> {
        let host = HeaderValue::from_str(&route.origin.authority)
            .map_err(|_| "its url has a host that no request can name".to_owned())?;
        Ok(Upstream {
            name: options.name,
            route,
            fixed,
            host,
            timeout: options.timeout,
            max_in_flight: options.max_in_flight,
            max_response_size: options.max_response_size,
            open_duration: options.breaker.open_duration,
            places: Arc::new(Semaphore::new(options.max_in_flight)),
            idle: Idle::new(options.max_in_flight),
            breaker: Mutex::new(Breaker::new(options.breaker)),
            counts: Mutex::default(),
            latency: Histogram::new(),
        })
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, UpstreamStats> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long it is left alone in any case.
    pub(super) fn rests(&self) -> Duration {
        self.breaker().rests(Instant::now())
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_failure(&self, how: Failure) {
        self.counts().failures[how as usize] += 1;
    }

    pub(super) fn stats(&self, name: &str) -> UpstreamStats {
        let (circuit, opened) = self.breaker().stands();
        let taken = self.max_in_flight.saturating_sub(self.places.available_permits());
        UpstreamStats {
            name: name.to_owned(),
            in_flight: taken,
            idle: self.idle.len(),
            circuit,
            opened,
            latency: self.latency.read(),
            ..self.counts().clone()
        }
    }

    fn settle(&self, admitted: Admitted, verdict: Verdict) {
        let turned = self.breaker().settle(admitted, verdict, Instant::now());
        match turned {
            Some(Circuit::Open) => tracing::warn!(
                upstream = self.name,
                for_ms = u64::try_from(self.open_duration.as_millis()).unwrap_or(u64::MAX),
                "calls failed one after the other: it is not called for a while"
            ),
            Some(Circuit::Closed) => {
                tracing::info!(upstream = self.name, "it answers again: it is called as before");
            }
            Some(Circuit::HalfOpen) | None => {}
        }
    }

    fn open_circuit() -> Refused {
        let said = "was not called: its last calls failed, so it is left alone for a while \
                    (breaker.open_duration_ms); try again later";
        Refused::new(Failure::CircuitOpen, said.to_owned())
    }

    /// Sends a call and waits for the head of the answer, within the upstream's time and
    /// `patience`.
    pub(super) async fn exchange(
        self: Arc<Self>,
        call: Call,
        patience: Duration,
        in_all: OwnedSemaphorePermit,
    ) -> Result<Answer, Refused> {
        let begun = tokio::time::Instant::now();
        let time = self.timeout.min(patience);
        let deadline = begun + time;
        if time.is_zero() {
            let said = "was not called: the guest has no time left; nothing was sent";
            return Err(Refused::new(Failure::Timeout, said.to_owned()));
        }
        if self.breaker().refuses(begun.into_std()) {
            return Err(Upstream::open_circuit());
        }
        let place = self.place(deadline).await?;
        let admitted = self.breaker().admit(Instant::now()).ok_or_else(Upstream::open_circuit)?;
        let mut flight = Flight {
            upstream: Arc::clone(&self),
            end: End::Failed(Failure::Timeout),
            hurried: deadline.saturating_duration_since(tokio::time::Instant::now())
                < self.timeout / 2,
            admitted: Some(admitted),
            _places: (place, in_all),
        };
        let sent = call.body().size_hint().lower();
        self.counts().sent_bytes += sent;
        let sending = Instant::now();
        let late = || {
            let said = format!(
                "did not answer within {} ms; it may have done what it was asked",
                time.as_millis()
            );
            Err(Refused::new(Failure::Timeout, said))
        };
        let got = timeout_at(deadline, self.send(call, deadline)).await.unwrap_or_else(|_| late());
        let answered = got.and_then(|(line, response)| {
            let took = sending.elapsed().as_nanos();
            self.latency.record(u64::try_from(took).unwrap_or(u64::MAX));
            let (status, headers) = self.head(&response)?;
            Ok((line, response, status, headers))
        });
        match answered {
            Ok((line, response, status, headers)) => {
                flight.end = End::Responded(status);
                let body = response.into_body();
                let rest =
                    Arriving::new(flight, line, body, self.max_response_size, deadline).await;
                Ok((status, headers, rest))
            }
            Err(refused) => {
                flight.end = End::Failed(refused.how);
                Err(refused)
            }
        }
    }

    /// A place among the calls of this upstream.
    async fn place(&self, deadline: tokio::time::Instant) -> Result<OwnedSemaphorePermit, Refused> {
        self.counts().waiting += 1;
        let _waiting = Waiting(self);
        match timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => {
                let said = format!(
                    "was not called: {} calls of it run, as many as may (max_in_flight), and \
                     none ended in time; try again later",
                    self.max_in_flight
                );
                Err(Refused::new(Failure::Busy, said))
            }
        }
    }

    /// Sends on an idle connection or a new one.
    async fn send(
        &self,
        call: Call,
        deadline: tokio::time::Instant,
    ) -> Result<(Line, Response<Incoming>), Refused> {
        let broken = |error: hyper::Error| {
            let said = format!(
                "broke off, or answered what is no HTTP: {error}; it may have done what it was \
                 asked"
            );
            Refused::new(Failure::Broken, said)
        };
        let reads = matches!(*call.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        while let Some(mut line) = self.idle.take() {
            match line.sender.try_send_request(call.clone()).await {
                Ok(response) => return Ok((line, response)),
                // It broke while it was idle: the call was not sent, or may be sent again.
                Err(error) if error.message().is_some() => {}
                Err(error) if reads && closed(error.error()) => {}
                Err(error) => return Err(broken(error.into_error())),
            }
        }
        let mut line = self.route.open(deadline).await?;
        self.counts().connections += 1;
        match line.sender.send_request(call).await {
            Ok(response) => Ok((line, response)),
            Err(error) => Err(broken(error)),
        }
    }

    /// Status and headers as the guest is given them.
    fn head(&self, response: &Response<Incoming>) -> Result<(u16, HeadersBuf), Refused> {
        let status = response.status().as_u16();
        if !(200..=599).contains(&status) {
            let said = format!("answered with the status {status}, which is none of HTTP");
            return Err(Refused::new(Failure::Broken, said));
        }
        if response.body().size_hint().lower() > self.max_response_size {
            return Err(self.too_large());
        }
        let headers = self.fixed.answer(response.headers()).ok_or_else(|| {
            Refused::new(Failure::TooLarge, "answered with too many headers".to_owned())
        })?;
        Ok((status, headers))
    }

    fn too_large(&self) -> Refused {
        let said = format!(
            "answered with more than {} bytes; ask it for less, or raise its max_response_size",
            self.max_response_size
        );
        Refused::new(Failure::TooLarge, said)
    }
}

/// Whether a connection ended before anything of an answer came.
fn closed(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.is_closed() || error.is_canceled()
}
