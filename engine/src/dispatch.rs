//! The one path: decode, authorise, check limits, do it, answer.
//!
//! What must stay true:
//! * each packet is answered with exactly one reply packet, of at most
//!   `limits.max_message_size` bytes, whatever the bytes of the packet;
//! * no operation starts before the caller's role, or a grant for the store it names,
//!   allows it: as its user has them now, whatever they were when the session began. A
//!   query, or an Apply, is asked about each store it names, and every store once more when it is
//!   found (`Catalogs::resolve`), so that it is the very one that is read or written.
//!   What waits for a lock asks again behind it;
//! * none starts whose answer is not wanted any more, and what takes a while ends when
//!   that comes to pass (`patience.rs`).

use proto::{Header, ReplyWriter, Request, Status};

use crate::audit::Deed;
use crate::auth::{Action, Principal};
use crate::jobs::action_in;
use crate::ops::may_be_within;
use crate::patience::Patience;
use crate::query::PageSize;
use crate::transaction::Within;
use crate::{Call, Committed, Engine, Refusal};

/// Bytes of the longest error message: names and fields of a stranger are in it.
const MAX_ERROR: usize = 4096;

impl Engine {
    /// Carries out one request packet and appends its reply packet to `out`.
    pub fn dispatch_packet(&self, who: &Principal, packet: &[u8], out: &mut Vec<u8>) {
        self.dispatch_call(who, packet, &Call::default(), out);
    }

    /// As [`Engine::dispatch_packet`], of a request that may have waited, and may be
    /// cancelled.
    pub fn dispatch_call(&self, who: &Principal, packet: &[u8], call: &Call, out: &mut Vec<u8>) {
        let (header, request) = match self.decode(packet) {
            Ok(decoded) => decoded,
            Err(refusal) => {
                // Whatever can be said of the id helps the caller.
                let foreign = || proto::packet::foreign(packet).map(|(_, id)| id);
                let id = Header::parse(packet).map(|header| header.id);
                return self.refuse(id.ok().or_else(foreign).unwrap_or(0), &refusal, out);
            }
        };
        let begun = self.clock.monotonic_nanos();
        let patience = Patience::new(header.patience, call, begun);
        self.dispatch_asked(who, header.id, request, None, (&patience, begun), out);
    }

    /// Does something, and gives what this thread committed meanwhile, and when it ended, in
    /// nanoseconds of the clock of that.
    pub fn watched(&self, f: impl FnOnce()) -> (Vec<Committed>, u64) {
        let ((), committed) = lsm::watched(f);
        (committed, self.clock.monotonic_nanos())
    }

    /// As [`Engine::dispatch_packet`], for a request that is decoded already; the
    /// reply carries `id`.
    pub fn dispatch(&self, who: &Principal, id: u64, request: Request<'_>, out: &mut Vec<u8>) {
        let begun = self.clock.monotonic_nanos();
        self.dispatch_asked(who, id, request, None, (Patience::ENDLESS, begun), out);
    }

    /// `within`: the transaction it is part of, unless it names another one.
    pub(crate) fn dispatch_asked(
        &self,
        who: &Principal,
        id: u64,
        request: Request<'_>,
        within: Option<&Within>,
        (patience, begun): (&Patience, u64),
        out: &mut Vec<u8>,
    ) {
        // What is asked for within a transaction counts as what it is.
        let (number, request) = request.within();
        let opcode = request.opcode();
        self.counters.begun(opcode);
        let start = out.len();
        let deed = self.deed(who, &request);
        let done = self.standing(who).and_then(|who| {
            self.allow(&who, &request)?;
            if writes(&request) {
                self.check_leads()?;
            }
            patience.check(&*self.clock)?;
            let reply = ReplyWriter::new(id, out);
            let Some(number) = number else {
                let done = self.carry_out(&deed, &who, request, within, patience, reply);
                return match within {
                    Some(within) => done.map_err(|refusal| within.told(refusal)),
                    None => done,
                };
            };
            may_be_within(opcode)?;
            let used = self.transactions.take(&who, number)?;
            let done = self.carry_out(&deed, &who, request, Some(&*used), patience, reply);
            done.map_err(|refusal| used.told(refusal))
        });
        deed.end(done.as_ref().err());
        if let Err(refusal) = done {
            out.truncate(start);
            self.refuse(id, &refusal, out);
        }
        let took = self.clock.monotonic_nanos().saturating_sub(begun);
        self.counters.ended(opcode, who.is_service(), took);
        debug_assert!(out.len() - start <= self.limits.max_message_size, "a reply is bounded");
    }

    /// Refuses what the caller may not ask for.
    fn allow(&self, who: &Principal, request: &Request<'_>) -> Result<(), Refusal> {
        let opcode = request.opcode();
        match request.store() {
            Some(store) => self.allow_in(who, Action::of(opcode), opcode.name(), store),
            None => who.check(Action::of(opcode), opcode.name()),
        }
    }

    /// Refuses what the caller may not do in a store.
    pub(crate) fn allow_in(
        &self,
        who: &Principal,
        action: Action,
        what: &str,
        store: &str,
    ) -> Result<(), Refusal> {
        let action = action_in(store, action);
        if !who.has_grants() {
            return who.check(action, what);
        }
        let found = self.catalogs.read().stores.get(store).map(|store| store.keyspace);
        who.check_in(action, what, found)
    }

    pub(crate) fn decode<'a>(&self, packet: &'a [u8]) -> Result<(Header, Request<'a>), Refusal> {
        let limit = self.limits.max_message_size;
        if packet.len() > limit {
            let message = format!(
                "the message has {} bytes, limits.max_message_size is {limit}: send less at once",
                packet.len()
            );
            return Err(Refusal::new(Status::MessageTooLarge, message));
        }
        Request::decode_whole(packet).map_err(|(status, e)| Refusal::new(status, e.to_string()))
    }

    fn carry_out(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        request: Request<'_>,
        within: Option<&Within>,
        patience: &Patience,
        reply: ReplyWriter<'_>,
    ) -> Result<(), Refusal> {
        let wants = |action, store| who.wants(action, store).part_of(within);
        match request {
            Request::Ping => reply.empty(),
            Request::Auth { .. } => {
                let message = "this session has said who it is already: open another one to be \
                               another user";
                return Err(Refusal::new(Status::BadPacket, message));
            }
            Request::Stats => reply.document(&self.stats_for(Some(who))?),
            Request::List => self.list(who, reply)?,
            Request::CreateStore { store, if_not_exists } => {
                self.create_store(deed, who, store, if_not_exists)?;
                reply.empty();
            }
            Request::DropStore { store, if_exists } => {
                self.drop_store(deed, who, store, if_exists)?;
                reply.empty();
            }
            Request::Insert { store, key, document } => {
                reply.key(self.insert(wants(Action::Write, store), key, document, patience)?);
            }
            Request::BatchInsert { store, batch } => {
                reply.keys(&self.batch_insert(wants(Action::Write, store), batch, patience)?);
            }
            Request::Read { store, key } => self.read(wants(Action::Read, store), key, reply)?,
            Request::ReadVersion { store, key } => {
                self.read_version(wants(Action::Read, store), key, reply)?;
            }
            Request::Apply { steps } => {
                reply.document(&self.apply(who, steps, within, patience)?);
            }
            Request::Update { store, key, document, upsert } => {
                self.update(wants(Action::Write, store), key, document, upsert, patience)?;
                reply.key(key);
            }
            Request::Delete { store, key } => {
                self.delete(wants(Action::Write, store), key, patience)?;
                reply.count(1);
            }
            Request::Scan { store, after, limit, reverse } => {
                self.scan(wants(Action::Read, store), after, limit, reverse, patience, reply)?;
            }
            Request::Range { store, from, to, limit, reverse } => {
                self.range(
                    wants(Action::Read, store),
                    (from, to),
                    limit,
                    reverse,
                    patience,
                    reply,
                )?;
            }
            Request::Query { text, parameters } => {
                self.query(who, (text, parameters), PageSize::FULL, within, patience, reply)?;
            }
            Request::Stream { rows, bytes, text, parameters } => {
                let size = PageSize::of(rows, bytes);
                self.query(who, (text, parameters), size, within, patience, reply)?;
            }
            Request::Fetch { cursor } => self.fetch(who, cursor, within, patience, reply)?,
            Request::CloseCursor { cursor } => {
                self.queries.close(who, cursor)?;
                reply.empty();
            }
            Request::RunningQueries => self.list_queries(who, reply)?,
            Request::CancelQuery { query } => {
                self.cancel_of(deed, who, query)?;
                reply.empty();
            }
            Request::Backup { begin, full } => {
                reply.document(&self.backup(deed, who, begin, full)?);
            }
            Request::CreateIndex { store, if_not_exists, definition } => {
                let made = self.create_index(deed, who, store, if_not_exists, definition)?;
                reply.document(&made);
            }
            Request::DropIndex { store, index, if_exists } => {
                self.drop_index(deed, who, store, index, if_exists)?;
                reply.empty();
            }
            Request::AlterStore { store, change } => {
                self.alter_store(deed, who, store, change)?;
                reply.empty();
            }
            Request::CheckIndexes { store, index } => {
                self.check_indexes(who, store, index, patience, reply)?;
            }
            Request::CreateSequence { sequence, if_not_exists } => {
                self.create_sequence(deed, who, sequence, if_not_exists)?;
                reply.empty();
            }
            Request::DropSequence { sequence, if_exists } => {
                self.drop_sequence(deed, who, sequence, if_exists)?;
                reply.empty();
            }
            Request::NextNumbers { sequence, count } => {
                reply.document(&self.next_numbers(sequence, count)?);
            }
            Request::ListSequences => self.list_sequences(reply)?,
            Request::CreateUser { user, if_not_exists, definition } => {
                reply.document(&self.create_user(deed, who, user, if_not_exists, definition)?);
            }
            Request::AlterUser { user, change } => {
                reply.document(&self.alter_user(deed, who, user, change)?);
            }
            Request::DropUser { user, if_exists } => {
                self.drop_user(deed, who, user, if_exists)?;
                reply.empty();
            }
            Request::ListUsers { after } => self.list_users(after, reply),
            Request::DescribeStore { store } => {
                self.describe_store(who.wants(Action::Read, store), reply)?
            }
            Request::AlterSequence { sequence, change } => {
                self.alter_sequence(deed, who, sequence, change)?;
                reply.empty();
            }
            Request::FormatQuery { text } => self.format_query(text, reply)?,
            Request::CreateKey { user, definition } => {
                reply.document(&self.create_key(deed, who, user, definition)?);
            }
            Request::RevokeKey { user, key, if_exists } => {
                self.revoke_key(deed, who, user, key, if_exists)?;
                reply.empty();
            }
            Request::Begin { read_only, millis } => {
                reply.document(&self.begin(who, read_only, millis)?);
            }
            Request::Commit { transaction } => {
                reply.document(&self.commit(who, transaction, patience)?);
            }
            Request::Abort { transaction } => {
                self.abort(who, transaction)?;
                reply.empty();
            }
            Request::Savepoint { transaction } => {
                reply.count(self.savepoint(who, transaction)?);
            }
            Request::Rollback { transaction, savepoint } => {
                self.rollback(who, transaction, savepoint)?;
                reply.empty();
            }
            Request::Within { .. } => {
                let message = "an operation within a transaction within another one";
                return Err(Refusal::new(Status::BadPacket, message));
            }
            Request::Watch { .. } | Request::Follow { .. } | Request::Position { .. } => {
                reply.document(&self.told(who, request, None, patience)?.now?);
            }
            Request::Snapshot { what } => reply.document(&self.snapshot(who, what)?),
            Request::Promote => reply.document(&self.promote(deed, who)?),
            Request::Demote => reply.document(&self.demote(deed, who)?),
            Request::Schedule { job } => reply.key(self.schedule(who, job, within, patience)?),
            Request::RetryJob { job } => {
                self.retry_job(who, job, within, patience)?;
                reply.empty();
            }
            Request::ReloadModule => reply.document(&self.reload_module(deed, who)?),
            Request::Flush => {
                self.flush_for(deed, who)?;
                reply.empty();
            }
        }
        Ok(())
    }

    pub(crate) fn refuse(&self, id: u64, refusal: &Refusal, out: &mut Vec<u8>) {
        self.counters.refused(refusal.status);
        let mut end = refusal.message.len().min(MAX_ERROR);
        while !refusal.message.is_char_boundary(end) {
            end -= 1;
        }
        ReplyWriter::new(id, out).error(refusal.status, &refusal.message[..end]);
    }
}

/// Whether a request always changes something, if it is carried out. Of those that may find
/// that nothing is to be changed (a store that exists and may), of queries and of
/// transactions it is asked where that is known; none passes the commit itself
/// (`lsm/src/apply.rs`).
fn writes(request: &Request<'_>) -> bool {
    use Request as R;
    match request {
        R::Insert { .. } | R::BatchInsert { .. } | R::Update { .. } | R::Delete { .. } => true,
        R::Apply { .. } | R::Schedule { .. } | R::RetryJob { .. } | R::NextNumbers { .. } => true,
        R::AlterStore { .. } | R::AlterSequence { .. } => true,
        R::CreateKey { .. } | R::AlterUser { .. } => true,
        R::CreateStore { if_not_exists: anyway, .. }
        | R::CreateIndex { if_not_exists: anyway, .. }
        | R::CreateSequence { if_not_exists: anyway, .. }
        | R::CreateUser { if_not_exists: anyway, .. }
        | R::DropStore { if_exists: anyway, .. }
        | R::DropIndex { if_exists: anyway, .. }
        | R::DropSequence { if_exists: anyway, .. }
        | R::DropUser { if_exists: anyway, .. }
        | R::RevokeKey { if_exists: anyway, .. } => !anyway,
        R::Ping | R::Auth { .. } | R::Stats | R::List | R::DescribeStore { .. } => false,
        R::Read { .. } | R::ReadVersion { .. } | R::Scan { .. } | R::Range { .. } => false,
        R::Query { .. } | R::Stream { .. } | R::Fetch { .. } | R::CloseCursor { .. } => false,
        R::RunningQueries | R::CancelQuery { .. } | R::FormatQuery { .. } => false,
        R::Flush | R::Backup { .. } | R::CheckIndexes { .. } | R::ReloadModule => false,
        R::ListSequences | R::ListUsers { .. } | R::Watch { .. } => false,
        R::Begin { .. } | R::Commit { .. } | R::Abort { .. } | R::Savepoint { .. } => false,
        R::Rollback { .. } | R::Within { .. } => false,
        R::Follow { .. } | R::Snapshot { .. } | R::Position { .. } => false,
        R::Promote | R::Demote => false,
    }
}
