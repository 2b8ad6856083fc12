//! A primary and a replica, two processes: followed, killed, promoted, and back.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use planck_client::proto::Request;
use planck_client::proto::doc::Doc;
use planck_client::{Client, Config, Error, Key, Security, Status, fingerprint_of_pem};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tests::{Planck, service_dir, until};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    n: i64,
}

fn db(port: u16, more: &str) -> String {
    format!(
        "port: {port}\nadmin: {{enabled: true, port: 0}}\n\
         durability: {{flush_interval_in_ms: 20}}\n{more}"
    )
}

/// A port that nobody listens on a moment from now.
fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What follows the server in `of`: the settings, and the key beside them.
fn follows(dir: &Path, of: &Path, address: SocketAddr) -> String {
    let key = dir.join("replica.key");
    fs::copy(of.join("replica-of-it.key"), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    format!(
        "replica: {{enabled: true, address: {}, port: {}, fingerprint: {}, name: {}}}\n",
        address.ip(),
        address.port(),
        fingerprint(of),
        "two"
    )
}

fn fingerprint(of: &Path) -> String {
    let pem = fs::read(of.join("tls/cert.pem")).unwrap();
    fingerprint_of_pem(&pem).unwrap().to_string()
}

struct Server {
    dir: tempfile::TempDir,
    port: u16,
    planck: Option<Planck>,
}

impl Server {
    fn primary() -> Server {
        let port = port();
        // Replicas wait for commits where nobody else may.
        let dir = service_dir(&db(port, "limits: {max_watchers: 0}\n"), None);
        let planck = Planck::start(dir.path()).unwrap();
        let save = dir.path().join("replica-of-it.key");
        let save = save.to_str().unwrap();
        planck.planctl_ok(&["user", "create", "replica", "--role", "replica", "--save-key", save]);
        Server { dir, port, planck: Some(planck) }
    }

    /// A replica of another one, that begins with nothing.
    fn replica(of: &Server) -> Server {
        let port = port();
        let dir = service_dir("", None);
        let follows = follows(dir.path(), of.path(), of.address());
        fs::write(dir.path().join("db.yaml"), db(port, &format!("primary: false\n{follows}")))
            .unwrap();
        // Users come with the data, and so the admin's key opens both.
        fs::copy(of.path().join("admin.key"), dir.path().join("admin.key")).unwrap();
        let planck = Some(Planck::start(dir.path()).unwrap());
        Server { dir, port, planck }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn planck(&self) -> &Planck {
        self.planck.as_ref().unwrap()
    }

    fn start(&mut self) {
        self.planck = Some(Planck::start(self.dir.path()).unwrap());
    }

    fn kill(&mut self) {
        self.planck.take().unwrap().kill();
    }

    fn ctl(&self, arguments: &[&str]) -> String {
        self.planck().planctl_ok(arguments)
    }

    fn client(&self) -> Client {
        let key = fs::read_to_string(self.path().join("admin.key")).unwrap();
        let security = Security::Pinned(fingerprint(self.path()).parse().unwrap());
        Client::new(Config::new(self.address().to_string(), security, "admin", key.trim())).unwrap()
    }

    /// The last commit that reads see.
    fn lsn(&self) -> i64 {
        let told = self.ctl(&["replication", "--json"]);
        serde_json::from_str::<serde_json::Value>(&told).unwrap()["lsn"].as_i64().unwrap()
    }

    /// All that it has, as planctl shows it.
    fn all(&self) -> String {
        self.ctl(&["query", "items.orderBy(n)", "--json"])
    }

    fn waits_for(&self, lsn: i64) {
        self.ctl(&["replication", "--wait-for", &lsn.to_string()]);
    }
}

/// Writes numbers until it is told to stop, or the server goes: those acknowledged.
fn writes(
    to: &Server,
    stop: &Arc<AtomicBool>,
    done: &Arc<AtomicI64>,
) -> std::thread::JoinHandle<()> {
    let (client, stop, done) = (to.client(), Arc::clone(stop), Arc::clone(done));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let items = client.store::<Item>("items");
            for n in done.load(Ordering::SeqCst)..i64::MAX {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let key = Key(1000 + n as u128);
                if items.upsert(key, &Item { n }).await.is_err() {
                    return;
                }
                done.store(n + 1, Ordering::SeqCst);
            }
        });
    })
}

#[test]
fn a_replica_follows_over_kills_of_both() {
    let mut one = Server::primary();
    one.ctl(&["create", "store", "items"]);
    one.ctl(&["query", "items.insert({n: -1})"]);
    let mut two = Server::replica(&one);
    assert!(two.ctl(&["replication"]).starts_with("replica, term 0"));
    assert_eq!(one.planck().figure("planck_replication_snapshots_total", &[]), 1.0);
    for round in 0..3 {
        let (stop, done) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(round * 1000)));
        let writing = writes(&one, &stop, &done);
        until("some are written", || done.load(Ordering::SeqCst) > round * 1000 + 30);
        two.kill();
        until("more are written", || done.load(Ordering::SeqCst) > round * 1000 + 60);
        two.start();
        if round == 1 {
            // The other way round: what a killed process has acknowledged is in the kernel.
            one.kill();
            writing.join().unwrap();
            one.start();
        } else {
            stop.store(true, Ordering::SeqCst);
            writing.join().unwrap();
        }
        two.waits_for(one.lsn());
        assert_eq!(one.all(), two.all());
    }
    // What is told of it.
    until("the primary knows how far it is", || {
        one.planck().figure("planck_replica_behind_commits", &[("replica", "two")]) == 0.0
    });
    assert_eq!(one.planck().figure("planck_replication_role", &[("role", "primary")]), 1.0);
    assert_eq!(two.planck().figure("planck_replication_role", &[("role", "replica")]), 1.0);
    assert_eq!(two.planck().figure("planck_replication_connected", &[]), 1.0);
    // It writes nothing, and says where to.
    let refused = two.planck().planctl(&["query", "items.insert({n: 1})"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("PLK-1440") && words.contains(&one.address().to_string()), "{words}");
    // And can be backed up.
    two.ctl(&["backup"]);
    let again = service_dir("port: 0\n", None);
    let restored = std::process::Command::new(tests::program("planck"))
        .arg("restore")
        .args([std::ffi::OsStr::new("--from"), two.path().join("backups").as_os_str()])
        .args([std::ffi::OsStr::new("--dir"), again.path().as_os_str()])
        .output()
        .unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    fs::copy(one.path().join("admin.key"), again.path().join("admin.key")).unwrap();
    let third = Planck::start(again.path()).unwrap();
    assert_eq!(third.planctl_ok(&["query", "items.orderBy(n)", "--json"]), two.all());
    assert!(third.planctl_ok(&["replication"]).starts_with("primary"), "it is a store of its own");
    drop(third);
    assert_eq!(two.planck.take().unwrap().stop().0, Some(0));
    assert_eq!(one.planck.take().unwrap().stop().0, Some(0));
}

#[test]
fn what_was_written_at_the_primary_is_read_at_the_replica_that_is_waited_for() {
    let (one, two);
    one = Server::primary();
    one.ctl(&["create", "store", "items"]);
    two = Server::replica(&one);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (writer, reader) = (one.client(), two.client());
        let (items, copies) = (writer.store::<Item>("items"), reader.store::<Item>("items"));
        for n in 0..50 {
            items.upsert(Key(7), &Item { n }).await.unwrap();
            let answer =
                writer.request(&Request::Position { what: &[5, 0, 0, 0, 0] }).await.unwrap();
            let position: serde_json::Value = answer.document().unwrap();
            let lsn = position["lsn"].as_i64().unwrap();
            let mut what = planck_client::proto::doc::DocBuf::new();
            what.push("lsn", lsn).push("max_wait_ms", 20_000);
            let what = what.finish().unwrap();
            reader.request(&Request::Position { what: &what }).await.unwrap();
            assert_eq!(copies.get(Key(7)).await.unwrap(), Some(Item { n }));
        }
        // One that is not there is waited for in vain.
        let mut what = planck_client::proto::doc::DocBuf::new();
        what.push("lsn", 1_000_000i64).push("max_wait_ms", 50);
        let what = what.finish().unwrap();
        assert!(Doc::parse(&what).is_ok());
        let refused = reader.request(&Request::Position { what: &what }).await.map(drop);
        assert!(
            matches!(&refused, Err(Error::Refused { status: Status::NotReached, .. })),
            "{refused:?}"
        );
    });
}

#[test]
fn a_promoted_replica_serves_on_and_the_old_primary_follows_it() {
    let mut one = Server::primary();
    one.ctl(&["create", "store", "items"]);
    one.ctl(&["query", "items.insert({n: 1})"]);
    let mut two = Server::replica(&one);
    two.waits_for(one.lsn());
    one.kill();
    assert!(two.ctl(&["promote"]).contains("term 1"));
    assert!(two.planck().planctl(&["promote"]).status.code() != Some(0), "it is one already");
    two.ctl(&["query", "items.insert({n: 2})"]);
    // It stays one, killed and started again.
    two.kill();
    two.start();
    two.ctl(&["query", "items.insert({n: 3})"]);
    assert!(two.ctl(&["replication"]).starts_with("primary, term 1"));

    // The old one is told before it is started that it is none any more.
    fs::copy(one.path().join("replica-of-it.key"), two.path().join("replica-of-it.key")).unwrap();
    let follows = follows(one.path(), two.path(), two.address());
    fs::write(one.path().join("db.yaml"), db(one.port, &follows)).unwrap();
    let demoted = demote(one.path());
    assert!(demoted.contains("replica from now on"), "{demoted}");
    one.start();
    one.waits_for(two.lsn());
    assert_eq!(one.all(), two.all());
    let refused = one.planck().planctl(&["query", "items.insert({n: 4})"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("PLK-1440"));

    // And back again, without a kill.
    two.ctl(&["demote"]);
    assert!(two.planck().planctl(&["query", "items.insert({n: 4})"]).status.code() != Some(0));
    one.waits_for(two.lsn());
    assert!(one.ctl(&["promote"]).contains("term 2"));
    one.ctl(&["query", "items.insert({n: 5})"]);
    two.waits_for(one.lsn());
    assert_eq!(one.all(), two.all());
}

fn demote(dir: &Path) -> String {
    let program: PathBuf = tests::program("planck");
    let output =
        std::process::Command::new(program).arg("demote").arg("--dir").arg(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_old_primary_with_commits_of_its_own_is_told_to_begin_anew() {
    let mut one = Server::primary();
    one.ctl(&["create", "store", "items"]);
    one.ctl(&["query", "items.insert({n: 1})"]);
    let mut two = Server::replica(&one);
    two.waits_for(one.lsn());
    // While the replica is away the primary goes on, and dies.
    two.kill();
    one.ctl(&["query", "items.insert({n: 666})"]);
    std::thread::sleep(Duration::from_millis(100));
    one.kill();
    two.start();
    two.ctl(&["promote"]);
    two.ctl(&["query", "items.insert({n: 2})"]);
    fs::copy(one.path().join("replica-of-it.key"), two.path().join("replica-of-it.key")).unwrap();
    let follows = follows(one.path(), two.path(), two.address());
    fs::write(one.path().join("db.yaml"), db(one.port, &follows)).unwrap();
    demote(one.path());
    one.start();
    let told = || one.ctl(&["stats", "--json"]);
    until("it is told that it has diverged", || told().contains("PLK-1441"));
    assert!(one.all().contains("666"), "nothing was merged, and nothing thrown away");
    assert!(!two.all().contains("666"));
    // With its data moved away it begins anew.
    one.kill();
    fs::rename(one.path().join("data"), one.path().join("data.old")).unwrap();
    fs::write(one.path().join("db.yaml"), db(one.port, &format!("primary: false\n{follows}")))
        .unwrap();
    one.start();
    one.waits_for(two.lsn());
    assert_eq!(one.all(), two.all());
    assert_eq!(one.planck().figure("planck_replication_bootstraps_total", &[]), 1.0);
}

#[test]
fn a_bootstrap_that_is_killed_begins_again() {
    let one = Server::primary();
    one.ctl(&["create", "store", "items"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let items = one.client().store::<serde_json::Value>("items");
        for n in 0..40u64 {
            let text = "x".repeat(200_000);
            let document = serde_json::json!({"n": n, "text": text});
            items.upsert(Key(n.into()), &document).await.unwrap();
        }
    });
    one.ctl(&["stats"]);
    let dir = service_dir("", None);
    let follows = follows(dir.path(), one.path(), one.address());
    // In small pieces, so that a kill finds it at work.
    let follows = follows.replace("name: two", "name: two, window: 4KiB");
    let text = db(port(), &format!("primary: false\n{follows}"));
    fs::write(dir.path().join("db.yaml"), text).unwrap();
    fs::copy(one.path().join("admin.key"), dir.path().join("admin.key")).unwrap();
    let incoming = dir.path().join("data/replica/incoming");
    let come = || -> u64 {
        let files = fs::read_dir(&incoming).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|about| about.len()).sum()
    };
    for least in [100_000, 1_000_000] {
        let mut child = std::process::Command::new(tests::program("planck"))
            .arg("--dir")
            .arg(dir.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        until("some of it has come", || come() > least);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!dir.path().join("data/trees.pages").exists(), "it looks like a store");
    }
    let planck = Planck::start(dir.path()).unwrap();
    let lsn = {
        let told = one.ctl(&["replication", "--json"]);
        serde_json::from_str::<serde_json::Value>(&told).unwrap()["lsn"].as_i64().unwrap()
    };
    planck.planctl_ok(&["replication", "--wait-for", &lsn.to_string()]);
    assert_eq!(
        planck.planctl_ok(&["query", "items.count()"]),
        one.ctl(&["query", "items.count()"])
    );
    assert!(!incoming.exists() || fs::read_dir(&incoming).unwrap().count() == 0);
}

#[test]
fn settings_that_do_not_go_together_stop_the_start() {
    let starts = |text: &str, key: Option<u32>| {
        let dir = service_dir(text, None);
        if let Some(mode) = key {
            let path = dir.path().join("replica.key");
            fs::write(&path, "a key").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        Planck::start(dir.path()).map(drop).unwrap_err()
    };
    let pin = "0".repeat(64);
    let with = |more: &str| format!("port: 0\nprimary: false\nreplica: {{{more}}}\n");
    for (text, key, words) in [
        ("port: 0\nprimary: false\n".to_owned(), None, "set replica.enabled"),
        (with("address: 10.0.0.1"), None, "set replica.enabled"),
        (with("enabled: true"), None, "set replica.fingerprint"),
        (with(&format!("enabled: true, plaintext: true, fingerprint: {pin}")), None, "not both"),
        (with("enabled: true, fingerprint: abc"), None, "64 hexadecimal digits"),
        (with(&format!("enabled: true, fingerprint: {pin}")), None, "replica.key_file"),
        (with(&format!("enabled: true, fingerprint: {pin}")), Some(0o644), "chmod 600"),
    ] {
        let said = starts(&text, key);
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    // The data of a primary is not taken for a replica's.
    let dir = service_dir("port: 0\n", None);
    assert_eq!(Planck::start(dir.path()).unwrap().stop().0, Some(0));
    fs::write(dir.path().join("db.yaml"), "port: 0\nprimary: false\n").unwrap();
    let said = Planck::start(dir.path()).map(drop).unwrap_err();
    assert!(said.contains("planck demote --dir"), "{said}");
}
