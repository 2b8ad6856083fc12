//! What a handler may rely on: each rule of `docs/rules.md` as a route, which
//! `tests/tests/rules.rs` asks on both runtimes. The guide shows these functions.

use planck_sdk::{
    Error, Key, Request, Response, Result, Router, ServiceRequest, Status, Store, call_service,
    host,
};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Default, Serialize, Deserialize)]
struct Count {
    count: u64,
}

#[derive(Serialize, Deserialize)]
struct Payment {
    cents: u64,
}

const COUNTS: Store<Count> = Store::open("counts");
const PAYMENTS: Store<Payment> = Store::open("payments");

/// In memory, and so of this instance alone: no part of a transaction.
static RUNS: AtomicU64 = AtomicU64::new(0);

fn handler(request: &Request<'_>) -> Result<Response> {
    Router::new()
        .post("/make", make)
        .get("/counts/{n}", show)
        .get("/runs", runs)
        .post("/both", both)
        .post("/slowly", slowly)
        .post("/refused", refused)
        .post("/failed", failed)
        .post("/trapped", trapped)
        .post("/asks", asks)
        .post("/payments/{number}/{cents}", pay)
        .get("/payments", payments)
        .post("/all/{step}", step)
        .handle(request)
}

planck_sdk::export!(handler);

fn make(_: &Request<'_>) -> Result<Response> {
    COUNTS.create()?;
    PAYMENTS.create()?;
    for n in 0..10 {
        COUNTS.insert_with_key(Key(n), &Count::default())?;
    }
    Ok(Response::new(201))
}

fn show(request: &Request<'_>) -> Result<Response> {
    let n = request.param("n").parse().map_err(|_| Error::bad_request("a number"))?;
    Ok(Response::text(COUNTS.get(Key(n))?.unwrap_or_default().count.to_string()))
}

fn runs(_: &Request<'_>) -> Result<Response> {
    Ok(Response::text(RUNS.load(Relaxed).to_string()))
}

fn add(n: u128) -> Result<u64> {
    let mut count = COUNTS.get(Key(n))?.unwrap_or_default();
    count.count += 1;
    COUNTS.update(Key(n), &count)?;
    Ok(count.count)
}

// guide: one call is one step
fn both(_: &Request<'_>) -> Result<Response> {
    add(0)?;
    add(1)?; // nobody ever sees one of them without the other
    Ok(Response::text("done"))
}
// end

// guide: a call may run again
fn slowly(_: &Request<'_>) -> Result<Response> {
    RUNS.fetch_add(1, Relaxed); // counts runs
    let count = add(2)?; // counts calls: what a run did that was disturbed is gone
    wait_a_while();
    Ok(Response::text(count.to_string()))
}
// end

/// Long enough for others to come in between.
fn wait_a_while() {
    let until = host::now_micros() + 20_000;
    while host::now_micros() < until {
        // Much between two looks at the clock: calls of the host are counted.
        (0..200_000).for_each(|n: u32| _ = std::hint::black_box(n));
    }
}

// guide: a refusal takes effect, a failure does not
fn refused(_: &Request<'_>) -> Result<Response> {
    add(3)?; // kept: it counts those who were refused
    Ok(Response::text("too many").status(429))
}

fn failed(_: &Request<'_>) -> Result<Response> {
    add(4)?; // gone
    Err(Error::new(Status::Internal, "something is wrong with us"))
}

fn trapped(_: &Request<'_>) -> Result<Response> {
    add(5)?; // gone
    panic!("a mistake")
}
// end

// guide: who calls outside is not run again
fn asks(_: &Request<'_>) -> Result<Response> {
    let count = add(6)?;
    let answer = call_service("other", ServiceRequest::post("/charge"))?; // it has happened
    wait_a_while();
    // If another call has changed the count meanwhile, the client is told 409, and nothing
    // of this call is done; what was asked of the other service stays done.
    Ok(Response::text(format!("{count} {}", answer.status())))
}
// end

// guide: the same request twice
fn pay(request: &Request<'_>) -> Result<Response> {
    let number = |name| request.param(name).parse::<u64>();
    let (Ok(key), Ok(cents)) = (number("number"), number("cents")) else {
        return Err(Error::bad_request("a number the client chose, and cents"));
    };
    match PAYMENTS.insert_with_key(Key(key.into()), &Payment { cents }) {
        Ok(()) => Ok(Response::text("paid").status(201)),
        // It asks again, not knowing what became of the first time.
        Err(Error { status: Status::KeyExists, .. }) => Ok(Response::text("paid before")),
        Err(error) => Err(error),
    }
}
// end

fn payments(_: &Request<'_>) -> Result<Response> {
    let (mut count, mut sum) = (0, 0);
    PAYMENTS.visit(Key::MIN, Key::MAX, |key, document| {
        count += 1;
        sum += PAYMENTS.decode(key, document)?.cents;
        Ok(())
    })?;
    Ok(Response::text(format!("{count} {sum}")))
}

// guide: a long job in steps
fn step(request: &Request<'_>) -> Result<Response> {
    let step: u32 = request.param("step").parse().map_err(|_| Error::bad_request("a number"))?;
    // How far it has come is kept with what was done: a step is done once, whoever asks twice.
    let mut done = COUNTS.get(Key(9))?.unwrap_or_default();
    let after = done.count.checked_sub(1).map(|last| Key(last.into()));
    let page = PAYMENTS.scan(after, step)?;
    for row in &page.rows {
        PAYMENTS.update(row.key, &Payment { cents: row.cents + 1 })?;
        done.count = row.key.0 as u64 + 1;
    }
    COUNTS.update(Key(9), &done)?;
    let status = if page.next.is_some() { 202 } else { 200 }; // 202: ask again
    Ok(Response::text(page.rows.len().to_string()).status(status))
}
// end
