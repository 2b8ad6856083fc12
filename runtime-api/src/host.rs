//! What the host does for a guest: implemented in `bins` over the engine.
//!
//! Every method may be called from several pool threads at once. A packet in
//! means a packet out: an error is a reply that says so, never a trap.

use proto::Status;

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// 0
    Error,
    /// 1
    Warn,
    /// 2
    Info,
    /// 3
    Debug,
    /// 4 and anything else
    Trace,
}

impl LogLevel {
    /// The level of a guest's number.
    pub fn from_guest(level: i32) -> Self {
        match level {
            0 => Self::Error,
            1 => Self::Warn,
            2 => Self::Info,
            3 => Self::Debug,
            _ => Self::Trace,
        }
    }
}

/// The body of what an upstream answered, while it arrives.
pub trait ServiceBody: Send {
    /// Fills `out`, and waits for it; less only where the body ends, however the bytes
    /// arrive.
    ///
    /// # Errors
    /// The body broke off, or passed a limit, and every read after it says the same.
    fn read(&mut self, out: &mut [u8]) -> Result<usize, Status>;
}

/// What becomes of a call whose guest has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The answer stands.
    Stands,
    /// Nothing of the call was done: it is run again, as a new call.
    Again,
    /// Nothing of the call was done, and this is answered: an encoded response
    /// (`proto::http`).
    Instead(Vec<u8>),
}

/// What a call is for, as far as the host can know before it has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// The making of an instance, which is never concluded: what it does is to take effect
    /// as it does it.
    Start,
    /// A request that is to change nothing, by its method (GET, HEAD, OPTIONS), for the
    /// first time.
    Read,
    /// Any other.
    Write,
}

/// The other side of the imports.
pub trait Host: Send + Sync + 'static {
    /// A call of a guest makes its first request: the number of that call, which comes
    /// with each of its requests. `attempt`: as of [`Host::conclude_call`].
    fn begin_call(&self, kind: CallKind, attempt: u32) -> u64 {
        let _unused = (kind, attempt);
        0
    }

    /// A call that has made requests has answered with `response`: what it has done is to
    /// take effect now, before anybody is told the answer. `attempt` counts from 1;
    /// `outbound`: it has called an upstream, and so must not be run again. Not asked of a
    /// call that ended otherwise, of which nothing is to take effect.
    fn conclude_call(&self, call: u64, attempt: u32, outbound: bool, response: &[u8]) -> Verdict {
        let _unused = (call, attempt, outbound, response);
        Verdict::Stands
    }

    /// Something of a call that has made requests is about to leave, before it is
    /// concluded: a call of an upstream. What the call has read is to last then.
    ///
    /// # Errors
    /// It does not: nothing is to leave.
    fn call_leaves(&self, call: u64) -> Result<(), (Status, String)> {
        let _unused = call;
        Ok(())
    }

    /// A call that has made requests is over, however it ended: what it left open at
    /// the host, such as cursors, is to be let go of.
    fn end_call(&self, call: u64) {
        let _unused = call;
    }

    /// Runs one request packet of a call against the engine; appends the reply packet
    /// to `reply`, which comes empty.
    fn request(&self, call: u64, packet: &[u8], reply: &mut Vec<u8>);

    /// Calls the upstream service `name` with an encoded request (`proto::http`); its answer
    /// is not wanted any more after `patience_nanos`. Appends the packet of
    /// `proto::service` to `reply`, which comes empty; with a head comes the body. This
    /// default is the host that has no upstreams: every name is refused.
    fn call_service(
        &self,
        name: &str,
        packet: &[u8],
        patience_nanos: u64,
        reply: &mut Vec<u8>,
    ) -> Option<Box<dyn ServiceBody>> {
        let _unused = (packet, patience_nanos);
        let shown: String = name.chars().take(64).collect();
        proto::service::write_error(
            reply,
            Status::NoSuchUpstream,
            &format!(
                "the service '{shown}' is not on the allowlist; add it to upstreams in service.yaml"
            ),
        );
        None
    }

    /// One line of the guest's log, without its line end. Never longer than
    /// [`crate::abi::MAX_LOG_LINE_BYTES`] of the guest's bytes.
    fn log(&self, level: LogLevel, line: &str);

    /// Wall time in microseconds since 1970-01-01T00:00:00Z.
    fn now_micros(&self) -> u64;

    /// Fills `out` with random bytes.
    fn random(&self, out: &mut [u8]);
}
