//! Who may do what, as a table written by hand from the rules, and the requests it is
//! asked with: every operation, by every caller, in every store.
//!
//! What must stay true: nothing here asks the code under test what it allows. The
//! transport is a trait: `engine/tests/rights` goes through the engine alone,
//! `tests/tests/rights.rs` over the wire and through a guest.
//!
//! The rules: a role is for all stores (none; read_only reads documents; read_write
//! changes them too; admin does everything; replica, of which `engine/src/tests/replica`
//! asks, follows and copies). A grant puts another role in its place for
//! the documents of one store, upwards or downwards, and gives nothing else. A service is
//! read_write everywhere, and makes stores, indexes and sequences. Writing to the system's own
//! stores, those of jobs, is an admin's, a service's, and who was granted it there.

use proto::doc::{Doc, DocBuf};
use proto::request::{Act, BatchBuf, Condition, Part, Step, StepsBuf};
use proto::{Key, Opcode, Reply, Request, Status, json};

/// How requests come to the service, as one caller.
pub trait Caller {
    /// The reply packet.
    fn ask(&mut self, packet: &[u8]) -> Vec<u8>;
}

/// A service with callers.
pub trait Service {
    /// A caller of [`CALLERS`], ready to ask; `None`: it cannot call this way.
    fn caller(&mut self, name: &str) -> Option<Box<dyn Caller>>;
    /// The last commit, where that can be asked; nothing else commits meanwhile then.
    fn lsn(&mut self) -> Option<u64>;
}

/// The callers: users by their role, with the grants of [`STORES`] or bare; a service.
pub const CALLERS: [&str; 8] = [
    "none",
    "read_only",
    "read_write",
    "admin",
    "bare_none",
    "bare_read_only",
    "bare_read_write",
    "service",
];

/// The key of every user.
pub const KEY: &str = "the-key-of-all-of-them";

/// The stores, and what the first three callers are granted in each. The last is not
/// there.
const STORES: [(&str, Option<&str>); 5] = [
    ("up", Some("read_write")),
    ("between", Some("read_only")),
    ("down", Some("none")),
    ("plain", None),
    ("gone", None),
];

/// What each caller may do with the documents of each store: nothing, read, or write too.
const DOCUMENTS: [(&str, &str); 8] = [
    ("none", "wr---"),
    ("read_only", "wr-rr"),
    ("read_write", "wr-ww"),
    ("admin", "wwwww"),
    ("bare_none", "-----"),
    ("bare_read_only", "rrrrr"),
    ("bare_read_write", "wwwww"),
    ("service", "wwwww"),
];

/// What an operation in a store needs.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Read,
    Write,
    Admin,
    /// Admin, or a service.
    Maker,
}

/// A request, and whether it is to be carried out.
pub struct Case {
    pub name: String,
    pub packet: Vec<u8>,
    pub allowed: bool,
    pub opcode: Opcode,
}

fn doc(text: &str) -> Vec<u8> {
    json::parse_json(text).expect("the table holds JSON")
}

fn packet(request: &Request<'_>) -> Vec<u8> {
    let mut packet = Vec::new();
    request.encode(7, &mut packet);
    packet
}

/// Operations in a store that is named, beside queries.
fn in_store(store: &str) -> Vec<(Needs, Vec<u8>)> {
    let (document, key) = (doc(r#"{"a": 1}"#), Key(1));
    let index = doc(r#"{"fields": ["a"], "name": "made"}"#);
    let change = doc(r#"{"ttl": null}"#);
    let mut batch = BatchBuf::new();
    batch.push(None, &document);
    let document = &document;
    let watch = doc(&format!(r#"{{"stores": ["{store}"]}}"#));
    let steps = |act, condition| {
        let mut steps = StepsBuf::new();
        steps.push(Step { store, act, condition });
        steps
    };
    let writes = steps(Act::Put(key, document), None);
    let checks = steps(Act::Check(Key(9)), Some(Condition::Absent));
    let all: [(Needs, Request<'_>); 18] = [
        (Needs::Read, Request::Read { store, key }),
        (Needs::Read, Request::ReadVersion { store, key }),
        (Needs::Read, Request::Apply { steps: checks.as_steps() }),
        (Needs::Write, Request::Apply { steps: writes.as_steps() }),
        (Needs::Read, Request::Scan { store, after: None, limit: 1, reverse: false }),
        (Needs::Read, Request::Range { store, from: key, to: key, limit: 1, reverse: true }),
        (Needs::Read, Request::DescribeStore { store }),
        (Needs::Read, Request::Watch { what: &watch }),
        (Needs::Write, Request::Insert { store, key: None, document }),
        (Needs::Write, Request::BatchInsert { store, batch: batch.as_batch() }),
        (Needs::Write, Request::Update { store, key, document, upsert: true }),
        (Needs::Write, Request::Delete { store, key: Key(2) }),
        (Needs::Maker, Request::CreateStore { store, if_not_exists: true }),
        (Needs::Maker, Request::CreateIndex { store, if_not_exists: true, definition: &index }),
        (Needs::Admin, Request::CheckIndexes { store, index: None }),
        (Needs::Admin, Request::DropIndex { store, index: "made", if_exists: true }),
        (Needs::Admin, Request::AlterStore { store, change: &change }),
        (Needs::Admin, Request::DropStore { store, if_exists: true }),
    ];
    all.iter().map(|(needs, request)| (*needs, packet(request))).collect()
}

/// Queries of one store.
const QUERIES: [(Needs, &str); 16] = [
    (Needs::Read, "S.get('00000000000000000000000000000001')"),
    (Needs::Read, "S"),
    (Needs::Read, "S.count()"),
    (Needs::Read, "S.filter(a = 1).orderBy(a).pluck(a)"),
    (Needs::Read, "S.groupBy(a).aggregate(n: count())"),
    (Needs::Read, "S.distinct(a)"),
    (Needs::Read, "S.filter(a = 1).explain()"),
    (Needs::Read, "S.get('00000000000000000000000000000001').explain()"),
    (Needs::Write, "S.insert({a: 3})"),
    (Needs::Write, "S.insert({a: 3}).returning()"),
    (Needs::Write, "S.filter(a = 3).set({b: 1})"),
    (Needs::Write, "S.filter(a = 3).set({b: 2}).returning()"),
    (Needs::Write, "S.filter(a = 9).delete()"),
    (Needs::Write, "S.filter(a = 9).delete().explain()"),
    (Needs::Write, "S.insert({a: 3}).explain()"),
    (Needs::Write, "S.filter(a = 3).replace({a: 3})"),
];

/// Queries of one store that look into another.
const LOOKUPS: [&str; 3] = [
    "S.lookup(T, a = a as x).limit(1)",
    "S.lookupOne(T, a = a as x).filter(x exists).count()",
    "S.lookup(T, a = key as x).explain()",
];

/// Operations without a store, and who may: in the order of [`CALLERS`].
fn without_store() -> Vec<(&'static str, Vec<u8>)> {
    let user = doc(&format!(r#"{{"role": "none", "key": "{KEY}"}}"#));
    let (key, change) = (doc(r#"{"name": "ci"}"#), doc(r#"{"rename": "renamed"}"#));
    let role = doc(r#"{"role": "none"}"#);
    let grants = doc(r#"{"grants": {"plain": "none"}}"#);
    let (other, cursor) = ("bystander", 999_999);
    let (transaction, mut room) = (cursor, Vec::new());
    let part = Part::of(&Request::Fetch { cursor }, &mut room);
    // Due when nobody looks any more.
    let job = doc(r#"{"path": "/", "in_ms": 86400000}"#);
    let (store, document) = ("_jobs", &doc(r#"{"a": 1}"#));
    let mut batch = BatchBuf::new();
    batch.push(None, document);
    let of_jobs = |text| Request::Query { text, parameters: None };
    let nothing = doc("{}");
    let all: [(&str, Request<'_>); 50] = [
        ("yyyyyyyy", Request::Ping),
        ("yyyy-yyy", Request::Stats),
        ("yyyy-yyy", Request::List),
        ("yyyy-yyy", Request::FormatQuery { text: "s" }),
        ("yyyy-yyy", Request::RunningQueries),
        ("yyyy-yyy", Request::CancelQuery { query: cursor }),
        ("yyyy-yyy", Request::Fetch { cursor }),
        ("yyyy-yyy", Request::CloseCursor { cursor }),
        ("yyyy-yyy", Request::Begin { read_only: true, millis: 1 }),
        ("yyyy-yyy", Request::Begin { read_only: false, millis: 1 }),
        ("yyyy-yyy", Request::Commit { transaction }),
        ("yyyy-yyy", Request::Abort { transaction }),
        ("yyyy-yyy", Request::Savepoint { transaction }),
        ("yyyy-yyy", Request::Rollback { transaction, savepoint: 1 }),
        ("yyyy-yyy", Request::Within { transaction, part }),
        // A role for all stores says who reads the system's own, and not who writes there.
        ("---y---y", Request::Schedule { job: &job }),
        ("---y---y", Request::RetryJob { job: Key(7) }),
        ("---y---y", Request::Insert { store, key: None, document }),
        ("---y---y", Request::BatchInsert { store, batch: batch.as_batch() }),
        ("---y---y", Request::Update { store, key: Key(7), document, upsert: true }),
        ("---y---y", Request::Delete { store, key: Key(7) }),
        ("---y---y", of_jobs("_jobs.filter(a = 9).delete()")),
        ("---y---y", of_jobs("_dead_jobs.insert({a: 9})")),
        ("---y---y", of_jobs("_cron.filter(a = 9).set({a: 8})")),
        ("-yyy-yyy", of_jobs("_jobs.count()")),
        ("-yyy-yyy", Request::Scan { store, after: None, limit: 1, reverse: false }),
        ("---y----", Request::Follow { what: document }),
        ("---y----", Request::Snapshot { what: &key }),
        ("yyyyyyyy", Request::Position { what: &nothing }),
        // In this order: it takes writes again.
        ("---y----", Request::Demote),
        ("---y----", Request::Promote),
        ("---y----", Request::Flush),
        ("---y----", Request::Backup { begin: false, full: false }),
        ("---y----", Request::ReloadModule),
        ("---y---y", Request::CreateSequence { sequence: "made", if_not_exists: true }),
        ("--yy--yy", Request::NextNumbers { sequence: "numbers", count: 1 }),
        ("-yyy-yyy", Request::ListSequences),
        ("---y----", Request::AlterSequence { sequence: "made", change: &change }),
        ("---y----", Request::DropSequence { sequence: "made", if_exists: true }),
        ("---y----", Request::DropSequence { sequence: "renamed", if_exists: true }),
        ("---y----", Request::CreateUser { user: other, if_not_exists: true, definition: &user }),
        ("---y----", Request::AlterUser { user: other, change: &role }),
        ("---y----", Request::AlterUser { user: other, change: &grants }),
        ("---y----", Request::CreateKey { user: other, definition: &key }),
        ("---y----", Request::RevokeKey { user: other, key: "ci", if_exists: true }),
        ("---y----", Request::ListUsers { after: None }),
        ("---y----", Request::DropUser { user: other, if_exists: true }),
        // Of a user that has the caller's name. A service has no key, whatever its name.
        ("yyyyyyy-", Request::CreateKey { user: "CALLER", definition: &key }),
        ("yyyyyyy-", Request::RevokeKey { user: "CALLER", key: "ci", if_exists: true }),
        ("---y----", Request::AlterUser { user: "CALLER", change: &grants }),
    ];
    all.iter().map(|(who, request)| (*who, packet(request))).collect()
}

/// Every case of one caller.
pub fn cases(caller: &str) -> Vec<Case> {
    let at = CALLERS.iter().position(|name| *name == caller).expect("a caller");
    let rights = DOCUMENTS[at].1.as_bytes();
    assert_eq!(DOCUMENTS[at].0, caller);
    let reads = |store: usize| rights[store] != b'-';
    let may = |needs: Needs, store: usize| match needs {
        Needs::Read => reads(store),
        Needs::Write => rights[store] == b'w',
        Needs::Admin => caller == "admin",
        Needs::Maker => caller == "admin" || caller == "service",
    };
    let mut all = Vec::new();
    let mut add = |name: String, packet: Vec<u8>, allowed| {
        let opcode = Request::decode(&packet).expect("a request").1.opcode();
        all.push(Case {
            name: format!("{caller}: {} {name}", opcode.name()),
            packet,
            allowed,
            opcode,
        });
    };
    for (who, packet) in without_store() {
        // Its names stand in the packet: that of the caller is written anew.
        let packet = match Request::decode(&packet).expect("a request").1 {
            Request::CreateKey { user: "CALLER", definition } => {
                self::packet(&Request::CreateKey { user: caller, definition })
            }
            Request::RevokeKey { user: "CALLER", key, if_exists } => {
                self::packet(&Request::RevokeKey { user: caller, key, if_exists })
            }
            // Grants of an admin are refused as such: another user's then.
            Request::AlterUser { user: "CALLER", change } => {
                let user = if caller == "admin" { "bare_none" } else { caller };
                self::packet(&Request::AlterUser { user, change })
            }
            _ => packet,
        };
        add(String::new(), packet, who.as_bytes()[at] == b'y');
    }
    for (number, (store, _)) in STORES.iter().enumerate() {
        for (needs, text) in QUERIES {
            let text = text.replace('S', store);
            let (text, parameters) = (text.as_str(), None);
            add(text.to_owned(), packet(&Request::Query { text, parameters }), may(needs, number));
            let stream = Request::Stream { rows: 1, bytes: 0, text, parameters };
            add(text.to_owned(), packet(&stream), may(needs, number));
        }
        for (other, (foreign, _)) in STORES.iter().enumerate() {
            for text in LOOKUPS {
                let text = text.replace('S', store).replace('T', foreign);
                let request = Request::Query { text: &text, parameters: None };
                // One that is not there is told before the other is looked at.
                let allowed = reads(number) && (reads(other) || *store == "gone");
                add(text.clone(), packet(&request), allowed);
            }
        }
        for (needs, packet) in in_store(store) {
            add((*store).to_owned(), packet, may(needs, number));
        }
    }
    all
}

/// Makes the stores as they are to be, and fills them; what is there stays.
fn prepare(admin: &mut dyn Caller) {
    let mut ask = |request: &Request<'_>| {
        let reply = admin.ask(&packet(request));
        let reply = Reply::decode(&reply).expect("a reply").1;
        assert!(!matches!(reply, Reply::Error { .. }), "{request:?}: {reply:?}");
    };
    ask(&Request::DropStore { store: "gone", if_exists: true });
    let mut grants = DocBuf::new();
    for (store, granted) in &STORES[..4] {
        ask(&Request::CreateStore { store, if_not_exists: true });
        for key in [Key(1), Key(2)] {
            let document = doc(r#"{"a": 1}"#);
            ask(&Request::Update { store, key, document: &document, upsert: true });
        }
        grants.extend(granted.map(|role| (*store, role.into())));
    }
    let grants = grants.finish().expect("names of stores");
    let mut change = DocBuf::new();
    change.push("grants", Doc::trusted(&grants));
    let change = change.finish().expect("one field");
    for user in &CALLERS[..3] {
        ask(&Request::AlterUser { user, change: &change });
    }
    ask(&Request::CreateSequence { sequence: "numbers", if_not_exists: true });
}

/// Makes the users of [`CALLERS`] but the admin, who asks.
pub fn make_users(admin: &mut dyn Caller) {
    for user in CALLERS.iter().filter(|name| **name != "admin") {
        let role = user.strip_prefix("bare_").unwrap_or(user);
        // A user with the service's name, so that it can be taken for one.
        let role = if role == "service" { "none" } else { role };
        let definition = doc(&format!(r#"{{"role": "{role}", "key": "{KEY}"}}"#));
        let create = Request::CreateUser { user, if_not_exists: false, definition: &definition };
        let reply = admin.ask(&packet(&create));
        assert!(matches!(Reply::decode(&reply).expect("a reply").1, Reply::Document(_)), "{user}");
    }
    prepare(admin);
}

/// Asks every case of every caller that can call this way; how many there were, and the
/// operations among them.
pub fn ask_all(service: &mut dyn Service) -> (usize, Vec<Opcode>) {
    let mut admin = service.caller("admin").expect("the admin calls every way but a guest's");
    let (mut asked, mut opcodes) = (0, Vec::new());
    for name in CALLERS {
        let Some(mut caller) = service.caller(name) else { continue };
        let mut wrong = Vec::new();
        for case in cases(name) {
            let before = service.lsn();
            let reply = caller.ask(&case.packet);
            let said = match Reply::decode(&reply).expect("a reply").1 {
                Reply::Error { status, message } => Some((status, message.to_owned())),
                _ => None,
            };
            let ok = match &said {
                None => case.allowed,
                Some((Status::Forbidden, _)) => !case.allowed,
                // It was looked for, and so allowed.
                Some((status, _)) => {
                    use Status as S;
                    let missing = [
                        S::UnknownStore,
                        S::NotFound,
                        S::UnknownCursor,
                        S::UnknownQuery,
                        S::UnknownSequence,
                        S::UnknownUser,
                        S::UnknownTransaction,
                        S::NotSetUp,
                        // That of nobody who follows.
                        S::BadFollow,
                    ];
                    case.allowed && missing.contains(status)
                }
            };
            if !ok {
                wrong.push(format!("{}: {said:?}, allowed: {}", case.name, case.allowed));
            }
            if !case.allowed && service.lsn() != before {
                wrong.push(format!("{}: it was refused and changed something", case.name));
            }
            if case.allowed
                && matches!(case.opcode, Opcode::DropStore | Opcode::CreateStore | Opcode::Delete)
            {
                prepare(&mut *admin);
            }
            asked += 1;
            opcodes.push(case.opcode);
            if service.lsn().is_some()
                && let Some(said) = within(&mut *caller, &case)
            {
                let refused = said == Some(Status::Forbidden);
                if refused == case.allowed {
                    wrong.push(format!("{}, within a transaction: {said:?}", case.name));
                }
                asked += 1;
            }
        }
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    }
    opcodes.sort_unstable();
    opcodes.dedup();
    (asked, opcodes)
}

/// Asks a case once more as part of a transaction, which is let go of then: with what it was
/// answered, if that was an error. `None`: it cannot be part of one.
fn within(caller: &mut dyn Caller, case: &Case) -> Option<Option<Status>> {
    let mut status = |request: &Request<'_>| -> (Option<Status>, u64) {
        match Reply::decode(&caller.ask(&packet(request))).expect("a reply").1 {
            Reply::Error { status, .. } => (Some(status), 0),
            Reply::Document(doc) => {
                let number = Doc::trusted(doc).get("transaction").and_then(|n| n.as_i64());
                (None, number.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
            }
            _ => (None, 0),
        }
    };
    use Opcode as O;
    let of_documents = [
        O::Insert,
        O::BatchInsert,
        O::Read,
        O::Update,
        O::Delete,
        O::Scan,
        O::Range,
        O::Query,
        O::Stream,
    ];
    if !of_documents.contains(&case.opcode) {
        return None;
    }
    let (refused, transaction) = status(&Request::Begin { read_only: false, millis: 0 });
    if refused.is_some() {
        return Some(refused);
    }
    let (request, mut room) = (Request::decode(&case.packet).expect("a request").1, Vec::new());
    let part = Part::of(&request, &mut room);
    let (said, _) = status(&Request::Within { transaction, part });
    assert_eq!(status(&Request::Abort { transaction }).0, None);
    Some(said)
}

/// The stores that a caller is to be shown.
fn visible(caller: &str) -> Vec<&'static str> {
    let row = DOCUMENTS.iter().find(|(name, _)| *name == caller).expect("a caller").1;
    let there = STORES[..4].iter().zip(row.bytes()).filter(|(_, right)| *right != b'-');
    let mut seen: Vec<&str> = there.map(|((store, _), _)| *store).collect();
    seen.sort_unstable();
    seen
}

/// Every caller is shown the stores they may read, and told of no other.
pub fn ask_what_is_shown(service: &mut dyn Service) {
    for name in CALLERS {
        let Some(mut caller) = service.caller(name) else { continue };
        let visible = visible(name);
        let list = caller.ask(&packet(&Request::List));
        let stats = caller.ask(&packet(&Request::Stats));
        match (Reply::decode(&list).expect("a reply").1, Reply::decode(&stats).expect("a reply").1)
        {
            (Reply::Rows(rows), Reply::Document(stats)) => {
                // The system's own, where there are any, come first: who reads a store that no
                // grant speaks of reads them.
                let names = || rows.iter().filter_map(|(_, doc)| named(doc));
                let own = names().take_while(|name| name.starts_with('_')).count();
                assert!(own == 0 || visible.contains(&"plain"), "{name}");
                let listed: Vec<&str> = names().skip(own).collect();
                assert_eq!(listed, visible, "{name}");
                let stores = Doc::trusted(stats).get("stores").and_then(|n| n.as_i64());
                assert_eq!(stores, i64::try_from(own + visible.len()).ok(), "{name}");
            }
            (Reply::Error { .. }, Reply::Error { .. }) => assert!(visible.is_empty(), "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        // A store that is not there is not explained by one that they may not know of.
        for (store, near) in
            [("up", "upp"), ("between", "betwee"), ("down", "dow"), ("plain", "plai")]
        {
            let scan = Request::Scan { store: near, after: None, limit: 1, reverse: false };
            let reply = caller.ask(&packet(&scan));
            let Reply::Error { message, status } = Reply::decode(&reply).expect("a reply").1 else {
                panic!("{name}: {near} is there")
            };
            let told = message.contains(&format!("did you mean `{store}`"));
            let tells = visible.contains(&store) && status == Status::UnknownStore;
            assert_eq!(told, tells, "{name}: {message}");
        }
    }
}

fn named(doc: &[u8]) -> Option<&str> {
    Doc::trusted(doc).get("name").and_then(|name| name.as_str())
}
