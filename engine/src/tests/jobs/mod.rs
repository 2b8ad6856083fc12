//! Jobs by a clock of the test's: scheduled with what asked for them or not at all, due in
//! order, ended by one commit, bounded.

mod asked;
mod due;
mod ended;
mod stores;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use platform::sim::{SimClock, SimDisk};
use proto::request::{Act, Part, Step, StepsBuf};
use proto::{Key, Reply, Request, Status};

use super::kit::*;
use super::transactions::{begin_as, within_as};
use crate::{
    CallTransaction, Claim, Engine, JobEnd, JobFigures, JobOptions, Later, Principal, Retry, Role,
};

struct World {
    engine: Engine,
    clock: Arc<SimClock>,
    disk: Arc<SimDisk>,
    told: Arc<AtomicUsize>,
}

fn world_of(options: JobOptions) -> World {
    let (clock, disk) = (Arc::new(SimClock::new(NOW)), SimDisk::new(1));
    let engine = open_at(clock.clone(), disk.clone(), self::options());
    let told = Arc::new(AtomicUsize::new(0));
    begin(&engine, options, &told);
    done(&engine, create("s"));
    World { engine, clock, disk, told }
}

fn world() -> World {
    world_of(JobOptions { upstreams: vec!["mail".to_owned()], ..JobOptions::default() })
}

fn begin(engine: &Engine, options: JobOptions, told: &Arc<AtomicUsize>) {
    let told = Arc::clone(told);
    engine
        .begin_jobs(options, move || {
            told.fetch_add(1, SeqCst);
        })
        .unwrap();
}

fn schedule(engine: &Engine, job: &str) -> Key {
    match done(engine, Request::Schedule { job: &doc(job) }) {
        Said::Key(key) => key,
        other => panic!("{other:?}"),
    }
}

fn due(engine: &Engine) -> Vec<Key> {
    engine.due_jobs(1000, |_| false).unwrap().now
}

fn rows(engine: &Engine, text: &str) -> Vec<String> {
    match done(engine, query(text)) {
        Said::Rows(rows, _) => rows,
        other => panic!("{other:?}"),
    }
}

fn count(engine: &Engine, store: &str) -> u64 {
    match done(engine, query(&format!("{store}.count()"))) {
        Said::Count(count) => count,
        other => panic!("{other:?}"),
    }
}

fn figures(engine: &Engine) -> JobFigures {
    engine.figures().unwrap().jobs
}

/// The claim of a job that is due.
fn claim(engine: &Engine, key: Key) -> Claim {
    engine.take_job(key).unwrap().expect("it is due").claim()
}

/// What a call of a guest asks for.
fn in_call(engine: &Engine, call: &mut CallTransaction, request: Request<'_>) -> Said {
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    request.encode(77, &mut packet);
    engine.dispatch_in_call(&guest(), call, &packet, &mut out);
    said(&out)
}

fn guest() -> Principal {
    Principal::service("service").in_session(9)
}

const A: &str = r#"{"path": "/a"}"#;
