//! Event streams that follow stores, as a guest has asked for by the header `planck-watch`:
//! `{"stores": [..], "since"?: "token"}`, the stores as a Watch has them (docs/protocol.md).
//!
//! ```text
//! id: token                    how far it is, at the beginning and while nothing comes
//!
//! id: token                    a change, as Watch gives it
//! data: {"lsn": .., "op": "insert", ..}
//!
//! event: gap                   what lies between is not told: read the documents anew
//! id: token
//! data: {"code": "PLK-1421", "message": ".."}
//!
//! event: end                   there will be no more: a store was dropped, say
//! data: {"code": "PLK-1423", "message": ".."}
//! ```
//!
//! What must stay true: it reads as the service does, who asked for it; every event has an
//! id from which another stream goes on behind it. It holds nothing but its place, and
//! nothing of the engine that would keep that from being closed.

use crate::watchers::Watchers;
use bytes::Bytes;
use engine::{Engine, Principal};
use net::http::{Follow, Followed};
use proto::doc::{Array, Doc, DocBuf, Value};
use proto::{Reply, Request, Status, json};
use std::fmt::Write;
use std::sync::{Arc, Weak};

/// Bytes of events read at once.
const PAGE_BYTES: i64 = 256 << 10;

/// See the module.
pub struct Following {
    engine: Weak<Engine>,
    watchers: Arc<Watchers>,
    who: Principal,
    /// The stores, and what of them: of a document of its own.
    what: Vec<u8>,
    /// The last place; `None`: it begins with what comes next.
    since: Option<String>,
    is_begun: bool,
}

impl Following {
    /// What `text` asks for, from behind the event of that id.
    ///
    /// # Errors
    /// What it is not.
    pub fn new(
        (engine, watchers): (&Weak<Engine>, &Arc<Watchers>),
        who: Principal,
        text: &str,
        last_id: Option<&str>,
    ) -> Result<Following, String> {
        let what = json::parse_json(text).map_err(|e| format!("planck-watch: {e}"))?;
        let doc = Doc::parse(&what).map_err(|e| format!("planck-watch: {e}"))?;
        let mut since = None;
        for (name, value) in doc {
            match (name, value) {
                ("stores", Value::Array(_)) => {}
                ("since", Value::String(token)) => since = Some(token.to_owned()),
                ("since", Value::Null) => {}
                _ => {
                    return Err(format!(
                        "planck-watch has stores (an array) and since (a token), and no {name:?} \
                         of type {}",
                        value.type_name()
                    ));
                }
            }
        }
        if doc.get("stores").is_none() {
            return Err("planck-watch names no stores".to_owned());
        }
        Ok(Following {
            engine: Weak::clone(engine),
            watchers: Arc::clone(watchers),
            who,
            since: last_id.map(str::to_owned).or(since),
            what,
            is_begun: false,
        })
    }

    /// The page behind its place.
    fn page(&self, engine: &Engine) -> Result<Vec<u8>, (Status, String)> {
        let stores = Doc::trusted(&self.what).get("stores").and_then(|stores| stores.as_array());
        let mut what = DocBuf::new();
        what.push("stores", stores.unwrap_or(Array::trusted(&[5, 0, 0, 0, 0])));
        what.push("max_bytes", PAGE_BYTES);
        what.extend(self.since.as_deref().map(|since| ("since", Value::String(since))));
        let what = what.finish().map_err(|e| (Status::BadWatch, e.to_string()))?;
        let mut out = Vec::new();
        engine.dispatch(&self.who, 1, Request::Watch { what: &what }, &mut out);
        match Reply::decode(&out) {
            Ok((_, Reply::Document(page))) => Ok(page.to_vec()),
            Ok((_, Reply::Error { status, message })) => Err((status, message.to_owned())),
            _ => Err((Status::Internal, "the engine gave no page".to_owned())),
        }
    }
}

impl Follow for Following {
    fn next(&mut self) -> Followed {
        let over = |status, message: &str| Followed::End(problem("end", None, status, message));
        let Some(engine) = self.engine.upgrade() else {
            return Followed::End(Bytes::new());
        };
        let page = match self.page(&engine) {
            Ok(page) => page,
            Err((status @ (Status::WatchGap | Status::WatchAhead), message)) => {
                // It goes on from now, and says so.
                self.since = None;
                let Ok(now) = self.page(&engine) else { return over(status, &message) };
                self.since = next_of(Doc::trusted(&now));
                self.is_begun = true;
                let place = self.since.as_deref();
                return Followed::Events(problem("gap", place, status, &message));
            }
            Err((status, message)) => return over(status, &message),
        };
        let page = Doc::trusted(&page);
        let Some(next) = next_of(page) else {
            return over(Status::Internal, "the engine gave no page");
        };
        let events = page.get("events").and_then(|events| events.as_array());
        let mut text = String::new();
        for event in events.iter().flat_map(|events| events.iter()) {
            let Value::Doc(event) = event else { continue };
            write!(text, "id: {}\ndata: {}\n\n", place_of(&next, event), json::to_json(event)).ok();
        }
        let behind = lsn_of(&next);
        self.since = Some(next);
        if !text.is_empty() {
            self.is_begun = true;
            return Followed::Events(text.into());
        }
        if !std::mem::replace(&mut self.is_begun, true) {
            return Followed::Events(self.beat());
        }
        Followed::Nothing(Box::pin(self.watchers.behind(behind, None)))
    }

    fn beat(&self) -> Bytes {
        match &self.since {
            // Without data it is no event, and a browser notes the id all the same.
            Some(place) => Bytes::from(format!("id: {place}\n\n")),
            None => Bytes::from_static(b":\n\n"),
        }
    }
}

fn next_of(page: Doc<'_>) -> Option<String> {
    page.get("next").and_then(|next| next.as_str()).map(str::to_owned)
}

/// The commit in a token.
fn lsn_of(token: &str) -> u64 {
    token.rsplit('.').nth(1).and_then(|lsn| lsn.parse().ok()).unwrap_or(0)
}

/// The token behind an event, of a page that ends with `next`.
fn place_of(next: &str, event: Doc<'_>) -> String {
    let number = |name| event.get(name).and_then(|n| n.as_i64()).unwrap_or(0);
    let at = if event.get("last") == Some(Value::Bool(true)) { 0 } else { number("at") };
    let log = next.rsplitn(3, '.').nth(2).unwrap_or_default();
    format!("{log}.{}.{at}", number("lsn"))
}

/// An event of a name of its own.
fn problem(name: &str, place: Option<&str>, status: Status, message: &str) -> Bytes {
    let mut doc = DocBuf::new();
    doc.push("code", &status.to_string()).push("message", message);
    let doc = doc.finish().unwrap_or_default();
    let data = Doc::parse(&doc).map(json::to_json).unwrap_or_default();
    let id = place.map(|place| format!("id: {place}\n")).unwrap_or_default();
    format!("event: {name}\n{id}data: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Options, Role};
    use platform::sim::{SimClock, SimDisk, SimEntropy};

    fn engine() -> Arc<Engine> {
        let (disk, clock) = (SimDisk::new(1), Arc::new(SimClock::new(1)));
        let opened = Engine::open(disk, clock, Arc::new(SimEntropy::new(1)), Options::default());
        Arc::new(opened.unwrap())
    }

    fn ask(engine: &Engine, request: Request<'_>) {
        let mut out = Vec::new();
        engine.dispatch(&Principal::new("root", Role::Admin), 1, request, &mut out);
        assert!(!matches!(Reply::decode(&out).unwrap().1, Reply::Error { .. }));
        engine.sync().unwrap();
    }

    fn insert(engine: &Engine, text: &str) {
        let document = json::parse_json(text).unwrap();
        ask(engine, Request::Insert { store: "s", key: Some(proto::Key(7)), document: &document });
        ask(engine, Request::Delete { store: "s", key: proto::Key(7) });
    }

    fn follow(
        engine: &Arc<Engine>,
        watchers: &Arc<Watchers>,
        text: &str,
        id: Option<&str>,
    ) -> Following {
        let of = (&Arc::downgrade(engine), watchers);
        Following::new(of, Principal::service("app"), text, id).unwrap()
    }

    fn events(next: Followed) -> String {
        match next {
            Followed::Events(events) => String::from_utf8(events.to_vec()).unwrap(),
            Followed::Nothing(_) => "nothing".to_owned(),
            Followed::End(events) => format!("END {}", String::from_utf8(events.to_vec()).unwrap()),
        }
    }

    fn ids(text: &str) -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn events_have_ids_to_go_on_from_and_a_gap_is_told_of() {
        let engine = engine();
        let watchers = Arc::new(Watchers::new(&engine, 1));
        ask(&engine, Request::CreateStore { store: "s", if_not_exists: false });
        let what = r#"{"stores": ["s"]}"#;
        let mut stream = follow(&engine, &watchers, what, None);
        let first = events(stream.next());
        assert!(first.starts_with("id: ") && first.ends_with(".1.0\n\n"), "{first}");
        assert_eq!(events(stream.next()), "nothing");
        insert(&engine, r#"{"a": "one\ntwo"}"#);
        let text = events(stream.next());
        assert_eq!(text.matches("\ndata: {\"lsn\":").count(), 2, "{text}");
        assert!(text.contains(r#""document":{"a":"one\ntwo"}"#), "{text}");
        assert_eq!(stream.beat(), format!("id: {}\n\n", ids(&text)[1]));
        // From the beginning, and from behind the first event.
        let again = events(follow(&engine, &watchers, what, Some(&ids(&first)[0])).next());
        assert_eq!(again, text);
        let rest = events(follow(&engine, &watchers, what, Some(&ids(&text)[0])).next());
        assert_eq!(ids(&rest), ids(&text)[1..]);
        let since = format!(r#"{{"stores": ["s"], "since": "{}"}}"#, ids(&text)[0]);
        assert_eq!(events(follow(&engine, &watchers, &since, None).next()), rest);
        // Of another log: a gap, and on from now.
        let other = ids(&text)[0].replacen(|c: char| c != '0', "0", 1);
        let mut stream = follow(&engine, &watchers, what, Some(&other));
        let gap = events(stream.next());
        assert!(gap.starts_with("event: gap\nid: ") && gap.contains("PLK-1422"), "{gap}");
        assert_eq!(events(stream.next()), "nothing");
        insert(&engine, "{}");
        assert_eq!(ids(&events(stream.next())).len(), 2);
        ask(&engine, Request::DropStore { store: "s", if_exists: false });
        let end = events(stream.next());
        assert!(end.starts_with("END event: end\ndata: {\"code\":\"PLK-1423\""), "{end}");
        let token = follow(&engine, &watchers, what, Some("nonsense")).next();
        assert!(events(token).contains("PLK-1420"));
        // It does not keep the engine.
        let mut stream = follow(&engine, &watchers, what, None);
        drop(watchers);
        Arc::into_inner(engine).unwrap().close().unwrap();
        assert_eq!(events(stream.next()), "END ");
    }

    #[tokio::test]
    async fn what_is_no_watch_is_refused() {
        let engine = engine();
        let watchers = Arc::new(Watchers::new(&engine, 1));
        for (text, words) in [
            ("", "planck-watch"),
            ("[]", "planck-watch"),
            ("{}", "names no stores"),
            (r#"{"stores": "s"}"#, "no \"stores\" of type string"),
            (r#"{"stores": ["s"], "max_bytes": 1}"#, "no \"max_bytes\""),
        ] {
            let who = Principal::service("app");
            let of = (&Arc::downgrade(&engine), &watchers);
            let Err(why) = Following::new(of, who, text, None) else {
                panic!("{text}");
            };
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}
