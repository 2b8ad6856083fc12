//! The background work, on a thread of its own: syncs and bounded steps.
//!
//! Invariant: the log is synced every interval whether or not anybody writes: an
//! idle second loses nothing that was acknowledged before it.

use engine::{Engine, Step};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the thread rests when there is nothing to do.
const REST: Duration = Duration::from_millis(20);
/// How long it rests after a step failed: the fault may pass, the log must not fill.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The thread, until it is stopped.
pub struct Upkeep {
    stop: Sender<()>,
    thread: JoinHandle<Option<String>>,
}

impl Upkeep {
    /// Starts the thread; `interval` is that of the log's syncs, if they are timed.
    pub fn start(engine: Arc<Engine>, interval: Option<Duration>) -> Upkeep {
        let (stop, stopped) = channel::<()>();
        let body = move || {
            let mut synced = Instant::now();
            let mut told = String::new();
            loop {
                let mut rest = interval.map_or(REST, |interval| REST.min(interval));
                if interval.is_some_and(|interval| synced.elapsed() >= interval) {
                    synced = Instant::now();
                    tell(&mut told, engine.sync().map(|_| ()).map_err(|refusal| refusal.message));
                }
                match engine.maintenance() {
                    Ok(Step::Idle) => {}
                    Ok(_) => rest = Duration::ZERO,
                    Err(refusal) => {
                        tell(&mut told, Err(refusal.message));
                        rest = AFTER_FAILURE.min(interval.unwrap_or(AFTER_FAILURE));
                    }
                }
                match stopped.recv_timeout(rest) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return engine.poisoned(),
                }
            }
        };
        let thread = std::thread::Builder::new().name("planck-upkeep".to_owned()).spawn(body);
        Upkeep { stop, thread: thread.expect("a process that just started has threads left") }
    }

    /// Ends the thread. Gives why the log refuses writes, if it does.
    pub fn stop(self) -> Option<String> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| Some("the upkeep thread failed".to_owned()))
    }
}

/// Logs a failure once, until another comes.
fn tell(told: &mut String, outcome: Result<(), String>) {
    if let Err(message) = outcome
        && *told != message
    {
        tracing::error!("{message}");
        *told = message;
    }
}
