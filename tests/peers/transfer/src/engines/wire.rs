//! A transaction over the wire, in the clear: by the client as it comes, a connection for
//! each that asks; or eight of a connection at once, all their requests sent before the
//! first answer is waited for.

use super::native::{account, cents, key};
use super::planck::Planck;
use super::{Bank, Done, Ran, Terms, Total, nanos, one_by_one_async, said, together};
use crate::work::{Transfer, Work};
use futures_util::future::{join_all, try_join_all};
use planck_client::{Client, Config, ConnectOptions, Connection, Error, Security};
use proto::doc::{Doc, Value};
use proto::request::Part;
use proto::{Reply, Request, Status};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

const STORE: &str = "accounts";
/// Transfers at once on a connection that has several.
const PIPED: u64 = 8;

#[derive(Serialize, Deserialize)]
struct Account {
    cents: i64,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn is_conflict(failure: &Failure) -> bool {
    let error = failure.downcast_ref::<Error>();
    error.is_some_and(|error| error.status() == Some(Status::TransactionConflict))
}

struct Wire {
    planck: Planck,
    runtime: Runtime,
    client: Client,
    together: u64,
    /// Empty: by the client.
    piped: Vec<Connection>,
    disturbed: u64,
}

pub fn open(terms: &Terms<'_>, piped: bool) -> Done<Box<dyn Bank>> {
    let planck = Planck::start(terms, "wasmer")?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(said)?;
    let (address, together) = (planck.wire.to_string(), terms.args.together);
    let mut config = Config::new(&address, Security::Plaintext, "admin", &planck.key);
    config.pool.connections = together as usize;
    config.retry.first_pause = Duration::from_millis(1);
    config.retry.longest_pause = Duration::from_millis(20);
    let client = runtime.block_on(async { Client::new(config) }).map_err(said)?;
    let connections = if piped { together.div_ceil(PIPED) } else { 0 };
    let connect = |_| {
        let options = ConnectOptions::default();
        Connection::connect(&address, Security::Plaintext, "admin", &planck.key, options)
    };
    let piped = runtime.block_on(try_join_all((0..connections).map(connect))).map_err(said)?;
    Ok(Box::new(Wire { planck, runtime, client, together, piped, disturbed: 0 }))
}

impl Wire {
    fn by_client(&self, work: &Work, time: Duration) -> Done<Vec<Ran>> {
        let client = &self.client;
        let asks = (0..self.together).map(|n| {
            one_by_one_async(work, n * 7777, time, async move |transfer| {
                let Transfer { from, to, cents } = transfer;
                let done: Result<bool, Failure> = client
                    .transaction(async |transaction| {
                        let accounts = transaction.store::<Account>(STORE);
                        let missing = || Failure::from("an account is not there");
                        let payer = accounts.get(key(from)).await?.ok_or_else(missing)?.cents;
                        let payee = accounts.get(key(to)).await?.ok_or_else(missing)?.cents;
                        if payer < cents {
                            return Ok(false);
                        }
                        accounts.replace(key(from), &Account { cents: payer - cents }).await?;
                        accounts.replace(key(to), &Account { cents: payee + cents }).await?;
                        Ok(true)
                    })
                    .await;
                match done {
                    Ok(done) => Ok(done),
                    Err(error) if is_conflict(&error) => Ok(false),
                    Err(error) => Err(said(error)),
                }
            })
        });
        self.runtime.block_on(join_all(asks)).into_iter().collect()
    }
}

/// Transfers of one connection that go on together.
async fn piped(
    connection: &mut Connection,
    work: &Work,
    first: u64,
    time: Duration,
) -> Done<(Ran, u64)> {
    let (mut ran, mut disturbed, begun) = (Ran::default(), 0, Instant::now());
    let mut next = first;
    let mut due: Vec<(Transfer, Instant)> = Vec::new();
    while begun.elapsed() < time {
        while (due.len() as u64) < PIPED {
            due.push((work.get(next), Instant::now()));
            next += 1;
        }
        let mut again = Vec::new();
        let committed = step(connection, &due).await?;
        for ((transfer, since), committed) in due.drain(..).zip(committed) {
            if committed {
                ran.times.push(nanos(since.elapsed()));
            } else {
                disturbed += 1;
                again.push((transfer, since));
            }
        }
        due = again;
    }
    ran.seconds = begun.elapsed().as_secs_f64();
    Ok((ran, disturbed))
}

/// Whether each was committed: three round trips for all of them.
async fn step(connection: &mut Connection, due: &[(Transfer, Instant)]) -> Done<Vec<bool>> {
    let mut numbers = Vec::new();
    for _ in due {
        connection.send(&Request::Begin { read_only: false, millis: 0 }).await.map_err(said)?;
    }
    for _ in due {
        let packet = connection.receive().await.map_err(said)?;
        match Reply::decode(&packet).map_err(said)?.1 {
            Reply::Document(begun) => match Doc::trusted(begun).get("transaction") {
                Some(Value::Int64(number)) => numbers.push(number as u64),
                other => return Err(format!("Begin gave {other:?}")),
            },
            other => return Err(format!("Begin gave {other:?}")),
        }
    }
    let mut room = Vec::new();
    for ((transfer, _), number) in due.iter().zip(&numbers) {
        for n in [transfer.from, transfer.to] {
            let part = Part::of(&Request::Read { store: STORE, key: key(n) }, &mut room);
            let request = Request::Within { transaction: *number, part };
            connection.send(&request).await.map_err(said)?;
        }
    }
    let mut balances = Vec::new();
    for _ in 0..2 * due.len() {
        let packet = connection.receive().await.map_err(said)?;
        let Reply::Rows(rows) = Reply::decode(&packet).map_err(said)?.1 else {
            return Err("a Read gave no rows".to_owned());
        };
        let (_, document) = rows.iter().next().ok_or("an account is not there")?;
        balances.push(cents(document)?);
    }
    for (n, ((transfer, _), number)) in due.iter().zip(&numbers).enumerate() {
        let (payer, payee) =
            (balances[2 * n] - transfer.cents, balances[2 * n + 1] + transfer.cents);
        for (of, cents) in [(transfer.from, payer), (transfer.to, payee)] {
            let document = &account(cents)[..];
            let update = Request::Update { store: STORE, key: key(of), document, upsert: false };
            let part = Part::of(&update, &mut room);
            let request = Request::Within { transaction: *number, part };
            connection.send(&request).await.map_err(said)?;
        }
        connection.send(&Request::Commit { transaction: *number }).await.map_err(said)?;
    }
    let mut committed = Vec::new();
    for _ in due {
        for _ in 0..2 {
            let packet = connection.receive().await.map_err(said)?;
            if let Reply::Error { status, message } = Reply::decode(&packet).map_err(said)?.1 {
                return Err(format!("an Update: {status}: {message}"));
            }
        }
        let packet = connection.receive().await.map_err(said)?;
        match Reply::decode(&packet).map_err(said)?.1 {
            Reply::Error { status: Status::TransactionConflict, .. } => committed.push(false),
            Reply::Error { status, message } => return Err(format!("{status}: {message}")),
            _ => committed.push(true),
        }
    }
    Ok(committed)
}

impl Bank for Wire {
    fn version(&self) -> String {
        self.planck.version.clone()
    }

    fn fill(&mut self, accounts: u64) -> Done {
        self.planck.fill(accounts)
    }

    fn run(&mut self, work: &Work, time: Duration) -> Done<Ran> {
        if self.piped.is_empty() {
            return Ok(together(self.by_client(work, time)?));
        }
        let asks = (0..)
            .zip(&mut self.piped)
            .map(|(n, connection)| piped(connection, work, n * 77_777, time));
        let parts = self.runtime.block_on(join_all(asks));
        let parts = parts.into_iter().collect::<Done<Vec<_>>>()?;
        self.disturbed += parts.iter().map(|(_, disturbed)| disturbed).sum::<u64>();
        Ok(together(parts.into_iter().map(|(ran, _)| ran)))
    }

    fn disturbed(&mut self) -> Done<Option<u64>> {
        if self.piped.is_empty() {
            return self.planck.figure("planck_transaction_conflicts_total").map(Some);
        }
        Ok(Some(self.disturbed))
    }

    fn total(&mut self) -> Done<Total> {
        self.planck.total()
    }
}
