//! The queries that run, and those whose next page waits to be fetched.
//!
//! What must stay true:
//! * a query that has ended is not listed. One that waits has a cursor, which counts
//!   until it ends, while a page of it is read too;
//! * a cursor is found by the user and the session that opened it, and by nobody else;
//! * cursors are bounded ([`CursorLimits`]): in all, of one user, of one session, and by
//!   what they hold together; one that nobody fetches from for a while expires;
//! * nothing large is dropped under the lock of the table: what goes is handed out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use lsm::KeyspaceId;
use proto::Status;

use super::desk::RunningQuery;
use super::stream::{PageSize, Stream};
use super::work::{Held, Work};
use super::{Limits, QueryError};
use crate::Principal;

/// Bounds of the queries that wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CursorLimits {
    /// In all; one user may have half of them.
    pub(crate) all: usize,
    /// Of one session.
    pub(crate) session: usize,
    /// Bytes they may hold together.
    pub(crate) held: Held,
    /// How long one may wait.
    pub(crate) idle_nanos: u64,
}

/// A query between two pages.
pub(super) struct Waiting {
    pub(super) stream: Stream,
    pub(super) work: Work,
    pub(super) size: PageSize,
    /// The stores whose documents it shows.
    pub(super) stores: Vec<KeyspaceId>,
    /// The transaction that it is part of; 0: none.
    pub(super) within: u64,
}

/// A query that runs or waits.
pub(super) struct Entry {
    pub(super) who: Principal,
    /// Its text, or the beginning of it.
    pub(super) text: String,
    /// When it began to run, or to wait.
    since: u64,
    cancelled: Arc<AtomicBool>,
    /// The stores whose documents it shows, as far as that is known: while it runs.
    stores: Vec<KeyspaceId>,
    cursor: Option<Cursor>,
}

struct Cursor {
    /// What it held when it began to wait last.
    held: Held,
    /// The transaction that it is part of; 0: none.
    within: u64,
    /// `None`: a page of it is being read.
    waiting: Option<Box<Waiting>>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Table {
    queries: BTreeMap<u64, Entry>,
    /// Those that wait, by when they began to.
    idle: BTreeSet<(u64, u64)>,
    /// The cursors of each session.
    sessions: BTreeMap<Principal, BTreeSet<u64>>,
    figures: CursorFigures,
}

/// What the stats tell of cursors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CursorFigures {
    /// That there are.
    pub(crate) open: usize,
    /// Bytes they hold.
    pub(crate) held: Held,
    /// Expired so far.
    pub(crate) expired: u64,
}

/// What became of a query that was to end.
pub(super) enum Ended {
    /// There is none of that number.
    Unknown,
    /// It runs, and was told.
    Told,
    /// It waited.
    Gone(Box<Entry>),
}

/// What was found of a cursor.
pub(super) enum Taken {
    Waiting(Box<Waiting>),
    /// Another request reads a page of it.
    Busy,
    /// None of that session; it may have expired just now.
    Unknown(Option<Box<Entry>>),
}

impl Table {
    /// A query begins.
    pub(super) fn begin(
        &mut self,
        id: u64,
        who: &Principal,
        text: String,
        now: u64,
        cancelled: Arc<AtomicBool>,
    ) {
        let (who, stores) = (who.clone(), Vec::new());
        let entry = Entry { who, text, since: now, cancelled, stores, cursor: None };
        self.queries.insert(id, entry);
    }

    /// A query that runs shows documents of these stores.
    pub(super) fn shows(&mut self, id: u64, stores: Vec<KeyspaceId>) {
        if let Some(entry) = self.queries.get_mut(&id) {
            entry.stores = stores;
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<&Entry> {
        self.queries.get(&id)
    }

    /// A query ends.
    pub(super) fn remove(&mut self, id: u64) -> Option<Box<Entry>> {
        let entry = self.queries.remove(&id)?;
        if let Some(cursor) = &entry.cursor {
            self.idle.remove(&(entry.since, id));
            if let Some(cursors) = self.sessions.get_mut(&entry.who) {
                cursors.remove(&id);
                if cursors.is_empty() {
                    self.sessions.remove(&entry.who);
                }
            }
            self.figures.open -= 1;
            self.figures.held = less(self.figures.held, cursor.held);
        }
        Some(Box::new(entry))
    }

    /// A query begins to wait, if there is room for that.
    ///
    /// # Errors
    /// Which bound is in the way; it goes on running.
    pub(super) fn park(
        &mut self,
        id: u64,
        waiting: Box<Waiting>,
        now: u64,
        limits: &CursorLimits,
    ) -> Result<(), (QueryError, Box<Waiting>)> {
        let held = waiting.work.held();
        let all = match self.room(id, held, waiting.work.limits(), limits) {
            Ok(all) => all,
            Err(error) => return Err((error, waiting)),
        };
        let Some(entry) = self.queries.get_mut(&id) else {
            return Err((unknown(id, limits), waiting));
        };
        if entry.cursor.is_none() {
            self.figures.open += 1;
            self.sessions.entry(entry.who.clone()).or_default().insert(id);
        }
        self.figures.held = all;
        entry.since = now;
        entry.cursor = Some(Cursor { held, within: waiting.within, waiting: Some(waiting) });
        self.idle.insert((now, id));
        Ok(())
    }

    /// What all cursors will hold once this one waits, if it may.
    fn room(
        &self,
        id: u64,
        held: Held,
        query: &Limits,
        limits: &CursorLimits,
    ) -> Result<Held, QueryError> {
        let Some(entry) = self.queries.get(&id) else { return Err(unknown(id, limits)) };
        if entry.cancelled.load(Relaxed) {
            return Err(QueryError::cancelled());
        }
        let busy = |why: String| {
            let message = format!("the rows of this query do not fit one reply, and {why}");
            Err(QueryError::Refused(Status::Busy, message))
        };
        if entry.cursor.is_none() {
            let (mut of_user, mut of_session) = (0, 0);
            let first = entry.who.first_of_name();
            let named = self.sessions.range(first..);
            for (who, cursors) in named.take_while(|(who, _)| who.name() == entry.who.name()) {
                of_user += if who.is_user_of(&entry.who) { cursors.len() } else { 0 };
                of_session += if *who == entry.who { cursors.len() } else { 0 };
            }
            if limits.all == 0 {
                let message = format!(
                    "the result is larger than the {} bytes of a reply: add limit(n) and skip(n), \
                     pluck(..) fewer fields, or let it be fetched page by page \
                     (limits.max_cursors in db.yaml)",
                    query.reply
                );
                return Err(QueryError::Refused(Status::ResultTooLarge, message));
            }
            if self.figures.open >= limits.all {
                return busy(format!(
                    "{} cursors are open, as many as limits.max_cursors in db.yaml allows: ask \
                     again when some have ended, or for less with limit(n)",
                    self.figures.open
                ));
            }
            if of_user >= limits.all.div_ceil(2) {
                return busy(format!(
                    "this user has {of_user} cursors open, half of limits.max_cursors in db.yaml: \
                     fetch them to their end, or close some"
                ));
            }
            if of_session >= limits.session {
                return busy(format!(
                    "this session has {of_session} cursors open, as many as \
                     limits.max_session_cursors in db.yaml allows: fetch them to their end, or \
                     close some"
                ));
            }
        }
        let before = entry.cursor.as_ref().map(|cursor| cursor.held).unwrap_or_default();
        let others = less(self.figures.held, before);
        let all = Held { memory: others.memory + held.memory, disk: others.disk + held.disk };
        for (all, most, what, setting) in [
            (all.memory, limits.held.memory, "bytes of memory", "limits.cursor_memory"),
            (all.disk, limits.held.disk, "bytes on disk", "limits.cursor_spill"),
        ] {
            if all > most {
                return busy(format!(
                    "queries that wait to be fetched from would hold {all} {what} with it, more \
                     than the {most} of {setting} in db.yaml: ask again when some have ended, or \
                     for less to sort or group"
                ));
            }
        }
        Ok(all)
    }

    /// A cursor is gone on with, by who opened it and within the transaction it is part of.
    pub(super) fn take(
        &mut self,
        id: u64,
        (who, within): (&Principal, u64),
        now: u64,
        idle: u64,
    ) -> Taken {
        let Some(entry) = self.queries.get_mut(&id).filter(|entry| entry.who == *who) else {
            return Taken::Unknown(None);
        };
        let Some(cursor) = entry.cursor.as_mut().filter(|cursor| cursor.within == within) else {
            return Taken::Unknown(None);
        };
        if cursor.waiting.is_none() {
            return Taken::Busy;
        }
        if now.saturating_sub(entry.since) >= idle {
            self.figures.expired += 1;
            return Taken::Unknown(self.remove(id));
        }
        self.idle.remove(&(entry.since, id));
        entry.since = now;
        let waiting = cursor.waiting.take();
        entry.stores = waiting.as_ref().map(|waiting| waiting.stores.clone()).unwrap_or_default();
        waiting.map_or(Taken::Busy, Taken::Waiting)
    }

    /// Removes up to `most` cursors that waited too long.
    pub(super) fn expire(&mut self, now: u64, idle: u64, most: usize) -> Vec<Entry> {
        let mut gone = Vec::new();
        while gone.len() < most
            && let Some(&(since, id)) = self.idle.first()
            && now.saturating_sub(since) >= idle
        {
            gone.extend(self.remove(id).map(|entry| *entry));
            self.figures.expired += 1;
        }
        gone
    }

    /// Ends a cursor of that session.
    pub(super) fn close(&mut self, id: u64, who: &Principal) -> Ended {
        self.end(id, |entry| entry.cursor.is_some() && entry.who == *who)
    }

    /// Ends a query; with `who`, one of that user, in whatever session.
    pub(super) fn cancel(&mut self, id: u64, who: Option<&Principal>) -> Ended {
        self.end(id, |entry| who.is_none_or(|who| who.is_user_of(&entry.who)))
    }

    fn end(&mut self, id: u64, may: impl FnOnce(&Entry) -> bool) -> Ended {
        let Some(entry) = self.queries.get(&id).filter(|entry| may(entry)) else {
            return Ended::Unknown;
        };
        if entry.cursor.as_ref().is_some_and(|cursor| cursor.waiting.is_some()) {
            return self.remove(id).map_or(Ended::Unknown, Ended::Gone);
        }
        entry.cancelled.store(true, Relaxed);
        Ended::Told
    }

    /// Ends the queries that are to go, by whose they are and which stores they show.
    pub(super) fn end_where(
        &mut self,
        mut goes: impl FnMut(&Principal, &[KeyspaceId]) -> bool,
    ) -> Vec<Entry> {
        let goes = |(id, entry): (&u64, &Entry)| goes(&entry.who, &entry.stores).then_some(*id);
        let ids: Vec<u64> = self.queries.iter().filter_map(goes).collect();
        let ended = ids.into_iter().map(|id| self.end(id, |_| true));
        let gone = |ended| if let Ended::Gone(entry) = ended { Some(*entry) } else { None };
        ended.filter_map(gone).collect()
    }

    /// Ends the cursors of a session.
    pub(super) fn end_session(&mut self, who: &Principal) -> Vec<Entry> {
        self.end_cursors(who, |_| true)
    }

    /// Ends the cursors of a session that are part of a transaction.
    pub(super) fn end_within(&mut self, who: &Principal, within: u64) -> Vec<Entry> {
        self.end_cursors(who, |cursor| cursor.within == within)
    }

    fn end_cursors(&mut self, who: &Principal, goes: impl Fn(&Cursor) -> bool) -> Vec<Entry> {
        let all = self.sessions.get(who).into_iter().flatten().copied();
        let goes =
            |id: &u64| self.queries.get(id).and_then(|it| it.cursor.as_ref()).is_some_and(&goes);
        let ids: Vec<u64> = all.filter(goes).collect();
        let ended = ids.into_iter().map(|id| self.close(id, who));
        let gone = |ended| if let Ended::Gone(entry) = ended { Some(*entry) } else { None };
        ended.filter_map(gone).collect()
    }

    /// What runs or waits, oldest first; with `who`, of that user.
    pub(super) fn list(&self, now: u64, who: Option<&Principal>) -> Vec<RunningQuery> {
        let shown = |(_, entry): &(&u64, &Entry)| who.is_none_or(|who| who.is_user_of(&entry.who));
        let show = |(id, entry): (&u64, &Entry)| RunningQuery {
            id: *id,
            user: entry.who.name().to_owned(),
            text: entry.text.clone(),
            micros: now.saturating_sub(entry.since) / 1000,
            waits: entry.cursor.as_ref().is_some_and(|cursor| cursor.waiting.is_some()),
        };
        self.queries.iter().filter(shown).map(show).collect()
    }

    /// How many run.
    pub(super) fn running(&self) -> usize {
        self.queries.len() - self.idle.len()
    }

    pub(super) fn figures(&self) -> CursorFigures {
        self.figures
    }
}

fn less(all: Held, part: Held) -> Held {
    Held {
        memory: all.memory.saturating_sub(part.memory),
        disk: all.disk.saturating_sub(part.disk),
    }
}

/// The session has no such cursor.
pub(super) fn unknown(id: u64, limits: &CursorLimits) -> QueryError {
    let message = format!(
        "this session has no cursor {id}: it was fetched to its end, closed or cancelled, it \
         failed, or nobody fetched from it for {} ms (limits.cursor_idle_ms in db.yaml): ask the \
         query again",
        limits.idle_nanos / 1_000_000
    );
    QueryError::Refused(Status::UnknownCursor, message)
}
