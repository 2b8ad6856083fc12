//! `planck` as a process: its first start, its refusals, its end, and what a
//! kill -9 in the middle of a load leaves.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use planck_client::{ConnectOptions, Connection, Error, Security};
use proto::doc::{Doc, DocBuf, Value};
use proto::{Key, Reply, Request, Status};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::{Planck, service_dir};

const ANY_PORT: &str = "port: 0\n";

fn start(dir: &Path) -> Planck {
    Planck::start(dir).unwrap_or_else(|said| panic!("{said}"))
}

fn key_of(dir: &Path) -> String {
    fs::read_to_string(dir.join("admin.key")).unwrap().trim().to_owned()
}

fn pin(dir: &Path) -> Security {
    let identity = net::tls::Identity::load(&dir.join("tls/cert.pem"), &dir.join("tls/key.pem"));
    Security::Pinned(identity.unwrap().fingerprint)
}

async fn connect(planck: &Planck, user: &str, key: &str) -> Result<Connection, Error> {
    let address = planck.wire.to_string();
    Connection::connect(&address, pin(&planck.dir), user, key, ConnectOptions::default()).await
}

async fn admin(planck: &Planck) -> Connection {
    connect(planck, "admin", &key_of(&planck.dir)).await.unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    net::tls::install_provider();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

fn document(n: u64) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("n", n as i64).push("text", "x".repeat(200).as_str());
    doc.finish().unwrap()
}

#[test]
fn a_first_start_makes_one_key_and_one_certificate() {
    let dir = service_dir(ANY_PORT, None);
    let planck = start(dir.path());
    let mode =
        |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("admin.key"), mode("tls/key.pem")), (0o600, 0o600));
    assert!(planck.http.is_none(), "without service.yaml there is no HTTP listener");
    let (key, certificate) =
        (key_of(dir.path()), fs::read(dir.path().join("tls/cert.pem")).unwrap());
    assert_eq!(key.len(), 64);
    runtime().block_on(async {
        for (user, wrong) in [("admin", "admin"), ("admin", ""), ("root", &key)] {
            let refused = connect(&planck, user, wrong).await.unwrap_err();
            assert!(refused.to_string().contains("wrong"), "{user}: {refused}");
        }
        let mut client = admin(&planck).await;
        let reply = client.call(&Request::Ping).await.unwrap();
        assert_eq!(Reply::decode(&reply).unwrap().1, Reply::Empty);
    });
    assert_eq!(planck.stop().0, Some(0));
    let again = start(dir.path());
    assert_eq!(key_of(dir.path()), key);
    assert_eq!(fs::read(dir.path().join("tls/cert.pem")).unwrap(), certificate);
    drop(again);
}

#[test]
fn a_start_that_cannot_be_says_why_and_what_to_do() {
    let refused = |db: &str, service: Option<&str>| {
        let dir = service_dir(db, service);
        let said = Planck::start(dir.path()).err().expect("it must not start");
        said.replace(&dir.path().display().to_string(), "DIR")
    };
    let said = refused("port: 0\nprot: 1\n", None);
    assert!(
        said.contains("78") && said.contains("DIR/db.yaml: line 2") && said.contains("`prot`"),
        "{said}"
    );
    let said = refused(ANY_PORT, Some("name: a\nhttp: {port: 0}\n"));
    assert!(
        said.contains("78")
            && said.contains("wasm/planck.a.wasm")
            && said.contains("wasm.enabled: false"),
        "{said}"
    );

    let dir = service_dir(ANY_PORT, Some("wasm: {module: m.wasm}\nhttp: {port: 0}\n"));
    fs::write(dir.path().join("m.wasm"), b"\0asm").unwrap();
    let said = Planck::start(dir.path()).err().expect("it must not start");
    assert!(said.contains("78") && said.contains("m.wasm"), "{said}");

    let dir = service_dir(ANY_PORT, None);
    let first = start(dir.path());
    let said = Planck::start(dir.path()).err().expect("the directory is in use");
    assert!(said.contains("73") && said.contains("in use by another planck"), "{said}");
    assert!(first.planctl(&["ping"]).status.success(), "the first goes on");

    let taken = format!("port: {}\n", first.wire.port());
    let said = refused(&taken, None);
    assert!(said.contains("another program listens there"), "{said}");
}

#[test]
fn a_stop_answers_what_is_in_flight_and_keeps_what_was_written() {
    let dir = service_dir(ANY_PORT, None);
    let planck = start(dir.path());
    planck.planctl_ok(&["create", "store", "s"]);
    runtime().block_on(async {
        let mut client = admin(&planck).await;
        let document = document(7);
        let insert = Request::Insert { store: "s", key: Some(Key(7)), document: &document };
        client.call(&insert).await.unwrap();
    });
    assert!(dir.path().join("run/wire.addr").exists());
    let (code, _) = planck.stop();
    assert_eq!(code, Some(0));
    assert!(!dir.path().join("run/wire.addr").exists());
    let planck = start(dir.path());
    assert_eq!(planck.planctl_ok(&["query", "s.filter(n = 7).count()"]), "1");
}

/// Writes on four sessions until enough is acknowledged, kills, restarts, compares.
fn killed_under_load(db_yaml: &str, cycles: u64) {
    let dir = service_dir(db_yaml, None);
    let runtime = runtime();
    let next = Arc::new(AtomicU64::new(0));
    let acknowledged = Arc::new(Mutex::new(Vec::<u64>::new()));
    for cycle in 0..cycles {
        let planck = start(dir.path());
        if cycle == 0 {
            planck.planctl_ok(&["create", "store", "s"]);
        }
        let enough = acknowledged.lock().unwrap().len() + 400 * (1 + cycle as usize % 3);
        runtime.block_on(async {
            let mut writers = Vec::new();
            for _ in 0..4 {
                let mut client = admin(&planck).await;
                let (next, acknowledged) = (Arc::clone(&next), Arc::clone(&acknowledged));
                writers.push(tokio::spawn(async move {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        let document = document(n);
                        let key = Some(Key(u128::from(n)));
                        let insert = Request::Insert { store: "s", key, document: &document };
                        let Ok(reply) = client.call(&insert).await else { return };
                        assert!(matches!(Reply::decode(&reply).unwrap().1, Reply::Key(_)));
                        acknowledged.lock().unwrap().push(n);
                    }
                }));
            }
            while acknowledged.lock().unwrap().len() < enough {
                tokio::task::yield_now().await;
            }
            planck.kill();
            for writer in writers {
                writer.await.unwrap();
            }
        });
    }
    let planck = start(dir.path());
    runtime.block_on(async {
        let mut client = admin(&planck).await;
        let acknowledged = acknowledged.lock().unwrap().clone();
        assert!(acknowledged.len() as u64 >= 400 * cycles);
        for n in &acknowledged {
            let read = Request::Read { store: "s", key: Key(u128::from(*n)) };
            let reply = client.call(&read).await.unwrap();
            let Reply::Rows(rows) = Reply::decode(&reply).unwrap().1 else {
                panic!("document {n} was acknowledged and is gone");
            };
            let (_, bytes) = rows.iter().next().unwrap();
            assert_eq!(Doc::parse(bytes).unwrap().get("n"), Some(Value::Int64(*n as i64)));
        }
        let reply =
            client.call(&Request::Query { text: "s.count()", parameters: None }).await.unwrap();
        let Reply::Count(there) = Reply::decode(&reply).unwrap().1 else { panic!("a count") };
        let (known, asked) = (acknowledged.len() as u64, next.load(Ordering::Relaxed));
        eprintln!("{cycles} kills: {asked} asked, {known} acknowledged, {there} there");
        assert!(
            (known..=asked).contains(&there),
            "{known} acknowledged, {there} there, {asked} asked"
        );
    });
}

#[test]
fn kill_9_loses_nothing_acknowledged_in_async_mode() {
    killed_under_load("port: 0\nbuffers: {memtable: 256KiB}\nfile_sizes: {wal: 64KiB}\n", 6);
}

#[test]
fn kill_9_loses_nothing_acknowledged_in_sync_mode() {
    killed_under_load(
        "port: 0\nbuffers: {memtable: 256KiB}\ndurability: {flush_interval_in_ms: 0}\n",
        4,
    );
}

#[test]
fn a_long_result_is_read_to_its_end_and_its_cursor_goes_with_its_session() {
    let yaml = "port: 0\nlimits: {max_message_size: 64KiB, max_document_size: 20KiB, \
                max_batch_size: 1000, slow_query_ms: 1}\n";
    let dir = service_dir(yaml, None);
    let planck = start(dir.path());
    planck.planctl_ok(&["create", "store", "s"]);
    let cursors = || {
        let stats = planck.planctl_ok(&["stats", "--json"]);
        let (_, rest) = stats.split_once("\"open_cursors\":").unwrap();
        rest.split(',').next().unwrap().parse::<u32>().unwrap()
    };
    runtime().block_on(async {
        let mut client = admin(&planck).await;
        for n in 0..2000 {
            let document = document(n);
            let insert = Request::Insert { store: "s", key: None, document: &document };
            client.send(&insert).await.unwrap();
            while client.in_flight() > 100 {
                client.receive().await.unwrap();
            }
        }
        while client.in_flight() > 0 {
            client.receive().await.unwrap();
        }
        let out = planck.planctl_ok(&["query", "s.orderBy(n desc).pluck(n, text)", "--json"]);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 2000, "eight replies");
        assert!(lines[0].starts_with("{\"n\":1999,") && lines[1999].starts_with("{\"n\":0,"));
        let mut pages = client.stream("s.filter(text ~ 'x+$')", None, (10, 0)).await.unwrap();
        pages.next().await.unwrap().unwrap();
        pages.next().await.unwrap().unwrap();
        assert_eq!(cursors(), 1);
        let listed = planck.planctl_ok(&["queries", "--json"]);
        assert!(listed.contains("\"user\":\"admin\",\"state\":\"waiting\""), "{listed}");
        client.close().await;
    });
    for _ in 0..200 {
        if cursors() == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(cursors(), 0);
    let (code, said) = planck.stop();
    assert_eq!(code, Some(0));
    let slow = said.iter().find(|line| line.contains("a slow query") && line.contains("orderBy"));
    let slow = slow.unwrap_or_else(|| panic!("no slow query was told: {said:#?}"));
    for part in ["user=\"admin\"", "plan=\"scan, sort, pluck\"", "returned=", "ms="] {
        assert!(slow.contains(part), "{part} is not in {slow}");
    }
}

#[test]
fn idle_connections_leave_the_log_its_files() {
    let yaml = "tls: {enabled: false}\nhttp: {port: 0}\nwasm: {enabled: false}\n";
    let dir = service_dir("port: 0\nfile_sizes: {wal: 64KiB}\n", Some(yaml));
    let planck = Planck::start_with_files(dir.path(), 450).unwrap_or_else(|said| panic!("{said}"));
    planck.planctl_ok(&["create", "store", "s"]);
    let http = planck.http.unwrap();
    // Those that are not let in wait in the kernel's queue until it is full.
    let moment = std::time::Duration::from_millis(5);
    let connect = |_| std::net::TcpStream::connect_timeout(&http, moment).ok();
    let idle: Vec<_> = (0..500).filter_map(connect).collect();
    runtime().block_on(async {
        let mut client = admin(&planck).await;
        for n in 0..2000 {
            let document = document(n);
            let insert = Request::Insert { store: "s", key: None, document: &document };
            let reply = client.call(&insert).await.unwrap();
            assert!(matches!(Reply::decode(&reply).unwrap().1, Reply::Key(_)), "insert {n}");
        }
    });
    drop(idle);
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn a_closed_stderr_does_not_end_the_service() {
    use std::io::{BufRead, BufReader};
    let dir = service_dir(ANY_PORT, None);
    let mut child = std::process::Command::new(tests::program("planck"))
        .arg("--dir")
        .arg(dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    let out = BufReader::new(child.stdout.take().unwrap());
    assert!(out.lines().map_while(Result::ok).any(|line| line == "planck: ready"));
    let pid = child.id().to_string();
    std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn no_session_acts_before_it_has_said_who_it_is() {
    let dir = service_dir("port: 0\ntls: {enabled: false}\n", None);
    let planck = start(dir.path());
    let mut packet = Vec::new();
    Request::List.encode(1, &mut packet);
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(planck.wire).unwrap();
    stream.write_all(&packet).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let (_, Reply::Error { status, .. }) = Reply::decode(&answer).unwrap() else {
        panic!("an error")
    };
    assert_eq!(status, Status::NotAuthenticated);
}
