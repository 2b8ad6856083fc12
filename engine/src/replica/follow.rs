//! A page of the log: asked for by a replica, made by its primary, taken in.
//!
//! ```text
//! asked:    {set, replica, name, from, skip, durable, terms, max_bytes, max_wait_ms}
//! answered: {set, terms, from, skip, durable, now, behind_bytes, frames}
//! ```
//!
//! `set` and `replica` are 32 hexadecimal digits, `terms` and `frames` binary (`terms.rs`,
//! `lsm/src/ship.rs`). The frames from commit `from` on, all those that are durable, are one
//! row of bytes; a page is a piece of it, from byte `skip` on. So a commit may be longer
//! than a message, and a primary remembers nothing between two pages.
//!
//! What must stay true: a page is taken in whole or not at all if anything in it is not as
//! it must be; applied are whole frames, in order, each once.

use std::sync::atomic::Ordering::Relaxed;

use lsm::{Lsn, Shipped, StoreId};
use proto::Status;
use proto::doc::{Binary, Doc, DocBuf, Value};

use super::terms::{self, TERMS, Term, Verdict, compare};
use super::{ReplicaRole, figure, followers, refusal};
use crate::catalog::CATALOG;
use crate::ops::finished;
use crate::{Engine, Refusal};

/// Bytes of a page around its frames and terms, at most.
const AROUND: usize = 1024;
/// A replica waits so long for a page at most, in milliseconds.
const MAX_WAIT_MS: u32 = 60_000;
/// Bytes of a replica's name.
pub(crate) const MAX_NAME: usize = 64;

/// What a replica asks for.
struct Asked<'a> {
    set: StoreId,
    replica: StoreId,
    name: &'a str,
    from: Lsn,
    skip: usize,
    durable: Lsn,
    terms: Vec<Term>,
    max_bytes: usize,
    max_wait_ms: u32,
}

/// A page, and what it waits for if it has no frames.
pub(crate) struct Page {
    pub(crate) document: Vec<u8>,
    pub(crate) is_empty: bool,
    /// The last commit that the replica has.
    pub(crate) behind: Lsn,
    pub(crate) wait_ms: u32,
}

/// What a page came to, at a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// Commits that were applied.
    pub frames: usize,
    /// Whether the primary has more that are durable.
    pub more: bool,
}

pub(super) fn bad(message: impl Into<String>) -> Refusal {
    refusal(Status::BadFollow, message)
}

/// The fields of a document, by name.
pub(super) struct Fields<'a>(Doc<'a>);

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Result<Fields<'a>, Refusal> {
        Ok(Fields(Doc::parse(bytes).map_err(|e| bad(format!("what is followed: {e}")))?))
    }

    fn wrong(name: &str, wanted: &str) -> Refusal {
        bad(format!("the field {name} must be {wanted}: use a server of the same release"))
    }

    pub(super) fn number(&self, name: &str) -> Result<u64, Refusal> {
        let number = self.0.get(name).and_then(|value| value.as_i64());
        let number = number.and_then(|n| u64::try_from(n).ok());
        number.ok_or_else(|| Fields::wrong(name, "a number, 0 or more"))
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str, Refusal> {
        match self.0.get(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(Fields::wrong(name, "a text")),
        }
    }

    pub(super) fn id(&self, name: &str) -> Result<StoreId, Refusal> {
        let wrong = || Fields::wrong(name, "32 hexadecimal digits");
        StoreId::parse(self.text(name)?).ok_or_else(wrong)
    }

    pub(super) fn bytes(&self, name: &str) -> Result<&'a [u8], Refusal> {
        match self.0.get(name) {
            Some(Value::Binary(binary)) => Ok(binary.bytes),
            _ => Err(Fields::wrong(name, "bytes")),
        }
    }

    fn terms(&self) -> Result<Vec<Term>, Refusal> {
        let wrong = || Fields::wrong("terms", "terms that rise");
        terms::decode(self.bytes("terms")?).ok_or_else(wrong)
    }
}

impl<'a> Asked<'a> {
    fn parse(what: &'a [u8]) -> Result<Asked<'a>, Refusal> {
        let fields = Fields::of(what)?;
        let number = |name| fields.number(name);
        let asked = Asked {
            set: fields.id("set")?,
            replica: fields.id("replica")?,
            name: fields.text("name")?,
            from: number("from")?,
            skip: usize::try_from(number("skip")?).unwrap_or(usize::MAX),
            durable: number("durable")?,
            terms: fields.terms()?,
            max_bytes: usize::try_from(number("max_bytes")?).unwrap_or(usize::MAX),
            max_wait_ms: u32::try_from(number("max_wait_ms")?).unwrap_or(u32::MAX),
        };
        if asked.name.len() > MAX_NAME || asked.name.chars().any(char::is_control) {
            return Err(bad(format!("a replica's name is one line of up to {MAX_NAME} bytes")));
        }
        if asked.from == 0 || asked.durable >= asked.from || asked.skip > lsm::MAX_SHIPPED_BYTES {
            return Err(bad("no replica can be at that place"));
        }
        Ok(asked)
    }
}

fn other_store(theirs: StoreId, ours: StoreId) -> Refusal {
    let message = format!(
        "the replica's data is of {theirs}, the primary's of {ours}: a replica follows the store \
         it was made from alone; give it an empty directory to have it made from this one"
    );
    refusal(Status::OtherStore, message)
}

fn diverged(last: Lsn, common: Lsn) -> Refusal {
    let message = format!(
        "the replica has commits {} to {last}, which the primary has not: nothing is merged. Move \
         the replica's data directory away (what those commits hold is in it alone), and start the \
         replica with an empty one",
        common + 1
    );
    refusal(Status::Diverged, message)
}

fn older(term: Term) -> Refusal {
    let message = format!(
        "the replica knows of term {}, which began with commit {}, and the primary does not: \
         another server was promoted since; name that one in replica.address of db.yaml",
        term.number, term.from
    );
    refusal(Status::OlderTerm, message)
}

impl Engine {
    /// A page for a replica.
    ///
    /// # Errors
    /// It may not follow this server, and is told why.
    pub(crate) fn follow_page(&self, what: &[u8]) -> Result<Page, Refusal> {
        let asked = Asked::parse(what)?;
        let desk = &self.replica;
        if asked.set != desk.set {
            return Err(other_store(asked.set, desk.set));
        }
        let terms = desk.terms.load_full();
        let last = asked.from - 1;
        match compare(&terms, &asked.terms, last) {
            Verdict::Follows => {}
            Verdict::Diverged(common) => return Err(diverged(last, common)),
            Verdict::OlderPrimary(term) => {
                self.fence(term)?;
                return Err(older(term));
            }
        }
        self.check_leads()?;
        let settled = self.lsm.settled_lsn();
        if last > settled {
            return Err(diverged(last, settled));
        }
        let who = (asked.replica, asked.name);
        desk.followers.asks(&self.lsm, who, asked.from, asked.durable)?;

        let room = self.limits.max_message_size - AROUND - terms.len() * 24;
        let most = asked.max_bytes.clamp(1, room);
        let mut frames = Vec::new();
        let commits = self.watches.commits(&self.lsm, asked.from, settled, most + asked.skip);
        let commits = commits.map_err(|error| match asked.from < self.lsm.oldest_lsn() {
            true => followers::too_far(&self.lsm, asked.durable),
            false => error.into(),
        })?;
        for commit in commits {
            let (lsn, wall_micros, payload) = (commit.lsn, commit.wall_micros, &*commit.payload);
            lsm::ship(&Shipped { lsn, wall_micros, payload }, &mut frames);
        }
        if asked.skip > frames.len() {
            return Err(bad("no frame is as long as what is to be skipped"));
        }
        let frames = &frames[asked.skip..];
        let frames = &frames[..frames.len().min(most)];
        desk.bytes.fetch_add(frames.len() as u64, Relaxed);

        let binary = |bytes| Value::Binary(Binary { subtype: 0, bytes });
        let mut doc = DocBuf::with_capacity(frames.len() + AROUND);
        doc.push("set", &desk.set.to_string());
        let terms = terms::encode(&terms);
        doc.push("terms", binary(&terms));
        doc.push("from", figure(asked.from)).push("skip", figure(asked.skip as u64));
        doc.push("durable", figure(settled));
        doc.push("now", figure(self.clock.wall_micros()));
        doc.push("behind_bytes", figure(self.lsm.log_bytes_from(asked.from)));
        doc.push("frames", binary(frames));
        Ok(Page {
            document: finished(doc),
            is_empty: frames.is_empty(),
            behind: last,
            wait_ms: asked.max_wait_ms.min(MAX_WAIT_MS),
        })
    }

    /// What this replica asks its primary for next: `max_bytes` of frames, waited for so
    /// long.
    ///
    /// # Errors
    /// [`Status::WrongRole`]: it is no replica.
    pub fn follow_request(&self, max_bytes: u32, max_wait_ms: u32) -> Result<Vec<u8>, Refusal> {
        let desk = &self.replica;
        let record = desk.record.lock();
        check_replica(record.role)?;
        let terms = terms::encode(&desk.terms.load());
        let last = self.lsm.last_lsn();
        let mut doc = DocBuf::new();
        doc.push("set", &desk.set.to_string());
        doc.push("replica", &self.lsm.store_id().to_string());
        doc.push("name", desk.options.name.as_str());
        doc.push("from", figure(last + 1));
        doc.push("skip", figure(desk.partial.lock().len() as u64));
        doc.push("durable", figure(self.lsm.durable_lsn().min(last)));
        doc.push("terms", Value::Binary(Binary { subtype: 0, bytes: &terms }));
        doc.push("max_bytes", i64::from(max_bytes)).push("max_wait_ms", i64::from(max_wait_ms));
        Ok(finished(doc))
    }

    /// Takes in a page of the primary: its frames are applied, and durable, when this
    /// returns.
    ///
    /// # Errors
    /// Nothing of it was applied, if it was not as it must be: [`Status::OtherStore`],
    /// [`Status::Diverged`], [`Status::OlderTerm`], [`Status::BadFollow`]. What the disk
    /// refuses ends at a whole commit, and the next page goes on from there.
    pub fn take_followed(&self, page: &[u8]) -> Result<Took, Refusal> {
        let desk = &self.replica;
        // Nobody promotes meanwhile.
        let record = desk.record.lock();
        check_replica(record.role)?;
        let fields = Fields::of(page)?;
        let set = fields.id("set")?;
        if set != desk.set {
            return Err(other_store(desk.set, set));
        }
        let last = self.lsm.last_lsn();
        match compare(&fields.terms()?, &desk.terms.load(), last) {
            Verdict::Follows => {}
            Verdict::Diverged(common) => return Err(diverged(last, common)),
            Verdict::OlderPrimary(term) => return Err(older(term)),
        }
        let mut partial = desk.partial.lock();
        let place = (fields.number("from")?, fields.number("skip")?);
        if place != (last + 1, partial.len() as u64) {
            partial.clear();
            let message = format!(
                "a page from commit {}, byte {}, came where one from commit {} was asked for: \
                 nothing of it was applied",
                place.0,
                place.1,
                last + 1
            );
            return Err(bad(message));
        }
        let durable = fields.number("durable")?;
        let (now, behind_bytes) = (fields.number("now")?, fields.number("behind_bytes")?);
        let frames = fields.bytes("frames")?;
        if frames.is_empty() && !partial.is_empty() {
            // A length that was damaged made a commit longer than it is.
            partial.clear();
            let message = format!("there is no more of commit {}: it is asked for anew", last + 1);
            return Err(bad(message));
        }
        partial.extend_from_slice(frames);
        let taken = self.take_frames(&partial);
        match &taken {
            Ok((_, used)) => drop(partial.drain(..*used)),
            Err(_) => partial.clear(),
        }
        let (frames, _) = taken?;
        let more = self.lsm.last_lsn() < durable;
        desk.link.lock().came(durable, now, if more { behind_bytes } else { 0 });
        Ok(Took { frames, more })
    }

    /// Applies the whole frames that `bytes` begins with: how many, and in how many bytes.
    fn take_frames(&self, bytes: &[u8]) -> Result<(usize, usize), Refusal> {
        let (frames, used) = lsm::shipped(bytes).map_err(|error| {
            bad(format!("what the primary sent was damaged on its way: {error}; it is asked again"))
        })?;
        let Some(last) = frames.last() else { return Ok((0, used)) };
        let wall = last.wall_micros;
        let (mut catalog, mut terms) = (false, false);
        for frame in &frames {
            // One that is none is refused before any is applied.
            let ops = lsm::decode(frame.payload).into_iter().flatten();
            for keyspace in ops.map(|op| op.keyspace()) {
                catalog |= keyspace == CATALOG;
                terms |= keyspace == TERMS;
            }
        }
        let applied = match catalog {
            true => self.apply_catalog(&frames),
            false => self.lsm.apply(&frames).map(drop).map_err(Refusal::from),
        };
        if terms {
            self.replica.reload(&self.lsm)?;
        }
        applied?;
        self.lsm.sync()?;
        self.replica.frames.fetch_add(frames.len() as u64, Relaxed);
        self.replica.bytes.fetch_add(used as u64, Relaxed);
        self.replica.link.lock().applied(wall);
        Ok((frames.len(), used))
    }

    /// Applies frames that change the catalog, and has it in memory as it is then.
    fn apply_catalog(&self, frames: &[Shipped<'_>]) -> Result<(), Refusal> {
        let before = self.catalogs.read();
        let applied = self
            .catalogs
            .applied(&self.lsm, || self.lsm.apply(frames).map(drop).map_err(Refusal::from));
        let now = self.catalogs.read();
        for (name, user) in &before.users {
            if now.users.get(name) != Some(user) {
                self.end_what_is_over(name);
            }
        }
        applied
    }
}

pub(super) fn check_replica(role: ReplicaRole) -> Result<(), Refusal> {
    match role {
        ReplicaRole::Replica => Ok(()),
        ReplicaRole::Primary => {
            let message = "this server is no replica: it takes no commits of another one";
            Err(refusal(Status::WrongRole, message))
        }
    }
}
