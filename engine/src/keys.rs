//! Keys for documents that come without one.
//!
//! What must stay true: in one process keys rise strictly, whatever the clock
//! does; when the 4,096 of a millisecond are used up, or the clock steps back,
//! they run ahead of it. They are made under the commit lock, so that their
//! order is the order of the commits: who scans a store after the last key it
//! has seen misses none.

use std::sync::Arc;

use parking_lot::Mutex;
use platform::{Clock, Entropy};
use proto::Key;

const SEQUENCES: u16 = 1 << 12;
/// The largest time a key can hold, in milliseconds: in the year 10889.
const MAX_MILLIS: u64 = (1 << 48) - 1;

pub(crate) struct KeyMaker {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    last: Mutex<Moment>,
}

/// A place among the keys: 4,096 to a millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Moment {
    millis: u64,
    sequence: u16,
}

/// The moment after `last`, at the earliest now.
fn after(last: Moment, now_millis: u64) -> Moment {
    let now = now_millis.min(MAX_MILLIS);
    if now > last.millis {
        Moment { millis: now, sequence: 0 }
    } else if last.sequence + 1 < SEQUENCES {
        Moment { millis: last.millis, sequence: last.sequence + 1 }
    } else {
        // At the end of time the sequence goes round, and the caller, who looks
        // whether a key is taken, asks again.
        Moment { millis: (last.millis + 1).min(MAX_MILLIS), sequence: 0 }
    }
}

impl KeyMaker {
    pub(crate) fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        KeyMaker { clock, entropy, last: Mutex::default() }
    }

    /// Random parts for so many keys: to be asked for before the commit lock is
    /// taken, since it may enter the kernel.
    pub(crate) fn randoms(&self, count: usize) -> Vec<u64> {
        let mut bytes = vec![0; count * 8];
        self.entropy.fill(&mut bytes);
        let chunks = bytes.chunks_exact(8);
        chunks.map(|chunk| chunk.iter().fold(0, |n, &b| (n << 8) | u64::from(b))).collect()
    }

    /// One of them.
    pub(crate) fn random(&self) -> u64 {
        self.entropy.next_u64()
    }

    /// The next key.
    pub(crate) fn make(&self, random: u64) -> Key {
        let mut last = self.last.lock();
        *last = after(*last, self.clock.wall_micros() / 1000);
        Key::time_ordered(last.millis, last.sequence, random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::sim::{SimClock, SimEntropy};
    use std::time::Duration;

    #[test]
    fn a_moment_follows_the_clock_and_never_goes_back() {
        let at = |millis, sequence| Moment { millis, sequence };
        assert_eq!(after(at(5, 7), 6), at(6, 0));
        assert_eq!(after(at(5, 7), 5), at(5, 8));
        assert_eq!(after(at(5, 7), 1), at(5, 8), "the clock stepped back");
        assert_eq!(after(at(5, 4094), 5), at(5, 4095));
        assert_eq!(after(at(5, 4095), 5), at(6, 0), "borrowed of the next millisecond");
        assert_eq!(after(at(5, 0), u64::MAX), at(MAX_MILLIS, 0));
        assert_eq!(after(at(MAX_MILLIS, 4095), 9), at(MAX_MILLIS, 0));
    }

    #[test]
    fn keys_rise_through_a_burst_and_a_clock_that_steps_back() {
        let clock = Arc::new(SimClock::new(1_700_000_000_000_000));
        let keys = KeyMaker::new(clock.clone(), Arc::new(SimEntropy::new(1)));
        let mut last = Key::MIN;
        for round in 0..20_000u64 {
            match round {
                9_000 => clock.set_wall_micros(1),
                15_000 => clock.advance(Duration::from_secs(3_000_000_000)),
                _ => {}
            }
            let key = keys.make(keys.random());
            assert!(key > last, "round {round}: {key} after {last}");
            last = key;
        }
        let millis = (last.0 >> 80) as u64;
        assert_eq!(millis, 3_000_000_000_001, "the clock was followed again, one borrowed");
    }
}
