//! The honest client: asks for one document again and again, on one session.
//!
//! What must stay true: each answer is compared with the first, byte for byte but for
//! the number of the request; one that differs, or does not come, ends the siege.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use proto::Request;
use proto::packet::HEADER_BYTES;

use crate::peer::{Way, encoded};
use crate::victim::{HOME, HONEST, KEY, Victim};

/// Between two questions: an honest client does something with the answer.
pub const PAUSE: Duration = Duration::from_micros(500);
/// Latencies kept of one attack: of the first minutes.
const MOST: usize = 1 << 20;

#[derive(Default)]
struct Felt {
    micros: Vec<u32>,
    wrong: Option<String>,
}

/// A thread that asks.
pub struct Honest {
    felt: Arc<Mutex<Felt>>,
    ended: Arc<AtomicBool>,
    asking: JoinHandle<()>,
}

/// What it felt, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    pub asked: usize,
    pub p50: u32,
    pub p99: u32,
    pub worst: u32,
}

impl Latency {
    /// Of so many answers; puts them in order.
    pub fn of(micros: &mut [u32]) -> Result<Latency, String> {
        micros.sort_unstable();
        let at = |part: usize| micros.get(micros.len() * part / 100).copied();
        let (Some(p50), Some(p99), Some(worst)) = (at(50), at(99), micros.last().copied()) else {
            return Err("the honest client was not answered at all meanwhile".to_owned());
        };
        Ok(Latency { asked: micros.len(), p50, p99, worst })
    }
}

impl Honest {
    pub async fn start(victim: &Victim) -> Result<Honest, String> {
        let (felt, ended) =
            (Arc::new(Mutex::new(Felt::default())), Arc::new(AtomicBool::new(false)));
        let asking = std::thread::spawn({
            let (felt, ended) = (Arc::clone(&felt), Arc::clone(&ended));
            let (way, key) = (victim.way.clone(), victim.admin_key.clone());
            move || {
                let asked = ask(&way, &key, &felt, &ended);
                lock(&felt).wrong = asked.err();
            }
        });
        Ok(Honest { felt, ended, asking })
    }

    /// Forgets what was felt so far.
    pub fn begin(&self) {
        lock(&self.felt).micros.clear();
    }

    /// How often it was answered since.
    pub fn asked(&self) -> usize {
        lock(&self.felt).micros.len()
    }

    /// What was felt since.
    pub fn end(&self) -> Result<Latency, String> {
        let mut felt = lock(&self.felt);
        if let Some(wrong) = &felt.wrong {
            return Err(format!("the honest client: {wrong}"));
        }
        Latency::of(&mut felt.micros)
    }

    /// Ends it.
    pub async fn stop(self) -> Result<(), String> {
        self.ended.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(|| self.asking.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            return Err("the honest client panicked".to_owned());
        }
        match lock(&self.felt).wrong.take() {
            Some(wrong) => Err(format!("the honest client: {wrong}")),
            None => Ok(()),
        }
    }
}

fn lock(felt: &Mutex<Felt>) -> std::sync::MutexGuard<'_, Felt> {
    felt.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ask(way: &Way, key: &str, felt: &Mutex<Felt>, ended: &AtomicBool) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let session = way.session(HOME, "admin", key).await;
        let mut peer = session.map_err(|e| format!("was not let in: {e}"))?;
        let mut first: Option<Vec<u8>> = None;
        let mut id = 0;
        while !ended.load(Ordering::Relaxed) {
            id += 1;
            let packet = encoded(id, &Request::Read { store: HONEST, key: KEY });
            let asked = Instant::now();
            let lost = |e| format!("was not answered: {e}");
            peer.send(&packet).await.map_err(lost)?;
            let reply = peer.reply().await.map_err(lost)?;
            let micros = u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX);
            check(&mut first, id, &reply)?;
            keep(felt, micros);
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    })
}

fn keep(felt: &Mutex<Felt>, micros: u32) {
    let mut felt = lock(felt);
    if felt.micros.len() < MOST {
        felt.micros.push(micros);
    }
}

/// The same answer as the first, to this request.
fn check(first: &mut Option<Vec<u8>>, id: u64, reply: &[u8]) -> Result<(), String> {
    let body = &reply[HEADER_BYTES..];
    let header = proto::Header::parse(reply).map_err(|e| e.to_string())?;
    if header.id != id || header.code != 0 {
        return Err(format!("request {id} was answered with {header:?}"));
    }
    match first {
        None => *first = Some(body.to_vec()),
        Some(first) if first == body => {}
        Some(_) => return Err(format!("request {id} was answered with another document")),
    }
    Ok(())
}
