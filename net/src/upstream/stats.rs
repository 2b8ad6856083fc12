//! What an upstream counts.
//!
//! Invariant: a call that was given an upstream's name ends in exactly one of `responses`
//! and `failures`, when it is over; until then it is `waiting`, or `in_flight`.

use super::breaker::Circuit;
use proto::Status;
use std::time::Duration;

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

/// Upper bounds of the buckets of [`Latency`], but the last, which has none.
pub const BUCKETS: [Duration; 13] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2500),
    Duration::from_millis(5000),
    Duration::from_millis(10_000),
];

/// How long upstreams took: from the place a call got until the head of its response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Calls that took at most so long as [`BUCKETS`] says, and longer than the bound
    /// before; the last: longer than all.
    pub buckets: [u64; BUCKETS.len() + 1],
    /// All of them together.
    pub sum: Duration,
}

impl Latency {
    pub(super) fn observe(&mut self, took: Duration) {
        let bucket = BUCKETS.iter().position(|bound| took <= *bound).unwrap_or(BUCKETS.len());
        self.buckets[bucket] += 1;
        self.sum = self.sum.saturating_add(took);
    }

    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
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
    /// How long responses took to begin.
    pub latency: Latency,
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
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let mut latency = Latency::default();
        for micros in [0, 1000, 1001, 10_000_000, 10_000_001] {
            latency.observe(Duration::from_micros(micros));
        }
        assert_eq!(latency.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((latency.count(), latency.sum), (5, Duration::from_micros(20_002_002)));
    }

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
