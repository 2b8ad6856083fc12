//! CPU time: what the server used, what the attackers did. They share one machine.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What Linux counts in, in `/proc`, whatever its timer does.
const TICKS_A_SECOND: f64 = 100.0;

/// Seconds of CPU: of the server and of this process, and of the clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub server: f64,
    pub siege: f64,
    pub clock: f64,
}

/// Since when.
pub struct Meter {
    server: u32,
    began: Instant,
    before: [f64; 2],
}

impl Meter {
    pub fn start(server: u32) -> Meter {
        Meter { server, began: Instant::now(), before: now(server) }
    }

    pub fn stop(self) -> Used {
        let [server, siege] = now(self.server);
        Used {
            server: server - self.before[0],
            siege: siege - self.before[1],
            clock: self.began.elapsed().as_secs_f64(),
        }
    }
}

fn now(server: u32) -> [f64; 2] {
    [server.to_string().as_str(), "self"].map(|who| seconds(who).unwrap_or(0.0))
}

fn seconds(who: &str) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{who}/stat")).ok()?;
    // Behind the name, which may hold anything but ends with the last `)`.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_A_SECOND)
}

/// Uses all CPU there is for so long, and leaves the server alone: what an honest client
/// feels then is the machine's doing.
pub async fn burn(time: Duration) -> usize {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let ended = Arc::new(AtomicBool::new(false));
    let burning: Vec<_> = (0..threads)
        .map(|_| {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    ended.store(true, Ordering::Relaxed);
    for thread in burning {
        thread.join().ok();
    }
    threads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_burnt_is_counted() {
        let meter = Meter::start(std::process::id());
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        let used = meter.stop();
        assert!(used.siege > 0.0 && used.clock >= 0.3, "{used:?}");
        assert!((used.server - used.siege).abs() < 0.5, "it is the same process: {used:?}");
    }
}
