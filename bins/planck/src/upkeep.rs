//! The background work, on seven threads: one syncs the log by the clock, one takes the
//! bounded steps of the storage, one those of the engine (builds of indexes, expiry),
//! one copies the log to its archive, one takes the backups somebody asks for, one
//! the snapshots that replicas begin with, one
//! tells of slow queries, so that no query waits for whoever reads our log.
//!
//! Invariants: the log is synced every interval whether or not anybody writes, and
//! whatever a flush takes: an idle second, or a long flush, loses nothing that was
//! acknowledged before it. A storage that failed is said so once, and again at the
//! end by the exit code; reads go on meanwhile. An archive or a place for backups
//! whose disk does not answer keeps nobody waiting, the end of the process neither:
//! what is half copied is copied anew.

use engine::{Engine, Step};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the steps rest when there is nothing to do.
const REST: Duration = Duration::from_millis(20);
/// How often it is looked whether somebody has asked for a backup, or there is
/// something to archive.
const LOOK: Duration = Duration::from_millis(100);
/// How long the end waits for a piece of the archive, and of a backup.
const COPIES_END: Duration = Duration::from_secs(5);
/// How long they rest after one failed: the fault may pass, the log must not fill.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The threads, until they are stopped.
pub struct Upkeep {
    engine: Arc<Engine>,
    threads: Vec<(Sender<()>, JoinHandle<()>)>,
    /// What they copy, and their threads. Their disks may hang.
    copies: Vec<(&'static str, Sender<()>, JoinHandle<()>)>,
}

impl Upkeep {
    /// Starts the threads; `interval` is that of the log's syncs, if they are timed.
    pub fn start(engine: Arc<Engine>, interval: Option<Duration>) -> Upkeep {
        let mut threads = Vec::new();
        if let Some(interval) = interval {
            let engine = Arc::clone(&engine);
            threads.push(spawn("planck-sync", move |told, _| {
                tell(told, engine.sync().map(|_| ()).map_err(|refusal| refusal.message));
                interval
            }));
        }
        let stepped = Arc::clone(&engine);
        // From here on writes without room wait for this thread.
        let stepper = engine.stepper();
        threads.push(spawn("planck-upkeep", move |told, stopped| match stepped.maintenance() {
            Ok(step) => {
                if step == Step::Idle {
                    stepper.rest(REST);
                }
                Duration::ZERO
            }
            Err(refusal) => {
                tell(told, Err(refusal.message));
                // Who waits for a flush does not wait for this.
                let until = Instant::now() + AFTER_FAILURE;
                while Instant::now() < until && !stopped() && !stepper.rest(REST) {}
                Duration::ZERO
            }
        }));
        // Builds of indexes and expiry commit, and so may wait for the steps above.
        let tended = Arc::clone(&engine);
        threads.push(spawn("planck-tend", move |told, _| match tended.tend() {
            Ok(true) => Duration::ZERO,
            Ok(false) => LOOK,
            Err(refusal) => {
                tell(told, Err(format!("indexes and expiry: {}", refusal.message)));
                AFTER_FAILURE
            }
        }));
        let mut copies = Vec::new();
        let asked = Arc::clone(&engine);
        let (stop, thread) = spawn("planck-backup", move |_, stopped| {
            match asked.take_backup(&|| !stopped()) {
                Some(Ok(taken)) => {
                    tracing::info!("{}", taken.info);
                    if let Err(why) = taken.pruned {
                        tracing::warn!("{why}");
                    }
                }
                Some(Err(why)) => tracing::error!("the backup failed: {why}"),
                None => {}
            }
            LOOK
        });
        copies.push(("backup", stop, thread));
        let given = Arc::clone(&engine);
        let (stop, thread) = spawn("planck-snapshot", move |_, stopped| {
            match given.tend_snapshot(&|| !stopped()) {
                Some(Ok(lsn)) => tracing::info!(lsn, "a snapshot for replicas is made"),
                Some(Err(why)) => tracing::error!("the snapshot for replicas failed: {why}"),
                None => {}
            }
            LOOK
        });
        copies.push(("snapshot", stop, thread));
        if let Some(stepper) = engine.archive_stepper() {
            let archived = Arc::clone(&engine);
            let (stop, thread) = spawn("planck-archive", move |told, _| {
                let _steps = &stepper;
                match archived.archive() {
                    Ok(Step::Idle) => LOOK,
                    Ok(Step::Archived { .. }) => {
                        if !std::mem::take(told).is_empty() {
                            tracing::info!("the log is archived again");
                        }
                        Duration::ZERO
                    }
                    Ok(_) => Duration::ZERO,
                    // The engine keeps the pause before the next try.
                    Err(refusal) => {
                        let why = refusal.message;
                        tell(told, Err(format!("the log could not be archived: {why}")));
                        LOOK
                    }
                }
            });
            copies.push(("archive", stop, thread));
        }
        let watched = Arc::clone(&engine);
        let mut seen = 0;
        threads.push(spawn("planck-slow", move |_, _| {
            seen = tell_slow(&watched, seen);
            LOOK
        }));
        Upkeep { engine, threads, copies }
    }

    /// Ends the threads. Gives why the storage refuses writes, if it does.
    pub fn stop(self) -> Option<String> {
        self.stop_within(COPIES_END)
    }

    fn stop_within(self, copies_end: Duration) -> Option<String> {
        let mut failed = None;
        // The archive's last: once it is gone, its part would be the steps' again.
        for (stop, thread) in self.threads {
            drop(stop);
            if thread.join().is_err() {
                failed = Some("an upkeep thread failed; its words are in the log".to_owned());
            }
        }
        // All are told before one is waited for.
        let told = self.copies.into_iter().map(|(what, _, thread)| (what, thread));
        let copies: Vec<_> = told.collect();
        let until = Instant::now() + copies_end;
        for (what, thread) in copies {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(REST);
            }
            if !thread.is_finished() {
                tracing::warn!(
                    "the disk of the {what} does not answer: its copy is left unfinished"
                );
            } else if thread.join().is_err() {
                failed = Some(format!("the thread of the {what} failed; its words are in the log"));
            }
        }
        self.engine.poisoned().or(failed)
    }
}

/// A thread that calls `step` again and again, resting as long as it says. A long
/// step can ask whether it is to stop.
fn spawn(
    name: &str,
    mut step: impl FnMut(&mut String, &dyn Fn() -> bool) -> Duration + Send + 'static,
) -> (Sender<()>, JoinHandle<()>) {
    let (stop, stopped): (Sender<()>, Receiver<()>) = channel();
    let body = move || {
        let mut told = String::new();
        loop {
            let ends = || stopped.try_recv() == Err(TryRecvError::Disconnected);
            let rest = step(&mut told, &ends);
            if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    (stop, thread.expect("a process that just started has threads left"))
}

/// Logs the queries that were slow since number `seen`; gives the last one's.
fn tell_slow(engine: &Engine, mut seen: u64) -> u64 {
    for slow in engine.slow_queries_after(seen) {
        let missed = slow.number - seen - 1;
        if missed > 0 {
            tracing::warn!(missed, "slow queries came faster than they are told");
        }
        seen = slow.number;
        tracing::warn!(
            user = slow.user,
            query = ?slow.text,
            plan = slow.plan,
            ms = slow.figures.micros / 1000,
            examined = slow.figures.examined,
            returned = slow.returned,
            spilled_bytes = slow.figures.spilled,
            "a slow query"
        );
    }
    seen
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

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{BackupTarget, Options, Principal, Role};
    use platform::sim::{SimClock, SimDisk, SimEntropy};
    use platform::{Disk, File, Lock, Open};
    use proto::Request;
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Answers nothing, ever.
    #[derive(Default)]
    struct Silent(AtomicBool);

    impl Silent {
        fn hang(&self) -> ! {
            self.0.store(true, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        }
    }

    impl Disk for Silent {
        fn open(&self, _: &str, _: Open) -> io::Result<Arc<dyn File>> {
            self.hang()
        }

        fn rename(&self, _: &str, _: &str) -> io::Result<()> {
            self.hang()
        }

        fn remove(&self, _: &str) -> io::Result<()> {
            self.hang()
        }

        fn list(&self, _: &str) -> io::Result<Vec<String>> {
            self.hang()
        }

        fn create_dir(&self, _: &str) -> io::Result<()> {
            self.hang()
        }

        fn sync_dir(&self, _: &str) -> io::Result<()> {
            self.hang()
        }

        fn lock(&self, _: &str) -> io::Result<Box<dyn Lock>> {
            self.hang()
        }
    }

    #[test]
    fn a_disk_of_backups_that_hangs_does_not_keep_the_end_waiting() {
        // Given a backup on a disk that does not answer,
        let silent = Arc::new(Silent::default());
        let backup = BackupTarget { disk: silent.clone(), path: "/far".into(), keep: 1 };
        let options = Options { backup: Some(backup), ..Options::default() };
        let (clock, entropy) = (Arc::new(SimClock::new(1)), Arc::new(SimEntropy::new(1)));
        let engine = Arc::new(Engine::open(SimDisk::new(1), clock, entropy, options).unwrap());
        let (mut packet, mut out) = (Vec::new(), Vec::new());
        Request::Backup { begin: true, full: false }.encode(1, &mut packet);
        engine.dispatch_packet(&Principal::new("root", Role::Admin), &packet, &mut out);
        let upkeep = Upkeep::start(Arc::clone(&engine), None);
        while !silent.0.load(Ordering::SeqCst) {
            std::thread::sleep(REST);
        }
        // when the service stops, then it does.
        let begun = Instant::now();
        assert_eq!(upkeep.stop_within(Duration::from_millis(300)), None);
        assert!(begun.elapsed() >= Duration::from_millis(300), "it is given its time");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
