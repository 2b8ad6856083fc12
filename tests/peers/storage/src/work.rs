//! Keys, values, choices: all from counters and seeds, the same for each engine.

pub use shared::mix;

/// A key.
pub type Key = [u8; 16];

/// The n-th key, in random order.
pub fn random_key(n: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(n).to_be_bytes());
    key[8..].copy_from_slice(&mix(n ^ 0x5555_5555_5555_5555).to_be_bytes());
    key
}

/// The n-th key, in order of time (as UUIDv7: a clock in front, random behind).
pub fn ordered_key(n: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(1_700_000_000_000_000 + n).to_be_bytes());
    key[8..].copy_from_slice(&mix(n).to_be_bytes());
    key
}

/// A key that is never written.
pub fn absent_key(n: u64) -> Key {
    random_key(n | 1 << 63)
}

/// A value of `len` bytes that does not compress.
pub struct Values {
    noise: Vec<u8>,
    len: usize,
}

impl Values {
    pub fn new(len: usize) -> Self {
        let noise = (0..(len as u64 + 8192).div_ceil(8)).flat_map(|n| mix(n).to_le_bytes());
        Values { noise: noise.collect(), len }
    }

    /// The n-th: a window into the noise.
    pub fn get(&self, n: u64) -> &[u8] {
        &self.noise[(mix(n) % 8192) as usize..][..self.len]
    }
}

/// A small generator for choices.
pub struct Choice(u64);

impl Choice {
    pub fn new(seed: u64) -> Self {
        Choice(mix(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Zipfian ranks as YCSB has them (Gray et al., "Quickly generating billion-record
/// synthetic databases"), theta 0.99.
pub struct Zipf {
    n: u64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    pub fn new(n: u64) -> Self {
        const THETA: f64 = 0.99;
        let zeta = |n: u64| (1..=n).map(|i| (i as f64).powf(-THETA)).sum::<f64>();
        let all = zeta(n);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - THETA)) / (1.0 - zeta(2) / all);
        Zipf { n, alpha: 1.0 / (1.0 - THETA), zeta: all, eta }
    }

    /// A rank: 0 is the most popular.
    pub fn rank(&self, choice: &mut Choice) -> u64 {
        let u = choice.unit();
        let uz = u * self.zeta;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + 0.5f64.powf(0.99) {
            return 1;
        }
        let rank = self.n as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.n - 1)
    }

    /// A popular key's number, scattered over all keys.
    pub fn scattered(&self, choice: &mut Choice) -> u64 {
        mix(self.rank(choice)) % self.n
    }
}
