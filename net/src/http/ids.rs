//! The id of a request: in what the guest reads, in the response, in the log and in
//! problem documents, so that one can be found by the other.
//!
//! What must stay true: no two requests of a process have the same, and what one client
//! is told says nothing of how many others there are. Making one is a few instructions,
//! no call of the system. What a client brought along is taken only if the operator says
//! so, and if it can break neither a line of the log nor a document.

use crate::tls;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where it stands.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of an id that a client brought along.
const MAX_GIVEN: usize = 128;

/// The ids of one listener.
#[derive(Debug)]
pub(super) struct Ids {
    /// Of this start.
    start: u64,
    key: u64,
    count: AtomicU64,
    /// `http.trust_request_id`.
    trust: bool,
}

impl Ids {
    pub(super) fn new(trust: bool) -> Ids {
        let [start, key] = seed();
        Ids { start, key, count: AtomicU64::new(0), trust }
    }

    /// A new one: 32 digits.
    pub(super) fn next(&self) -> HeaderValue {
        let count = self.count.fetch_add(1, Relaxed);
        let number = u128::from(self.start) << 64 | u128::from(mixed(count ^ self.key));
        let mut digits = [0; 32];
        for (at, digit) in digits.iter_mut().rev().enumerate() {
            *digit = b"0123456789abcdef"[(number >> (4 * at) & 15) as usize];
        }
        HeaderValue::from_bytes(&digits).expect("digits are allowed in a header")
    }

    /// That of a request: the client's if it may and can be used, else a new one.
    pub(super) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let given = if self.trust { headers.get(REQUEST_ID) } else { None };
        given.filter(|id| is_sane(id)).cloned().unwrap_or_else(|| self.next())
    }
}

/// A number for each number, and nobody sees which (what SplitMix64 ends with).
fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

fn seed() -> [u64; 2] {
    let mut bytes = [0; 16];
    if tls::provider().secure_random.fill(&mut bytes).is_err() {
        // Ids are no secrets: a clock will do where there is no randomness.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        bytes = (now << 32 | u128::from(std::process::id())).to_le_bytes();
    }
    let both = u128::from_le_bytes(bytes);
    [both as u64, (both >> 64) as u64]
}

fn is_sane(id: &HeaderValue) -> bool {
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=MAX_GIVEN).contains(&id.len()) && id.as_bytes().iter().all(fine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn given(id: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap());
        headers
    }

    #[test]
    fn ids_are_32_digits_and_no_two_are_the_same() {
        let (one, other) = (Ids::new(false), Ids::new(false));
        let mut seen = HashSet::new();
        for _ in 0..5_000 {
            for id in [one.next(), other.next()] {
                assert_eq!(id.len(), 32);
                assert!(is_sane(&id) && seen.insert(id.clone()), "{id:?}");
            }
        }
        let last = |id: &HeaderValue| u64::from_str_radix(&id.to_str().unwrap()[16..], 16).unwrap();
        assert!(last(&one.next()).abs_diff(last(&one.next())) > 1 << 20, "they cannot be counted");
    }

    #[test]
    fn a_client_s_id_is_taken_if_it_may_be_and_is_sane() {
        let trusting = Ids::new(true);
        let longest = "x".repeat(MAX_GIVEN);
        for id in ["a", "3f2c-1.2_3", "Root=1-67891233-abcdef", longest.as_str()] {
            assert_eq!(trusting.of(&given(id)), id);
            assert_ne!(Ids::new(false).of(&given(id)), id);
        }
        let too_long = "x".repeat(MAX_GIVEN + 1);
        for id in ["", "a b", "a\"b", "a\\b", "é", "a,b", too_long.as_str()] {
            assert_eq!(trusting.of(&given(id)).len(), 32, "{id}");
        }
        assert_eq!(trusting.of(&HeaderMap::new()).len(), 32);
    }
}
