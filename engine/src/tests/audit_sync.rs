//! The audit log and a slow disk: who waits for its syncs, who shares them, who does not
//! wait.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use platform::sim::{SimClock, SimDisk, SimEntropy};
use platform::{Disk, File, Lock, Open};
use proto::{Request, Status};

use super::kit::*;
use crate::{AuditOptions, Engine, Options, Principal, Role, verify_audit};

const FIRST: &str = "audit/0000000000000001.jsonl";
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// What the syncs of the audit log, or of other files, pass through.
#[derive(Default)]
pub(super) struct Gate {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    closed: bool,
    /// What comes through fails.
    fails: bool,
    waiting: usize,
    passed: usize,
    /// Lines of flushes that have begun.
    begun: usize,
}

impl Gate {
    fn pass(&self) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.waiting += 1;
        self.changed.notify_all();
        // Not for ever: a test that fails with the gate closed must come to its end.
        while inner.closed && !self.changed.wait_for(&mut inner, 3 * LONG).timed_out() {}
        inner.waiting -= 1;
        inner.passed += 1;
        match inner.fails {
            true => Err(io::Error::other("the gate fails it")),
            false => Ok(()),
        }
    }

    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        (inner.closed, inner.passed) = (true, 0);
    }

    /// Lets through, or fails, who waits and who comes.
    pub(super) fn open(&self, fails: bool) {
        let mut inner = self.inner.lock();
        (inner.closed, inner.fails) = (false, fails);
        self.changed.notify_all();
    }

    pub(super) fn wait_for_one(&self) {
        self.wait_until(|inner| inner.waiting > 0);
    }

    /// Whether it came to that.
    fn wait_until(&self, there: impl Fn(&Inner) -> bool) -> bool {
        let mut inner = self.inner.lock();
        while !there(&inner) {
            if self.changed.wait_for(&mut inner, LONG).timed_out() {
                return false;
            }
        }
        true
    }
}

/// Files under a path have their syncs wait at the gate.
struct Gated(Arc<SimDisk>, Arc<Gate>, &'static str);

struct GatedFile(Arc<dyn File>, Arc<Gate>);

impl File for GatedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset)?;
        let line = String::from_utf8_lossy(buf);
        if line.contains(r#""what":"Flush","who":"root","outcome":"begun""#) {
            self.1.inner.lock().begun += 1;
            self.1.changed.notify_all();
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.1.pass()?;
        self.0.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

impl Disk for Gated {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.0.open(path, how)?;
        Ok(match path.starts_with(self.2) {
            true => Arc::new(GatedFile(file, Arc::clone(&self.1))),
            false => file,
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.0.create_dir(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        self.0.lock(path)
    }
}

fn with_audit() -> (Arc<SimDisk>, Arc<Gate>, Engine) {
    gated("audit/", Options { audit: Some(AuditOptions::default()), ..options() })
}

/// An engine whose syncs of files under a path pass through the gate.
pub(super) fn gated(path: &'static str, options: Options) -> (Arc<SimDisk>, Arc<Gate>, Engine) {
    let (disk, gate) = (SimDisk::new(1), Arc::new(Gate::default()));
    let (clock, entropy) = (Arc::new(SimClock::new(NOW)), Arc::new(SimEntropy::new(1)));
    let behind = Arc::new(Gated(Arc::clone(&disk), Arc::clone(&gate), path));
    let engine = Engine::open(behind, clock, entropy, options).unwrap();
    done(&engine, create("s"));
    (disk, gate, engine)
}

#[test]
fn nobody_waits_for_a_sync_who_needs_none() {
    let (disk, gate, engine) = with_audit();
    gate.close();
    let (told, heard) = mpsc::channel();
    let in_time = thread::scope(|scope| {
        let flush = scope.spawn(|| ask(&engine, Request::Flush));
        gate.wait_for_one();
        scope.spawn(|| {
            // Refused, and so a line that is synced later; the figures of the log.
            let nobody = Principal::new("nobody", Role::None);
            refused_as(&engine, &nobody, read(1), Status::Forbidden, &[]);
            done(&engine, Request::Stats);
            engine.tend().unwrap();
            told.send(()).unwrap();
        });
        let in_time = heard.recv_timeout(LONG).is_ok();
        gate.open(false);
        assert_eq!(flush.join().unwrap(), Said::Empty);
        in_time
    });
    assert!(in_time, "they waited for the disk");
    engine.close().unwrap();
    assert_eq!(verify_audit(&*disk, None).unwrap().unwrap().fault, None);
}

#[test]
fn who_waits_for_a_sync_shares_it() {
    let (disk, gate, engine) = with_audit();
    gate.close();
    thread::scope(|scope| {
        let first = scope.spawn(|| ask(&engine, Request::Flush));
        gate.wait_for_one();
        let others = [0; 3].map(|_| scope.spawn(|| ask(&engine, Request::Flush)));
        let all = gate.wait_until(|inner| inner.begun == 4);
        gate.open(false);
        assert!(all, "a line waits for the sync of another");
        for flush in others.into_iter().chain([first]) {
            assert_eq!(flush.join().unwrap(), Said::Empty);
        }
    });
    // That of the first, one for the beginnings of the others, and the ends' at most.
    let passed = gate.inner.lock().passed;
    assert!(passed <= 6, "{passed} syncs for eight lines");
    assert_eq!(disk.durable_bytes(FIRST), disk.file_bytes(FIRST));
    engine.close().unwrap();
    assert_eq!(verify_audit(&*disk, None).unwrap().unwrap().fault, None);
}

#[test]
fn a_sync_that_fails_fails_for_all_who_share_it() {
    let (_, gate, engine) = with_audit();
    gate.close();
    thread::scope(|scope| {
        let first = scope.spawn(|| ask(&engine, Request::Flush));
        gate.wait_for_one();
        let others = [0; 3].map(|_| scope.spawn(|| ask(&engine, Request::Flush)));
        let all = gate.wait_until(|inner| inner.begun == 4);
        gate.open(true);
        assert!(all, "a line waits for the sync of another");
        for flush in others.into_iter().chain([first]) {
            let said = flush.join().unwrap();
            let Said::Refused(Status::Io, message) = &said else { panic!("{said:?}") };
            assert!(message.contains("the gate fails it"), "{message}");
        }
    });
    assert_eq!(gate.inner.lock().passed, 1, "what a failed sync left is not synced again");
    gate.open(false);
    refused(&engine, create("t"), Status::Io, &["restart the service"]);
}
