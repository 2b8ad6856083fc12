//! What a session may do with its user's own keys, by the key it came with: a table
//! written by hand from the rules.
//!
//! The rules: everybody makes keys for themselves and takes them away. Who came by a key
//! that expires makes none that outlasts it, and takes none away that does, neither one by
//! one nor all at once. An admin may.

use std::sync::Arc;

use engine::{Engine, Options, Principal, Role};
use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::doc::Doc;
use proto::{Reply, Request, Status};

use super::cases::KEY;

/// 2023-11-14, in microseconds.
const NOW: u64 = 1_700_000_000_000_000;

/// Ends of keys: `main` has none. `sooner` ends before `short`, `later` behind it, and
/// `same` with it.
const ENDS: [(&str, Option<&str>); 5] = [
    ("main", None),
    ("later", Some("2023-11-17T00:00:00Z")),
    ("same", Some("2023-11-16T00:00:00Z")),
    ("short", Some("2023-11-16T00:00:00Z")),
    ("sooner", Some("2023-11-15T00:00:00Z")),
];

/// Who came by `short` with that role, and whether they may revoke each of [`ENDS`], and
/// have one key in the place of all.
const BY_SHORT: [(Role, &str); 5] = [
    (Role::None, "--yyy -"),
    (Role::Replica, "--yyy -"),
    (Role::ReadOnly, "--yyy -"),
    (Role::ReadWrite, "--yyy -"),
    (Role::Admin, "yyyyy y"),
];

fn ask(engine: &Engine, who: &Principal, request: &Request<'_>) -> Result<Vec<u8>, Status> {
    let (mut packet, mut reply) = (Vec::new(), Vec::new());
    request.encode(7, &mut packet);
    engine.dispatch_packet(who, &packet, &mut reply);
    match Reply::decode(&reply).expect("a reply").1 {
        Reply::Error { status, .. } => Err(status),
        Reply::Document(doc) => Ok(doc.to_vec()),
        _ => Ok(Vec::new()),
    }
}

fn doc(text: &str) -> Vec<u8> {
    proto::json::parse_json(text).expect("the table holds JSON")
}

/// A user of that role with all the keys of [`ENDS`], and their session by one of them.
fn user(role: Role, by: &str) -> (Engine, Principal) {
    let (clock, entropy) = (Arc::new(SimClock::new(NOW)), Arc::new(SimEntropy::new(1)));
    let engine = Engine::open(SimDisk::new(1), clock, entropy, Options::default()).unwrap();
    let root = Principal::new("root", Role::Admin);
    let definition = doc(&format!(r#"{{"role": "{}", "key": "{KEY}"}}"#, role.name()));
    for user in ["ann", "eve"] {
        // Another admin, so that the last one is nobody's concern here.
        let admin = doc(&format!(r#"{{"role": "admin", "key": "{KEY}"}}"#));
        let definition = if user == "ann" { &definition } else { &admin };
        let create = Request::CreateUser { user, if_not_exists: false, definition };
        ask(&engine, &root, &create).unwrap();
    }
    let mut text = KEY.to_owned();
    for (name, end) in &ENDS[1..] {
        let end = end.expect("all but the first have one");
        let definition = doc(&format!(r#"{{"name": "{name}", "expires": {{"$date": "{end}"}}}}"#));
        let create = Request::CreateKey { user: "ann", definition: &definition };
        let made = ask(&engine, &root, &create).unwrap();
        if *name == by {
            text = Doc::trusted(&made).get("key").unwrap().as_str().unwrap().to_owned();
        }
    }
    let who = engine.authenticate("ann", &text).unwrap();
    (engine, who)
}

#[test]
fn a_key_is_taken_away_by_one_that_lasts_as_long() {
    let mut cases = Vec::new();
    for role in Role::ALL {
        cases.push((role, "main", "yyyyy y"));
    }
    for (role, may) in BY_SHORT {
        cases.push((role, "short", may));
    }
    let change = doc(r#"{"key": "a-key-of-my-own-choice"}"#);
    let alter = Request::AlterUser { user: "ann", change: &change };
    for (role, by, may) in cases {
        let (may, all) = may.split_once(' ').unwrap();
        let (engine, who) = user(role, by);
        if all == "-" {
            let said = ask(&engine, &who, &alter);
            assert_eq!(said, Err(Status::Forbidden), "{} by {by}", role.name());
        }
        // The one it came by is the last: with it goes the session.
        let mut keys: Vec<_> = ENDS.iter().map(|(key, _)| *key).zip(may.bytes()).collect();
        keys.sort_by_key(|(key, _)| *key == by);
        for (key, may) in keys {
            let said =
                ask(&engine, &who, &Request::RevokeKey { user: "ann", key, if_exists: false });
            let expected = if may == b'y' { Ok(Vec::new()) } else { Err(Status::Forbidden) };
            assert_eq!(said, expected, "{} by {by} revokes {key}", role.name());
        }
        if all == "y" {
            let (engine, who) = user(role, by);
            assert!(ask(&engine, &who, &alter).is_ok(), "{} by {by}", role.name());
        }
    }
}

#[test]
fn a_key_that_is_made_ends_with_the_one_that_made_it() {
    for role in Role::ALL {
        for (by, wish, ends) in [
            ("main", None, None),
            ("short", None, Some("2023-11-16T00:00:00Z")),
            ("short", Some("2023-11-17T00:00:00Z"), Some("2023-11-16T00:00:00Z")),
            ("short", Some("2023-11-15T00:00:00Z"), Some("2023-11-15T00:00:00Z")),
        ] {
            let (engine, who) = user(role, by);
            let expires = wish.map(|end| format!(r#", "expires": {{"$date": "{end}"}}"#));
            let definition = doc(&format!(r#"{{"name": "made"{}}}"#, expires.unwrap_or_default()));
            let create = Request::CreateKey { user: "ann", definition: &definition };
            let made = proto::json::to_json(Doc::trusted(&ask(&engine, &who, &create).unwrap()));
            let ends = if role == Role::Admin { wish } else { ends };
            match ends {
                Some(end) => assert!(made.contains(&format!(r#""$date":"{end}""#)), "{made}"),
                None => assert!(!made.contains("expires"), "{made}"),
            }
        }
    }
}
