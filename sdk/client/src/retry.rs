//! What is tried again by itself.
//!
//! What must stay true: a write is sent a second time only if the first was certainly
//! not carried out, or if carrying it out twice leaves what carrying it out once does
//! *and* the caller said that this is fine. The table in `retry/table.md`, which is in
//! the documentation, is what this file does: a test makes it anew and compares.

use crate::backoff;
use crate::options::RetryOptions;
use crate::{Error, Fate};
use proto::doc::{Doc, Value};
use proto::{Request, Status};
use tokio::time::{Instant, sleep};

/// What asking twice does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing is changed.
    Read,
    /// The state afterwards is as if it had been asked once; the answer may differ.
    Repeatable,
    /// It is done twice.
    Once,
    /// It is of one session and means nothing, or something else, in another.
    Session,
}

/// What asking `request` twice does.
pub(crate) fn kind(request: &Request<'_>) -> Kind {
    match *request {
        Request::Ping
        | Request::Stats
        | Request::List
        | Request::Read { .. }
        | Request::ReadVersion { .. }
        | Request::Scan { .. }
        | Request::Range { .. }
        | Request::RunningQueries
        | Request::CheckIndexes { .. }
        | Request::ListSequences
        | Request::ListUsers { .. }
        | Request::DescribeStore { .. }
        | Request::FormatQuery { .. }
        | Request::Watch { .. }
        | Request::Follow { .. }
        | Request::Snapshot { .. }
        | Request::Position { .. }
        | Request::Backup { begin: false, .. } => Kind::Read,
        Request::Query { text, .. } | Request::Stream { text, .. } if reads(text) => Kind::Read,
        Request::Query { .. } | Request::Stream { .. } => Kind::Once,
        Request::Insert { key: Some(_), .. }
        | Request::Update { .. }
        | Request::Delete { .. }
        | Request::CreateStore { .. }
        | Request::DropStore { .. }
        | Request::CreateIndex { .. }
        | Request::DropIndex { .. }
        | Request::CreateSequence { .. }
        | Request::DropSequence { .. }
        | Request::DropUser { .. }
        | Request::RevokeKey { .. }
        | Request::Flush
        | Request::ReloadModule => Kind::Repeatable,
        // A name that was given away may be another's by the second time.
        Request::AlterStore { change: told, .. } | Request::AlterSequence { change: told, .. } => {
            match field(told, "rename") {
                None => Kind::Repeatable,
                Some(_) => Kind::Once,
            }
        }
        // The second is refused: it has that role by then.
        Request::Promote | Request::Demote => Kind::Once,
        // A server that was started anew gives its numbers anew.
        Request::CancelQuery { .. } => Kind::Once,
        Request::BatchInsert { batch, .. } if batch.iter().all(|(key, _)| key.is_some()) => {
            Kind::Repeatable
        }
        // A condition that held does not hold the second time, and nothing is written then.
        Request::Apply { steps } if steps.iter().all(|step| step.act.key().is_some()) => {
            Kind::Repeatable
        }
        // It is refused the second time, and a key that was made would be lost.
        Request::CreateKey { .. } => Kind::Once,
        // A user without a key is given one, and a second time another.
        Request::CreateUser { definition: told, .. } => match field(told, "key") {
            Some(Value::String(_)) => Kind::Repeatable,
            _ => Kind::Once,
        },
        Request::AlterUser { change: told, .. } => match field(told, "key") {
            None | Some(Value::String(_)) => Kind::Repeatable,
            Some(_) => Kind::Once,
        },
        Request::Insert { key: None, .. }
        | Request::BatchInsert { .. }
        | Request::Apply { .. }
        | Request::NextNumbers { .. }
        | Request::Schedule { .. }
        | Request::RetryJob { .. }
        | Request::Backup { begin: true, .. } => Kind::Once,
        Request::Auth { .. } | Request::Fetch { .. } | Request::CloseCursor { .. } => Kind::Session,
        // What is tried again is all of a transaction: `transaction.rs`.
        Request::Begin { .. }
        | Request::Commit { .. }
        | Request::Abort { .. }
        | Request::Savepoint { .. }
        | Request::Rollback { .. }
        | Request::Within { .. } => Kind::Session,
    }
}

fn field<'a>(document: &'a [u8], name: &str) -> Option<Value<'a>> {
    Doc::parse(document).ok()?.get(name)
}

/// Words of PQL before `(` that change nothing.
const READING: &[&str] = &[
    "get",
    "filter",
    "all",
    "lookup",
    "lookupOne",
    "groupBy",
    "distinct",
    "aggregate",
    "having",
    "orderBy",
    "skip",
    "limit",
    "pluck",
    "count",
    "explain",
    "sum",
    "avg",
    "min",
    "max",
    "date",
    "decimal",
    "objectId",
    "uuid",
    "binary",
    "and",
    "or",
    "not",
];

/// Whether a query certainly changes nothing: whatever it calls is known to read. A step
/// that a newer server has, and a parenthesis in a string behind some other word, make
/// it one that may write; that costs a retry and nothing else.
pub(crate) fn reads(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find('(') {
        let before = rest[..at].trim_end_matches([' ', '\t', '\r', '\n']);
        let letter = |c: char| c.is_alphanumeric() || c == '_' || !c.is_ascii();
        let word = before.rfind(|c: char| !letter(c)).map_or(before, |end| {
            let width = before[end..].chars().next().map_or(1, char::len_utf8);
            &before[end + width..]
        });
        // No word: a parenthesis around a condition, or behind a name in backticks.
        let known = if word.is_empty() { !before.ends_with('`') } else { READING.contains(&word) };
        if !known {
            return false;
        }
        rest = &rest[at + 1..];
    }
    true
}

/// Whether a request of that kind is made again after `error`; `repeat`: the caller said
/// that what is repeatable may be repeated.
pub(crate) fn again(kind: Kind, repeat: bool, error: &Error) -> bool {
    // A wait for a connection that was in vain has been long enough, and so was the time
    // the server gave: what it cancels, too, it answers with Timeout.
    let over = matches!(
        error,
        Error::Exhausted { .. }
            | Error::Refused { status: Status::Timeout | Status::NotReached, .. }
    );
    if over || kind == Kind::Session || !error.passes() {
        return false;
    }
    match error.fate() {
        Fate::NotDone => true,
        Fate::Unknown => kind == Kind::Read || (kind == Kind::Repeatable && repeat),
        Fate::Done => false,
    }
}

/// One call, over all its attempts.
#[derive(Debug)]
pub(crate) struct Attempts {
    options: RetryOptions,
    begun: Instant,
    made: u32,
}

impl Attempts {
    /// The first of them is about to be made.
    pub(crate) fn first(options: RetryOptions) -> Attempts {
        Attempts { options, begun: Instant::now(), made: 1 }
    }

    /// After an attempt that may be made again: waits until it is time. `None`: there have
    /// been enough.
    pub(crate) async fn next(&mut self) -> Option<()> {
        if self.made >= self.options.attempts {
            return None;
        }
        let pause = backoff::pause(&self.options, self.made, backoff::chance());
        if self.begun.elapsed().saturating_add(pause) > self.options.within {
            return None;
        }
        self.made += 1;
        sleep(pause).await;
        Some(())
    }
}

#[cfg(test)]
mod tests;
