//! Begin, Commit, Abort, Savepoint, Rollback; and which operations may be part of one.

use proto::doc::DocBuf;
use proto::{Opcode, Status};

use super::finished;
use crate::patience::Patience;
use crate::transaction::Begins;
use crate::{Engine, Principal, Refusal};

impl Engine {
    /// Begins a transaction, for so many milliseconds at most, 0: as long as one may last.
    /// Answers `{transaction, lsn, time_ms}`.
    pub(crate) fn begin(
        &self,
        who: &Principal,
        reads_only: bool,
        millis: u32,
    ) -> Result<Vec<u8>, Refusal> {
        let begins = if reads_only { Begins::ToRead } else { Begins::ToWrite };
        let within = self.within(begins)?;
        let lsn = within.lsn();
        let (number, millis) = self.transactions.keep(who, within, millis)?;
        let mut doc = DocBuf::new();
        doc.push("transaction", figure(number)).push("lsn", figure(lsn));
        doc.push("time_ms", figure(millis));
        Ok(finished(doc))
    }

    /// Commits a transaction, which ends however that goes. Answers `{lsn}`.
    pub(crate) fn commit(
        &self,
        who: &Principal,
        number: u64,
        patience: &Patience,
    ) -> Result<Vec<u8>, Refusal> {
        let used = self.transactions.take(who, number)?;
        // What they would give from now on nobody answers for.
        self.queries.end_within(who, number);
        let lsn = match used.end() {
            Some(within) => self.commit_within(who, within, None, patience)?,
            None => 0,
        };
        Ok(committed(lsn))
    }

    /// Lets go of a transaction.
    pub(crate) fn abort(&self, who: &Principal, number: u64) -> Result<(), Refusal> {
        let used = self.transactions.take(who, number)?;
        self.queries.end_within(who, number);
        drop(used.end());
        Ok(())
    }

    /// A place in a transaction to come back to: its number.
    pub(crate) fn savepoint(&self, who: &Principal, number: u64) -> Result<u64, Refusal> {
        self.transactions.take(who, number)?.savepoint()
    }

    /// Undoes what a transaction has written since a savepoint. Its cursors end.
    pub(crate) fn rollback(
        &self,
        who: &Principal,
        number: u64,
        savepoint: u64,
    ) -> Result<(), Refusal> {
        let used = self.transactions.take(who, number)?;
        used.rollback(savepoint)?;
        self.queries.end_within(who, number);
        Ok(())
    }
}

/// What a Commit is answered.
pub(crate) fn committed(lsn: u64) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("lsn", figure(lsn));
    finished(doc)
}

/// Refuses what cannot be part of a transaction.
pub(crate) fn may_be_within(opcode: Opcode) -> Result<(), Refusal> {
    match opcode {
        Opcode::Insert | Opcode::BatchInsert | Opcode::Update | Opcode::Delete => Ok(()),
        Opcode::Apply | Opcode::Read | Opcode::ReadVersion | Opcode::Scan | Opcode::Range => Ok(()),
        Opcode::Query | Opcode::Stream | Opcode::Fetch | Opcode::CloseCursor => Ok(()),
        _ => {
            let message = format!(
                "{} cannot be part of a transaction, which reads and writes documents: send it by \
                 itself",
                opcode.name()
            );
            Err(Refusal::new(Status::NotInTransaction, message))
        }
    }
}

fn figure(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
