//! Who pays whom.

use shared::mix;

/// Money of each account at first: more than any turn takes away.
pub const CENTS: i64 = 1_000_000_000;
/// Transfers that are made ready; behind the last the first comes again.
const READY: u64 = 1 << 18;

/// How accounts are chosen, and whether commits wait for the disk.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    /// An account of rank n is chosen 1/n^exponent as often as the first; 0: all alike.
    exponent: f64,
    pub sync: bool,
}

const fn case(name: &'static str, exponent: f64, sync: bool) -> Case {
    Case { name, exponent, sync }
}

pub const CASES: &[Case] = &[
    case("uniform-async", 0.0, false),
    case("zipf-0.99-async", 0.99, false),
    case("zipf-1.5-async", 1.5, false),
    case("uniform-sync", 0.0, true),
    case("zipf-0.99-sync", 0.99, true),
    case("zipf-1.5-sync", 1.5, true),
];

/// Money that goes from one account to another.
#[derive(Clone, Copy)]
pub struct Transfer {
    pub from: u64,
    pub to: u64,
    pub cents: i64,
}

/// The transfers of a case.
pub struct Work(Vec<Transfer>);

impl Work {
    pub fn of(case: &Case, accounts: u64) -> Work {
        let weights = (1..=accounts).map(|rank| (rank as f64).powf(-case.exponent));
        let mut sums: Vec<f64> = Vec::with_capacity(accounts as usize);
        for weight in weights {
            sums.push(sums.last().copied().unwrap_or(0.0) + weight);
        }
        let all = sums.last().copied().unwrap_or(1.0);
        let mut n = 0;
        let mut next = || {
            n += 1;
            let at = mix(n) as f64 / u64::MAX as f64 * all;
            let rank = sums.partition_point(|sum| *sum < at) as u64;
            // Those that are paid often do not lie side by side.
            rank.min(accounts - 1) * 7919 % accounts
        };
        let mut pair = |n: u64| {
            let from = next();
            let to = loop {
                let to = next();
                if to != from {
                    break to;
                }
            };
            Transfer { from, to, cents: (mix(!n) % 100 + 1) as i64 }
        };
        Work((0..READY).map(&mut pair).collect())
    }

    pub fn get(&self, n: u64) -> Transfer {
        self.0[(n % READY) as usize]
    }

    pub fn all(&self) -> &[Transfer] {
        &self.0
    }
}
