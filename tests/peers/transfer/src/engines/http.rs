//! The guest over HTTP, asked by wrk.

use super::planck::Planck;
use super::{Bank, Done, Ran, Terms, Total, said};
use crate::work::Work;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Prints how many transfers were done and given up, how long all took, and when each
/// thousandth of them was answered at the latest.
const SCRIPT: &str = r#"
local n, requests = 0, {}
-- Only now is the Host header known.
function init(args)
  local headers = { ["Host"] = wrk.headers["Host"], ["content-length"] = "0" }
  for line in io.lines(os.getenv("TRANSFER_PATHS")) do
    requests[#requests + 1] = wrk.format("POST", line, headers)
  end
end
function request() n = n % #requests + 1; return requests[n] end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("BROKEN %d\n", e.connect + e.read + e.write + e.timeout))
  io.write(string.format("DONE %d %d %d\n", summary.requests, e.status, summary.duration))
  for part = 1, 1000 do io.write(string.format("TIME %d\n", latency:percentile(part / 10 - 0.05))) end
end
"#;

struct Http {
    planck: Planck,
    dir: PathBuf,
    together: u64,
}

pub fn open(terms: &Terms<'_>, runtime: &str) -> Done<Box<dyn Bank>> {
    let planck = Planck::start(terms, runtime)?;
    let dir = terms.dir.join("asks");
    std::fs::create_dir_all(&dir).map_err(said)?;
    std::fs::write(dir.join("wrk.lua"), SCRIPT).map_err(said)?;
    Ok(Box::new(Http { planck, dir, together: terms.args.together }))
}

impl Bank for Http {
    fn version(&self) -> String {
        self.planck.version.clone()
    }

    fn fill(&mut self, accounts: u64) -> Done {
        self.planck.fill(accounts)
    }

    fn run(&mut self, work: &Work, time: Duration) -> Done<Ran> {
        let mut paths = String::new();
        for transfer in work.all() {
            let _ =
                writeln!(paths, "/transfer/{}/{}/{}", transfer.from, transfer.to, transfer.cents);
        }
        std::fs::write(self.dir.join("paths"), paths).map_err(said)?;
        let out = Command::new("wrk")
            .args(["-t1", &format!("-c{}", self.together), &format!("-d{}s", time.as_secs()), "-s"])
            .arg(self.dir.join("wrk.lua"))
            .arg(format!("http://{}", self.planck.http))
            .env("TRANSFER_PATHS", self.dir.join("paths"))
            .output()
            .map_err(|e| format!("wrk cannot be started: {e}"))?;
        let text = String::from_utf8_lossy(&out.stdout);
        let numbers = |word: &str| -> Vec<u64> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(word));
            lines.flat_map(|line| line.split(' ').filter_map(|n| n.parse().ok())).collect()
        };
        let (broken, done, times) = (numbers("BROKEN "), numbers("DONE "), numbers("TIME "));
        let ([0], [requests, refused, micros]) = (&broken[..], &done[..]) else {
            return Err(format!("wrk: {text}{}", String::from_utf8_lossy(&out.stderr)));
        };
        // As many times as transfers were done, each thousandth of them alike.
        let done = requests - refused;
        let at = |n: u64| times.get((n * times.len() as u64 / done) as usize).copied();
        let nanos = |n: u64| u32::try_from(at(n).unwrap_or(0) * 1000).unwrap_or(u32::MAX);
        let times = (0..done).map(nanos).collect();
        Ok(Ran { times, given_up: *refused, seconds: *micros as f64 / 1e6 })
    }

    fn disturbed(&mut self) -> Done<Option<u64>> {
        self.planck.figure("planck_guest_calls_again_total").map(Some)
    }

    fn total(&mut self) -> Done<Total> {
        self.planck.total()
    }
}
