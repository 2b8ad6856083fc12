//! The link of a replica to its primary.
//!
//! Invariants: one page is asked for at a time, of at most `replica.window` bytes, and
//! applied before the next is: so little is held here, and nothing at the primary. While
//! this server is the primary nobody is called.

use super::{Failure, Pauses, Primary, ask};
use engine::{Engine, Refusal};
use planck_client::Connection;
use proto::{Request, Status};
use std::sync::Arc;
use std::time::Duration;

/// So long a page is waited for, in milliseconds.
const WAIT_MS: u32 = 5000;
/// Between looks at whether this server is a replica by now.
const LOOK: Duration = Duration::from_millis(200);
/// Before something is asked again that people must mend.
const AFTER_REFUSAL: Duration = Duration::from_secs(5);

/// How a link ends, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The primary's log does not reach back to this replica: it is to begin anew.
    Behind,
}

/// Follows, until the future is dropped, or there is no going on.
pub async fn follow(engine: &Arc<Engine>, primary: &Primary) -> Ended {
    let (mut pauses, mut told) = (Pauses::new(), String::new());
    loop {
        if engine.leads() {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        let Err(why) = session(engine, primary, &mut pauses, &mut told).await else { continue };
        let (words, pause) = match why {
            Why::Behind(words) => {
                tracing::warn!("this replica begins anew with a snapshot: {words}");
                match engine.want_bootstrap() {
                    Ok(()) => return Ended::Behind,
                    Err(refusal) => (refusal.to_string(), AFTER_REFUSAL),
                }
            }
            Why::Refused(words) => (words, AFTER_REFUSAL),
            Why::Lost(words) => (words, pauses.next()),
        };
        engine.link_failed(&words);
        if told != words {
            tracing::error!("the primary {} is not followed: {words}", primary.address);
            told = words;
        }
        tokio::time::sleep(pause).await;
    }
}

enum Why {
    Behind(String),
    /// People must look, or wait.
    Refused(String),
    Lost(String),
}

impl From<Failure> for Why {
    fn from(failure: Failure) -> Why {
        let words = failure.to_string();
        match failure {
            Failure::Refused(Status::TooFarBehind, _) => Why::Behind(words),
            Failure::Refused(Status::BadFollow | Status::Busy | Status::NotLeader, _) => {
                Why::Lost(words)
            }
            Failure::Refused(..) => Why::Refused(words),
            Failure::Lost(_) => Why::Lost(words),
        }
    }
}

fn of_page(refusal: &Refusal) -> Why {
    match refusal.status {
        Status::BadFollow => Why::Lost(refusal.to_string()),
        _ => Why::Refused(refusal.to_string()),
    }
}

/// One connection, as long as it holds. It ends well when this server was promoted.
async fn session(
    engine: &Arc<Engine>,
    primary: &Primary,
    pauses: &mut Pauses,
    told: &mut String,
) -> Result<(), Why> {
    let mut to: Connection = primary.connect().await?;
    // The first page is not waited for: that it comes says that the primary is followed.
    let mut wait_ms = 0;
    while !engine.leads() {
        let what = match engine.follow_request(primary.window, wait_ms) {
            Ok(what) => what,
            Err(refusal) if refusal.status == Status::WrongRole => return Ok(()),
            Err(refusal) => return Err(of_page(&refusal)),
        };
        let page = ask(&mut to, &Request::Follow { what: &what }).await?;
        let taking = Arc::clone(engine);
        let took = tokio::task::spawn_blocking(move || taking.take_followed(&page)).await;
        match took {
            Ok(Ok(_)) => {
                wait_ms = WAIT_MS;
                if !told.is_empty() || *pauses != Pauses::new() {
                    tracing::info!("the primary {} is followed", primary.address);
                }
                told.clear();
                pauses.begin_anew();
            }
            // It was promoted meanwhile.
            Ok(Err(refusal)) if refusal.status == Status::WrongRole => return Ok(()),
            Ok(Err(refusal)) => return Err(of_page(&refusal)),
            Err(error) => return Err(Why::Refused(error.to_string())),
        }
    }
    Ok(())
}
