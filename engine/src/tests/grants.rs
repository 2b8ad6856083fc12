//! Grants: given, changed, taken away, and what becomes of them with their store. Who may
//! do what by them is the table of `engine/tests/rights`.

use platform::sim::SimDisk;
use proto::{Key, Request, Status};

use super::kit::*;
use crate::patience::Patience;
use crate::{Action, Engine, Principal};

const KEY: &str = "correct-horse-battery";

fn alter(engine: &Engine, user: &str, change: &str) -> Said {
    ask(engine, Request::AlterUser { user, change: &doc(change) })
}

fn granted(engine: &Engine, user: &str, change: &str) {
    assert_eq!(alter(engine, user, change), Said::Document(format!(r#"{{"name":"{user}"}}"#)));
}

/// Makes a user with the key [`KEY`], who comes in.
fn user(engine: &Engine, name: &str, definition: &str) -> Principal {
    let definition = definition.strip_suffix('}').unwrap();
    let definition = doc(&format!(r#"{definition}, "key": "{KEY}"}}"#));
    done(engine, Request::CreateUser { user: name, if_not_exists: false, definition: &definition });
    engine.authenticate(name, KEY).unwrap()
}

fn scan(store: &str) -> Request<'_> {
    Request::Scan { store, after: None, limit: 0, reverse: false }
}

/// Whether somebody may read, and whether they may write, a store.
fn rights(engine: &Engine, who: &Principal, store: &str) -> (bool, bool) {
    let document = doc("{}");
    let write = Request::Update { store, key: Key(1), document: &document, upsert: true };
    let may = |request| match ask_as(engine, who, request) {
        Said::Refused(Status::Forbidden, _) => false,
        Said::Refused(status, message) => panic!("{status}: {message}"),
        _ => true,
    };
    (may(scan(store)), may(write))
}

/// The grants as the list of users has them.
fn listed(engine: &Engine, user: &str) -> Option<String> {
    let Said::Rows(rows, None) = done(engine, Request::ListUsers { after: None }) else { panic!() };
    let row = rows.iter().find(|row| row.starts_with(&format!(r#"{{"name":"{user}""#))).unwrap();
    let (_, rest) = row.split_once(r#""grants":"#)?;
    Some(rest.split_inclusive('}').next().unwrap().to_owned())
}

#[test]
fn a_change_of_grants_holds_for_open_sessions_at_once_and_merges() {
    let engine = with_store();
    done(&engine, create("t"));
    let ann = user(&engine, "ann", r#"{"role": "read_only"}"#);
    assert_eq!(rights(&engine, &ann, "s"), (true, false));
    granted(&engine, "ann", r#"{"grants": {"s": "read_write"}}"#);
    assert_eq!(rights(&engine, &ann, "s"), (true, true));
    assert_eq!(rights(&engine, &ann, "t"), (true, false), "of that store alone");
    granted(&engine, "ann", r#"{"grants": {"t": "none"}}"#);
    assert_eq!(rights(&engine, &ann, "t"), (false, false));
    assert_eq!(rights(&engine, &ann, "s"), (true, true), "the other one stays");
    assert_eq!(listed(&engine, "ann").unwrap(), r#"{"s":"read_write","t":"none"}"#);
    let words = &["needs a role that may read", "\"ann\" is none there", "ask an admin"];
    refused_as(&engine, &ann, scan("t"), Status::Forbidden, words);
    // Another role leaves them; taking one away leaves the role.
    granted(&engine, "ann", r#"{"role": "none"}"#);
    assert_eq!(rights(&engine, &ann, "s"), (true, true));
    granted(&engine, "ann", r#"{"grants": {"s": null, "t": null}}"#);
    assert_eq!(rights(&engine, &ann, "s"), (false, false));
    assert_eq!(listed(&engine, "ann"), None);
    refused_as(&engine, &ann, Request::List, Status::Forbidden, &["none"]);
}

#[test]
fn a_grant_follows_its_store_and_goes_with_it() {
    let engine = with_store();
    let ann = user(&engine, "ann", r#"{"role": "none", "grants": {"s": "read_only"}}"#);
    let rename = doc(r#"{"rename": "renamed"}"#);
    done(&engine, Request::AlterStore { store: "s", change: &rename });
    done(&engine, create("s"));
    assert_eq!(rights(&engine, &ann, "renamed"), (true, false));
    assert_eq!(rights(&engine, &ann, "s"), (false, false), "another store of the old name");
    assert_eq!(listed(&engine, "ann").unwrap(), r#"{"renamed":"read_only"}"#);
    done(&engine, drop_store("renamed"));
    done(&engine, create("renamed"));
    assert_eq!(rights(&engine, &ann, "renamed"), (false, false));
    assert_eq!(listed(&engine, "ann"), None);
}

#[test]
fn grants_survive_a_power_cut_once_they_are_answered() {
    let disk = SimDisk::new(3);
    let engine = open_on(disk.clone(), options());
    for store in ["s", "t", "u"] {
        done(&engine, create(store));
    }
    user(&engine, "ann", r#"{"role": "read_only", "grants": {"s": "read_write"}}"#);
    granted(&engine, "ann", r#"{"grants": {"t": "none", "u": "none"}}"#);
    done(&engine, drop_store("u"));
    granted(&engine, "ann", r#"{"grants": {"s": "read_write"}}"#);
    drop(engine);
    let engine = open_on(disk.restart_worst(), options());
    let ann = engine.authenticate("ann", KEY).unwrap();
    assert_eq!(rights(&engine, &ann, "s"), (true, true));
    assert_eq!(rights(&engine, &ann, "t"), (false, false));
    assert_eq!(listed(&engine, "ann").unwrap(), r#"{"s":"read_write","t":"none"}"#);
}

#[test]
fn what_is_no_grant_is_refused() {
    let engine = with_store();
    put_user(&engine, "ann", crate::Role::ReadOnly);
    put_user(&engine, "root", crate::Role::Admin);
    for (name, change, status, words) in [
        ("ann", r#"{"grants": {"x": "none"}}"#, Status::UnknownStore, "\"x\""),
        ("ann", r#"{"grants": {"x": null}}"#, Status::UnknownStore, "\"x\""),
        ("ann", r#"{"grants": {"s": "admin"}}"#, Status::BadUser, "admin of store \"s\" alone"),
        ("ann", r#"{"grants": {"s": "write"}}"#, Status::BadUser, "no role \"write\""),
        ("ann", r#"{"grants": {"s": 1}}"#, Status::BadUser, "store \"s\" is a role or null"),
        ("ann", r#"{"grants": "s"}"#, Status::BadUser, "not \"grants\" of type string"),
        ("ann", r#"{"grants": {}}"#, Status::BadUser, "the change is empty"),
        ("root", r#"{"grants": {"s": "none"}}"#, Status::BadUser, "an admin may do everything"),
    ] {
        let change = doc(change);
        refused(&engine, Request::AlterUser { user: name, change: &change }, status, &[words]);
    }
    // Who becomes an admin has none any more.
    granted(&engine, "ann", r#"{"grants": {"s": "none"}}"#);
    granted(&engine, "ann", r#"{"role": "admin"}"#);
    assert_eq!(listed(&engine, "ann"), None);
    granted(&engine, "ann", r#"{"role": "read_only", "grants": {"s": "none"}}"#);
    assert_eq!(listed(&engine, "ann").unwrap(), r#"{"s":"none"}"#);
}

#[test]
fn a_user_may_be_there_already_only_with_the_same_grants() {
    let engine = with_store();
    let ask_for = |definition: &str| {
        let definition = doc(definition);
        ask(
            &engine,
            Request::CreateUser { user: "ann", if_not_exists: true, definition: &definition },
        )
    };
    let with = format!(r#"{{"role": "none", "key": "{KEY}", "grants": {{"s": "read_only"}}}}"#);
    let said = |created| Said::Document(format!(r#"{{"name":"ann","created":{created}}}"#));
    assert_eq!(ask_for(&with), said(true));
    assert_eq!(ask_for(&with), said(false));
    for (definition, words) in [
        (format!(r#"{{"role": "none", "key": "{KEY}"}}"#), "give that one the grants"),
        (with.replace("\"none\"", "\"read_write\""), "give that one another role"),
    ] {
        let Said::Refused(Status::UserExists, message) = ask_for(&definition) else { panic!() };
        assert!(message.contains(words) && message.contains("is none, with grants"), "{message}");
    }
}

#[test]
fn the_number_of_grants_is_bounded() {
    let engine = open();
    put_user(&engine, "ann", crate::Role::None);
    let grants = |from: usize, to: usize| {
        let all: Vec<String> = (from..to).map(|n| format!(r#""s{n}": "read_only""#)).collect();
        doc(&format!(r#"{{"grants": {{{}}}}}"#, all.join(",")))
    };
    for n in 0..257 {
        done(&engine, create(&format!("s{n}")));
    }
    let all = grants(0, 256);
    done(&engine, Request::AlterUser { user: "ann", change: &all });
    let more = grants(256, 257);
    let words = &["256 stores at most, not in 257", "give a role"];
    refused(&engine, Request::AlterUser { user: "ann", change: &more }, Status::BadUser, words);
    done(&engine, drop_store("s7"));
    done(&engine, Request::AlterUser { user: "ann", change: &more });
}

#[test]
fn a_query_that_waits_ends_when_a_store_it_shows_may_not_be_read_any_more() {
    let engine = with_store();
    done(&engine, create("t"));
    for key in 0..3 {
        insert(&engine, key, r#"{"a": 1}"#);
    }
    let document = doc(r#"{"a": 1}"#);
    done(&engine, Request::Insert { store: "t", key: None, document: &document });
    let ann = user(&engine, "ann", r#"{"role": "read_only"}"#);
    let open = |text: &str| {
        let stream = Request::Stream { rows: 1, bytes: 0, text, parameters: None };
        let Said::Page(_, cursor) = ask_as(&engine, &ann, stream) else { panic!("{text}") };
        cursor
    };
    let (plain, looks) = (open("s"), open("s.lookup(t, a = a as x)"));
    granted(&engine, "ann", r#"{"grants": {"t": "none"}}"#);
    // The hidden store goes, and with it the grant: what it showed stays hidden.
    done(&engine, drop_store("t"));
    let fetch = |cursor| ask_as(&engine, &ann, Request::Fetch { cursor });
    assert!(matches!(fetch(looks), Said::Refused(Status::UnknownCursor, _)));
    assert!(matches!(fetch(plain), Said::Page(..)), "the other one goes on");
    // A page that is being read is told to end.
    let (running, rows, size, stores) =
        engine.queries.resume(&ann, plain, 0, Patience::ENDLESS).unwrap();
    granted(&engine, "ann", r#"{"grants": {"s": "none"}}"#);
    let refusal: crate::Refusal = running.wait(rows, size, stores).unwrap_err().into();
    assert_eq!(refusal.status, Status::Cancelled, "{refusal}");
    granted(&engine, "ann", r#"{"role": "read_write"}"#);
    assert!(matches!(fetch(plain), Said::Refused(Status::UnknownCursor, _)), "ended at once");
}

#[test]
fn a_page_is_asked_about_each_store_it_shows() {
    let engine = with_store();
    for key in 0..3 {
        insert(&engine, key, "{}");
    }
    let ann = user(&engine, "ann", r#"{"role": "read_only"}"#);
    let stream = Request::Stream { rows: 1, bytes: 0, text: "s", parameters: None };
    let Said::Page(_, cursor) = ask_as(&engine, &ann, stream) else { panic!() };
    // Given a page that is being read when the right goes,
    let (running, rows, size, stores) =
        engine.queries.resume(&ann, cursor, 0, Patience::ENDLESS).unwrap();
    granted(&engine, "ann", r#"{"grants": {"s": "none"}, "role": "read_write"}"#);
    // then who asks again is refused, and the query is over.
    let refusal = engine.still_reads(&ann, &stores).unwrap_err();
    assert_eq!(refusal.status, Status::Forbidden, "{}", refusal.message);
    assert!(running.wait(rows, size, stores).is_err());
    assert_eq!(engine.running_queries(), []);
}

#[test]
fn a_query_that_begins_while_its_user_is_shut_out_does_not_go_on() {
    let engine = with_store();
    let ann = user(&engine, "ann", r#"{"role": "read_only"}"#);
    let passed = engine.standing(&ann).unwrap().into_owned();
    done(&engine, Request::DropUser { user: "ann", if_exists: false });
    let Err(refusal) = engine.begin_query(&passed, "s", Patience::ENDLESS) else {
        panic!("it began")
    };
    assert_eq!(refusal.status, Status::NotAuthenticated);
    assert_eq!(engine.running_queries(), []);
}

#[test]
fn who_is_made_anew_sees_no_query_of_the_one_before() {
    let engine = with_store();
    for key in 0..3 {
        insert(&engine, key, "{}");
    }
    let first = user(&engine, "ann", r#"{"role": "read_only"}"#);
    let stream = Request::Stream { rows: 1, bytes: 0, text: "s", parameters: None };
    let Said::Page(_, cursor) = ask_as(&engine, &first, stream) else { panic!() };
    let (running, rows, size, stores) =
        engine.queries.resume(&first, cursor, 0, Patience::ENDLESS).unwrap();
    done(&engine, Request::DropUser { user: "ann", if_exists: false });
    let second = user(&engine, "ann", r#"{"role": "read_only"}"#);
    let shown = ask_as(&engine, &second, Request::RunningQueries);
    assert_eq!(shown, Said::Rows(vec![], None), "the other's still runs");
    let cancel = Request::CancelQuery { query: cursor };
    refused_as(&engine, &second, cancel, Status::UnknownQuery, &["of yours"]);
    // It was told to end when its user was dropped.
    let refusal: crate::Refusal = running.wait(rows, size, stores).unwrap_err().into();
    assert!(refusal.message.contains("cancelled"), "{refusal}");
}

#[test]
fn the_store_that_is_found_is_asked_about_not_only_its_name() {
    let engine = with_store();
    done(&engine, create("hidden"));
    let ann = user(&engine, "ann", r#"{"role": "none", "grants": {"s": "read_write"}}"#);
    // Given a request that passed the door,
    let passed = engine.standing(&ann).unwrap().into_owned();
    engine.allow_in(&passed, Action::Read, "Scan", "s").unwrap();
    // when its store goes and another takes the name,
    let rename = |to: &str| doc(&format!(r#"{{"rename": "{to}"}}"#));
    done(&engine, Request::AlterStore { store: "s", change: &rename("old") });
    done(&engine, Request::AlterStore { store: "hidden", change: &rename("s") });
    // then nothing of that one is read or written.
    let mut out = Vec::new();
    let reply = proto::ReplyWriter::new(1, &mut out);
    let wanted = passed.wants(Action::Read, "s");
    let refusal = engine.scan(wanted, None, 1, false, Patience::ENDLESS, reply).unwrap_err();
    assert_eq!(refusal.status, Status::Forbidden, "{}", refusal.message);
    let wanted = passed.wants(Action::Write, "s");
    let refusal = engine.insert(wanted, None, &doc("{}"), Patience::ENDLESS).unwrap_err();
    assert_eq!(refusal.status, Status::Forbidden, "{}", refusal.message);
    assert!(
        refusal.message.starts_with("the store \"s\" needs a role that may write"),
        "{refusal}"
    );
    assert!(
        engine
            .insert(passed.wants(Action::Write, "old"), None, &doc("{}"), Patience::ENDLESS)
            .is_ok()
    );
}

#[test]
fn what_waited_for_the_commit_lock_is_not_written_by_a_right_that_is_gone() {
    let engine = with_store();
    let ann = user(&engine, "ann", r#"{"role": "read_write"}"#);
    // Given requests that passed the door, and are about to take the lock,
    let passed = engine.standing(&ann).unwrap().into_owned();
    let insert =
        || engine.insert(passed.wants(Action::Write, "s"), None, &doc("{}"), Patience::ENDLESS);
    assert!(insert().is_ok());
    for (change, status) in [
        (r#"{"grants": {"s": "read_only"}}"#, Status::Forbidden),
        (r#"{"grants": {"s": null}, "role": "read_only"}"#, Status::Forbidden),
        (r#"{"role": "read_write", "key": "another-key-of-hers"}"#, Status::NotAuthenticated),
    ] {
        // when the right goes, and who took it is told so, then nothing is written.
        granted(&engine, "ann", change);
        assert_eq!(insert().unwrap_err().status, status, "{change}");
    }
    assert_eq!(all(&engine).len(), 1);
}

#[test]
fn a_page_that_is_read_ends_with_the_right_and_a_drop_does_not_bring_it_back() {
    let engine = with_store();
    for key in 0..3 {
        insert(&engine, key, "{}");
    }
    let ann = user(&engine, "ann", r#"{"role": "read_only"}"#);
    let stream = Request::Stream { rows: 1, bytes: 0, text: "s", parameters: None };
    let Said::Page(_, cursor) = ask_as(&engine, &ann, stream) else { panic!() };
    // Given a page that is being read,
    let (running, rows, size, stores) =
        engine.queries.resume(&ann, cursor, 0, Patience::ENDLESS).unwrap();
    // when the store is forbidden, and then goes and its grants with it,
    granted(&engine, "ann", r#"{"grants": {"s": "none"}}"#);
    done(&engine, Request::DropStore { store: "s", if_exists: false });
    // then the rest of it is shown to nobody.
    assert!(running.wait(rows, size, stores).is_err());
    let refused = ask_as(&engine, &ann, Request::Fetch { cursor });
    assert!(matches!(refused, Said::Refused(Status::UnknownCursor, _)), "{refused:?}");
}
