//! SQLite in this process.

use super::{Bank, Done, Ran, Terms, Total, one_by_one, said};
use crate::work::{CENTS, Work};
use rusqlite::{Connection, params};
use shared::CACHE_BYTES;
use std::time::Duration;

struct Sqlite(Connection);

pub fn open(terms: &Terms<'_>) -> Done<Box<dyn Bank>> {
    let connection = Connection::open(terms.dir.join("bank.sqlite")).map_err(said)?;
    let pragmas = format!(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous={}; PRAGMA cache_size=-{}; \
         CREATE TABLE accounts (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL)",
        if terms.sync { "FULL" } else { "NORMAL" },
        CACHE_BYTES >> 10
    );
    connection.execute_batch(&pragmas).map_err(said)?;
    Ok(Box::new(Sqlite(connection)))
}

impl Bank for Sqlite {
    fn version(&self) -> String {
        format!("SQLite {}", rusqlite::version())
    }

    fn fill(&mut self, accounts: u64) -> Done {
        let all = self.0.transaction().map_err(said)?;
        for id in 0..accounts {
            let insert = "INSERT INTO accounts VALUES (?, ?)";
            let mut insert = all.prepare_cached(insert).map_err(said)?;
            insert.execute(params![id as i64, CENTS]).map_err(said)?;
        }
        all.commit().map_err(said)
    }

    fn run(&mut self, work: &Work, time: Duration) -> Done<Ran> {
        let text = |text| self.0.prepare(text).map_err(said);
        let (mut begin, mut commit) = (text("BEGIN IMMEDIATE")?, text("COMMIT")?);
        let mut read = text("SELECT cents FROM accounts WHERE id = ?")?;
        let mut write = text("UPDATE accounts SET cents = ? WHERE id = ?")?;
        one_by_one(work, 0, time, |transfer| {
            begin.execute([]).map_err(said)?;
            let (from, to) = (transfer.from as i64, transfer.to as i64);
            let mut get = |id: i64| read.query_row([id], |row| row.get::<_, i64>(0));
            let (payer, payee) = (get(from).map_err(said)?, get(to).map_err(said)?);
            let enough = payer >= transfer.cents;
            if enough {
                write.execute([payer - transfer.cents, from]).map_err(said)?;
                write.execute([payee + transfer.cents, to]).map_err(said)?;
            }
            commit.execute([]).map_err(said)?;
            Ok(enough)
        })
    }

    fn total(&mut self) -> Done<Total> {
        let sums = "SELECT count(*), sum(cents), min(cents) FROM accounts";
        let total = self.0.query_row(sums, [], |row| {
            let (accounts, cents): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(Total { accounts: accounts as u64, cents: cents.into(), least: row.get(2)? })
        });
        total.map_err(said)
    }
}
