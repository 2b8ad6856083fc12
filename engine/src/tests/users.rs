//! Users: made, changed, dropped, and what that does to sessions that are open.

use proto::{Request, Status};

use super::kit::*;
use crate::audit::Deed;
use crate::{Engine, Principal, Role};

const KEY: &str = "correct-horse-battery";

fn try_user(engine: &Engine, name: &str, definition: &str, if_not_exists: bool) -> Said {
    let definition = doc(definition);
    ask(engine, Request::CreateUser { user: name, if_not_exists, definition: &definition })
}

/// Makes a user with the key [`KEY`].
fn create_user(engine: &Engine, name: &str, role: Role) {
    let definition = format!(r#"{{"role": "{}", "key": "{KEY}"}}"#, role.name());
    let made = Said::Document(format!(r#"{{"name":"{name}","created":true}}"#));
    assert_eq!(try_user(engine, name, &definition, false), made);
}

fn alter_as(engine: &Engine, who: &Principal, user: &str, change: &str) -> Said {
    ask_as(engine, who, Request::AlterUser { user, change: &doc(change) })
}

fn alter(engine: &Engine, user: &str, change: &str) {
    let said = alter_as(engine, &admin(), user, change);
    assert_eq!(said, Said::Document(format!(r#"{{"name":"{user}"}}"#)));
}

fn drop_user(user: &str) -> Request<'_> {
    Request::DropUser { user, if_exists: false }
}

fn users(engine: &Engine) -> Vec<String> {
    match done(engine, Request::ListUsers { after: None }) {
        Said::Rows(rows, None) => rows,
        other => panic!("{other:?}"),
    }
}

/// The key in a reply.
fn key_in(said: &Said) -> String {
    let Said::Document(text) = said else { panic!("{said:?}") };
    let (_, key) = text.split_once(r#""key":""#).unwrap_or_else(|| panic!("{text}"));
    let key = key.trim_end_matches("\"}");
    assert!(key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
    key.to_owned()
}

fn out(said: &Said, words: &str) {
    match said {
        Said::Refused(Status::NotAuthenticated, message) => {
            assert!(message.contains(words), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_user_comes_in_with_the_key_given_or_made() {
    let engine = with_store();
    create_user(&engine, "ann", Role::ReadOnly);
    let who = engine.authenticate("ann", KEY).unwrap();
    assert_eq!((who.name(), who.role()), ("ann", Role::ReadOnly));
    assert!(engine.authenticate("ann", "correct-horse-batter").is_err());

    let said = try_user(&engine, "bob", r#"{"role": "read_write", "key": null}"#, false);
    assert!(engine.authenticate("bob", &key_in(&said)).is_ok());
    let other = try_user(&engine, "cid", r#"{"role": "none"}"#, false);
    assert_ne!(key_in(&said), key_in(&other));
    assert_eq!(
        users(&engine)
            .iter()
            .map(|row| row.split(",\"created").next().unwrap())
            .collect::<Vec<_>>(),
        [
            r#"{"name":"ann","role":"read_only""#,
            r#"{"name":"bob","role":"read_write""#,
            r#"{"name":"cid","role":"none""#,
        ]
    );
    let all = users(&engine).join("");
    assert!(!all.contains("argon2") && !all.contains(KEY) && !all.contains("hash"), "{all}");
}

#[test]
fn made_again_is_refused_or_done_already() {
    let engine = open();
    create_user(&engine, "ann", Role::ReadOnly);
    let same = r#"{"role": "read_only", "key": "another-key-altogether"}"#;
    let there = Said::Document(r#"{"name":"ann","created":false}"#.to_owned());
    let lsn = engine.lsm.last_lsn();
    assert_eq!(try_user(&engine, "ann", same, true), there);
    let made = r#"{"role": "read_only"}"#;
    assert_eq!(try_user(&engine, "ann", made, true), there, "no key is told that is not theirs");
    assert_eq!(engine.lsm.last_lsn(), lsn, "nothing was to be done");
    assert!(engine.authenticate("ann", KEY).is_ok(), "the key that was there is theirs");
    for (definition, flag, words) in [
        (same, false, "say if_not_exists"),
        (r#"{"role": "admin"}"#, true, "give that one another role"),
    ] {
        let Said::Refused(status, message) = try_user(&engine, "ann", definition, flag) else {
            panic!()
        };
        assert_eq!(status, Status::UserExists);
        assert!(
            message.contains(words) && message.contains("whose role is read_only"),
            "{message}"
        );
    }
    refused(&engine, drop_user("bob"), Status::UnknownUser, &["\"bob\"", "list of users"]);
    done(&engine, Request::DropUser { user: "bob", if_exists: true });
    let change = doc(r#"{"role": "none"}"#);
    let alter = Request::AlterUser { user: "bob", change: &change };
    refused(&engine, alter, Status::UnknownUser, &["\"bob\""]);
}

#[test]
fn what_is_no_user_is_refused_and_no_key_is_told() {
    let engine = open();
    let secret = "sesame-secret";
    for (name, definition, status, words) in [
        ("a b", r#"{"role": "none"}"#.to_owned(), Status::BadName, "the name of a user is 1 to 64"),
        ("_a", r#"{"role": "none"}"#.to_owned(), Status::BadName, "kept for the system"),
        (
            "ann",
            "{}".to_owned(),
            Status::BadUser,
            "say one of none, replica, read_only, read_write, admin",
        ),
        (
            "ann",
            r#"{"role": "root"}"#.to_owned(),
            Status::BadUser,
            "there is no role \"root\": say",
        ),
        ("ann", r#"{"role": 1}"#.to_owned(), Status::BadUser, "not \"role\" of type int"),
        (
            "ann",
            format!(r#"{{"role": "none", "keys": "{secret}"}}"#),
            Status::BadUser,
            "not \"keys\"",
        ),
        (
            "ann",
            format!(r#"{{"role": "none", "key": ["{secret}"]}}"#),
            Status::BadUser,
            "of type array",
        ),
        (
            "ann",
            r#"{"role": "none", "key": "sesame-secr"}"#.to_owned(),
            Status::BadUser,
            "too short",
        ),
        (
            "ann",
            format!(r#"{{"role": "none", "key": " {secret}"}}"#),
            Status::BadUser,
            "holds a space",
        ),
        (
            "ann",
            format!(r#"{{"role": "none", "key": "{secret}\n"}}"#),
            Status::BadUser,
            "line break",
        ),
        (
            "ann",
            format!(r#"{{"role": "none", "key": "{}"}}"#, "k".repeat(1025)),
            Status::BadUser,
            "too long",
        ),
    ] {
        let lsn = engine.lsm.last_lsn();
        match try_user(&engine, name, &definition, false) {
            Said::Refused(found, message) => {
                assert_eq!(found, status, "{message}");
                assert!(message.contains(words), "{message}");
                assert!(!message.contains("sesame") && !message.contains("kkk"), "{message}");
            }
            other => panic!("{definition}: {other:?}"),
        }
        assert_eq!(engine.lsm.last_lsn(), lsn);
    }
    for key in ["k".repeat(12), "k".repeat(1024)] {
        let definition = format!(r#"{{"role": "none", "key": "{key}"}}"#);
        let name = format!("u{}", key.len());
        assert!(matches!(try_user(&engine, &name, &definition, false), Said::Document(_)));
        assert!(engine.authenticate(&name, &key).is_ok());
    }
    let nothing = doc("{}");
    let empty = Request::AlterUser { user: "u12", change: &nothing };
    refused(&engine, empty, Status::BadUser, &["the change is empty: say role, grants or key"]);
}

#[test]
fn the_last_admin_stays() {
    let engine = with_store();
    engine.ensure_admin().unwrap();
    let demote = doc(r#"{"role": "read_write"}"#);
    let demote = |user| Request::AlterUser { user, change: &demote };
    let words = &["\"admin\" is the last admin", "make another user an admin first"];
    refused(&engine, drop_user("admin"), Status::LastAdmin, words);
    refused(&engine, demote("admin"), Status::LastAdmin, words);
    // Others do not help that are no admins, nor what leaves it one.
    put_user(&engine, "aaron", Role::ReadWrite);
    put_user(&engine, "zoe", Role::ReadOnly);
    refused(&engine, drop_user("admin"), Status::LastAdmin, words);
    alter(&engine, "admin", r#"{"role": "admin"}"#);
    for other in ["aaron", "zoe"] {
        alter(&engine, other, r#"{"role": "admin"}"#);
        done(&engine, demote("admin"));
        refused(&engine, drop_user(other), Status::LastAdmin, &[other]);
        alter(&engine, "admin", r#"{"role": "admin"}"#);
        done(&engine, demote(other));
    }
    alter(&engine, "zoe", r#"{"role": "admin"}"#);
    done(&engine, drop_user("admin"));
    assert_eq!(engine.ensure_admin(), Ok(None), "there is one: no other admin is made");
}

#[test]
fn a_dropped_user_is_out_at_the_next_request_and_one_made_anew_is_another() {
    let engine = with_store();
    for key in 0..3 {
        insert(&engine, key, "{}");
    }
    create_user(&engine, "ann", Role::ReadOnly);
    let ann = engine.authenticate("ann", KEY).unwrap();
    let stream = Request::Stream { rows: 1, bytes: 0, text: "s", parameters: None };
    let Said::Page(_, cursor) = ask_as(&engine, &ann, stream) else { panic!() };
    assert_eq!(engine.running_queries().len(), 1);
    done(&engine, drop_user("ann"));
    assert_eq!(engine.running_queries(), [], "its cursor went with it");
    out(&ask_as(&engine, &ann, Request::Fetch { cursor }), "user \"ann\" was dropped");
    out(&ask_as(&engine, &ann, Request::Ping), "was dropped");
    assert!(engine.authenticate("ann", KEY).is_err());
    create_user(&engine, "ann", Role::ReadOnly);
    out(&ask_as(&engine, &ann, Request::List), "made anew: connect again");
    let again = engine.authenticate("ann", KEY).unwrap();
    assert!(matches!(ask_as(&engine, &again, Request::List), Said::Rows(..)));
}

#[test]
fn another_role_holds_for_open_sessions_and_their_cursors_go_on() {
    let engine = with_store();
    for key in 0..3 {
        insert(&engine, key, "{}");
    }
    create_user(&engine, "ann", Role::ReadWrite);
    put_user(&engine, "root", Role::Admin);
    let ann = engine.authenticate("ann", KEY).unwrap();
    let stream = Request::Stream { rows: 1, bytes: 0, text: "s", parameters: None };
    let Said::Page(_, cursor) = ask_as(&engine, &ann, stream) else { panic!() };
    let write = "s.insert({})";
    assert!(matches!(ask_as(&engine, &ann, query(write)), Said::Key(_)));
    alter(&engine, "ann", r#"{"role": "read_only"}"#);
    refused_as(&engine, &ann, query(write), Status::Forbidden, &["ann", "read_only"]);
    assert!(matches!(ask_as(&engine, &ann, Request::Fetch { cursor }), Said::Page(..)));
    alter(&engine, "ann", r#"{"role": "admin"}"#);
    assert_eq!(ask_as(&engine, &ann, create("t")), Said::Empty);
    let Said::Rows(all, _) = ask_as(&engine, &ann, Request::RunningQueries) else { panic!() };
    assert_eq!(all.len(), 1, "an admin sees all, their own too: {all:?}");
    alter(&engine, "ann", r#"{"role": "none"}"#);
    refused_as(&engine, &ann, Request::Fetch { cursor }, Status::Forbidden, &["none"]);
    assert_eq!(engine.running_queries(), [], "who may not read has no query that waits");
}

#[test]
fn a_new_key_ends_the_other_sessions_and_everybody_may_give_themselves_one() {
    let engine = open();
    for role in Role::ALL {
        create_user(&engine, role.name(), role);
        let [first, second] = [0, 0].map(|_| engine.authenticate(role.name(), KEY).unwrap());
        let said = alter_as(&engine, &first, role.name(), r#"{"key": "a-key-of-my-own-choice"}"#);
        assert_eq!(said, Said::Document(format!(r#"{{"name":"{}"}}"#, role.name())));
        assert_eq!(ask_as(&engine, &first, Request::Ping), Said::Empty, "who changed it goes on");
        out(&ask_as(&engine, &second, Request::Ping), "was changed or revoked: connect again");
        assert!(engine.authenticate(role.name(), KEY).is_err());
        let third = engine.authenticate(role.name(), "a-key-of-my-own-choice").unwrap();
        let made = alter_as(&engine, &third, role.name(), r#"{"key": null}"#);
        assert!(engine.authenticate(role.name(), &key_in(&made)).is_ok());
        out(&ask_as(&engine, &first, Request::Ping), "was changed");
        alter(&engine, role.name(), r#"{"key": "what-the-admin-gave-it"}"#);
        out(&ask_as(&engine, &third, Request::Ping), "was changed");
    }
}

#[test]
fn of_others_and_of_roles_only_an_admin_decides() {
    let engine = open();
    create_user(&engine, "ann", Role::ReadWrite);
    put_user(&engine, "bob", Role::ReadOnly);
    let ann = engine.authenticate("ann", KEY).unwrap();
    let key = doc(r#"{"key": "another-key-altogether"}"#);
    let both = doc(r#"{"key": "another-key-altogether", "role": "admin"}"#);
    let change = |user, change| Request::AlterUser { user, change };
    for request in [change("bob", &key), change("nobody", &key), change("ann", &both)] {
        refused_as(&engine, &ann, request, Status::Forbidden, &["manage users", "ask an admin"]);
    }
    // Of the same name, and not that user: a service, and one for whom somebody vouches.
    for other in [Principal::service("ann"), Principal::new("ann", Role::ReadWrite)] {
        refused_as(&engine, &other, change("ann", &key), Status::Forbidden, &["ann"]);
    }
    assert!(engine.authenticate("ann", KEY).is_ok());
}

#[test]
fn the_number_of_users_is_bounded() {
    let engine = open();
    for n in 0..4096 {
        put_user(&engine, &format!("u{n}"), Role::None);
    }
    let full = try_user(&engine, "more", r#"{"role": "none", "key": "long-enough"}"#, false);
    assert!(matches!(full, Said::Refused(Status::BadUser, _)), "11 bytes: {full:?}");
    let full = try_user(&engine, "more", r#"{"role": "none", "key": "long-enough."}"#, false);
    let Said::Refused(Status::LimitReached, message) = full else { panic!("{full:?}") };
    assert!(message.contains("4096 users: drop some"), "{message}");
    done(&engine, drop_user("u7"));
    create_user(&engine, "more", Role::None);
}

#[test]
fn nothing_shown_of_a_user_has_its_hash() {
    let engine = open();
    create_user(&engine, "ann", Role::ReadOnly);
    let catalog = engine.catalogs.read();
    assert!(catalog.users["ann"].keys[0].hash.starts_with("$argon2id$"));
    let shown = format!("{catalog:?} {:?}", engine.authenticate("ann", KEY).unwrap());
    assert!(shown.contains("ReadOnly") && !shown.contains("argon2"), "{shown}");
}

#[test]
fn who_was_shut_out_while_a_request_was_on_its_way_changes_nothing() {
    // Given sessions whose requests have passed the door and wait to be carried out,
    let engine = with_backups();
    create_user(&engine, "ann", Role::ReadOnly);
    create_user(&engine, "bob", Role::Admin);
    create_user(&engine, "root", Role::Admin);
    let enter = |name| engine.authenticate(name, KEY).unwrap();
    let (ann, bob) = (enter("ann"), enter("bob"));
    let unseen = Deed::unseen();
    // when one gets another key, and the other another role,
    alter(&engine, "ann", r#"{"key": "another-key-for-ann"}"#);
    alter(&engine, "bob", r#"{"role": "read_only"}"#);
    // then what they asked for is refused,
    let key = doc(r#"{"key": "the-key-of-a-stranger"}"#);
    let refused = engine.alter_user(&unseen, &ann, "ann", &key).unwrap_err();
    assert_eq!(refused.status, Status::NotAuthenticated, "{}", refused.message);
    let user = doc(r#"{"role": "admin"}"#);
    for refused in [
        engine.create_user(&unseen, &bob, "eve", false, &user).unwrap_err(),
        engine.alter_user(&unseen, &bob, "bob", &user).unwrap_err(),
        engine.drop_user(&unseen, &bob, "ann", false).unwrap_err(),
    ] {
        assert_eq!(refused.status, Status::Forbidden, "{}", refused.message);
    }
    // whatever an admin does,
    let (definition, change) = (doc(r#"{"fields": ["a"]}"#), doc(r#"{"ttl": null}"#));
    let next = doc(r#"{"next": 9}"#);
    done(&engine, Request::CreateSequence { sequence: "q", if_not_exists: false });
    let lsn = engine.lsm.last_lsn();
    for refused in [
        engine.create_store(&unseen, &bob, "t", false).unwrap_err(),
        engine.drop_store(&unseen, &bob, "s", false).unwrap_err(),
        engine.create_index(&unseen, &bob, "s", false, &definition).unwrap_err(),
        engine.drop_index(&unseen, &bob, "s", "a", true).unwrap_err(),
        engine.alter_store(&unseen, &bob, "s", &change).unwrap_err(),
        engine.create_sequence(&unseen, &bob, "r", false).unwrap_err(),
        engine.drop_sequence(&unseen, &bob, "q", false).unwrap_err(),
        engine.alter_sequence(&unseen, &bob, "q", &doc(r#"{"rename": "r"}"#)).unwrap_err(),
        engine.alter_sequence(&unseen, &bob, "q", &next).unwrap_err(),
        engine.backup(&unseen, &bob, true, false).unwrap_err(),
        engine.flush_for(&unseen, &bob).unwrap_err(),
    ] {
        assert_eq!(refused.status, Status::Forbidden, "{}", refused.message);
    }
    assert_eq!(engine.lsm.last_lsn(), lsn);
    // and a user made anew is not the one that was dropped.
    done(&engine, drop_user("ann"));
    create_user(&engine, "ann", Role::ReadOnly);
    let refused = engine.alter_user(&unseen, &ann, "ann", &key).unwrap_err();
    assert_eq!(refused.status, Status::NotAuthenticated, "{}", refused.message);
    assert_eq!(users(&engine).len(), 3, "{:?}", users(&engine));
}
