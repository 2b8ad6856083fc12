//! Users, sequences, schemas and formatting, through the binary and a wire, from the
//! real engine.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::real::Real;
use common::{Ran, planctl};
use engine::Limits;
use std::os::unix::fs::PermissionsExt;

fn start() -> Real {
    Real::start(Limits::default())
}

/// Runs `planctl ARGS` as another user than the admin.
fn run_as(real: &Real, user: &str, key_file: &str, args: &[&str]) -> Ran {
    let dir = real.dir.path().to_str().unwrap();
    planctl(&[args, &["--dir", dir, "--user", user, "--key-file", key_file]].concat(), b"")
}

#[test]
fn users_are_made_changed_listed_and_dropped() {
    let real = start();
    let file = |name: &str| real.path(name).to_str().unwrap().to_owned();
    let (key, chosen) = (file("ann.key"), file("bob.key"));
    let create = ["user", "create", "ann", "--role", "read_only", "--save-key", &key];
    let ran = real.run(&create);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", "user ann is created\n"));
    let made = std::fs::read_to_string(&key).unwrap();
    assert_eq!(made.trim().len(), 64);
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    run_as(&real, "ann", &key, &["list"]).ok();
    run_as(&real, "ann", &key, &["create", "store", "s"]).fails(4, "PLK-1503");
    run_as(&real, "ann", &key, &["user", "list"]).fails(4, "may manage users");

    // A file that is there is not overwritten, and no key is lost for it.
    real.run(&create).fails(5, "cannot make");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), made);
    // Again, by a script: nothing to be done. Gone meanwhile: with the key of the file.
    let again = [&create[..], &["--if-not-exists"]].concat();
    assert!(real.run(&again).err.contains("there already, with its key"));
    real.run(&["user", "drop", "ann"]).ok();
    run_as(&real, "ann", &key, &["ping"]).fails(4, "PLK-1502");
    real.run(&again).ok();
    run_as(&real, "ann", &key, &["ping"]).ok();
    // Refused: no file is left.
    let left = file("left.key");
    real.run(&["user", "create", "ann", "--role", "none", "--save-key", &left])
        .fails(5, "PLK-1211");
    assert!(!real.path("left.key").exists());
    // There already, and whoever wanted the key has none.
    let mut role = ["user", "create", "ann", "--role", "read_only", "--if-not-exists"].to_vec();
    real.run(&role).ok();
    role.extend(["--save-key", &left]);
    real.run(&role).fails(1, "user alter ann --new-key --save-key");
    assert!(!real.path("left.key").exists());

    std::fs::write(&chosen, "chosen-by-bob\n").unwrap();
    real.run(&["user", "create", "bob", "--role", "read_write", "--use-key", &chosen]).ok();
    run_as(&real, "bob", &chosen, &["ping"]).ok();
    assert_eq!(
        real.run(&["user", "alter", "bob", "--role", "admin", "--json"]).ok(),
        "{\"user\":\"bob\",\"done\":\"changed\"}\n"
    );
    run_as(&real, "bob", &chosen, &["create", "store", "s"]).ok();
    real.run(&["user", "drop", "bob"]).fails(5, "PLK-1213: \"bob\" is the last admin");

    let rows = real.run(&["user", "list", "--json"]).ok();
    assert!(rows.starts_with("{\"name\":\"ann\",\"role\":\"read_only\",\"created_at\":"), "{rows}");
    assert!(rows.contains("\n{\"name\":\"bob\",\"role\":\"admin\""), "{rows}");
    assert!(!rows.contains("argon2"));

    real.run(&["user", "drop", "nobody"]).fails(3, "PLK-1210");
    real.run(&["user", "drop", "nobody", "--if-exists"]).ok();
    real.run(&["user", "create", "cid"]).fails(2, "--role");
    real.run(&["user", "create", "cid", "--role", "root"]).fails(2, "read_write");
    real.run(&["user", "alter", "ann"]).fails(2, "--role");
    let missing = file("missing.key");
    real.run(&["user", "alter", "ann", "--role", "none", "--save-key", &missing])
        .fails(2, "say --new-key");
}

#[test]
fn a_key_that_is_made_is_told_once_and_everybody_can_change_their_own() {
    let real = start();
    let file = |name: &str, text: &str| {
        std::fs::write(real.path(name), text).unwrap();
        real.path(name).to_str().unwrap().to_owned()
    };
    let ran = real.run(&["user", "create", "ann", "--role", "none"]);
    assert_eq!(ran.err, "user ann is created; this is the key, told only now:\n");
    let key = file("ann.key", &ran.ok());
    run_as(&real, "ann", &key, &["ping"]).ok();
    let said = run_as(&real, "ann", &key, &["user", "alter", "ann", "--new-key", "--json"]).ok();
    let made = said.strip_prefix("{\"user\":\"ann\",\"done\":\"changed\",\"key\":\"").unwrap();
    let second = file("second.key", &made[..64]);
    run_as(&real, "ann", &key, &["ping"]).fails(4, "PLK-1502");
    let third = file("third.key", "chosen-by-ann");
    run_as(&real, "ann", &second, &["user", "alter", "ann", "--use-key", &third]).ok();
    run_as(&real, "ann", &third, &["ping"]).ok();
    let short = file("short.key", "too-short");
    let ran = run_as(&real, "ann", &third, &["user", "alter", "ann", "--use-key", &short]);
    assert!(!ran.err.contains("too-short"), "{}", ran.err);
    ran.fails(7, "PLK-1212: the key is too short: choose 12 to 1024 bytes");
}

#[test]
fn grants_are_given_and_taken_away_for_single_stores() {
    let real = start();
    let key = real.path("ann.key").to_str().unwrap().to_owned();
    for store in ["orders", "salaries"] {
        real.run(&["create", "store", store]).ok();
    }
    let grants = ["--grant", "salaries=none", "--grant", "orders=read_write"];
    let create = ["user", "create", "ann", "--role", "read_only", "--save-key", &key];
    real.run(&[&create[..], &grants].concat()).ok();
    let ask = |text: &str| run_as(&real, "ann", &key, &["query", text]);
    ask("orders.insert({a: 1})").ok();
    ask("salaries.count()").fails(4, "PLK-1503");
    let rows = real.run(&["user", "list", "--json"]).ok();
    let told = r#""grants":{"orders":"read_write","salaries":"none"},"keys":[{"name":"main","#;
    assert!(rows.contains(told), "{rows}");
    let listed = run_as(&real, "ann", &key, &["list", "--json"]).ok();
    assert!(listed.contains("orders") && !listed.contains("salaries"), "{listed}");
    real.run(&["user", "alter", "ann", "--revoke", "salaries", "--grant", "orders=none"]).ok();
    ask("salaries.count()").ok();
    ask("orders.count()").fails(4, "PLK-1503");
    for (grant, words) in [("orders", "STORE=ROLE"), ("orders=admin", "cannot be granted")] {
        real.run(&["user", "alter", "ann", "--grant", grant]).fails(2, words);
    }
    real.run(&["user", "alter", "ann", "--grant", "nothing=none"]).fails(3, "PLK-1202");
}

#[test]
fn a_key_is_changed_for_another_without_a_break() {
    let real = start();
    let file = |name: &str| real.path(name).to_str().unwrap().to_owned();
    let (main, ci, short) = (file("main.key"), file("ci.key"), file("short.key"));
    real.run(&["user", "create", "ann", "--role", "read_only", "--save-key", &main]).ok();
    let ran = real.run(&["user", "key", "create", "ann", "ci", "--save-key", &ci]);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", "user ann is given one more key\n"));
    // Made by herself, for a while; told on standard output.
    let create = ["user", "key", "create", "ann", "short", "--days", "90"];
    let ran = run_as(&real, "ann", &ci, &create);
    assert_eq!(ran.err, "user ann is given one more key; this is the key, told only now:\n");
    std::fs::write(&short, ran.ok()).unwrap();
    for key in [&main, &ci, &short] {
        run_as(&real, "ann", key, &["ping"]).ok();
    }
    run_as(&real, "ann", &ci, &["user", "key", "revoke", "ann", "main"]).ok();
    run_as(&real, "ann", &main, &["ping"]).fails(4, "PLK-1502");
    run_as(&real, "ann", &ci, &["ping"]).ok();
    let rows = real.run(&["user", "list", "--json"]).ok();
    assert!(rows.contains("\"name\":\"short\"") && rows.contains("\"expires\":"), "{rows}");
    real.run(&create).fails(5, "PLK-1215");
    real.run(&["user", "key", "revoke", "ann", "main"]).fails(3, "PLK-1214");
    real.run(&["user", "key", "revoke", "ann", "main", "--if-exists"]).ok();
    let past = ["user", "key", "create", "ann", "old", "--expires", "2020-01-01T00:00:00Z"];
    real.run(&past).fails(7, "expired already");
    real.run(&["user", "key", "create", "ann", "x", "--expires", "soon"]).fails(2, "is no moment");
    run_as(&real, "ann", &ci, &["user", "key", "create", "bob", "x"]).fails(4, "PLK-1503");
}

#[test]
fn sequences_are_made_changed_listed_dropped_and_counted() {
    let real = start();
    real.run(&["sequence", "create", "n"]).ok();
    real.run(&["sequence", "create", "n"]).fails(5, "PLK-1208");
    real.run(&["sequence", "create", "n", "--if-not-exists"]).ok();
    assert_eq!(real.run(&["sequence", "next", "n"]).ok(), "1\n");
    assert_eq!(real.run(&["sequence", "next", "n", "--count", "10"]).ok(), "2\n");
    assert_eq!(real.run(&["sequence", "next", "n", "--json"]).ok(), "{\"first\":12,\"count\":1}\n");
    let ran = real.run(&["sequence", "alter", "n", "--next", "100"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, "sequence n is to go on from 100\n"));
    real.run(&["sequence", "alter", "n", "--next", "99"]).fails(7, "PLK-1209: the next number");
    real.run(&["sequence", "alter", "n"]).fails(2, "--next");
    real.run(&["sequence", "alter", "n", "--next", "1", "--rename", "m"]).fails(2, "--rename");
    real.run(&["sequence", "alter", "n", "--rename", "m"]).ok();
    let rows = real.run(&["sequence", "list", "--json"]).ok();
    assert!(rows.starts_with("{\"name\":\"m\",") && rows.ends_with(",\"next\":100}\n"), "{rows}");
    real.run(&["sequence", "drop", "n"]).fails(3, "PLK-1207");
    real.run(&["sequence", "drop", "n", "--if-exists"]).ok();
    assert_eq!(
        real.run(&["sequence", "drop", "m", "--json"]).ok(),
        "{\"sequence\":\"m\",\"done\":\"removed\"}\n"
    );
    assert_eq!(real.run(&["sequence", "list"]).ok(), "");
}

#[test]
fn a_store_is_shown_whole_and_its_schema_comes_back_as_it_was_set() {
    let real = start();
    real.fill("s", ["{\"a\":1}".to_owned()].into_iter());
    real.run(&["store", "schema", "s", "--print"]).fails(3, "has no schema");
    let schema = "{\n  \"required\": [\"a\"]\n}";
    let file = real.path("s.json");
    std::fs::write(&file, schema).unwrap();
    let file = file.to_str().unwrap();
    real.run(&["store", "schema", "s", file]).ok();
    assert_eq!(real.run(&["store", "schema", "s", "--print"]).ok(), format!("{schema}\n"));
    real.run(&["store", "ttl", "s", "at", "60"]).ok();
    real.run(&["index", "create", "s", "a"]).ok();
    let shown = real.run(&["store", "show", "s"]).ok();
    let mut lines = shown.lines();
    assert_eq!(lines.next(), Some("name        s"));
    assert!(lines.next().unwrap().starts_with("created_at  20"));
    assert_eq!(lines.next(), Some("documents   1"));
    assert_eq!(lines.next(), Some("expire      60 seconds after at"));
    assert!(shown.contains("│ _ttl ┆ ") && shown.contains("│ a    ┆ "), "{shown}");
    assert!(shown.ends_with(&format!("schema\n{schema}\n")), "{shown}");
    let json = real.run(&["store", "show", "s", "--json"]).ok();
    assert!(json.contains("\"schema\":\"{\\n  \\\"required\\\": [\\\"a\\\"]\\n}\""), "{json}");
    real.run(&["store", "show", "t"]).fails(3, "PLK-1202");
    real.run(&["store", "schema", "s", "--print", "--none"]).fails(2, "--none");
}

#[test]
fn a_query_is_formatted_and_not_run() {
    let real = start();
    let text = "s . filter( a==1   and (b >2) ) .orderBy(a , desc)";
    let canonical = "s.filter(a = 1 and b > 2).orderBy(a desc)\n";
    assert_eq!(real.run(&["format", text]).ok(), canonical);
    assert_eq!(real.run(&["format", canonical]).ok(), canonical);
    let dir = real.dir.path().to_str().unwrap();
    assert_eq!(planctl(&["format", "-", "--dir", dir], text.as_bytes()).ok(), canonical);
    assert_eq!(
        real.run(&["format", "s.all().delete()", "--json"]).ok(),
        "{\"text\":\"s.all().delete()\"}\n"
    );
    real.run(&["format", "s.fliter(a = 1)"]).fails(7, "did you mean `filter`?");
    let long = format!("s.filter(a in [{}])", vec!["1"; 25_000].join(","));
    let ran = planctl(&["format", "-", "--dir", dir], long.as_bytes());
    ran.fails(7, "written in full the query has 75015 bytes, 65536 are allowed");
}

#[test]
fn what_was_meant_is_said_when_an_option_is_mistaken() {
    let real = start();
    real.fill("flights", ["{\"a\":1}".to_owned()].into_iter());
    real.run(&["index", "create", "flights", "a:down"])
        .fails(2, "behind the colon stands asc or desc, not down");
    real.run(&["store", "ttl", "flights", "a", "-5"]).fails(7, "seconds is -5, it must be 0 to");
    real.run(&["query", "flight.count()"])
        .fails(3, "no store named \"flight\"; did you mean `flights`? If not, create it first");
    let schema = real.path("s.json");
    let schema = schema.to_str().unwrap();
    std::fs::write(schema, " \n").unwrap();
    real.run(&["store", "schema", "flights", schema]).fails(7, "it is empty: give one such as");
    std::fs::write(schema, "{\"type\": \"objekt\"}").unwrap();
    real.run(&["store", "schema", "flights", schema]).fails(7, "mend it there and set it again");
    let explained = real.run(&["query", "flights.filter(a = 1).explain()"]).ok();
    let mut lines = explained.lines();
    assert!(lines.next().unwrap().starts_with("flights: 1 row in "), "{explained}");
    assert_eq!(lines.next(), Some("1. scan      all documents of flights"));
    assert_eq!(lines.next(), Some("2. filter    a = 1"));
    let json = real.run(&["query", "flights.explain()", "--json"]).ok();
    assert!(json.starts_with("{\"store\":\"flights\",\"plan\":[{\"step\":\"scan\""), "{json}");
}
