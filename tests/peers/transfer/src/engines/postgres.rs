//! PostgreSQL by a function of its own language, over its Unix socket. `scripts/peers`
//! starts the server.

use super::{Bank, Done, Ran, Terms, Total, one_by_one_async, said, together};
use crate::work::{CENTS, Work};
use futures_util::future::{join_all, try_join_all};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls};

/// Transfers at once on a connection that has several.
const PIPED: u64 = 8;

const FUNCTION: &str = "
CREATE OR REPLACE FUNCTION transfer(payer bigint, payee bigint, amount bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE there bigint;
BEGIN
  -- In order, so that two transfers never wait for each other.
  PERFORM 1 FROM accounts WHERE id IN (payer, payee) ORDER BY id FOR UPDATE;
  SELECT cents INTO there FROM accounts WHERE id = payer;
  IF there < amount THEN RETURN false; END IF;
  UPDATE accounts SET cents = cents - amount WHERE id = payer;
  UPDATE accounts SET cents = cents + amount WHERE id = payee;
  RETURN true;
END $$";

struct Postgres {
    runtime: Runtime,
    clients: Vec<Client>,
    /// Transfers at once on each.
    each: u64,
    version: String,
}

async fn connect() -> Done<Client> {
    let socket = std::env::var("PEERS_POSTGRES")
        .map_err(|_| "no PostgreSQL is running (PEERS_POSTGRES names none): use scripts/peers")?;
    let address = format!("host={socket} user=postgres dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&address, NoTls).await.map_err(told)?;
    tokio::spawn(connection);
    Ok(client)
}

fn told(error: tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |e| e.message().to_owned())
}

pub fn open(terms: &Terms<'_>, piped: bool) -> Done<Box<dyn Bank>> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(said)?;
    let each = if piped { PIPED } else { 1 };
    let connections = terms.args.together.div_ceil(each);
    let (clients, version) = runtime.block_on(async {
        let clients = try_join_all((0..connections).map(|_| connect())).await?;
        let sync = if terms.sync { "on" } else { "off" };
        let sets = [format!("ALTER SYSTEM SET fsync = {sync}"), "SELECT pg_reload_conf()".into()];
        for set in &sets {
            clients[0].batch_execute(set).await.map_err(told)?;
        }
        let fresh = "DROP TABLE IF EXISTS accounts; \
                     CREATE TABLE accounts (id bigint PRIMARY KEY, cents bigint NOT NULL)";
        clients[0].batch_execute(fresh).await.map_err(told)?;
        clients[0].batch_execute(FUNCTION).await.map_err(told)?;
        // The setting is read by each process when it gets to it.
        let mut found = String::new();
        for _ in 0..100 {
            let asked = clients[0].query_one("SHOW fsync", &[]).await.map_err(told)?;
            found = asked.get(0);
            if found == sync {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if found != sync {
            return Err(format!("fsync is {found} and was set to {sync}"));
        }
        let asked = clients[0].query_one("SHOW server_version", &[]).await.map_err(told)?;
        Ok((clients, format!("PostgreSQL {}", asked.get::<_, &str>(0))))
    })?;
    Ok(Box::new(Postgres { runtime, clients, each, version }))
}

impl Bank for Postgres {
    fn version(&self) -> String {
        self.version.clone()
    }

    fn fill(&mut self, accounts: u64) -> Done {
        let last = accounts - 1;
        let fill =
            format!("INSERT INTO accounts SELECT n, {CENTS} FROM generate_series(0, {last}) n");
        let client = &self.clients[0];
        self.runtime.block_on(async {
            for statement in [&fill[..], "VACUUM ANALYZE accounts", "CHECKPOINT"] {
                client.batch_execute(statement).await.map_err(told)?;
            }
            Ok(())
        })
    }

    fn run(&mut self, work: &Work, time: Duration) -> Done<Ran> {
        let (clients, each) = (&self.clients, self.each);
        let parts = self.runtime.block_on(async {
            let text = "SELECT transfer($1, $2, $3)";
            let prepare = clients.iter().map(async |client| client.prepare(text).await);
            let prepared = try_join_all(prepare).await.map_err(told)?;
            let asks = (0..each * clients.len() as u64).map(|n| {
                let at = n as usize % clients.len();
                let (client, statement) = (&clients[at], &prepared[at]);
                one_by_one_async(work, n * 7777, time, async move |transfer| {
                    let (from, to) = (transfer.from as i64, transfer.to as i64);
                    let row = client.query_one(statement, &[&from, &to, &transfer.cents]).await;
                    Ok(row.map_err(told)?.get(0))
                })
            });
            join_all(asks).await.into_iter().collect::<Done<Vec<_>>>()
        });
        Ok(together(parts?))
    }

    fn total(&mut self) -> Done<Total> {
        let sums = "SELECT count(*), sum(cents)::bigint, min(cents) FROM accounts";
        let row = self.runtime.block_on(self.clients[0].query_one(sums, &[])).map_err(told)?;
        let (accounts, cents): (i64, i64) = (row.get(0), row.get(1));
        Ok(Total { accounts: accounts as u64, cents: cents.into(), least: row.get(2) })
    }
}
