//! Frames that were whole once, sent by somebody who is let in.
//!
//! What must stay true: a frame whose header is whole gets exactly one reply, whole and
//! with its number, in order.

use proto::{Header, Reply};
use tokio::task::JoinSet;

use crate::Scale;
use crate::frames::Frames;
use crate::peer::{Peer, Way, from};
use crate::victim::{MALLORY, Victim};

/// Sessions that attack at once.
const AT_ONCE: u64 = 4;
/// Frames sent before replies are read.
const BATCH: u64 = 50;
/// One batch in so many ends with a frame that breaks the session.
const BROKEN: u64 = 20;

#[derive(Default)]
struct Counts {
    sent: u64,
    carried_out: u64,
    sessions: u64,
}

pub async fn run(victim: &Victim, scale: &Scale) -> Result<String, String> {
    // The caches fill and the memtables: what grows after that, grows.
    let warm = attack(victim, scale.frames / 10, scale.seed ^ 0xff).await?;
    let before = victim.memory.now()?;
    let all = attack(victim, scale.frames - warm.sent.min(scale.frames), scale.seed).await?;
    let grown = victim.memory.now()? as i64 - before as i64;
    Ok(format!(
        "{} frames in {} sessions, {} carried out all the same; {grown} KiB more after the last \
         nine tenths",
        warm.sent + all.sent,
        warm.sessions + all.sessions,
        warm.carried_out + all.carried_out
    ))
}

async fn attack(victim: &Victim, frames: u64, seed: u64) -> Result<Counts, String> {
    let mut attackers = JoinSet::new();
    for n in 0..AT_ONCE {
        let (way, key) = (victim.way.clone(), victim.key.clone());
        let part = frames.div_ceil(AT_ONCE);
        attackers.spawn(one(way, key, n, part, seed.wrapping_add(n << 32)));
    }
    let mut counts = Counts::default();
    while let Some(done) = attackers.join_next().await {
        let part = done.map_err(|e| e.to_string())??;
        counts.sent += part.sent;
        counts.carried_out += part.carried_out;
        counts.sessions += part.sessions;
    }
    Ok(counts)
}

async fn one(way: Way, key: String, n: u64, frames: u64, seed: u64) -> Result<Counts, String> {
    let mut bender = Frames::new(seed)?;
    let mut counts = Counts::default();
    let mut session = None;
    let mut batches = 0;
    while counts.sent < frames {
        let mut peer = match session.take() {
            Some(peer) => peer,
            None => {
                counts.sessions += 1;
                let entered = way.session(from(5, n as usize), MALLORY, &key).await;
                entered.map_err(|e| format!("an attacker with the right key is shut out: {e}"))?
            }
        };
        batches += 1;
        let first = counts.sent;
        let size = BATCH.min(frames - first);
        let mut bytes: Vec<u8> = (first..first + size).flat_map(|id| bender.bent(id)).collect();
        let breaks = batches % BROKEN == 0;
        if breaks {
            bytes.extend(bender.broken(first + size));
            counts.sent += 1;
        }
        counts.sent += size;
        let answered = exchange(&mut peer, &bytes, first, size).await;
        counts.carried_out += answered.map_err(|e| format!("seed {seed}, from {first} on: {e}"))?;
        session = (!breaks).then_some(peer);
    }
    Ok(counts)
}

/// How many of these frames were carried out; all must be answered, in order.
async fn exchange(peer: &mut Peer, bytes: &[u8], first: u64, size: u64) -> Result<u64, String> {
    peer.send(bytes).await.map_err(|e| format!("the server does not read: {e}"))?;
    let mut carried_out = 0;
    for id in first..first + size {
        let reply = peer.reply().await.map_err(|e| format!("frame {id} was not answered: {e}"))?;
        let header = Header::parse(&reply).map_err(|e| e.to_string())?;
        if header.id != id {
            return Err(format!("the reply to frame {id} has the number {}", header.id));
        }
        match Reply::decode(&reply).map_err(|e| format!("the reply to frame {id}: {e}"))?.1 {
            Reply::Error { .. } => {}
            _ => carried_out += 1,
        }
    }
    Ok(carried_out)
}
