//! Wrong keys from many addresses, for a user that is there and for some that are not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::{Request, Status};
use tokio::task::JoinSet;

use crate::Scale;
use crate::peer::{Way, encoded, from};
use crate::victim::Victim;

/// Attackers at once, each with an address of its own, and another after each refusal.
const AT_ONCE: u64 = 64;

pub async fn run(victim: &Victim, scale: &Scale) -> Result<String, String> {
    let next = Arc::new(AtomicU64::new(0));
    let mut attackers = JoinSet::new();
    for _ in 0..AT_ONCE.min(scale.logins) {
        attackers.spawn(guess(victim.way.clone(), Arc::clone(&next), scale.logins));
    }
    let mut answers: BTreeMap<String, u64> = BTreeMap::new();
    while let Some(done) = attackers.join_next().await {
        for (answer, times) in done.map_err(|e| e.to_string())? {
            *answers.entry(answer).or_default() += times;
        }
    }
    if answers.contains_key("let in") {
        return Err("somebody was let in with a wrong key".to_owned());
    }
    let said: Vec<String> = answers.iter().map(|(a, times)| format!("{times} {a}")).collect();
    Ok(format!("{} attempts: {}", scale.logins, said.join(", ")))
}

async fn guess(way: Way, next: Arc<AtomicU64>, most: u64) -> BTreeMap<String, u64> {
    let mut answers = BTreeMap::new();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= most {
            return answers;
        }
        // Four attempts an address: fewer than it takes to be locked out.
        let from = from(4, n as usize / 4);
        let stranger = format!("user{n}");
        let user = if n.is_multiple_of(2) { "admin" } else { &stranger };
        let key = format!("a-wrong-key-number-{n}");
        let answer = match way.open(from).await {
            Err(_) => "not connected".to_owned(),
            Ok(mut peer) => match peer.ask(&encoded(0, &Request::Auth { user, key: &key })).await {
                Ok((Status::Ok, _)) => "let in".to_owned(),
                Ok((status, _)) => format!("{status:?}"),
                Err(_) => "cut off".to_owned(),
            },
        };
        *answers.entry(answer).or_default() += 1;
    }
}
