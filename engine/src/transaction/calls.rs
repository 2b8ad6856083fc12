//! The calls of guests that run: what each has done so far, and what becomes of it.
//!
//! What must stay true:
//! * a guest's requests enter by the very function the wire's do, as the service's own
//!   principal, each call in a session of its own;
//! * what a call did takes effect before its answer is given to anybody, or not at all: not
//!   if the answer says that the service failed, or is none;
//! * a call that others disturbed is run again where nothing of it has left, a bounded number
//!   of times; which one is run again, and when, is said here, for every host alike.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto::http::HttpResponse;
use proto::{Header, Status};

use super::CallTransaction;
use crate::{Claim, Engine, JobEnd, Principal, Refusal};

/// Attempts of a call that others disturb.
pub(crate) const ATTEMPTS: u32 = 5;
/// From this one on those that are disturbed go one after the other.
pub(crate) const IN_TURN: u32 = 3;

/// See the module.
pub struct Calls {
    engine: Arc<Engine>,
    principal: Principal,
    turn_nanos: u64,
    /// By the number of the call; `None`: each operation is by itself.
    open: Option<Mutex<BTreeMap<u64, CallTransaction>>>,
}

/// What becomes of a call that has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concluded {
    /// Its answer stands, and what it did took effect.
    Stands,
    /// Nothing of it was done: it is to be run again, after this pause.
    Again(Duration),
    /// Nothing of it was done, for this reason, which is to be answered.
    Refused(Refusal),
}

/// How a call ended the job that it is the attempt of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnded {
    /// The job was ended with it.
    Settled,
    /// The job was not there any more, and nothing of the call took effect.
    Gone,
    /// Nothing of the call took effect, for this reason.
    Failed(String),
}

impl Calls {
    /// Those of a service's guests. `turn_nanos`: how long a call waits for its turn at most.
    /// `whole`: all that a call does is one transaction; else each operation is by itself.
    pub fn new(engine: Arc<Engine>, principal: Principal, turn_nanos: u64, whole: bool) -> Calls {
        Calls { engine, principal, turn_nanos, open: whole.then(Mutex::default) }
    }

    /// A call begins that is never concluded: what it does takes effect as it does it.
    pub fn begin_plain(&self) -> u64 {
        self.engine.begin_session()
    }

    /// A call begins that is to change nothing: it waits for nobody's commit. `is_job`: it is
    /// the attempt of a job.
    pub fn begin_read(&self, is_job: bool) -> u64 {
        self.begin(CallTransaction::default(), is_job)
    }

    /// Any other begins, for the so-manieth time, from 1 on.
    pub fn begin_write(&self, attempt: u32, is_job: bool) -> u64 {
        let latest = CallTransaction::latest();
        let begun = if attempt < IN_TURN { latest } else { latest.in_turn(self.turn_nanos) };
        self.begin(begun, is_job)
    }

    fn begin(&self, transaction: CallTransaction, is_job: bool) -> u64 {
        let call = self.engine.begin_session();
        self.put(call, if is_job { transaction.of_job() } else { transaction });
        call
    }

    /// Carries out one request of a call, as part of its transaction if it has one.
    pub fn request(&self, call: u64, packet: &[u8], reply: &mut Vec<u8>) {
        let who = self.principal.in_session(call);
        // Requests of a call come one after the other: nobody else looks for it meanwhile.
        let Some(mut transaction) = self.taken(call) else {
            return self.engine.dispatch_packet(&who, packet, reply);
        };
        let before = reply.len();
        self.engine.dispatch_in_call(&who, &mut transaction, packet, reply);
        let code = Header::parse(&reply[before..]).map_or(0, |header| header.code);
        transaction.met_replica |= code == Status::NotLeader as u16;
        self.put(call, transaction);
    }

    /// Something of a call is about to leave, before it is concluded.
    ///
    /// # Errors
    /// Some of what it has read is lost: nothing is to leave.
    pub fn leaves(&self, call: u64) -> Result<(), Refusal> {
        let Some(transaction) = self.taken(call) else { return Ok(()) };
        let settled = self.engine.settle_call(&transaction);
        self.put(call, transaction);
        settled
    }

    /// Whether a call that has answered with `response` has anything to commit.
    pub fn has_to_commit(&self, call: u64, response: &[u8]) -> bool {
        let is_open = |open: &Mutex<BTreeMap<u64, CallTransaction>>| {
            open.lock().get(&call).is_some_and(CallTransaction::is_open)
        };
        self.open.as_ref().is_some_and(is_open) && sound(response).is_some()
    }

    /// A call has answered with `response`, an encoded one (`proto::http`), for the
    /// so-manieth time. `outbound`: it has called an upstream, and so is not run again.
    /// `job`: whose attempt it is, which ends with it; how, if that is to be told.
    pub fn conclude(
        &self,
        call: u64,
        (attempt, outbound): (u32, bool),
        response: &[u8],
        job: Option<Claim>,
    ) -> (Concluded, Option<JobEnded>) {
        let Some(transaction) = self.taken(call) else { return (Concluded::Stands, None) };
        let done = self.concluded(call, transaction, (attempt, outbound), response, job);
        // It may go on, behind the head of its response.
        let stands = done.0 == Concluded::Stands;
        self.put(call, if stands { CallTransaction::default() } else { CallTransaction::void() });
        done
    }

    fn concluded(
        &self,
        call: u64,
        transaction: CallTransaction,
        (attempt, outbound): (u32, bool),
        response: &[u8],
        job: Option<Claim>,
    ) -> (Concluded, Option<JobEnded>) {
        // That it would have written is the reason, whatever words the guest has for it.
        if transaction.met_replica
            && sound(response).is_none()
            && let Err(refusal) = self.engine.check_leads()
        {
            return (Concluded::Refused(refusal), None);
        }
        let response = sound(response).filter(|_| job.is_some() || transaction.is_open());
        let Some(response) = response else {
            let settled = self.engine.settle_call(&transaction);
            return (settled.map_or_else(Concluded::Refused, |()| Concluded::Stands), None);
        };
        let may_run_again = attempt < ATTEMPTS && !outbound && transaction.may_run_again();
        let who = self.principal.in_session(call);
        let mut ended = None;
        let done = match job {
            None => self.engine.commit_call(&who, transaction),
            Some(claim) => {
                let end = JobEnd::of(&response);
                self.engine.end_job_in_call(&who, transaction, claim, &end).and_then(|is_there| {
                    ended = Some(if is_there { JobEnded::Settled } else { JobEnded::Gone });
                    if is_there { Ok(()) } else { Err(gone()) }
                })
            }
        };
        match done {
            Ok(()) => (Concluded::Stands, ended),
            Err(refusal) if refusal.status == Status::TransactionConflict && may_run_again => {
                self.engine.runs_again();
                (Concluded::Again(self.pause(attempt)), None)
            }
            Err(refusal) => {
                self.engine.settle();
                if job.is_some() {
                    ended.get_or_insert_with(|| JobEnded::Failed(refusal.message.clone()));
                }
                (Concluded::Refused(refusal), ended)
            }
        }
    }

    /// Before a call is run again: longer each time, and not the same for all.
    fn pause(&self, attempt: u32) -> Duration {
        // What disturbed it is there to be seen: at first it need not wait.
        if attempt < 2 {
            return Duration::ZERO;
        }
        let most = 100 * 2u64.saturating_pow(attempt - 1);
        Duration::from_micros(most / 2 + self.engine.entropy.next_u64() % (most / 2))
    }

    /// A call is over, however it ended.
    pub fn end(&self, call: u64) {
        drop(self.taken(call));
        self.engine.end_session(&self.principal.in_session(call));
    }

    fn put(&self, call: u64, transaction: CallTransaction) {
        if let Some(open) = &self.open {
            open.lock().insert(call, transaction);
        }
    }

    /// What a call has done, which is nobody's any more.
    fn taken(&self, call: u64) -> Option<CallTransaction> {
        self.open.as_ref()?.lock().remove(&call)
    }
}

/// An answer; `None`: it is none, or says that the service failed, so that nothing is done.
fn sound(response: &[u8]) -> Option<HttpResponse<'_>> {
    HttpResponse::decode(response).ok().filter(|answer| answer.status < 500)
}

fn gone() -> Refusal {
    let message = "the job of this call is not there any more: nothing of the call was done";
    Refusal::new(Status::Changed, message)
}
