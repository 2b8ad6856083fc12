//! Keys of users: several at once, with an end, revoked.

use std::sync::Arc;
use std::time::Duration;

use platform::sim::{SimClock, SimDisk};
use proto::{Request, Status};

use super::kit::*;
use crate::catalog::MAX_KEYS;
use crate::{Engine, Principal, Role};

const KEY: &str = "correct-horse-battery";
/// A day after [`NOW`].
const TOMORROW: &str = "2023-11-15T22:13:20Z";

fn create_user(engine: &Engine, name: &str, role: Role) {
    let definition = doc(&format!(r#"{{"role": "{}", "key": "{KEY}"}}"#, role.name()));
    done(engine, Request::CreateUser { user: name, if_not_exists: false, definition: &definition });
}

fn try_key(engine: &Engine, who: &Principal, user: &str, definition: &str) -> Said {
    ask_as(engine, who, Request::CreateKey { user, definition: &doc(definition) })
}

/// Makes a key that expires tomorrow, or never.
fn make_key(engine: &Engine, who: &Principal, user: &str, name: &str, ends: bool) -> String {
    let expires = format!(r#", "expires": {{"$date": "{TOMORROW}"}}"#);
    let expires = if ends { expires.as_str() } else { "" };
    let said = try_key(engine, who, user, &format!(r#"{{"name": "{name}"{expires}}}"#));
    let Said::Document(text) = &said else { panic!("{said:?}") };
    let start = format!(r#"{{"user":"{user}","name":"{name}","key":""#);
    let key = text.strip_prefix(&start).unwrap_or_else(|| panic!("{text}"));
    key[..64].to_owned()
}

fn revoke<'a>(user: &'a str, key: &'a str) -> Request<'a> {
    Request::RevokeKey { user, key, if_exists: false }
}

fn out(said: &Said, words: &str) {
    let Said::Refused(Status::NotAuthenticated, message) = said else { panic!("{said:?}") };
    assert!(message.contains(words), "{message}");
}

#[test]
fn one_key_is_changed_for_another_without_a_break() {
    let engine = open();
    create_user(&engine, "ann", Role::ReadOnly);
    let old = engine.authenticate("ann", KEY).unwrap();
    let text = make_key(&engine, &old, "ann", "next", false);
    let new = engine.authenticate("ann", &text).unwrap();
    assert_eq!(ask_as(&engine, &old, Request::Ping), Said::Empty);
    assert_eq!(ask_as(&engine, &new, revoke("ann", "main")), Said::Empty);
    out(&ask_as(&engine, &old, Request::Ping), "was changed or revoked: connect again");
    assert!(engine.authenticate("ann", KEY).is_err());
    assert_eq!(ask_as(&engine, &new, Request::Ping), Said::Empty);
    // One of the same name made since is another.
    done(&engine, revoke("ann", "next"));
    make_key(&engine, &admin(), "ann", "next", false);
    out(&ask_as(&engine, &new, Request::Ping), "connect again");
    assert!(engine.authenticate("ann", &text).is_err());
}

#[test]
fn a_key_opens_nothing_once_it_has_expired() {
    let clock = Arc::new(SimClock::new(NOW));
    let engine = open_at(Arc::clone(&clock), SimDisk::new(1), options());
    create_user(&engine, "ann", Role::ReadOnly);
    let text = make_key(&engine, &admin(), "ann", "short", true);
    let main = engine.authenticate("ann", KEY).unwrap();
    let short = engine.authenticate("ann", &text).unwrap();
    clock.advance(Duration::from_millis(86_400_000 - 1));
    assert_eq!(ask_as(&engine, &short, Request::Ping), Said::Empty);
    clock.advance(Duration::from_millis(1));
    out(&ask_as(&engine, &short, Request::Ping), "\"short\" of user \"ann\" has expired");
    let refusal = engine.authenticate("ann", &text).unwrap_err();
    assert_eq!(refusal.status, Status::BadCredentials);
    assert!(refusal.message.contains("\"short\" of user \"ann\" has expired"), "{refusal}");
    // Who has not the key is not told.
    let other = format!("{}{}", &text[..16], "0".repeat(48));
    let wrong = engine.authenticate("ann", &other).unwrap_err();
    assert_eq!(wrong, engine.authenticate("nobody", &other).unwrap_err());
    assert_eq!(ask_as(&engine, &main, Request::Ping), Said::Empty, "the others go on");
}

#[test]
fn keys_are_listed_by_name_and_their_number_is_bounded() {
    let clock = Arc::new(SimClock::new(NOW));
    let engine = open_at(Arc::clone(&clock), SimDisk::new(1), options());
    create_user(&engine, "ann", Role::None);
    let text = make_key(&engine, &admin(), "ann", "k0", true);
    for n in 1..MAX_KEYS - 1 {
        make_key(&engine, &admin(), "ann", &format!("k{n}"), false);
    }
    let words = &["has 8 keys: revoke some"];
    let (more, again) = (doc(r#"{"name": "more"}"#), doc(r#"{"name": "k1"}"#));
    let create = |definition| Request::CreateKey { user: "ann", definition };
    refused(&engine, create(&more), Status::BadUser, words);
    let Said::Rows(rows, None) = done(&engine, Request::ListUsers { after: None }) else {
        panic!()
    };
    let first = format!(
        r#""keys":[{{"name":"k0","created_at":{{"$date":"2023-11-14T22:13:20Z"}},"expires":{{"$date":"{TOMORROW}"}},"id":"{}"}},"#,
        &text[..16]
    );
    assert!(rows[0].contains(&first), "{} has not {first}", rows[0]);
    assert!(
        rows[0].ends_with(r#"{"name":"main","created_at":{"$date":"2023-11-14T22:13:20Z"}}]}"#)
    );
    assert!(!rows[0].contains("argon2") && !rows[0].contains(&text));
    // Those that have expired make room.
    clock.advance(Duration::from_secs(86_400));
    refused(&engine, create(&again), Status::UserKeyExists, &["\"k1\"", "revoke it first"]);
    make_key(&engine, &admin(), "ann", "more", false);
    refused(&engine, create(&doc(r#"{"name": "last"}"#)), Status::BadUser, words);
    refused(&engine, revoke("ann", "k0"), Status::UnknownUserKey, &["\"k0\"", "list of users"]);
    done(&engine, Request::RevokeKey { user: "ann", key: "k0", if_exists: true });
}

#[test]
fn what_is_no_key_is_refused() {
    let engine = open();
    create_user(&engine, "ann", Role::ReadOnly);
    for (definition, status, words) in [
        ("{}", Status::BadUser, "say name"),
        (r#"{"name": 1}"#, Status::BadUser, "not \"name\" of type int"),
        (r#"{"name": "a", "key": "chosen-by-somebody"}"#, Status::BadUser, "not \"key\""),
        (r#"{"name": "a-b"}"#, Status::BadName, "the name of a key is"),
        (r#"{"name": "a", "expires": "soon"}"#, Status::BadUser, "of type string"),
        (
            r#"{"name": "a", "expires": {"$date": "2023-11-14T22:13:20Z"}}"#,
            Status::BadUser,
            "expired already",
        ),
    ] {
        let definition = doc(definition);
        let create = Request::CreateKey { user: "ann", definition: &definition };
        refused(&engine, create, status, &[words]);
    }
    let definition = doc(r#"{"name": "a"}"#);
    let create = Request::CreateKey { user: "bob", definition: &definition };
    refused(&engine, create, Status::UnknownUser, &["\"bob\""]);
    refused(&engine, revoke("bob", "main"), Status::UnknownUser, &["\"bob\""]);
}

#[test]
fn keys_of_others_are_an_admins_and_ones_own_do_not_outlast_the_one_shown() {
    let engine = open();
    for (name, role) in [("ann", Role::None), ("bob", Role::ReadWrite), ("eve", Role::Admin)] {
        create_user(&engine, name, role);
    }
    let bob = engine.authenticate("bob", KEY).unwrap();
    let key = doc(r#"{"name": "a"}"#);
    for user in ["ann", "nobody"] {
        let create = Request::CreateKey { user, definition: &key };
        refused_as(&engine, &bob, create, Status::Forbidden, &["manage users"]);
        refused_as(&engine, &bob, revoke(user, "main"), Status::Forbidden, &["manage users"]);
    }
    let text = make_key(&engine, &admin(), "ann", "short", true);
    let ann = engine.authenticate("ann", &text).unwrap();
    let said = try_key(&engine, &ann, "ann", r#"{"name": "longer"}"#);
    let ends = format!(r#""expires":{{"$date":"{TOMORROW}"}}}}"#);
    assert!(matches!(&said, Said::Document(text) if text.ends_with(&ends)), "{said:?}");
    // None that lasts longer is taken away, with or without another in its place.
    let words = &["\"short\", which expires before the key \"main\"", "ask an admin"];
    let change = doc(r#"{"key": "another-key-altogether"}"#);
    let alter = Request::AlterUser { user: "ann", change: &change };
    refused_as(&engine, &ann, alter, Status::Forbidden, words);
    refused_as(&engine, &ann, revoke("ann", "main"), Status::Forbidden, words);
    assert_eq!(ask_as(&engine, &ann, revoke("ann", "longer")), Said::Empty, "it ends as soon");
    refused_as(&engine, &ann, revoke("ann", "nix"), Status::UnknownUserKey, &["\"nix\""]);
    done(&engine, revoke("ann", "main"));
    // The same for the one in the place of all others; its session goes on by it.
    let change = doc(r#"{"key": "another-key-altogether"}"#);
    let alter = Request::AlterUser { user: "ann", change: &change };
    assert!(matches!(ask_as(&engine, &ann, alter), Said::Document(_)));
    assert_eq!(ask_as(&engine, &ann, Request::Ping), Said::Empty);
    let Said::Rows(rows, None) = done(&engine, Request::ListUsers { after: None }) else {
        panic!()
    };
    assert!(rows[0].contains(&format!(r#"Z"}},{}"#, &ends[..ends.len() - 1])), "{}", rows[0]);
    assert_eq!(rows[0].matches("created_at").count(), 2, "it is the only one: {}", rows[0]);
    // An admin decides that for everybody, so for themselves too.
    let text = make_key(&engine, &admin(), "eve", "short", true);
    let eve = engine.authenticate("eve", &text).unwrap();
    let said = try_key(&engine, &eve, "eve", r#"{"name": "longer"}"#);
    assert!(matches!(&said, Said::Document(text) if !text.contains("expires")), "{said:?}");
}

#[test]
fn the_last_admin_keeps_a_key_that_lasts() {
    let engine = open();
    create_user(&engine, "eve", Role::Admin);
    make_key(&engine, &admin(), "eve", "short", true);
    let words = &["\"eve\" is the last admin whose key does not expire", "left without one"];
    refused(&engine, revoke("eve", "main"), Status::LastAdmin, words);
    // Another admin who has but a key that expires does not help.
    create_user(&engine, "root", Role::Admin);
    make_key(&engine, &admin(), "root", "short", true);
    done(&engine, revoke("root", "main"));
    refused(&engine, revoke("eve", "main"), Status::LastAdmin, words);
    make_key(&engine, &admin(), "root", "lasts", false);
    done(&engine, revoke("eve", "main"));
    // Others may be left with none.
    create_user(&engine, "ann", Role::ReadOnly);
    let ann = engine.authenticate("ann", KEY).unwrap();
    assert_eq!(ask_as(&engine, &ann, revoke("ann", "main")), Said::Empty);
    out(&ask_as(&engine, &ann, Request::Ping), "connect again");
    assert!(engine.authenticate("ann", KEY).is_err());
}

#[test]
fn keys_survive_a_power_cut_once_they_are_answered_and_are_on_no_disk() {
    let disk = SimDisk::new(3);
    let engine = open_on(disk.clone(), options());
    create_user(&engine, "ann", Role::ReadOnly);
    let first = make_key(&engine, &admin(), "ann", "first", false);
    let second = make_key(&engine, &admin(), "ann", "second", true);
    done(&engine, revoke("ann", "main"));
    drop(engine);
    let engine = open_on(disk.restart_worst(), options());
    let ann = engine.authenticate("ann", &first).unwrap();
    assert!(engine.authenticate("ann", &second).is_ok());
    assert!(engine.authenticate("ann", KEY).is_err());
    // A session of this start is told apart by the key's name.
    done(&engine, revoke("ann", "second"));
    assert_eq!(ask_as(&engine, &ann, Request::Ping), Said::Empty);
    engine.flush().unwrap();
    for file in disk.files() {
        let bytes = disk.file_bytes(&file).unwrap();
        for key in [&first, &second] {
            let holds = bytes.windows(32).any(|part| part == &key.as_bytes()[16..48]);
            assert!(!holds, "{file} holds a key");
        }
    }
}

#[test]
fn a_key_costs_one_hash_whoever_has_how_many() {
    let engine = open();
    create_user(&engine, "ann", Role::ReadOnly);
    let text = make_key(&engine, &admin(), "ann", "a", false);
    let catalog = engine.catalogs.read();
    let ann = &catalog.users["ann"];
    // By its id, or else the one that was chosen: never two, whatever the text.
    assert_eq!(ann.key_for(&text).unwrap().name, "a");
    assert_eq!(ann.key_for(&text[..16]).unwrap().name, "a");
    for other in [KEY, "", "é".repeat(20).as_str(), &text[..15]] {
        assert_eq!(ann.key_for(other).unwrap().name, "main", "{other:?}");
    }
    done(&engine, revoke("ann", "main"));
    assert!(engine.catalogs.read().users["ann"].key_for(KEY).is_none(), "then the decoy");
}

#[test]
fn who_is_no_admin_has_keys_made_at_a_pace() {
    let clock = Arc::new(SimClock::new(NOW));
    let engine = open_at(Arc::clone(&clock), SimDisk::new(1), options());
    create_user(&engine, "ann", Role::None);
    let ann = engine.authenticate("ann", KEY).unwrap();
    let change = doc(r#"{"key": "another-key-altogether"}"#);
    let alter = Request::AlterUser { user: "ann", change: &change };
    for _ in 0..4 {
        assert!(matches!(ask_as(&engine, &ann, alter), Said::Document(_)));
    }
    refused_as(&engine, &ann, alter, Status::Busy, &["try again in 10 s"]);
    let key = doc(r#"{"name": "a"}"#);
    let create = Request::CreateKey { user: "ann", definition: &key };
    refused_as(&engine, &ann, create, Status::Busy, &["try again in 10 s"]);
    // What costs nothing is refused for what it is.
    let short = doc(r#"{"key": "short"}"#);
    let bad = Request::AlterUser { user: "ann", change: &short };
    refused_as(&engine, &ann, bad, Status::BadUser, &["too short"]);
    clock.advance(Duration::from_secs(10));
    assert!(matches!(ask_as(&engine, &ann, create), Said::Document(_)));
}

#[test]
fn an_admin_is_made_where_there_are_users_but_no_admin() {
    let engine = open();
    put_user(&engine, "ann", Role::ReadWrite);
    put_user(&engine, "admin", Role::ReadOnly);
    let key = engine.ensure_admin().unwrap().unwrap();
    assert_eq!(engine.authenticate("admin", &key).unwrap().role(), Role::Admin);
    assert_eq!(engine.ensure_admin(), Ok(None));
    let catalog = engine.catalogs.read();
    assert_eq!(catalog.users["admin"].keys.len(), 1);
    assert_eq!(catalog.users["ann"].role, Role::ReadWrite);
}
