//! One transaction for all that a guest does in one call.
//!
//! What must stay true: it begins with the first operation on documents, so that a call
//! which makes its stores first finds them; and anew where a call that has only read makes
//! one. What cannot be part of a transaction is done by
//! itself, at once, whatever becomes of the call. Nothing of it is seen by others before
//! [`Engine::commit_call`]; dropped, it leaves no trace. What a call has read of commits
//! that may yet be lost is told to nobody before they are known to last: whoever lets
//! something of a call out asks [`Engine::settle_call`] before, where it was not committed.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use proto::{Header, ReplyWriter, Request, Status};

use super::turn::Turn;
use super::{Begins, Within};
use crate::ops::may_be_within;
use crate::patience::Patience;
use crate::{Call, Engine, Lsn, Principal, Refusal};

/// Transactions of the wire count from 1 on, in sessions of their own.
const NUMBER: u64 = u64::MAX;

/// So long the commit of a call waits for the call that it would disturb, if that one has
/// the turn.
const YIELD_NANOS: u64 = 100_000_000;

/// What a guest's call has done so far.
#[derive(Default)]
pub struct CallTransaction {
    within: Option<Within>,
    /// Something of it took effect already: it must not be done a second time.
    done: bool,
    /// Nothing of it will take effect.
    void: bool,
    /// It sees the latest commits, acknowledged or not.
    is_latest: bool,
    /// The last commit that it saw.
    seen: Lsn,
    /// It is to wait for a turn, for so many nanoseconds, before it begins.
    wait: Option<u64>,
    /// Its turn, until what it has done takes effect.
    turn: Option<Turn>,
    /// It is the attempt of a job, which goes with its commit.
    job: bool,
    /// It would have written, and this server is a replica.
    pub(super) met_replica: bool,
}

impl CallTransaction {
    /// Of a call that goes on though what it did could not take effect: nothing of what it
    /// does with documents from here on does.
    pub fn void() -> CallTransaction {
        CallTransaction { void: true, ..CallTransaction::default() }
    }

    /// Of a call that sees the latest commits, those too that are not acknowledged yet, so
    /// that it is not disturbed by them. It waits for them when it is over.
    pub fn latest() -> CallTransaction {
        CallTransaction { is_latest: true, ..CallTransaction::default() }
    }

    /// The same, of a call that was disturbed before: from its begin to its commit it goes
    /// alone among those of its kind, if it comes to its turn within so many nanoseconds.
    #[must_use]
    pub fn in_turn(self, nanos: u64) -> CallTransaction {
        CallTransaction { wait: Some(nanos), ..self }
    }

    /// The same, of a call that is the attempt of a job: see [`Engine::end_job_in_call`].
    #[must_use]
    pub fn of_job(self) -> CallTransaction {
        CallTransaction { job: true, ..self }
    }

    /// What it does takes effect together with what else is done in it from here on.
    pub(crate) fn opened(&mut self, engine: &Engine) -> Result<&Within, Refusal> {
        if self.within.is_none() {
            // Before its snapshot: what those before it in the turn wrote is in it.
            if let Some(most) = self.wait.take() {
                self.turn = engine.transactions.turns.take(&*engine.clock, most);
            }
            let begins = if self.is_latest { Begins::Latest } else { Begins::ToWrite };
            let within = engine.within(begins)?;
            self.seen = within.lsn();
            self.turn.iter().for_each(|turn| turn.reads(within.footprint()));
            self.within = Some(Within { number: NUMBER, spare: u64::from(self.job), ..within });
        }
        Ok(self.within.as_ref().expect("made just above"))
    }

    /// Whether the call may be run again from its beginning, as far as the database goes.
    pub fn may_run_again(&self) -> bool {
        !self.done
    }

    /// Whether there is anything to commit.
    pub fn is_open(&self) -> bool {
        self.within.is_some()
    }
}

impl Engine {
    /// As [`Engine::dispatch_packet`], of a request that is part of a guest's call. A
    /// transaction that it names by number 0 is the call's own: Commit makes it take effect
    /// now, Abort lets go of it, and another one begins with the next operation.
    pub fn dispatch_in_call(
        &self,
        who: &Principal,
        transaction: &mut CallTransaction,
        packet: &[u8],
        out: &mut Vec<u8>,
    ) {
        let Ok((header, request)) = self.decode(packet) else {
            return self.dispatch_packet(who, packet, out);
        };
        let begun = self.clock.monotonic_nanos();
        let patience = Patience::new(header.patience, &Call::default(), begun);
        if let Some(about) = own(&request) {
            let start = out.len();
            if let Err(refusal) = self.about_call(who, transaction, about, &patience, header, out) {
                out.truncate(start);
                self.refuse(header.id, &refusal, out);
            }
            return;
        }
        let opcode = request.opcode();
        if may_be_within(opcode).is_err() {
            // Numbers that are given out, stores that are made: not a second time by itself,
            // though all that may be asked for here may be asked for twice.
            let before = self.catalogs.read();
            self.dispatch_asked(who, header.id, request, None, (&patience, begun), out);
            let is_changed = !Arc::ptr_eq(&before, &self.catalogs.read());
            if is_changed && transaction.within.as_ref().is_some_and(|within| !within.has_written())
            {
                // A store that the call has made, having looked for it: it is to find it. What
                // was only read so far rests on nothing that is written from here on.
                self.queries.end_within(who, NUMBER);
                transaction.within = None;
            }
            return;
        }
        match transaction.opened(self) {
            Ok(within) => {
                self.dispatch_asked(who, header.id, request, Some(within), (&patience, begun), out);
                within.settle();
            }
            Err(refusal) => self.refuse(header.id, &refusal, out),
        }
    }

    fn about_call(
        &self,
        who: &Principal,
        transaction: &mut CallTransaction,
        about: Own,
        patience: &Patience,
        header: Header,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let none = || {
            let message = "this call has done nothing with documents that could be gone back on";
            Refusal::new(Status::UnknownTransaction, message)
        };
        let reply = ReplyWriter::new(header.id, out);
        match about {
            Own::Commit => {
                let lsn = self.commit_now(who, transaction, patience)?;
                reply.document(&crate::ops::committed(lsn));
            }
            Own::Abort => {
                self.queries.end_within(who, NUMBER);
                transaction.within = None;
                reply.empty();
            }
            Own::Savepoint => {
                let within = transaction.within.as_ref().ok_or_else(none)?;
                reply.count(within.savepoint()?);
            }
            Own::Rollback(savepoint) => {
                transaction.within.as_ref().ok_or_else(none)?.rollback(savepoint)?;
                self.queries.end_within(who, NUMBER);
                reply.empty();
            }
        }
        Ok(())
    }

    /// Makes what a guest's call has done so far take effect: the commit that it is.
    fn commit_now(
        &self,
        who: &Principal,
        transaction: &mut CallTransaction,
        patience: &Patience,
    ) -> Result<Lsn, Refusal> {
        if transaction.void {
            let message = "what this call did before could not take effect: it is run again, or \
                           answered for, when it has ended";
            return Err(Refusal::new(Status::TransactionConflict, message));
        }
        let Some(within) = transaction.within.take() else { return Ok(self.lsm.last_lsn()) };
        self.queries.end_within(who, NUMBER);
        if transaction.turn.is_none() {
            let turns = &self.transactions.turns;
            turns.yields(&*self.clock, YIELD_NANOS, |other| within.would_disturb(other));
        }
        let committed = self.commit_within(who, within, transaction.turn.take(), patience)?;
        transaction.done = true;
        Ok(committed)
    }

    /// Makes what a guest's call has done take effect, all or nothing.
    ///
    /// # Errors
    /// [`Status::TransactionConflict`]: another commit has changed what it rests on; others
    /// as of any change. Nothing of it is done then.
    pub fn commit_call(
        &self,
        who: &Principal,
        mut transaction: CallTransaction,
    ) -> Result<(), Refusal> {
        self.commit_now(who, &mut transaction, Patience::ENDLESS).map(drop)
    }

    /// Waits until all that a guest's call has seen is acknowledged: before anything of it
    /// leaves, where the call is not committed.
    ///
    /// # Errors
    /// Some of it is lost.
    pub fn settle_call(&self, transaction: &CallTransaction) -> Result<(), Refusal> {
        Ok(self.lsm.wait_acknowledged(transaction.seen)?)
    }

    /// Waits until all that is written is acknowledged: before it is told who disturbed whom.
    pub fn settle(&self) {
        // If it fails nobody is told more than that there was such a commit.
        let _failed = self.lsm.wait_acknowledged(self.lsm.written_lsn());
    }

    /// A guest's call is run again, since it was disturbed.
    pub fn runs_again(&self) {
        self.transactions.again.fetch_add(1, Relaxed);
    }
}

/// What is asked about the call's own transaction.
enum Own {
    Commit,
    Abort,
    Savepoint,
    Rollback(u64),
}

fn own(request: &Request<'_>) -> Option<Own> {
    match *request {
        Request::Commit { transaction: 0 } => Some(Own::Commit),
        Request::Abort { transaction: 0 } => Some(Own::Abort),
        Request::Savepoint { transaction: 0 } => Some(Own::Savepoint),
        Request::Rollback { transaction: 0, savepoint } => Some(Own::Rollback(savepoint)),
        _ => None,
    }
}
