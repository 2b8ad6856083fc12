//! Redis by a script, over TCP. `scripts/peers` starts the server.

use super::{Bank, Done, Ran, Terms, Total, nanos, said};
use crate::work::{CENTS, Work};
use redis::{Client, Connection, cmd, pipe};
use std::time::{Duration, Instant};

const SCRIPT: &str = "
local there = tonumber(redis.call('GET', KEYS[1]))
local amount = tonumber(ARGV[1])
if there < amount then return 0 end
redis.call('DECRBY', KEYS[1], amount)
redis.call('INCRBY', KEYS[2], amount)
return 1";

struct Redis {
    connection: Connection,
    script: String,
    together: u64,
    accounts: u64,
    version: String,
}

pub fn open(terms: &Terms<'_>) -> Done<Box<dyn Bank>> {
    let port = std::env::var("PEERS_REDIS_PORT")
        .map_err(|_| "no Redis is running (PEERS_REDIS_PORT names none): use scripts/peers")?;
    let client = Client::open(format!("redis://127.0.0.1:{port}/")).map_err(said)?;
    let mut connection = client.get_connection().map_err(said)?;
    cmd("FLUSHALL").exec(&mut connection).map_err(said)?;
    let sync = if terms.sync { "always" } else { "everysec" };
    let set = cmd("CONFIG").arg("SET").arg("appendfsync").arg(sync).exec(&mut connection);
    set.map_err(said)?;
    let script: String =
        cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query(&mut connection).map_err(said)?;
    let about: String = cmd("INFO").arg("server").query(&mut connection).map_err(said)?;
    let version = about.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let version = format!("Redis {}", version.unwrap_or("of no version").trim());
    let together = terms.args.together;
    Ok(Box::new(Redis { connection, script, together, accounts: 0, version }))
}

impl Drop for Redis {
    fn drop(&mut self) {
        cmd("FLUSHALL").exec(&mut self.connection).ok();
    }
}

impl Bank for Redis {
    fn version(&self) -> String {
        self.version.clone()
    }

    fn fill(&mut self, accounts: u64) -> Done {
        self.accounts = accounts;
        for first in (0..accounts).step_by(1000) {
            let mut pipe = pipe();
            for n in first..(first + 1000).min(accounts) {
                pipe.cmd("SET").arg(n).arg(CENTS).ignore();
            }
            pipe.exec(&mut self.connection).map_err(said)?;
        }
        Ok(())
    }

    fn run(&mut self, work: &Work, time: Duration) -> Done<Ran> {
        let (mut ran, begun, mut n) = (Ran::default(), Instant::now(), 0);
        while begun.elapsed() < time {
            let mut pipe = pipe();
            for _ in 0..self.together {
                let transfer = work.get(n);
                n += 1;
                pipe.cmd("EVALSHA").arg(&self.script).arg(2);
                pipe.arg(transfer.from).arg(transfer.to).arg(transfer.cents);
            }
            let before = Instant::now();
            let done: Vec<i64> = pipe.query(&mut self.connection).map_err(said)?;
            let took = nanos(before.elapsed());
            ran.given_up += done.iter().filter(|done| **done != 1).count() as u64;
            ran.times.extend(done.iter().filter(|done| **done == 1).map(|_| took));
        }
        ran.seconds = begun.elapsed().as_secs_f64();
        Ok(ran)
    }

    fn total(&mut self) -> Done<Total> {
        let mut total = Total { accounts: 0, cents: 0, least: i64::MAX };
        for first in (0..self.accounts).step_by(1000) {
            let mut get = cmd("MGET");
            (first..(first + 1000).min(self.accounts)).for_each(|n| {
                get.arg(n);
            });
            let found: Vec<i64> = get.query(&mut self.connection).map_err(said)?;
            found.into_iter().for_each(|cents| total.add(cents));
        }
        Ok(total)
    }
}
