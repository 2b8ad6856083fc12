//! What an upstream counts.
//!
//! Invariant: a call that was given an upstream's name ends in exactly one of `responses`
//! and `failures`, when it is over; until then it is `waiting`, or `in_flight`.

use super::breaker::Circuit;
use platform::Distribution;
use proto::Status;

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What was to be sent is malformed, or not a guest's to say.
    BadCall,
    /// The name leads only to addresses that are refused.
    Address,
    /// A limit of calls; nothing was sent.
    Busy,
    /// The circuit is open; nothing was sent.
    CircuitOpen,
    /// No connection: no address, refused, TLS; nothing was sent.
    Unreachable,
    /// The time is over.
    Timeout,
    /// The answer broke off, or is no HTTP.
    Broken,
    /// The answer is larger than `max_response_size`.
    TooLarge,
}

impl Failure {
    /// Every way.
    pub const ALL: [Failure; 8] = [
        Failure::BadCall,
        Failure::Address,
        Failure::Busy,
        Failure::CircuitOpen,
        Failure::Unreachable,
        Failure::Timeout,
        Failure::Broken,
        Failure::TooLarge,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Failure::BadCall => "bad_call",
            Failure::Address => "address",
            Failure::Busy => "busy",
            Failure::CircuitOpen => "circuit_open",
            Failure::Unreachable => "unreachable",
            Failure::Timeout => "timeout",
            Failure::Broken => "broken",
            Failure::TooLarge => "too_large",
        }
    }

    /// What the guest is told.
    pub fn status(self) -> Status {
        match self {
            Failure::BadCall => Status::BadUpstreamCall,
            Failure::Address => Status::UpstreamAddress,
            Failure::Busy | Failure::CircuitOpen => Status::UpstreamBusy,
            Failure::Unreachable => Status::UpstreamUnreachable,
            Failure::Timeout => Status::UpstreamTimeout,
            Failure::Broken => Status::UpstreamBroken,
            Failure::TooLarge => Status::UpstreamTooLarge,
        }
    }
}

/// Counters and gauges of an upstream, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamStats {
    /// What the operator calls it.
    pub name: String,
    /// Responses by the first digit of their status: 2xx to 5xx.
    pub responses: [u64; 4],
    /// Failures, as in [`Failure::ALL`].
    pub failures: [u64; Failure::ALL.len()],
    /// Calls that have a place.
    pub in_flight: usize,
    /// Calls that wait for one.
    pub waiting: usize,
    /// Connections opened since the start.
    pub connections: u64,
    /// Connections that wait for the next call.
    pub idle: usize,
    /// Bytes of bodies sent.
    pub sent_bytes: u64,
    /// Bytes of bodies received.
    pub received_bytes: u64,
    /// Where the circuit stands.
    pub circuit: Circuit,
    /// How often it opened.
    pub opened: u64,
    /// Nanoseconds from the place a call got until the head of its answer.
    pub latency: Distribution,
}

impl UpstreamStats {
    /// How often calls failed that way.
    pub fn failed(&self, how: Failure) -> u64 {
        self.failures[how as usize]
    }

    /// Calls that are over.
    pub fn calls(&self) -> u64 {
        self.responses.iter().chain(&self.failures).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_where_they_stand() {
        for (at, how) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(how as usize, at);
            let mut stats = UpstreamStats::default();
            stats.failures[at] = 3;
            assert_eq!((stats.failed(how), stats.calls()), (3, 3));
        }
    }
}
