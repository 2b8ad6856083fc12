//! Sessions that ask for megabytes again and again, and read none of them.

use proto::Request;
use tokio::task::JoinSet;

use crate::Scale;
use crate::peer::{encoded, from};
use crate::victim::{FIELD, MALLORY, Victim};

/// Requests of each, of some six megabytes.
const REQUESTS: u64 = 8;
/// Sessions of one address.
const OF_ONE: usize = 5;

pub async fn run(victim: &Victim, scale: &Scale) -> Result<String, String> {
    let mut readers = JoinSet::new();
    for n in 0..scale.readers {
        let (way, key, hold) = (victim.way.clone(), victim.key.clone(), scale.hold);
        readers.spawn(async move {
            let session = way.session(from(3, n / OF_ONE), MALLORY, &key).await;
            let mut session = session.map_err(|e| format!("a reader was not let in: {e}"))?;
            let all = Request::Scan { store: FIELD, after: None, limit: 0, reverse: false };
            let many: Vec<u8> = (0..REQUESTS).flat_map(|id| encoded(id, &all)).collect();
            // It may be cut off meanwhile: that is the server's right.
            session.send(&many).await.ok();
            tokio::time::sleep(hold).await;
            Ok::<_, String>(session)
        });
    }
    let mut held = Vec::new();
    while let Some(done) = readers.join_next().await {
        held.push(done.map_err(|e| e.to_string())??);
    }
    Ok(format!("{} sessions, {REQUESTS} scans each", held.len()))
}
