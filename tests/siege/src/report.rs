//! What a siege has shown, as a table.

use std::fmt;

use crate::cpu::Used;
use crate::honest::Latency;
use crate::victim::Held;

/// What one attack did, what the honest client felt, and how much memory it took.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The attack.
    pub name: String,
    /// What it did, in words.
    pub did: String,
    /// Questions of the honest client, all answered rightly.
    pub asked: usize,
    /// Microseconds of half of its answers, of 99 in 100, of the slowest.
    pub micros: [u32; 3],
    /// KiB resident: before, at most, half a second after.
    pub memory: [u64; 3],
    /// Seconds of CPU of the server, of the siege, and of the clock.
    pub seconds: [f64; 3],
}

impl Figures {
    pub(crate) fn of(name: &str, did: &str, felt: &Latency, held: Held, used: Used) -> Figures {
        Figures {
            name: name.to_owned(),
            did: did.to_owned(),
            asked: felt.asked,
            micros: [felt.p50, felt.p99, felt.worst],
            memory: [held.before, held.peak, held.after],
            seconds: [used.server, used.siege, used.clock],
        }
    }
}

/// The figures of all attacks, in order; the first are those of the calm before.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One for each attack.
    pub all: Vec<Figures>,
}

impl Report {
    pub(crate) fn add(&mut self, figures: Figures) {
        self.all.push(figures);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| attack | what it did | honest reads | p50 us | p99 us | worst us | p99 of the calm's \
             | MiB before | at most | after | s | CPU s server | CPU s siege |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|---|---|---|---|")?;
        let calm = self.all.first().map_or(1, |figures| figures.micros[1].max(1));
        for figures in &self.all {
            let [p50, p99, worst] = figures.micros;
            let [before, peak, after] = figures.memory.map(|kib| kib as f64 / 1024.0);
            let [server, siege, clock] = figures.seconds;
            writeln!(
                f,
                "| {} | {} | {} | {p50} | {p99} | {worst} | {:.2} | {before:.1} | {peak:.1} | \
                 {after:.1} | {clock:.1} | {server:.1} | {siege:.1} |",
                figures.name,
                figures.did,
                figures.asked,
                f64::from(p99) / f64::from(calm),
            )?;
        }
        Ok(())
    }
}
