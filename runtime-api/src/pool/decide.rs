//! The pool's decisions as values.

/// Whom a newly queued job should wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// A worker with an idle instance.
    Warm,
    /// A worker that has to make one.
    Cold,
    /// Nobody: all are busy, the first to finish takes it.
    None,
}

/// `waiting` counts the new job. Each idle instance is good for one waiting job.
pub(super) fn wake(waiting: usize, idle_warm: usize, idle_cold: usize) -> Wake {
    if waiting <= idle_warm {
        Wake::Warm
    } else if idle_cold > 0 {
        Wake::Cold
    } else {
        Wake::None
    }
}

const SECOND: u64 = 1_000_000_000;

/// When a refused client should come back: when the queue will be gone at the
/// pace of late, between 1 and 30 seconds.
pub(super) fn retry_after(waiting: usize, mean_call_nanos: u64, workers: usize) -> u64 {
    let jobs = waiting as u64 / workers.max(1) as u64 + 1;
    jobs.saturating_mul(mean_call_nanos).clamp(SECOND, 30 * SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_wakes_an_idle_instance_before_it_makes_one() {
        for (waiting, warm, cold, expected) in [
            (1, 1, 1, Wake::Warm),
            (2, 2, 0, Wake::Warm),
            // The one idle instance has a job coming to it already.
            (2, 1, 1, Wake::Cold),
            (1, 0, 3, Wake::Cold),
            (1, 0, 0, Wake::None),
            (3, 2, 0, Wake::None),
        ] {
            assert_eq!(wake(waiting, warm, cold), expected, "{waiting} {warm} {cold}");
        }
    }

    #[test]
    fn retry_after_follows_the_queue_within_bounds() {
        assert_eq!(retry_after(0, 0, 8), SECOND);
        assert_eq!(retry_after(80, SECOND / 2, 8), 11 * SECOND / 2);
        assert_eq!(retry_after(1_000_000, SECOND, 8), 30 * SECOND);
        assert_eq!(retry_after(5, u64::MAX, 0), 30 * SECOND);
    }
}
