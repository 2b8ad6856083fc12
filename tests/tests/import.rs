//! Data into a real `planck` and out of it: an import that is killed on either side
//! goes on to the same store.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::{Planck, program, service_dir};

const ROWS: u32 = 40_000;

fn start(dir: &Path) -> Planck {
    Planck::start(dir).unwrap_or_else(|said| panic!("{said}"))
}

fn spawn(dir: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(program("planctl"));
    command.args(arguments).arg("--dir").arg(dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the record of an import is another than `before`.
fn moved(state: &Path, before: &str, child: &mut Child) -> String {
    loop {
        let now = fs::read_to_string(state).unwrap_or_default();
        if now.contains("- file:") && now != before {
            return now;
        }
        if let Some(status) = child.try_wait().unwrap() {
            let mut told = String::new();
            child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
            panic!("the import ended before it was killed, with {status}: {told}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn an_import_killed_on_either_side_goes_on_to_the_same_store() {
    let dir = service_dir("port: 0\n", None);
    let mut planck = start(dir.path());
    let input = dir.path().join("rows.csv");
    let rows: String =
        (0..ROWS).map(|n| format!("{n},{},row {n}\n", u64::from(n) * 7919 % 1000)).collect();
    fs::write(&input, format!("id,x,text\n{rows}")).unwrap();
    let file = input.to_str().unwrap();
    let keyed = ["import", "whole", file, "--create", "--key", "id:u32"];
    planck.planctl_ok(&keyed);

    for (store, key) in [("s", &["--key", "id:u32"][..]), ("t", &[])] {
        let whole = [&["import", store, file, "--create", "--resume"][..], key].concat();
        // Those to be killed go slowly: a request for every few rows.
        let arguments = [&whole[..], &["--batch-size", "4"]].concat();
        let state = dir.path().join("rows.csv.planck-import");
        let mut import = spawn(dir.path(), &arguments);
        let at = moved(&state, "", &mut import);
        import.kill().unwrap();
        import.wait().unwrap();
        // planck is killed under the next one, which ends by itself.
        planck = killed_under(planck, &arguments, &state, &at);
        planck.planctl_ok(&whole);
        assert!(!state.exists());
    }

    let stored = |store: &str| planck.planctl_ok(&["export", store]);
    assert_eq!(stored("s"), stored("whole"));
    // Without keys of their own rows have keys in the order of the file: each once.
    let without_key = |text: &str| -> Vec<String> {
        text.lines().map(|row| row.split_once(',').unwrap().1.to_owned()).collect()
    };
    assert_eq!(without_key(&stored("t")), without_key(&stored("whole")));

    // And out again, in pages, chosen by a condition.
    let text = planck.planctl_ok(&["export", "s", "--filter", "x < 10", "--fields", "x,id"]);
    let expected = (0..ROWS).filter(|n| u64::from(*n) * 7919 % 1000 < 10).count();
    assert_eq!(text.lines().count(), expected);
    let bson = dir.path().join("out.bson");
    planck.planctl_ok(&["export", "s", bson.to_str().unwrap()]);
    planck.planctl_ok(&["import", "u", bson.to_str().unwrap(), "--create"]);
    assert_eq!(stored("u"), stored("whole"));
}

#[test]
fn the_indexes_of_a_dump_are_built() {
    let dir = service_dir("port: 0\n", None);
    let planck = start(dir.path());
    // So many that the index is worth more than a scan.
    let mut dump = Vec::new();
    for id in 0..40 {
        let mut doc = proto::doc::DocBuf::new();
        doc.push("_id", id).push("email", format!("{id}@x").as_str());
        dump.extend(doc.finish().unwrap());
    }
    fs::write(dir.path().join("users.bson"), dump).unwrap();
    let metadata = r#"{"indexes":[{"v":2,"key":{"_id":1},"name":"_id_"},
        {"v":2,"key":{"email":1,"at":-1},"name":"email_1_at_-1","unique":true}]}"#;
    fs::write(dir.path().join("users.metadata.json"), metadata).unwrap();
    let file = dir.path().join("users.bson");
    let file = file.to_str().unwrap();
    let out = planck.planctl(&["import", "users", file, "--create", "--id", "key", "--indexes"]);
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && told.contains("email_1_at_-1"), "{told}");
    let listed = loop {
        let listed = planck.planctl_ok(&["index", "list", "users", "--json"]);
        if !listed.contains(r#""state":"building""#) {
            break listed;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(listed.lines().count(), 1, "{listed}");
    for said in [r#""fields":["email","-at"]"#, r#""unique":true"#, r#""state":"ready""#] {
        assert!(listed.contains(said), "{said} of {listed}");
    }
    let query = r#"users.filter(email = "7@x").pluck(email)"#;
    let found = planck.planctl_ok(&["query", query, "--json"]);
    assert_eq!(found, r#"{"email":"7@x"}"#);
    let explained = planck.planctl_ok(&["query", &format!("{query}.explain()"), "--json"]);
    assert!(explained.contains(r#"{"step":"index","store":"users""#), "{explained}");
}

/// Kills a planck in the middle of an import, and starts it again.
fn killed_under(planck: Planck, arguments: &[&str], state: &Path, before: &str) -> Planck {
    let dir = planck.dir.clone();
    let mut import = spawn(&dir, arguments);
    moved(state, before, &mut import);
    planck.kill();
    let status = import.wait().unwrap();
    assert_ne!(status.code(), Some(0), "an import without a server has not succeeded");
    start(&dir)
}
