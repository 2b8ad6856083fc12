//! CreateIndex, DropIndex, AlterStore, CheckIndexes; and the step that builds.

use proto::doc::{Doc, DocBuf, Value, checked_path};
use proto::{Key, Opcode, ReplyWriter, Status};

use super::finished;
use crate::audit::Deed;
use crate::auth::Wanted;
use crate::catalog::{Schema, Ttl, unknown_index};
use crate::document::KEY_FIELD;
use crate::error::shown;
use crate::index::{Definition, Difference, Found, check};
use crate::patience::Patience;
use crate::query::{Limits, Work};
use crate::{Engine, Principal, Refusal};

/// A thousand years, in seconds: no more can be asked for.
const MAX_TTL: i64 = 1000 * 366 * 86_400;

/// Who had the last turn in what [`Engine::tend`] does.
#[derive(Default)]
pub(crate) struct Tended {
    /// The index, by its keyspace, of which a piece was built last.
    built: u32,
    /// The store of which documents were removed last.
    expired: String,
}

impl Engine {
    /// One bounded piece of the engine's own background work: of the build of an index,
    /// of the removal of documents that have expired, of cursors that nobody fetches
    /// from and transactions that are over, and of the audit log. `true`: there may be more. It commits: do not call it on the thread that holds a [`crate::Stepper`], nor while
    /// holding anything a write waits for.
    ///
    /// # Errors
    /// As of a write. It may be called again.
    pub fn tend(&self) -> Result<bool, Refusal> {
        let cursors = self.queries.expire() | self.transactions.expire();
        self.watches.rest();
        self.tend_audit();
        let mut tended = self.tending.lock();
        if !self.leads() {
            // The primary builds and expires, and what it commits comes from there.
            *tended = Tended::default();
            return Ok(cursors);
        }
        // Neither keeps the other from its turn, whatever ails it.
        let (built, build) = self.build_piece(&mut tended.built);
        let (expired, expiry) = self.expire_piece(&mut tended.expired);
        build.and(expiry).map_err(|refusal| self.unless_poisoned(refusal))?;
        Ok(built || expired > 0 || cursors)
    }

    /// Makes an index, to be built by [`Engine::tend`]; with `if_not_exists` one of that
    /// name that is the same may be there. Answers with its name.
    pub(crate) fn create_index(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        store: &str,
        if_not_exists: bool,
        definition: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let doc = Doc::parse(definition)
            .map_err(|e| Refusal::new(Status::BadIndex, format!("the index: {e}")))?;
        let definition = Definition::parse(doc, &["name"])?;
        let name = match doc.get("name") {
            None | Some(Value::Null) => definition.default_name(),
            Some(Value::String(name)) => name.to_owned(),
            Some(other) => {
                let message = format!("the name of an index is a text, not {}", other.type_name());
                return Err(Refusal::new(Status::BadIndex, message));
            }
        };
        let now = self.now_millis();
        deed.tell_text("index", &name);
        let created = self.change_catalog(deed, who, Opcode::CreateIndex, |draft| {
            draft.create_index(store, &name, definition, if_not_exists, now)
        })?;
        let mut reply = DocBuf::new();
        reply.push("name", &name).push("created", created);
        Ok(finished(reply))
    }

    /// Removes an index; with `if_exists` it need not be there.
    pub(crate) fn drop_index(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        store: &str,
        name: &str,
        if_exists: bool,
    ) -> Result<(), Refusal> {
        self.change_catalog(deed, who, Opcode::DropIndex, |draft| {
            draft.drop_index(store, name, if_exists)
        })?;
        Ok(())
    }

    /// `{rename: "name"}`, `{schema: "{..}"}` or null, `{ttl: {field, seconds}}` or null:
    /// one or more, all or none.
    pub(crate) fn alter_store(
        &self,
        deed: &Deed<'_>,
        who: &Principal,
        store: &str,
        change: &[u8],
    ) -> Result<(), Refusal> {
        let bad = |message: String| Refusal::new(Status::BadChange, message);
        let doc = Doc::parse(change).map_err(|e| bad(format!("the change: {e}")))?;
        let (mut rename, mut ttl, mut schema, mut before) = (None, None, None, None);
        for (name, value) in doc {
            match (name, value) {
                ("rename", Value::String(to)) => rename = Some(to),
                ("schema", Value::Null) => schema = Some(None),
                ("schema", Value::String(text)) => schema = Some(Some(Schema::parse(text)?)),
                ("ttl", Value::Null) => ttl = Some(None),
                ("ttl", Value::Doc(wanted)) => ttl = Some(Some(read_ttl(wanted)?)),
                ("before_images", Value::Bool(kept)) => before = Some(kept),
                _ => {
                    return Err(bad(format!(
                        "a store is changed by {{rename: \"name\"}}, {{schema: \"text of a JSON \
                         Schema\"}} or null, {{ttl: {{field: \"path\", seconds: n}}}} or null, \
                         {{before_images: true or false}}, not by {} of type {}",
                        shown(name),
                        value.type_name()
                    )));
                }
            }
        }
        if rename.is_none() && ttl.is_none() && schema.is_none() && before.is_none() {
            let message = "the change is empty: say rename, schema, ttl or before_images";
            return Err(bad(message.to_owned()));
        }
        let now = self.now_millis();
        if let Some(to) = rename {
            deed.tell_text("rename", to);
        }
        if let Some(schema) = &schema {
            deed.tell("schema", schema.is_some());
        }
        if let Some(ttl) = &ttl {
            deed.tell("ttl", ttl.as_ref().map(|ttl: &Ttl| ttl.seconds));
        }
        if let Some(kept) = before {
            deed.tell("before_images", kept);
        }
        self.change_catalog(deed, who, Opcode::AlterStore, |draft| {
            if let Some(kept) = before {
                draft.set_before_images(store, kept)?;
            }
            if let Some(ttl) = ttl {
                draft.set_ttl(store, ttl, now)?;
            }
            if let Some(schema) = schema {
                draft.set_schema(store, schema)?;
            }
            if let Some(to) = rename {
                draft.rename_store(store, to)?;
            }
            Ok(())
        })
    }

    /// Compares indexes of a store with its documents: answers with a row `{index,
    /// document?, what}` for each difference, up to some, and last one of figures,
    /// `{indexes, differences}`. Of the differences as many as fit a message. It is
    /// listed with the queries that run.
    pub(crate) fn check_indexes(
        &self,
        who: &Principal,
        store: &str,
        name: Option<&str>,
        patience: &Patience,
        reply: ReplyWriter<'_>,
    ) -> Result<(), Refusal> {
        let text = format!("CheckIndexes {}", shown(store));
        let running = self.begin_query(who, &text, patience)?;
        let (checked, found) = self.compare_indexes_within(store, name, running.work())?;
        let mut figures = DocBuf::new();
        figures.push("indexes", checked);
        figures.push("differences", i64::try_from(found.all).unwrap_or(i64::MAX));
        let figures = finished(figures);
        let mut rows = reply.rows(false);
        for Difference { index, document, what } in &found.kept {
            let mut doc = DocBuf::new();
            doc.push("index", index.as_deref());
            if let Some(key) = document {
                doc.push("document", &key.to_string());
            }
            doc.push("what", what);
            let doc = finished(doc);
            if rows.bytes() + doc.len() + figures.len() > self.limits.max_message_size {
                break;
            }
            rows.push(Key::MIN, &doc);
        }
        rows.push(Key::MIN, &figures);
        rows.finish(None);
        Ok(())
    }

    /// As the request, however long it takes; how many were compared, and what was
    /// found.
    pub(crate) fn compare_indexes(
        &self,
        store: &str,
        name: Option<&str>,
    ) -> Result<(i64, Found), Refusal> {
        let limits = Limits { micros: None, ..self.query_limits() };
        self.compare_indexes_within(store, name, &self.queries.work(limits, Patience::ENDLESS))
    }

    fn compare_indexes_within(
        &self,
        store: &str,
        name: Option<&str>,
        work: &Work,
    ) -> Result<(i64, Found), Refusal> {
        let before = self.lsm.last_lsn();
        // Who may ask for it is an admin, or the engine itself.
        let view = self.view(Wanted::own(store))?;
        if let Some(name) = name
            && view.store.index(name).is_none()
        {
            return Err(unknown_index(store, name));
        }
        let mut found = Found::default();
        let mut checked = 0;
        for index in view.store.indexes.iter().filter(|index| index.is_ready()) {
            if name.is_none_or(|name| name == index.name) {
                // A figure is of now, the documents are of the snapshot: both are the
                // same only if nobody has written.
                let still = || view.snapshot.lsn() == before && self.lsm.last_lsn() == before;
                check(&view.store, index, &view.snapshot, still, work, &mut found)?;
                checked += 1;
            }
        }
        Ok((checked, found))
    }
}

fn read_ttl(doc: Doc<'_>) -> Result<Ttl, Refusal> {
    let bad = |message: String| Refusal::new(Status::BadChange, message);
    let known = doc.iter().all(|(name, _)| matches!(name, "field" | "seconds"));
    let field = doc.get("field").and_then(|v| v.as_str());
    let seconds = doc.get("seconds").and_then(|v| v.as_i64());
    let (Some(field), Some(seconds), true) = (field, seconds, known) else {
        return Err(bad("ttl is {field: \"path\", seconds: whole number}".to_owned()));
    };
    checked_path(field).map_err(|e| bad(format!("ttl: {e}")))?;
    if field == KEY_FIELD || field.len() > 256 {
        return Err(bad(format!(
            "ttl: documents cannot expire by {}: name a field that holds a date",
            shown(field)
        )));
    }
    if !(0..=MAX_TTL).contains(&seconds) {
        return Err(bad(format!("ttl: seconds is {seconds}, it must be 0 to {MAX_TTL}")));
    }
    Ok(Ttl { field: field.to_owned(), seconds })
}
