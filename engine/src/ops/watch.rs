//! Watch: what changed in stores since a place in the log.
//!
//! What must stay true:
//! * whoever asks may read each store, at that moment: asked anew for each page;
//! * a store is watched by its number: one that is renamed goes on, one that is dropped
//!   ends the watch, whatever is made under its name afterwards;
//! * it is answered at once, as if nobody could wait. Who can ([`Engine::watch_or_wait`])
//!   is told what to wait for instead of an answer without events.

use proto::{Header, ReplyWriter, Request, Status};

use crate::auth::{Action, Principal};
use crate::catalog::Store;
use crate::error::shown;
use crate::patience::Patience;
use crate::watch::{Page, Place, Since, Spec, Token, Watched};
use crate::{Call, Engine, Lsn, Refusal};

/// What a request that may wait is answered: now, and what it waits for instead, if it may.
pub(crate) struct Told {
    pub(crate) now: Result<Vec<u8>, Refusal>,
    pub(crate) waits: Option<Waits>,
}

/// What a watch without events waits for, or a page of the log without frames, or a position
/// that is not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// A settled commit behind this one: [`Engine::on_settled`].
    pub behind: Lsn,
    /// How long, in all, from when the request came.
    pub millis: u32,
}

impl Engine {
    /// Calls `f` with the newest commit that is durable and visible, now and whenever there
    /// is a newer one, until what this returns is dropped: on a thread in the middle of its
    /// commit, so it wakes somebody and no more.
    pub fn on_settled(&self, f: impl Fn(Lsn) + Send + Sync + 'static) -> lsm::DurableWatch {
        self.lsm.watch_durable(f)
    }

    /// As [`Engine::dispatch_call`], of a Watch, a Follow or a Position that may wait: if
    /// there is nothing for it yet, it is not answered, and this says what to wait for before it is asked again,
    /// with `behind` as told. Any other request is answered, as is one that may not wait.
    pub fn watch_or_wait(
        &self,
        who: &Principal,
        packet: &[u8],
        (behind, may_wait): (Option<Lsn>, bool),
        call: &Call,
        out: &mut Vec<u8>,
    ) -> Option<Waits> {
        let (header, request) = match Request::decode_whole(packet) {
            Ok((header, request)) if may_wait_for(&request) => (header, request),
            _ => {
                self.dispatch_call(who, packet, call, out);
                return None;
            }
        };
        let opcode = request.opcode();
        let begun = self.clock.monotonic_nanos();
        let patience = Patience::new(header.patience, call, begun);
        if behind.is_none() {
            self.counters.begun(opcode);
        }
        let told = self.standing(who).and_then(|who| {
            who.check(Action::of(opcode), opcode.name())?;
            patience.check(&*self.clock)?;
            self.told(&who, request, behind, &patience)
        });
        let waits = self.answered(header, may_wait, told, out);
        if waits.is_none() {
            let took = self.clock.monotonic_nanos().saturating_sub(begun);
            self.counters.ended(opcode, who.is_service(), took);
        }
        waits
    }

    fn answered(
        &self,
        header: Header,
        may_wait: bool,
        told: Result<Told, Refusal>,
        out: &mut Vec<u8>,
    ) -> Option<Waits> {
        let now = match told {
            Ok(Told { waits: Some(waits), .. }) if may_wait => return Some(waits),
            Ok(told) => told.now,
            Err(refusal) => Err(refusal),
        };
        match now {
            Ok(document) => ReplyWriter::new(header.id, out).document(&document),
            Err(refusal) => self.refuse(header.id, &refusal, out),
        }
        None
    }

    /// What such a request is answered. `behind`: all up to there was looked at for this
    /// very one.
    pub(crate) fn told(
        &self,
        who: &Principal,
        request: Request<'_>,
        behind: Option<Lsn>,
        patience: &Patience,
    ) -> Result<Told, Refusal> {
        match request {
            Request::Follow { what } => {
                let page = self.follow_page(what)?;
                let waits = (page.is_empty && page.wait_ms > 0)
                    .then_some(Waits { behind: page.behind, millis: page.wait_ms });
                Ok(Told { now: Ok(page.document), waits })
            }
            Request::Position { what } => self.position(what),
            Request::Watch { what } => {
                let (page, millis) = self.watch_page(who, what, behind, patience)?;
                let waits = (page.events == 0 && millis > 0)
                    .then_some(Waits { behind: page.next.lsn, millis });
                Ok(Told { now: Ok(page.document), waits })
            }
            other => {
                let message = format!("{} does not wait", other.opcode().name());
                Err(Refusal::new(Status::Internal, message))
            }
        }
    }

    /// The page, and for how long it may be waited for. `behind`: all up to there was
    /// looked at for this very request.
    fn watch_page(
        &self,
        who: &Principal,
        what: &[u8],
        behind: Option<Lsn>,
        patience: &Patience,
    ) -> Result<(Page, u32), Refusal> {
        let spec = Spec::parse(what, &self.queries, &self.limits)?;
        let (bytes, most) = (spec.max_bytes, self.limits.max_message_size);
        let millis = spec.wait_millis;
        let settled = self.lsm.settled_lsn();
        let since = match &spec.since {
            Since::Now => Place { lsn: settled, at: 0 },
            Since::Lsn(lsn) => Place { lsn: *lsn, at: 0 },
            Since::Token(token) => self.place_of(token)?,
        };
        if since.lsn > self.lsm.last_lsn() {
            let message = format!(
                "there is no commit {} yet, the newest is {}: this is another log, or one from \
                 before a restore; begin anew with the documents",
                since.lsn,
                self.lsm.last_lsn()
            );
            return Err(Refusal::new(Status::WatchAhead, message));
        }
        let place = match (behind, &spec.since) {
            (Some(lsn), Since::Now) => Place { lsn, at: 0 },
            (Some(lsn), _) if lsn > since.lsn => Place { lsn, at: 0 },
            _ => since,
        };
        let stores = self.watched_stores(who, spec)?;
        // Before it is read: from here on it is kept.
        self.watches.stays(&self.lsm, place.from());
        let page = self.watches.page(&self.lsm, &stores, place, (bytes, most), patience);
        let page = page.map_err(|refusal| self.gap(place, refusal))?;
        Ok((page, millis))
    }

    /// The place of a token of this log.
    fn place_of(&self, token: &Token) -> Result<Place, Refusal> {
        if token.log == self.replica.set() {
            return Ok(token.place);
        }
        let message = "the token is of another database, or of this one before it was restored: \
                       begin anew with the documents";
        Err(Refusal::new(Status::WatchAhead, message))
    }

    /// The stores, as they are now.
    fn watched_stores<'a>(
        &self,
        who: &Principal,
        spec: Spec<'a>,
    ) -> Result<Vec<Watched<'a>>, Refusal> {
        let known = match &spec.since {
            Since::Token(token) => token.stores.clone(),
            _ => Vec::new(),
        };
        // In this order: `Catalogs::resolve` rests on it.
        let catalog = self.catalogs.read();
        let snapshot = self.lsm.snapshot()?;
        let find =
            |name: &str| self.catalogs.resolve(&catalog, &snapshot, who.wants(Action::Read, name));
        let mut stores = Vec::with_capacity(spec.stores.len());
        for (at, store) in spec.stores.into_iter().enumerate() {
            let found = find(store.name);
            let Some(id) = known.get(at).copied() else {
                stores.push(described(store, None, &*found?)?);
                continue;
            };
            let found = match found {
                Ok(found) if found.keyspace == id => described(store, None, &found)?,
                // It may have another name by now.
                _ => {
                    let now = catalog.stores.iter().find(|(_, other)| other.keyspace == id);
                    let Some((name, _)) = now else { return Err(ended(store.name)) };
                    let found = find(name)?;
                    if found.keyspace != id {
                        return Err(ended(store.name));
                    }
                    described(store, Some(name), &found)?
                }
            };
            stores.push(found);
        }
        Ok(stores)
    }

    /// What is told of a log that does not reach back so far.
    fn gap(&self, place: Place, refusal: Refusal) -> Refusal {
        let oldest = self.lsm.oldest_lsn();
        if place.from() >= oldest {
            return refusal;
        }
        self.watches.gap();
        let message = format!(
            "the commits behind {} are not in the log any more (oldest {oldest}, newest {}): begin \
             anew with the documents, and follow from there; durability.log_keep and \
             durability.log_retain in db.yaml say how much of the log is kept",
            place.lsn,
            self.lsm.settled_lsn()
        );
        Refusal::new(Status::WatchGap, message)
    }
}

/// Whether it may be answered later, when there is something for it.
fn may_wait_for(request: &Request<'_>) -> bool {
    matches!(request, Request::Watch { .. } | Request::Follow { .. } | Request::Position { .. })
}

/// A store that was found; `name`: that it has now, if it is another one.
fn described<'a>(
    spec: crate::watch::StoreSpec<'a>,
    name: Option<&str>,
    store: &Store,
) -> Result<Watched<'a>, Refusal> {
    let name = name.unwrap_or(spec.name).to_owned();
    if spec.before && !store.before_images {
        let message = format!(
            "the store {} does not keep what its documents were before: have it do so with \
             AlterStore {{before_images: true}}, or watch without",
            shown(&name)
        );
        return Err(Refusal::new(Status::NoBeforeImages, message));
    }
    Ok(Watched { spec, keyspace: store.keyspace, name })
}

fn ended(name: &str) -> Refusal {
    let message = format!(
        "the store {} that was watched was dropped: what became of its last documents is not told; \
         begin a watch without it, or of another one",
        shown(name)
    );
    Refusal::new(Status::WatchEnded, message)
}
