//! A siege: many hostile connections against one running `planck`, and one honest client
//! that asks the same question all the while.
//!
//! What must stay true:
//! * the honest client compares every answer, byte for byte, and is never refused:
//!   that is asserted. How long answers take is reported, never asserted;
//! * attackers speak through TLS like everybody else, and those that need to be many
//!   come from many addresses of loopback, so that a limit for one address is not what
//!   stops them all;
//! * what the machine itself does to the honest client when its CPUs are busy and the
//!   server is left alone is measured beside the attacks: attackers, honest client and
//!   server share them;
//! * what an attack holds is bounded by the settings of the server, not by the attack:
//!   the memory that is still held when it is over is a figure of the report.

mod attack;
mod cpu;
mod frames;
mod guests;
mod honest;
mod peer;
mod report;
mod victim;

pub use guests::misbehave;
pub use report::{Figures, Report};

use std::path::Path;
use std::time::Duration;

use cpu::{Meter, burn};
use honest::Honest;
use victim::Victim;

/// Answers to the honest client without which a figure says nothing. On a machine that has
/// other work an attack goes on until there are so many, a few times as long at most.
const ENOUGH: usize = 50;
const TRIES: u32 = 10;

/// How hard it is attacked.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Sockets that send a byte now and then, and never finish a handshake.
    pub sockets: usize,
    /// Sessions that authenticate, and say nothing more.
    pub sessions: usize,
    /// Sessions that ask for all they can get, and read none of it.
    pub readers: usize,
    /// Attempts to log in with a wrong key.
    pub logins: u64,
    /// Frames that were whole once, and have been mutated.
    pub frames: u64,
    /// How long the attacks last that only hold something; the calm before and after, too.
    pub hold: Duration,
    /// Decides what is mutated, and how.
    pub seed: u64,
}

/// Starts `planck` (a built program) in a directory of its own, and besieges it.
///
/// # Errors
/// What went wrong: the server ended, or an honest answer was not the right one.
pub fn besiege(planck: &Path, scale: &Scale) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("the threads of the attackers cannot be started: {e}"))?;
    runtime.block_on(all(planck, scale))
}

async fn all(planck: &Path, scale: &Scale) -> Result<Report, String> {
    let victim = Victim::start(planck, scale).await?;
    let honest = Honest::start(&victim).await?;
    let mut report = Report::default();
    report.add(calm("calm before", &victim, &honest, scale).await?);
    report.add(busy(&victim, &honest, scale).await?);
    for name in attack::NAMES {
        honest.begin();
        victim.memory.begin();
        let meter = Meter::start(victim.pid());
        let mut did = attack::run(name, &victim, scale).await?;
        for _ in 1..TRIES {
            if honest.asked() >= ENOUGH {
                break;
            }
            did = attack::run(name, &victim, scale).await?;
        }
        let (used, figures) = (meter.stop(), honest.end()?);
        // What is freed late is not held for ever.
        tokio::time::sleep(Duration::from_millis(500)).await;
        report.add(Figures::of(name, &did, &figures, victim.memory.end()?, used));
        victim.check_newcomer().await.map_err(|why| format!("after {name}: {why}"))?;
    }
    report.add(calm("calm after", &victim, &honest, scale).await?);
    honest.stop().await?;
    victim.stop().await?;
    Ok(report)
}

async fn calm(
    name: &str,
    victim: &Victim,
    honest: &Honest,
    scale: &Scale,
) -> Result<Figures, String> {
    honest.begin();
    victim.memory.begin();
    let meter = Meter::start(victim.pid());
    for _ in 0..TRIES {
        tokio::time::sleep(scale.hold).await;
        if honest.asked() >= ENOUGH {
            break;
        }
    }
    let (used, figures) = (meter.stop(), honest.end()?);
    Ok(Figures::of(name, "nobody else is there", &figures, victim.memory.end()?, used))
}

async fn busy(victim: &Victim, honest: &Honest, scale: &Scale) -> Result<Figures, String> {
    honest.begin();
    victim.memory.begin();
    let meter = Meter::start(victim.pid());
    let mut threads = 0;
    for _ in 0..TRIES {
        threads = burn(scale.hold).await;
        if honest.asked() >= ENOUGH {
            break;
        }
    }
    let did = format!("{threads} threads of the siege only count");
    let (used, figures) = (meter.stop(), honest.end()?);
    Ok(Figures::of("busy machine", &did, &figures, victim.memory.end()?, used))
}
