//! Sessions that say nothing: what one costs.

use tokio::task::JoinSet;

use crate::Scale;
use crate::peer::from;
use crate::victim::{MALLORY, Victim};

/// Authenticating at once.
const AT_ONCE: usize = 8;
/// Sessions of one address.
const OF_ONE: usize = 20;

pub async fn run(victim: &Victim, scale: &Scale) -> Result<String, String> {
    let before = victim.memory.now()?;
    let (mut idle, mut asking) = (Vec::with_capacity(scale.sessions), JoinSet::new());
    for n in 0..scale.sessions {
        let (way, key) = (victim.way.clone(), victim.key.clone());
        asking.spawn(async move { way.session(from(2, n / OF_ONE), MALLORY, &key).await });
        while asking.len() >= AT_ONCE || (n + 1 == scale.sessions && !asking.is_empty()) {
            match asking.join_next().await {
                Some(Ok(Ok(session))) => idle.push(session),
                Some(Ok(Err(e))) => return Err(format!("a session was not let in: {e}")),
                Some(Err(e)) => return Err(e.to_string()),
                None => break,
            }
        }
    }
    tokio::time::sleep(scale.hold).await;
    let each = (victim.memory.now()?.saturating_sub(before)) as f64 / scale.sessions.max(1) as f64;
    Ok(format!("{} over TLS, {each:.1} KiB each", idle.len()))
}
