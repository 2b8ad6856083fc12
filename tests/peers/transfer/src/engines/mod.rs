//! Who makes transfers, behind one small trait.
//!
//! What must stay true: each does it as its own users would, in the way that is fastest for
//! it; a failure is given back.

mod http;
mod native;
mod planck;
mod postgres;
mod redis;
mod sqlite;
mod wire;

use crate::args::Args;
use crate::work::Work;
use std::path::Path;
use std::time::{Duration, Instant};

pub type Done<T = ()> = Result<T, String>;

/// What a turn starts with.
pub struct Terms<'a> {
    pub args: &'a Args,
    /// An empty directory for data.
    pub dir: &'a Path,
    /// Whether a commit waits for the disk.
    pub sync: bool,
}

/// Transfers that were made.
#[derive(Default)]
pub struct Ran {
    /// How long each that was done took, in nanoseconds.
    pub times: Vec<u32>,
    pub given_up: u64,
    pub seconds: f64,
}

/// All accounts together.
pub struct Total {
    pub accounts: u64,
    pub cents: i128,
    /// What the poorest has.
    pub least: i64,
}

/// Accounts, for one turn. Dropped, nothing of them is left.
pub trait Bank {
    fn version(&self) -> String;

    /// Opens so many accounts, each with [`crate::work::CENTS`].
    fn fill(&mut self, accounts: u64) -> Done;

    /// Makes transfers for so long.
    fn run(&mut self, work: &Work, time: Duration) -> Done<Ran>;

    /// How often a transfer was begun anew so far, if that is known.
    fn disturbed(&mut self) -> Done<Option<u64>> {
        Ok(None)
    }

    fn total(&mut self) -> Done<Total>;
}

#[derive(Clone, Copy)]
pub struct Engine {
    pub name: &'static str,
    /// How it does it, for the head of the table.
    pub note: &'static str,
    pub open: fn(&Terms<'_>) -> Done<Box<dyn Bank>>,
}

pub const ALL: &[Engine] = &[
    Engine {
        name: "planck",
        note: "the guest of examples/transfer, wasmer, a POST for each transfer over HTTP/1.1 \
               (wrk), serializable, the call is the transaction",
        open: |terms| http::open(terms, "wasmer"),
    },
    Engine {
        name: "planck-wasmi",
        note: "the same, interpreted",
        open: |terms| http::open(terms, "wasmi"),
    },
    Engine {
        name: "planck-wire",
        note: "a transaction over TCP in the clear by the Rust client, a connection for each \
               that asks: six round trips",
        open: |terms| wire::open(terms, false),
    },
    Engine {
        name: "planck-piped",
        note: "the same in three round trips, each of eight transfers of a connection at once",
        open: |terms| wire::open(terms, true),
    },
    Engine {
        name: "planck-native",
        note: "the engine in this process, by the calls that guests make",
        open: native::open,
    },
    Engine {
        name: "sqlite",
        note: "in this process, one thread, prepared statements, BEGIN IMMEDIATE, WAL; \
               synchronous=FULL for sync, else NORMAL",
        open: sqlite::open,
    },
    Engine {
        name: "postgres",
        note: "a function in PL/pgSQL that locks both rows in order (read committed, which is \
               enough for it), a prepared statement over a Unix socket, a connection for each that \
               asks; fsync=on for sync, else off",
        open: |terms| postgres::open(terms, false),
    },
    Engine {
        name: "postgres-piped",
        note: "the same, eight at once on each connection",
        open: |terms| postgres::open(terms, true),
    },
    Engine {
        name: "redis",
        note: "a Lua script over TCP, all at once on one connection: its times are those of all \
               together; appendfsync always for sync, else everysec",
        open: redis::open,
    },
];

/// For text that becomes a reason.
fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Calls this until time is over, one after the other; it says whether the transfer was
/// done.
fn one_by_one(
    work: &Work,
    first: u64,
    time: Duration,
    mut transfer: impl FnMut(crate::work::Transfer) -> Done<bool>,
) -> Done<Ran> {
    let (mut ran, begun) = (Ran::default(), Instant::now());
    let mut before = begun;
    for n in first.. {
        let done = transfer(work.get(n))?;
        let now = Instant::now();
        match done {
            true => ran.times.push(nanos(now - before)),
            false => ran.given_up += 1,
        }
        if now - begun >= time {
            break;
        }
        before = now;
    }
    ran.seconds = begun.elapsed().as_secs_f64();
    Ok(ran)
}

/// As [`one_by_one`], beside others.
async fn one_by_one_async(
    work: &Work,
    first: u64,
    time: Duration,
    transfer: impl AsyncFn(crate::work::Transfer) -> Done<bool>,
) -> Done<Ran> {
    let (mut ran, begun) = (Ran::default(), Instant::now());
    for n in first.. {
        let before = Instant::now();
        match transfer(work.get(n)).await? {
            true => ran.times.push(nanos(before.elapsed())),
            false => ran.given_up += 1,
        }
        if begun.elapsed() >= time {
            break;
        }
    }
    ran.seconds = begun.elapsed().as_secs_f64();
    Ok(ran)
}

fn nanos(time: Duration) -> u32 {
    u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)
}

/// Of parts that ran at the same time.
fn together(parts: impl IntoIterator<Item = Ran>) -> Ran {
    let mut all = Ran::default();
    for part in parts {
        all.times.extend(part.times);
        all.given_up += part.given_up;
        all.seconds = all.seconds.max(part.seconds);
    }
    all
}

impl Total {
    fn add(&mut self, cents: i64) {
        self.accounts += 1;
        self.cents += i128::from(cents);
        self.least = self.least.min(cents);
    }
}
