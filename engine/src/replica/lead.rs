//! Who takes writes: promote, demote, fence.
//!
//! What must stay true:
//! * a promotion is one once its record is durable (`record.rs`); what follows, the first
//!   commit of its term, is made at once, or by the next start, or by asking again. No
//!   other commit is made before that one;
//! * a server that is demoted refuses writes first, then makes durable what it has, then
//!   says so in its record: what was acknowledged as durable is, and nothing comes behind
//!   it;
//! * a primary that hears of a later term of its own store, from a replica that has
//!   followed that one, demotes itself: it has been replaced.

use lsm::Lsm;
use platform::Clock;
use proto::doc::DocBuf;
use proto::{Opcode, Status};

use super::terms::{self, MAX_TERMS, Term};
use super::{Desk, Record, ReplicaRole, figure, refusal};
use crate::audit::Deed;
use crate::ops::finished;
use crate::{Engine, Principal, Refusal};

impl Desk {
    /// Makes the first commit of a term. No-one's writes come before it.
    pub(super) fn begin_term(
        &self,
        lsm: &Lsm,
        clock: &dyn Clock,
        term: Term,
    ) -> Result<(), lsm::Error> {
        lsm.lead(&terms::begin(term, clock.wall_micros()))?;
        self.reload(lsm)
    }

    fn note(&self, held: &mut Record, record: Record) -> Result<(), Refusal> {
        record.write(&*self.disk).map_err(|error| {
            let message = format!(
                "what this server is could not be written: {error}; free space or mend the disk, \
                 then ask again"
            );
            refusal(Status::Io, message)
        })?;
        *held = record;
        Ok(())
    }
}

impl Engine {
    /// Makes this replica the primary, with the commits it has; answers `{term, lsn}`, the
    /// term and its first commit.
    ///
    /// # Errors
    /// [`Status::WrongRole`]: it is the primary. Others: it is a replica as before, or a
    /// primary that has yet to begin its term: ask again.
    pub(crate) fn promote(&self, deed: &Deed<'_>, who: &Principal) -> Result<Vec<u8>, Refusal> {
        let desk = &self.replica;
        let mut record = desk.record.lock();
        if self.leads() {
            let message = "this server is the primary already: there is nothing to promote";
            return Err(refusal(Status::WrongRole, message));
        }
        let last = desk.terms.load().last().map_or(0, |term| term.number);
        if desk.terms.load().len() >= MAX_TERMS {
            let message = format!(
                "the store has had {MAX_TERMS} promotions, as many as there can be: take a backup, \
                 and restore it as a new store"
            );
            return Err(refusal(Status::LimitReached, message));
        }
        deed.begin()?;
        self.still_may(who, Opcode::Promote)?;
        // What is the last commit here stays so, whatever becomes of this machine.
        self.lsm.sync()?;
        let term = match (record.role, record.promoted) {
            // It was, and did not come to begin.
            (ReplicaRole::Primary, Some(term)) => term,
            _ => {
                let number = last.max(record.promoted.map_or(0, |term| term.number)) + 1;
                let (from, id) = (self.lsm.last_lsn() + 1, self.entropy.next_u64());
                let term = Term { number, from, id };
                let promoted = Some(term);
                let promoted = Record { role: ReplicaRole::Primary, set: desk.set, promoted };
                desk.note(&mut record, promoted)?;
                term
            }
        };
        desk.begin_term(&self.lsm, &*self.clock, term)?;
        desk.partial.lock().clear();
        desk.link.lock().ended();
        drop(record);
        self.take_over_jobs()?;
        let mut doc = DocBuf::new();
        doc.push("term", figure(term.number)).push("lsn", figure(term.from));
        Ok(finished(doc))
    }

    /// Makes this primary a replica; answers `{lsn}`, its last commit.
    ///
    /// # Errors
    /// [`Status::WrongRole`]: it is one. Others: it is the primary as before, unless its log
    /// has failed.
    pub(crate) fn demote(&self, deed: &Deed<'_>, who: &Principal) -> Result<Vec<u8>, Refusal> {
        let lsn = self.step_down(deed, || self.still_may(who, Opcode::Demote))?;
        let mut doc = DocBuf::new();
        doc.push("lsn", figure(lsn));
        Ok(finished(doc))
    }

    /// Makes this server a replica, on the word of whoever runs it. `false`: it is one.
    ///
    /// # Errors
    /// As of Demote.
    pub fn demote_by_operator(&self) -> Result<bool, Refusal> {
        if !self.leads() {
            return Ok(false);
        }
        let deed = self.own_deed("Demote", "by the operator");
        let done = self.step_down(&deed, || Ok(()));
        deed.end(done.as_ref().err());
        done.map(|_| true)
    }

    /// A replica knows of a later term than this primary.
    pub(super) fn fence(&self, term: Term) -> Result<(), Refusal> {
        if !self.leads() {
            return Ok(());
        }
        let object = format!("term {}", term.number);
        let deed = self.own_deed("Fence", &object);
        let done = self.step_down(&deed, || Ok(()));
        deed.end(done.as_ref().err());
        match done {
            // Somebody else was quicker.
            Err(refusal) if refusal.status == Status::WrongRole => Ok(()),
            done => done.map(drop),
        }
    }

    fn step_down(
        &self,
        deed: &Deed<'_>,
        still: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<u64, Refusal> {
        let desk = &self.replica;
        let mut record = desk.record.lock();
        if !self.leads() {
            let message = "this server is a replica already: there is nothing to demote";
            return Err(refusal(Status::WrongRole, message));
        }
        deed.begin()?;
        still()?;
        self.lsm.follow(&desk.words());
        let stepped = self.lsm.sync().map_err(Refusal::from).and_then(|lsn| {
            let replica = Record { role: ReplicaRole::Replica, ..*record };
            desk.note(&mut record, replica).map(|()| lsn)
        });
        match stepped {
            Ok(_) => desk.followers.forget(),
            Err(_) => self.lsm.follow_no_more(),
        }
        stepped
    }
}
