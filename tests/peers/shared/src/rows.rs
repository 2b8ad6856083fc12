//! Figures as they are collected, and the percentiles of many short times.

use std::time::{Duration, Instant};

/// One figure of one engine in one round.
pub struct Row {
    pub workload: String,
    pub engine: &'static str,
    pub metric: &'static str,
    pub value: f64,
}

/// All figures.
#[derive(Default)]
pub struct Rows(pub Vec<Row>);

impl Rows {
    pub fn add(
        &mut self,
        workload: impl Into<String>,
        engine: &'static str,
        metric: &'static str,
        value: f64,
    ) {
        self.0.push(Row { workload: workload.into(), engine, metric, value });
    }

    /// Throughput and percentiles of single operations.
    pub fn times(&mut self, workload: &str, engine: &'static str, times: &mut Times) {
        let mut at = |part: f64| times.percentile(part);
        let [p50, p99, p999, worst] = [at(0.5), at(0.99), at(0.999), at(1.0)];
        self.add(workload, engine, "k/s", times.each.len() as f64 / times.seconds / 1000.0);
        self.add(workload, engine, "p50 us", p50);
        self.add(workload, engine, "p99 us", p99);
        self.add(workload, engine, "p99.9 us", p999);
        self.add(workload, engine, "worst ms", worst / 1000.0);
    }
}

/// Times of single operations, in nanoseconds.
#[derive(Default)]
pub struct Times {
    each: Vec<u32>,
    seconds: f64,
}

impl Times {
    /// Runs `f` for each number below `n` and takes the time of each.
    pub fn of(n: u64, mut f: impl FnMut(u64)) -> Times {
        let mut each = Vec::with_capacity(n as usize);
        let start = Instant::now();
        let mut before = start;
        for i in 0..n {
            f(i);
            let now = Instant::now();
            each.push(u32::try_from((now - before).as_nanos()).unwrap_or(u32::MAX));
            before = now;
        }
        Times { each, seconds: start.elapsed().as_secs_f64() }
    }

    /// Times that somebody else took, in nanoseconds.
    pub fn taken(each: Vec<u32>) -> Times {
        let seconds = each.iter().map(|n| f64::from(*n)).sum::<f64>() / 1e9;
        Times { each, seconds }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.each.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// How long all of it took.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// The time that this part of the operations took at most, in microseconds.
    pub fn percentile(&mut self, part: f64) -> f64 {
        self.each.sort_unstable();
        let last = self.each.len().saturating_sub(1);
        f64::from(self.each.get((last as f64 * part) as usize).copied().unwrap_or(0)) / 1000.0
    }

    /// Calls `f` so many times a second; the time of each call counts from when it
    /// was due, so that one that is late makes those behind it late as well.
    pub fn paced(n: u64, per_second: u64, mut f: impl FnMut(u64)) -> Times {
        let mut each = Vec::with_capacity(n as usize);
        let start = Instant::now();
        for i in 0..n {
            let due = start + Duration::from_nanos(i * 1_000_000_000 / per_second);
            while Instant::now() < due {
                std::hint::spin_loop();
            }
            f(i);
            each.push(u32::try_from(due.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
        Times { each, seconds: start.elapsed().as_secs_f64() }
    }

    /// As [`Times::of`], by several threads that share the work.
    pub fn of_threads(threads: u64, n: u64, f: impl Fn(u64, u64) + Sync) -> Times {
        let start = Instant::now();
        let per = n / threads;
        let parts: Vec<Times> = std::thread::scope(|scope| {
            let f = &f;
            let spawn = |t| scope.spawn(move || Times::of(per, |i| f(t, t * per + i)));
            let handles: Vec<_> = (0..threads).map(spawn).collect();
            handles.into_iter().map(|h| h.join().expect("a worker panicked")).collect()
        });
        let seconds = start.elapsed().as_secs_f64();
        Times { each: parts.into_iter().flat_map(|t| t.each).collect(), seconds }
    }
}
