//! The pool over a fake module whose requests say what shall happen.

mod handover;
mod here;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};

use parking_lot::{Condvar, Mutex};

use super::*;
use crate::conformance::{StepClock, TestHost};

/// Makes instances that obey: `trap`, `abort`, `panic`, `wait` (until the gate
/// opens), `grow`, `long`; anything else is echoed with the instance's number before it.
#[derive(Debug, Default)]
struct Fake {
    made: AtomicU64,
    refuse_starts: AtomicU64,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock() = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let mut open = self.open.lock();
        while !*open {
            self.opened.wait(&mut open);
        }
    }
}

struct FakeInstance {
    number: u64,
    memory: u64,
    gate: Arc<Gate>,
}

impl Module for Arc<Fake> {
    fn instantiate(&self, _: Arc<dyn Host>, _: &Limits) -> Result<Box<dyn Instance>, Trap> {
        let refuse = |n: u64| n.checked_sub(1);
        if self.refuse_starts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse).is_ok() {
            return Err(Trap::of(TrapKind::Unreachable));
        }
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(FakeInstance { number, memory: 1, gate: Arc::clone(&self.gate) }))
    }
}

impl Instance for FakeInstance {
    fn process(&mut self, request: &[u8], response: &mut Vec<u8>) -> Result<CallReport, Trap> {
        match request {
            b"trap" => return Err(Trap::of(TrapKind::DivisionByZero)),
            b"abort" => return Err(Trap::aborted(-1)),
            b"panic" => panic!("the host broke"),
            b"wait" => self.gate.pass(),
            b"grow" => self.memory = u64::MAX,
            b"long" => platform::sharing::long_ahead(),
            _ => {}
        }
        response.extend_from_slice(self.number.to_string().as_bytes());
        response.extend_from_slice(request);
        Ok(CallReport { memory_bytes: self.memory, ..CallReport::default() })
    }

    fn last_call(&self) -> CallReport {
        CallReport::default()
    }

    fn memory_bytes(&self) -> u64 {
        self.memory
    }
}

struct Rig {
    fake: Arc<Fake>,
    clock: Arc<StepClock>,
    pool: Arc<Pool>,
}

impl Rig {
    fn new(options: PoolOptions) -> Self {
        let fake = Arc::<Fake>::default();
        let clock = StepClock::new(0);
        let module = Arc::new(Arc::clone(&fake));
        let pool = Pool::new(module, Arc::new(TestHost::default()), clock.clone(), options);
        Self { fake, clock, pool: pool.expect("options") }
    }

    fn send(&self, request: &[u8]) -> Receiver<Result<Answer, Failure>> {
        let (answered, answer) = channel();
        self.pool.submit(request.to_vec(), move |outcome| {
            answered.send(outcome).expect("the test waits for it");
        });
        answer
    }

    fn ask(&self, request: &[u8]) -> Result<String, Failure> {
        let answer = self.send(request).recv().expect("an answer")?;
        Ok(String::from_utf8(answer.body).expect("text"))
    }

    /// Runs `test` with all workers alive, then closes the pool.
    fn run(&self, test: impl FnOnce(&Self)) {
        std::thread::scope(|threads| {
            for index in 0..self.pool.options().max {
                threads.spawn(move || self.pool.worker(index));
            }
            // Also when the test panics: a failure must not look like a hang.
            let _closer = Closer(self);
            test(self);
        });
        assert_eq!(self.pool.stats().instances, 0, "every instance died with its worker");
    }

    /// Waits until the counters say so. It must come true: a hang is the failure.
    fn until(&self, reached: impl Fn(&PoolStats) -> bool) {
        while !reached(&self.pool.stats()) {
            std::thread::yield_now();
        }
    }
}

struct Closer<'a>(&'a Rig);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        self.0.fake.gate.open();
        self.0.pool.close(u64::MAX);
    }
}

fn options(min: usize, max: usize) -> PoolOptions {
    PoolOptions { min, max, ..PoolOptions::default() }
}

#[test]
fn failed_calls_cost_instances_and_never_slots() {
    let rig = Rig::new(options(2, 2));
    rig.run(|rig| {
        for _ in 0..20 {
            for (request, kind) in
                [(&b"trap"[..], TrapKind::DivisionByZero), (b"panic", TrapKind::Host)]
            {
                let Err(Failure::Trap(trap)) = rig.ask(request) else { panic!("a trap") };
                assert_eq!(trap.kind(), kind);
            }
        }
        assert!(rig.ask(b"fine").expect("a live instance").ends_with("fine"));
        // Two at the start and one for each that was lost.
        rig.until(|stats| stats.made == 2 + 40);
        let stats = rig.pool.stats();
        assert_eq!(stats.instances, 2);
        assert_eq!((stats.calls, stats.busy, stats.waiting), (41, 0, 0));
        assert_eq!(stats.trapped(TrapKind::DivisionByZero), 20);
        assert_eq!(stats.trapped(TrapKind::Host), 20);
    });
}

#[test]
fn an_abort_keeps_its_instance() {
    let rig = Rig::new(options(1, 1));
    rig.run(|rig| {
        let Err(Failure::Trap(trap)) = rig.ask(b"abort") else { panic!("an abort") };
        assert_eq!(trap.kind(), TrapKind::Aborted);
        assert_eq!(rig.ask(b"x").as_deref(), Ok("0x"));
    });
    assert_eq!(rig.pool.stats().made, 1);
}

#[test]
fn the_queue_is_bounded_by_count() {
    let rig = Rig::new(PoolOptions { queue: 2, ..options(1, 1) });
    rig.run(|rig| {
        let running = rig.send(b"wait");
        rig.until(|stats| stats.busy == 1);
        let waiting = [rig.send(b"a"), rig.send(b"b")];
        let Err(Failure::Busy { retry_after_nanos }) = rig.ask(b"c") else { panic!("refused") };
        assert!(retry_after_nanos >= 1_000_000_000);
        rig.fake.gate.open();
        for answer in [running].into_iter().chain(waiting) {
            assert!(answer.recv().expect("an answer").is_ok());
        }
    });
    assert_eq!((rig.pool.stats().calls, rig.pool.stats().refused), (3, 1));
}

#[test]
fn the_queue_is_bounded_by_time_while_every_worker_is_busy() {
    let rig = Rig::new(PoolOptions { queue_wait_nanos: 100, ..options(1, 1) });
    rig.run(|rig| {
        let running = rig.send(b"wait");
        rig.until(|stats| stats.busy == 1);
        let early = rig.send(b"early");
        rig.clock.advance(60);
        let late = rig.send(b"late");
        assert_eq!(rig.pool.expire(), Some(40), "early has 40 left");
        rig.clock.advance(40);
        assert_eq!(rig.pool.expire(), Some(60));
        assert!(matches!(early.recv(), Ok(Err(Failure::Busy { .. }))));
        rig.fake.gate.open();
        assert!(late.recv().expect("an answer").is_ok());
        assert!(running.recv().expect("an answer").is_ok());
        assert_eq!(rig.pool.expire(), None);
    });
}

#[test]
fn a_job_that_waited_too_long_is_not_run_late() {
    let rig = Rig::new(PoolOptions { queue_wait_nanos: 100, ..options(1, 1) });
    rig.run(|rig| {
        let running = rig.send(b"wait");
        rig.until(|stats| stats.busy == 1);
        let late = rig.send(b"late");
        rig.clock.advance(100);
        rig.fake.gate.open();
        assert!(running.recv().expect("an answer").is_ok());
        assert!(matches!(late.recv(), Ok(Err(Failure::Busy { .. }))));
    });
    let stats = rig.pool.stats();
    assert_eq!(stats.calls, 1);
    assert_eq!(
        (stats.waits.count(), stats.waits.sum()),
        (1, 0),
        "what was not run waited for none"
    );
    assert_eq!((stats.took.count(), stats.took.sum()), (1, 100));
}

#[test]
fn instances_are_made_on_demand_up_to_max_and_stay() {
    let rig = Rig::new(options(1, 3));
    rig.run(|rig| {
        rig.until(|stats| stats.instances == 1);
        assert_eq!(rig.ask(b"x").as_deref(), Ok("0x"), "the idle instance takes it");
        let waiting = [rig.send(b"wait"), rig.send(b"wait"), rig.send(b"wait")];
        rig.until(|stats| stats.busy == 3 && stats.instances == 3);
        rig.fake.gate.open();
        for answer in waiting {
            assert!(answer.recv().expect("an answer").is_ok());
        }
        assert_eq!(rig.pool.stats().instances, 3, "without autoscale they stay");
    });
}

#[test]
fn autoscale_drops_idle_instances_above_min() {
    let rig = Rig::new(PoolOptions { autoscale: true, idle_nanos: 1_000_000, ..options(1, 3) });
    rig.run(|rig| {
        let waiting = [rig.send(b"wait"), rig.send(b"wait"), rig.send(b"wait")];
        rig.until(|stats| stats.busy == 3);
        rig.fake.gate.open();
        for answer in waiting {
            assert!(answer.recv().expect("an answer").is_ok());
        }
        rig.until(|stats| stats.instances == 1);
        assert!(rig.ask(b"x").is_ok());
    });
}

#[test]
fn an_instance_that_cannot_start_answers_with_its_trap_and_is_tried_again() {
    let rig = Rig::new(options(1, 1));
    rig.fake.refuse_starts.store(3, Ordering::SeqCst);
    rig.run(|rig| {
        rig.until(|stats| stats.failed_starts == 1);
        for _ in 0..2 {
            let Err(Failure::Trap(trap)) = rig.ask(b"x") else { panic!("it cannot start") };
            assert_eq!(trap.kind(), TrapKind::Unreachable);
        }
        assert_eq!(rig.ask(b"x").as_deref(), Ok("0x"));
    });
    let stats = rig.pool.stats();
    assert_eq!((stats.failed_starts, stats.made), (3, 1));
    assert!(stats.last_failed_start.expect("its words").contains("guest"));
}

#[test]
fn an_instance_that_grew_is_recycled() {
    let rig = Rig::new(options(1, 1));
    rig.run(|rig| {
        assert_eq!(rig.ask(b"grow").as_deref(), Ok("0grow"));
        assert_eq!(rig.ask(b"x").as_deref(), Ok("1x"));
    });
    assert_eq!(rig.pool.stats().recycled, 1);
}

#[test]
fn close_finishes_what_waits_and_refuses_what_comes() {
    let rig = Rig::new(options(1, 1));
    rig.run(|rig| {
        let running = rig.send(b"wait");
        rig.until(|stats| stats.busy == 1);
        let waiting = rig.send(b"x");
        rig.pool.close(u64::MAX);
        assert_eq!(rig.ask(b"new"), Err(Failure::Closed));
        rig.fake.gate.open();
        assert!(running.recv().expect("an answer").is_ok());
        assert!(waiting.recv().expect("an answer").is_ok());
    });
}

#[test]
fn close_refuses_what_waits_past_the_drain() {
    let rig = Rig::new(options(1, 1));
    rig.run(|rig| {
        let running = rig.send(b"wait");
        rig.until(|stats| stats.busy == 1);
        let waiting = rig.send(b"x");
        rig.pool.close(10);
        rig.clock.advance(10);
        assert_eq!(rig.pool.expire(), None);
        assert_eq!(waiting.recv().expect("an answer"), Err(Failure::Closed));
        rig.fake.gate.open();
        assert!(running.recv().expect("an answer").is_ok(), "what runs is finished");
    });
}

#[test]
fn the_keeper_refuses_overdue_jobs_and_ends_with_the_pool() {
    let rig = Rig::new(PoolOptions { queue_wait_nanos: 1_000_000, ..options(1, 1) });
    rig.run(|rig| {
        std::thread::scope(|threads| {
            threads.spawn(|| rig.pool.keeper());
            let running = rig.send(b"wait");
            rig.until(|stats| stats.busy == 1);
            let late = rig.send(b"late");
            rig.clock.advance(1_000_000);
            assert!(matches!(late.recv(), Ok(Err(Failure::Busy { .. }))));
            rig.pool.close(u64::MAX);
            rig.fake.gate.open();
            assert!(running.recv().expect("an answer").is_ok());
        });
    });
}

#[test]
fn a_reply_that_panics_ends_no_worker() {
    let rig = Rig::new(options(1, 1));
    rig.run(|rig| {
        rig.pool.submit(b"x".to_vec(), |_| panic!("the caller broke"));
        assert!(rig.ask(b"x").is_ok());
    });
}

#[test]
fn a_ticket_that_is_dropped_answers() {
    let (answered, answer) = channel();
    let reply = move |outcome| answered.send(outcome).expect("awaited");
    drop(Ticket::new(Vec::new(), 0, Box::new(reply), None, None));
    assert!(matches!(answer.recv(), Ok(Err(Failure::Trap(_)))));
    assert!(answer.recv().is_err(), "once");
}

#[test]
fn every_job_of_a_storm_is_answered_once() {
    let rig =
        Rig::new(PoolOptions { queue: 5_000, autoscale: true, idle_nanos: 1_000, ..options(2, 6) });
    rig.run(|rig| {
        let kinds = [&b"x"[..], b"trap", b"grow", b"panic", b"abort", b"y"];
        let answers: Vec<_> = (0..3_000).map(|i| rig.send(kinds[i * 7 % 11 % 6])).collect();
        for answer in answers {
            drop(answer.recv().expect("an answer"));
            assert!(answer.recv().is_err(), "exactly one");
        }
        let stats = rig.pool.stats();
        assert_eq!((stats.calls, stats.busy, stats.waiting), (3_000, 0, 0));
    });
}

#[test]
fn shapes_that_cannot_work_are_refused() {
    let refused = |options: PoolOptions| options.check().expect_err("refused");
    assert!(refused(options(0, 2)).contains("min_instances"));
    assert!(refused(options(3, 2)).contains("max_instances"));
    assert!(refused(PoolOptions { queue: 0, ..options(1, 1) }).contains("queue"));
    let mut limits = PoolOptions::default();
    limits.limits.fuel = 0;
    assert!(refused(limits).contains("fuel"));
}
