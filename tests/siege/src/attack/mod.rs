//! The attacks, one after another.

mod logins;
mod mutated;
mod readers;
mod sessions;
mod trickle;

use crate::Scale;
use crate::victim::Victim;

/// Their names, in order.
pub const NAMES: [&str; 5] =
    ["trickling sockets", "idle sessions", "slow readers", "login flood", "mutated frames"];

/// Attacks; says what it did.
pub async fn run(name: &str, victim: &Victim, scale: &Scale) -> Result<String, String> {
    match name {
        "trickling sockets" => trickle::run(victim, scale).await,
        "idle sessions" => sessions::run(victim, scale).await,
        "slow readers" => readers::run(victim, scale).await,
        "login flood" => logins::run(victim, scale).await,
        _ => mutated::run(victim, scale).await,
    }
}
