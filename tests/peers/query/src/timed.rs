//! Times of single operations, and what each of them counted.
//!
//! What must stay true: who is slow is cut off, and never asked anything else: these
//! are the first of the same operations, at least one of them.

use std::time::{Duration, Instant};

/// Operations that were carried out one after the other.
#[derive(Default)]
pub struct Asked {
    /// The time of each.
    pub nanos: Vec<u64>,
    /// What each answer counts: rows, or the number that is the answer.
    pub counts: Vec<u64>,
}

impl Asked {
    /// Runs `f` for each number below `n`, until the budget is used up.
    pub fn within(
        budget: Duration,
        n: u64,
        mut f: impl FnMut(u64) -> Result<u64, String>,
    ) -> Result<Asked, String> {
        let mut asked = Asked::default();
        let start = Instant::now();
        let mut before = start;
        for i in 0..n {
            let count = f(i)?;
            let now = Instant::now();
            asked.nanos.push((now - before).as_nanos() as u64);
            asked.counts.push(count);
            before = now;
            if now - start > budget {
                break;
            }
        }
        Ok(asked)
    }

    /// How many were carried out.
    pub fn len(&self) -> u64 {
        self.nanos.len() as u64
    }

    /// How long all of them took.
    pub fn seconds(&self) -> f64 {
        self.nanos.iter().sum::<u64>() as f64 / 1e9
    }

    /// The time that this part of them took at most, in microseconds.
    pub fn percentile(&mut self, part: f64) -> f64 {
        self.nanos.sort_unstable();
        let last = self.nanos.len().saturating_sub(1);
        self.nanos.get((last as f64 * part) as usize).copied().unwrap_or(0) as f64 / 1e3
    }
}

/// The time that one operation took.
pub fn once(f: impl FnOnce() -> Result<(), String>) -> Result<Duration, String> {
    let start = Instant::now();
    f()?;
    Ok(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_cuts_off_but_leaves_one() {
        let all = Asked::within(Duration::from_secs(60), 5, |n| Ok(n * n));
        assert_eq!(all.map(|asked| asked.counts), Ok(vec![0, 1, 4, 9, 16]));
        let slow = |n| {
            std::thread::sleep(Duration::from_millis(2));
            Ok(n + 7)
        };
        let one = Asked::within(Duration::ZERO, 5, slow);
        assert_eq!(one.map(|asked| asked.counts), Ok(vec![7]));
    }

    #[test]
    fn a_failure_ends_it() {
        let fails = |n| if n == 2 { Err("no".to_owned()) } else { Ok(n) };
        assert!(Asked::within(Duration::from_secs(60), 5, fails).is_err());
    }

    #[test]
    fn long_times_are_not_clipped() {
        let mut asked = Asked { nanos: vec![9_000_000_000, 1_000, 2_000], counts: vec![1; 3] };
        assert_eq!(asked.percentile(0.5), 2.0);
        assert_eq!(asked.percentile(1.0), 9e6);
    }
}
