//! The proof that all indexes and documents agree, for who looks at a database that
//! nobody serves.
//!
//! What must stay true: each ready index of each store is compared, or why it could
//! not be is a fault; faults are bounded, all are counted.

use std::fmt;

use crate::error::shown;
use crate::{Engine, Refusal};

/// Faults kept in words; more are only counted.
const KEPT: usize = 1000;

/// What [`Engine::verify_indexes`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexReport {
    /// Stores.
    pub stores: u64,
    /// Their indexes that were compared.
    pub indexes: u64,
    /// Indexes that are not built yet, or whose build failed: no query uses them, and
    /// they were not compared.
    pub unfinished: u64,
    /// What does not hold, in words; the first thousand.
    pub faults: Vec<String>,
    /// How many more there are.
    pub more_faults: u64,
}

impl IndexReport {
    /// Whether everything holds.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, what: String) {
        match self.faults.len() < KEPT {
            true => self.faults.push(what),
            false => self.more_faults += 1,
        }
    }
}

impl fmt::Display for IndexReport {
    /// One line of figures, then one for each fault.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() as u64 + self.more_faults {
            0 => f.write_str("no fault")?,
            1 => f.write_str("1 fault")?,
            n => write!(f, "{n} faults")?,
        }
        write!(
            f,
            " between documents and indexes: {} indexes of {} stores compared",
            self.indexes, self.stores
        )?;
        if self.unfinished > 0 {
            write!(f, ", {} more are not built", self.unfinished)?;
        }
        self.faults.iter().try_for_each(|fault| write!(f, "\nfault: {fault}"))?;
        match self.more_faults {
            0 => Ok(()),
            more => write!(f, "\nand {more} faults more"),
        }
    }
}

impl Engine {
    /// Compares every index with the documents of its store. Reads all of them: for a
    /// database that nobody serves. `progress` is told the stores done, and all there
    /// are.
    pub fn verify_indexes(&self, progress: &mut dyn FnMut(u64, u64)) -> IndexReport {
        let catalog = self.catalogs.read();
        let mut report = IndexReport::default();
        for (name, store) in &catalog.stores {
            progress(report.stores, catalog.stores.len() as u64);
            report.stores += 1;
            let ready = store.indexes.iter().filter(|index| index.is_ready()).count();
            report.unfinished += (store.indexes.len() - ready) as u64;
            match self.compare_indexes(name, None) {
                Ok((compared, found)) => {
                    report.indexes += u64::try_from(compared).unwrap_or(0);
                    let more = found.all - found.kept.len() as u64;
                    for difference in found.kept {
                        report.fault(format!("store {}, {difference}", shown(name)));
                    }
                    report.more_faults += more;
                }
                Err(Refusal { message, .. }) => {
                    report.fault(format!("store {}: {message}", shown(name)));
                }
            }
        }
        report
    }
}
