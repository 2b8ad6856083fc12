//! A request on its way, for the audit log.
//!
//! What must stay true: of a privileged request there is a line before it changes
//! anything ([`Deed::begin`], called where the change is known to be one), and one at its
//! end; of any other one line if it is refused for want of a right, or ends a query of
//! another user, and none else.

use std::cell::{Cell, RefCell};

use proto::{Opcode, Request, Status};
use serde_json::Value;

use super::line::{Event, Who, clipped};
use super::{Audit, By, Kind, lose};
use crate::{Engine, Principal, Refusal};

/// How the line before a change ends.
const BEGUN: &str = "begun";

/// See the module.
pub(crate) struct Deed<'a> {
    audit: Option<&'a Audit>,
    what: &'static str,
    who: Who<'a>,
    object: Object<'a>,
    privileged: bool,
    /// It is about a user that is not there: what is typed as a name may be a key.
    stranger: bool,
    more: RefCell<Vec<(&'static str, Value)>>,
    /// What of a change does not fit its first line: a line each.
    rest: RefCell<Vec<(&'static str, Value)>>,
    begun: Cell<Option<u64>>,
    /// How much of `more` was told then.
    told: Cell<usize>,
    /// It changes nothing that lasts, and is to be seen.
    shown: Cell<bool>,
}

/// What a request is about.
#[derive(Clone, Copy)]
enum Object<'a> {
    None,
    Named(&'a str),
    Index(&'a str, &'a str),
}

impl Deed<'_> {
    /// One that nobody audits: the engine's own work.
    pub(crate) fn unseen() -> Deed<'static> {
        Deed {
            audit: None,
            what: "",
            who: Who::Own,
            object: Object::None,
            privileged: false,
            stranger: false,
            more: RefCell::default(),
            rest: RefCell::default(),
            begun: Cell::new(None),
            told: Cell::new(0),
            shown: Cell::new(false),
        }
    }

    /// It ends a query of another user. That changes nothing that lasts, and is done
    /// where the log cannot be written too: it may be what mends a full disk.
    pub(crate) fn cancels(&self, query: u64, of: &Principal) {
        self.tell("query", query);
        self.tell("of_user", of.name());
        if of.is_service() {
            self.tell("of_service", true);
        }
        self.shown.set(true);
    }

    /// Tells more of it in its lines from now on.
    pub(crate) fn tell(&self, name: &'static str, value: impl Into<Value>) {
        if self.audit.is_some() {
            self.more.borrow_mut().push((name, value.into()));
        }
    }

    /// As [`Deed::tell`], text of a stranger.
    pub(crate) fn tell_text(&self, name: &'static str, text: &str) {
        self.tell(name, clipped(text));
    }

    /// Tells more of a change, in a line of its own behind the one it begins with.
    pub(crate) fn tell_besides(&self, name: &'static str, value: Value) {
        if self.audit.is_some() {
            self.rest.borrow_mut().push((name, value));
        }
    }

    /// It changes something now.
    ///
    /// # Errors
    /// The log cannot be written: nothing may be changed.
    pub(crate) fn begin(&self) -> Result<(), Refusal> {
        let Some(audit) = self.audit else { return Ok(()) };
        let seq = self.event(BEGUN, |event| audit.record(event, &self.rest.borrow()))?;
        self.begun.set(Some(seq));
        self.told.set(self.more.borrow().len());
        Ok(())
    }

    /// It ended so.
    pub(crate) fn end(&self, refusal: Option<&Refusal>) {
        let Some(audit) = self.audit else { return };
        let status = refusal.map(|refusal| refusal.status);
        let denied = matches!(status, Some(Status::Forbidden | Status::NotAuthenticated));
        let shown = self.shown.get();
        if !self.privileged && !shown && !denied {
            return;
        }
        let kind = if shown { Kind::Cancelled } else { Kind::Refused };
        let outcome = status.map_or_else(|| "done".to_owned(), |status| status.to_string());
        self.event(&outcome, |event| match (event.of, event.who) {
            // It is done, and its beginning is on the disk: it is not taken back.
            (Some(_), _) => {
                if let Err(refusal) = audit.record(event, &[]) {
                    lose(&mut audit.inner.lock(), refusal.message);
                }
            }
            (None, Who::Caller(who)) => audit.note(kind, who.into(), event),
            (None, _) => audit.note(kind, By::default(), event),
        });
    }

    fn event<T>(&self, outcome: &str, f: impl FnOnce(&Event<'_>) -> T) -> T {
        let both;
        let unseen = self.stranger && outcome != BEGUN && self.begun.get().is_none();
        let object = match self.object {
            Object::None => None,
            Object::Named(_) if unseen => None,
            Object::Named(name) => Some(name),
            Object::Index(store, index) => {
                both = format!("{store}.{index}");
                Some(&*both)
            }
        };
        let (of, told) = (self.begun.get(), self.more.borrow());
        // What was told in the beginning is not told again.
        let more = &told[self.told.get()..];
        f(&Event { what: self.what, who: self.who, object, outcome, of, more })
    }
}

impl Engine {
    /// A request of somebody.
    pub(crate) fn deed<'a>(&'a self, who: &'a Principal, request: &Request<'a>) -> Deed<'a> {
        Deed {
            audit: self.audit.as_ref(),
            what: request.opcode().name(),
            who: Who::Caller(who),
            object: object(request),
            privileged: is_privileged(request),
            stranger: user(request).is_some_and(|user| self.known(Some(user)).0.is_none()),
            ..Deed::unseen()
        }
    }

    /// What the service does on its own account.
    pub(crate) fn own_deed<'a>(&'a self, what: &'static str, object: &'a str) -> Deed<'a> {
        let object = Object::Named(object);
        let audit = self.audit.as_ref();
        Deed { audit, what, object, privileged: true, ..Deed::unseen() }
    }
}

/// Whether a request needs more than a right to documents, or changes a key.
fn is_privileged(request: &Request<'_>) -> bool {
    use Opcode as O;
    match request.opcode() {
        O::CreateStore | O::DropStore | O::AlterStore | O::CreateIndex | O::DropIndex => true,
        O::CreateSequence | O::DropSequence | O::AlterSequence => true,
        O::CreateUser | O::AlterUser | O::DropUser | O::CreateKey | O::RevokeKey => true,
        O::Flush | O::ReloadModule | O::Promote | O::Demote => true,
        O::Backup => matches!(request, Request::Backup { begin: true, .. }),
        O::Ping | O::Auth | O::Stats | O::List | O::DescribeStore | O::FormatQuery => false,
        O::Insert | O::BatchInsert | O::Read | O::Update | O::Delete | O::Scan | O::Range => false,
        O::Query | O::Stream | O::Fetch | O::CloseCursor => false,
        O::RunningQueries | O::CancelQuery | O::CheckIndexes => false,
        O::NextNumbers | O::ListSequences | O::ListUsers | O::Watch => false,
        O::Schedule | O::RetryJob => false,
        O::Apply | O::ReadVersion => false,
        O::Follow | O::Snapshot | O::Position => false,
        O::Begin | O::Commit | O::Abort | O::Savepoint | O::Rollback | O::Within => false,
    }
}

/// The user that a request is about.
fn user<'a>(request: &Request<'a>) -> Option<&'a str> {
    match *request {
        Request::CreateUser { user, .. }
        | Request::AlterUser { user, .. }
        | Request::DropUser { user, .. }
        | Request::CreateKey { user, .. }
        | Request::RevokeKey { user, .. } => Some(user),
        _ => None,
    }
}

fn object<'a>(request: &Request<'a>) -> Object<'a> {
    match *request {
        Request::DropIndex { store, index, .. } => Object::Index(store, index),
        Request::CheckIndexes { store, index: Some(index) } => Object::Index(store, index),
        Request::CreateSequence { sequence, .. }
        | Request::DropSequence { sequence, .. }
        | Request::AlterSequence { sequence, .. }
        | Request::NextNumbers { sequence, .. } => Object::Named(sequence),
        Request::CreateUser { user, .. }
        | Request::AlterUser { user, .. }
        | Request::DropUser { user, .. }
        | Request::CreateKey { user, .. }
        | Request::RevokeKey { user, .. } => Object::Named(user),
        _ => request.store().map_or(Object::None, Object::Named),
    }
}
