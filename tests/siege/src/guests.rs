//! Guests that misbehave, and what an honest client of another route feels of it.
//!
//! What must stay true: every answer to the honest client is the right one, that is
//! asserted; how long it takes is reported. Those who ask for the bad routes wait for each
//! answer, so that no more than [`ROGUES`] guests misbehave at once.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tests::Planck;
use tests::edge::{Http1, ROWDY};

use crate::cpu::{Meter, burn};
use crate::honest::{Latency, PAUSE};
use crate::report::{Figures, Report};
use crate::victim::Memory;
use crate::{ENOUGH, TRIES};

/// Connections that ask for bad routes.
const ROGUES: usize = 2;

/// Each bad route: what it is called, where it is.
const BAD: [(&str, &str); 5] =
    [("trap", "/t"), ("spin", "/s"), ("grow", "/g"), ("leak", "/l"), ("host calls", "/c")];

/// Starts `planck` (a built program) with a guest run by `runtime`, and has each bad route
/// asked for over `hold`.
///
/// # Errors
/// The server did not start or end well, or an honest answer was not the right one.
pub fn misbehave(planck: &Path, runtime: &str, hold: Duration) -> Result<Report, String> {
    let yaml = format!(
        "name: t\ntls: {{enabled: false}}\nhttp: {{port: 0}}\n\
         wasm: {{runtime: {runtime}, memory: 16MiB, deadline_in_ms: 200}}\n"
    );
    let dir =
        tests::service_dir("port: 0\nlogging: {level: error, path: planck.log}\n", Some(&yaml));
    let module = wat::parse_str(ROWDY).map_err(|e| e.to_string())?;
    let folder = dir.path().join("wasm");
    fs::create_dir(&folder)
        .and_then(|()| fs::write(folder.join("planck.t.wasm"), module))
        .map_err(|e| format!("{}: {e}", folder.display()))?;
    let planck = Planck::start_program(planck, dir.path())?;
    let http = planck.http.ok_or("planck does not listen")?;
    let field = Field { http, pid: planck.pid(), hold, memory: Memory::watch(planck.pid()) };
    let mut report = Report::default();
    report.add(field.phase("calm before", |_| Ok("nobody else is there".to_owned()))?);
    report.add(field.phase("busy machine", |hold| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let threads = runtime.map_err(|e| e.to_string())?.block_on(burn(hold));
        Ok(format!("{threads} threads of the siege only count"))
    })?);
    for (name, target) in BAD {
        report.add(field.phase(name, |hold| field.rogues(target, hold))?);
    }
    report.add(field.phase("calm after", |_| Ok("nobody else is there".to_owned()))?);
    match planck.stop() {
        (Some(0), _) => Ok(report),
        (code, lines) => Err(format!("planck ended with {code:?}:\n{}", lines.join("\n"))),
    }
}

struct Field {
    http: SocketAddr,
    pid: u32,
    hold: Duration,
    memory: Memory,
}

impl Field {
    /// Has the honest client ask while `bad` is done, again and again until there are
    /// enough answers.
    fn phase(
        &self,
        name: &str,
        bad: impl Fn(Duration) -> Result<String, String>,
    ) -> Result<Figures, String> {
        let (felt, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        self.memory.begin();
        let meter = Meter::start(self.pid);
        let done = thread::scope(|threads| {
            let honest = threads.spawn(|| self.honest(&felt, &over));
            let mut did = Ok(String::new());
            for _ in 0..TRIES {
                let begun = Instant::now();
                did = bad(self.hold);
                thread::sleep(self.hold.saturating_sub(begun.elapsed()));
                let asked = felt.lock().unwrap_or_else(PoisonError::into_inner).len();
                if asked >= ENOUGH || did.is_err() {
                    break;
                }
            }
            over.store(true, Relaxed);
            let honest = honest.join().map_err(|_| "the honest client was not answered");
            honest.map_err(str::to_owned).and(did)
        });
        let (used, did) = (meter.stop(), done.map_err(|why| format!("{name}: {why}"))?);
        let mut felt = felt.into_inner().unwrap_or_else(PoisonError::into_inner);
        let latency = Latency::of(&mut felt)?;
        // What is freed late is not held for ever.
        thread::sleep(Duration::from_millis(500));
        Ok(Figures::of(name, &did, &latency, self.memory.end()?, used))
    }

    /// Panics at a wrong answer, or none.
    fn honest(&self, felt: &Mutex<Vec<u32>>, over: &AtomicBool) {
        let mut client = Http1::open(self.http);
        while !over.load(Relaxed) {
            let asked = Instant::now();
            assert_eq!(client.get("/"), (200, "ok".to_owned()));
            let micros = u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX);
            felt.lock().unwrap_or_else(PoisonError::into_inner).push(micros);
            thread::sleep(PAUSE);
        }
    }

    fn rogues(&self, target: &str, hold: Duration) -> Result<String, String> {
        let (until, answered) = (Instant::now() + hold, AtomicUsize::new(0));
        let rogue = || {
            let mut client = Http1::open(self.http);
            while Instant::now() < until {
                client.get(target);
                answered.fetch_add(1, Relaxed);
            }
        };
        thread::scope(|threads| {
            let all: Vec<_> = (0..ROGUES).map(|_| threads.spawn(rogue)).collect();
            let ended = all.into_iter().map(|thread| thread.join());
            ended.collect::<Result<Vec<()>, _>>().map_err(|_| "a bad route was not answered")
        })?;
        Ok(format!("{} requests over {ROGUES} connections", answered.into_inner()))
    }
}
