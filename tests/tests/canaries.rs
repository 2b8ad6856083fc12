//! No secret is ever in a log: secrets are planted into a running `planck` that logs all
//! it can, requests are made and fail in every way at hand, and then they are looked for in
//! all that it wrote or said to others.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use planck_client::{ConnectOptions, Connection, Security};
use proto::doc::DocBuf;
use proto::{Key, Request};
use std::fs;
use std::path::Path;
use tests::{Planck, service_dir};

const HEADER: &str = "canary-authorization-7d1f";
const COOKIE: &str = "canary-cookie-93ab";
const QUERY: &str = "canary-query-string-0c4e";
const BODY: &str = "canary-body-b58d";
const FIELD: &str = "canary-field-of-a-document-e2f6";
const PARAMETER: &str = "canary-parameter-41c9";
const WRONG_KEY: &str = "canary-wrong-key-a70b";

/// Answers 200 with "ok"; traps on `/trap`, spins on `/spin`, answers nonsense on `/bad`.
const GUEST: &str = r#"
(module
  (memory (export "memory") 1)
  (data (i32.const 0) "\01\c8\00\00\00ok")
  (func (export "planck_abi") (result i32) (i32.const 1))
  (func (export "alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "process") (param $ptr i32) (param $len i32) (result i64)
    (local $what i32)
    (local.set $what (i32.load8_u (i32.add (local.get $ptr) (i32.const 12))))
    (if (i32.eq (local.get $what) (i32.const 115)) (then (loop $again (br $again))))
    (if (i32.eq (local.get $what) (i32.const 116)) (then unreachable))
    (if (i32.eq (local.get $what) (i32.const 98))
      (then (return (i64.const 0x0000040000000003))))
    (i64.const 7)))
"#;

fn pin(dir: &Path) -> Security {
    let identity = net::tls::Identity::load(&dir.join("tls/cert.pem"), &dir.join("tls/key.pem"));
    Security::Pinned(identity.unwrap().fingerprint)
}

/// What requests of the wire are told that others may see: replies of refused log-ins.
async fn on_the_wire(planck: &Planck, key: &str) -> Vec<String> {
    let (address, pinned) = (planck.wire.to_string(), pin(&planck.dir));
    let mut said = Vec::new();
    for (user, wrong) in [("admin", WRONG_KEY), (WRONG_KEY, key), ("ann", WRONG_KEY)] {
        let options = ConnectOptions::default();
        let refused = Connection::connect(&address, pinned, user, wrong, options).await;
        said.push(refused.err().unwrap().to_string());
    }
    let options = ConnectOptions::default();
    let mut client = Connection::connect(&address, pinned, "admin", key, options).await.unwrap();
    let mut doc = DocBuf::new();
    doc.push("secret", FIELD);
    let document = doc.finish().unwrap();
    let mut parameters = DocBuf::new();
    parameters.push("0", PARAMETER);
    let parameters = parameters.finish().unwrap();
    for request in [
        Request::Insert { store: "s", key: Some(Key(7)), document: &document },
        Request::Insert { store: "s", key: Some(Key(7)), document: &document },
        Request::Insert { store: "nowhere", key: None, document: &document },
        Request::Insert { store: "s", key: None, document: &document[..document.len() - 1] },
        Request::Query { text: "s.filter(secret = $1)", parameters: Some(&parameters) },
        Request::Query { text: "s.filter(secret ~ $1", parameters: Some(&parameters) },
    ] {
        client.call(&request).await.unwrap();
    }
    said
}

fn over_http(planck: &Planck) -> Vec<String> {
    let headers = format!("authorization: Bearer {HEADER}\r\ncookie: session={COOKIE}\r\n");
    let mut said = Vec::new();
    for target in ["/ok", "/trap", "/spin", "/bad"] {
        for method in ["GET", "POST", "BREW"] {
            let target = format!("{target}?token={QUERY}");
            said.push(planck.request_with(method, &target, &headers, BODY).1);
        }
    }
    let long = format!("{headers}x-long: {}\r\n", "x".repeat(20_000));
    said.push(planck.request_with("GET", "/", &long, BODY).1);
    let large = BODY.repeat(100_000);
    said.push(planck.request_with("POST", "/", &headers, &large).1);
    said
}

fn everything_in(dir: &Path, out: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        out.push((path.display().to_string(), text));
    }
}

fn no_secret_is_told(format: &str) {
    // Given a service that logs all it can,
    let yaml = "name: t\ntls: {enabled: false}\nhttp: {port: 0, max_body_size: 1MiB}\n\
                wasm: {runtime: wasmi, min_instances: 1, max_instances: 1, deadline_in_ms: 100}\n";
    let db = format!(
        "port: 0\nadmin: {{enabled: true, port: 0}}\nlimits: {{slow_query_ms: 1}}\n\
         logging: {{level: trace, path: log/planck.log, format: {format}}}\n"
    );
    let dir = service_dir(&db, Some(yaml));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    fs::write(dir.path().join("wasm/planck.t.wasm"), wat::parse_str(GUEST).unwrap()).unwrap();
    let planck = Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"));
    let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap().trim().to_owned();
    let key = read("admin.key");
    planck.planctl_ok(&["create", "store", "s"]);
    let saved = dir.path().join("ann.key").display().to_string();
    planck.planctl_ok(&["user", "create", "ann", "--role", "read_only", "--save-key", &saved]);

    // when it is asked in every way at hand, and fails,
    let mut told: Vec<(String, String)> = Vec::new();
    net::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let stats = planck.planctl_ok(&["stats", "--json"]);
    let said = runtime.block_on(on_the_wire(&planck, &key));
    told.extend(said.into_iter().map(|said| ("a refused log-in".to_owned(), said)));
    told.extend(over_http(&planck).into_iter().map(|said| ("an answer".to_owned(), said)));
    told.push(("stats".to_owned(), stats));
    for target in ["/metrics", "/readyz"] {
        told.push((target.to_owned(), planck.look(target).1));
    }
    planck.hang_up();
    let (code, lines) = planck.stop();
    assert_eq!(code, Some(0));
    told.push(("standard output and error".to_owned(), lines.join("\n")));
    everything_in(&dir.path().join("log"), &mut told);
    everything_in(&dir.path().join("data/audit"), &mut told);

    // then none of it tells a secret,
    let pem = read("tls/key.pem");
    let private = pem.lines().find(|line| line.len() > 40).unwrap().to_owned();
    let mut secrets = vec![key.clone(), read("ann.key"), private, WRONG_KEY.to_owned()];
    // The first digits of a key are its name; the rest is the secret.
    secrets.extend([key[20..].to_owned(), read("ann.key")[20..].to_owned()]);
    secrets.extend([HEADER, COOKIE, QUERY, BODY, FIELD, PARAMETER].map(str::to_owned));
    for (place, text) in &told {
        for secret in &secrets {
            // As a user's name that nobody has, a key pasted into the wrong field is
            // answered to who sent it; it may be nowhere else.
            assert!(!text.contains(secret.as_str()), "{place} tells {secret}:\n{text}");
        }
    }
    // and the log was one that could have.
    let log = &told.iter().find(|(place, _)| place.ends_with("planck.log")).unwrap().1;
    for part in ["the guest failed", "/trap", "an attempt to authenticate failed", "DEBUG"] {
        assert!(log.contains(part), "{part} is not in the log:\n{log}");
    }
    let audit = told.iter().any(|(place, text)| place.contains("audit") && text.contains("LogIn"));
    assert!(audit, "the audit log tells of log-ins");
}

#[test]
fn no_secret_is_told_by_a_log_for_people() {
    no_secret_is_told("text");
}

#[test]
fn no_secret_is_told_by_a_log_for_programs() {
    no_secret_is_told("json");
}
