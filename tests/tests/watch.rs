//! Changes as they come, through the real service: over TCP, over HTTP to a browser, over
//! restarts and kills; and what many who wait cost.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use planck_client::proto::doc::Doc;
use planck_client::proto::{Reply, Request, json};
use planck_client::{
    Client, Config, ConnectOptions, Key, Security, Session, Status, Told, Watch, Watched,
    fingerprint_of_pem,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::{Planck, live_module, service_dir};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    n: i64,
}

const DB: &str = "port: 0\nmax_sessions: 1500\ntls: {enabled: false}\n\
                  admin: {enabled: true, port: 0}\ndurability: {flush_interval_in_ms: 20}\n";

fn client(planck: &Planck, dir: &Path, connections: usize) -> Client {
    let key = fs::read_to_string(dir.join("admin.key")).unwrap();
    let mut config = Config::new(planck.wire.to_string(), Security::Plaintext, "admin", key.trim());
    config.pool.connections = connections;
    Client::new(config).unwrap()
}

async fn event(watch: &mut Watch<Item>) -> (i64, Key) {
    let told = tokio::time::timeout(Duration::from_secs(60), watch.next()).await.unwrap().unwrap();
    let Told::Event(event) = told else { panic!("{told:?}") };
    (event.document.map_or(-1, |item| item.n), event.key)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_comes_once_over_shutdowns_and_kills() {
    let dir = service_dir(DB, None);
    let mut planck = Planck::start(dir.path()).unwrap();
    let (mut token, mut copy, mut next) = (None, BTreeMap::new(), 0_i64);
    for round in 0..4 {
        let client = client(&planck, dir.path(), 4);
        let items = client.store::<Item>("items");
        let mut watch: Watch<Item> = match &token {
            None => {
                items.create().await.unwrap();
                items.upsert(Key(1), &Item { n: 0 }).await.unwrap();
                client.watch([Watched::of("items")]).with_documents()
            }
            Some(token) => client.watch(["items"]).since(token),
        };
        if token.is_none() {
            let told = watch.next().await.unwrap();
            assert!(matches!(told, Told::Document { key: Key(1), value: Item { n: 0 }, .. }));
            assert_eq!(watch.next().await.unwrap(), Told::Ready);
            copy.insert(Key(1), 0);
        }
        // Somebody writes all the while.
        let (writer, first) = (items.clone(), next);
        let writing = tokio::spawn(async move {
            for n in first..first + 200 {
                let key = Key(2 + (n % 17) as u128);
                writer.upsert(key, &Item { n }).await.unwrap();
            }
            // What was acknowledged is durable a moment later.
            tokio::time::sleep(Duration::from_millis(200)).await;
        });
        while next < first + 200 {
            let (n, key) = event(&mut watch).await;
            assert_eq!(n, next, "each once, in order");
            assert_eq!(key, Key(2 + (n % 17) as u128));
            copy.insert(key, n);
            next += 1;
            if next == first + 120 && round % 2 == 0 {
                // Another watch goes on in the middle.
                watch = client.watch(["items"]).since(watch.token().unwrap());
            }
        }
        writing.await.unwrap();
        token = Some(watch.token().unwrap().to_owned());
        drop(watch);
        let found = items.scan().all(1000).await.unwrap();
        let found: BTreeMap<Key, i64> = found.iter().map(|row| (row.key, row.value.n)).collect();
        assert_eq!(found, copy);
        client.close();
        if round % 2 == 0 {
            assert_eq!(planck.stop().0, Some(0));
        } else {
            planck.kill();
        }
        planck = Planck::start(dir.path()).unwrap();
    }
    planck.stop();
}

fn threads(planck: &Planck) -> usize {
    fs::read_dir(format!("/proc/{}/task", planck.pid())).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_wait_without_a_thread_and_one_more_than_may_is_refused() {
    let db = "port: 0\nadmin: {enabled: true, port: 0}\n\
              durability: {flush_interval_in_ms: 20}\n\
              limits: {max_watchers: 1000, max_in_flight: 1024}\n";
    let dir = service_dir(db, None);
    let planck = Planck::start(dir.path()).unwrap();
    let cert = fs::read(dir.path().join("tls/cert.pem")).unwrap();
    let trust = Security::Pinned(fingerprint_of_pem(&cert).unwrap());
    let key = fs::read_to_string(dir.path().join("admin.key")).unwrap();
    let options = ConnectOptions { max_in_flight: 1024, ..ConnectOptions::default() };
    let address = planck.wire.to_string();
    let session = Session::connect(&address, trust, "admin", key.trim(), options).await.unwrap();
    let create = Request::CreateStore { store: "items", if_not_exists: false };
    session.call(&create).await.unwrap();
    let before = threads(&planck);
    let what = json::parse_json(r#"{"stores": ["items"], "max_wait_ms": 60000}"#).unwrap();
    let watch = Request::Watch { what: &what };
    let watching: Vec<_> = (0..1000).map(|_| tokio::spawn(session.call(&watch))).collect();
    let begun = Instant::now();
    while planck.figure("planck_watchers_waiting", &[]) < 1000.0 {
        assert!(begun.elapsed() < Duration::from_secs(50), "they do not all wait");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Each is first asked where blocking is allowed, and threads of that end when they rest.
    while threads(&planck) > before + 8 {
        assert!(begun.elapsed() < Duration::from_secs(55), "{} threads", threads(&planck));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(planck.figure("planck_watchers_waiting", &[]), 1000.0);
    let waiting = threads(&planck);
    let refused = session.call(&watch).await.unwrap();
    let Reply::Error { status, message } = Reply::decode(&refused).unwrap().1 else { panic!() };
    assert!(status == Status::Busy && message.contains("limits.max_watchers"), "{message}");
    let document = json::parse_json(r#"{"n": 7}"#).unwrap();
    let insert = Request::Insert { store: "items", key: Some(Key(9)), document: &document };
    session.call(&insert).await.unwrap();
    for one in watching {
        let page = tokio::time::timeout(Duration::from_secs(60), one).await.unwrap();
        let page = page.unwrap().unwrap();
        let Reply::Document(page) = Reply::decode(&page).unwrap().1 else { panic!() };
        let page = json::to_json(Doc::parse(page).unwrap());
        assert!(page.contains(r#""document":{"n":7}"#), "{page}");
    }
    let woken = threads(&planck);
    println!("threads before: {before}, while 1,000 wait: {waiting}, as they were woken: {woken}");
    assert!(woken <= before + 64, "they are asked again a few at a time");
    assert_eq!(planck.figure("planck_watchers_waiting", &[]), 0.0);
    assert_eq!(planck.figure("planck_watch_events_total", &[]), 1000.0);
    planck.stop();
}

/// An event stream, read line by line.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(planck: &Planck, target: &str, last_id: Option<&str>) -> Stream {
        let mut stream = TcpStream::connect(planck.http.unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let last = last_id.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let asked = format!("GET {target} HTTP/1.1\r\nhost: h\r\n{last}\r\n");
        stream.write_all(asked.as_bytes()).unwrap();
        let mut stream = Stream(BufReader::new(stream));
        assert!(stream.line().starts_with("HTTP/1.1 200"));
        while !stream.line().is_empty() {}
        stream
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "it ended");
        line.trim_end().to_owned()
    }

    /// The next id, and the data of its event; chunks of HTTP are passed over.
    fn event(&mut self) -> (String, Option<String>) {
        loop {
            let line = self.line();
            let Some(id) = line.strip_prefix("id: ") else { continue };
            let next = self.line();
            return (id.to_owned(), next.strip_prefix("data: ").map(str::to_owned));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_told_what_the_guest_lets_it_see_and_goes_on_where_it_was() {
    for runtime in ["wasmer", "wasmi"] {
        let yaml = format!(
            "name: live\ntls: {{enabled: false}}\nhttp: {{port: 0}}\n\
             wasm: {{runtime: {runtime}, min_instances: 1, max_instances: 1}}\n"
        );
        let dir = service_dir(DB, Some(&yaml));
        fs::create_dir(dir.path().join("wasm")).unwrap();
        fs::copy(live_module(), dir.path().join("wasm/planck.live.wasm")).unwrap();
        let planck = Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"));
        let client = client(&planck, dir.path(), 4);
        let items = client.store::<Item>("items");
        items.create().await.unwrap();
        // One instance, and it is free: five streams hold none.
        let mut streams: Vec<Stream> =
            (0..5).map(|_| Stream::open(&planck, "/watch/items?least=5", None)).collect();
        let begins: Vec<String> = streams.iter_mut().map(|stream| stream.event().0).collect();
        for n in [1, 5, 9] {
            items.upsert(Key(n as u128), &Item { n }).await.unwrap();
        }
        let mut first = String::new();
        for stream in &mut streams {
            let (id, data) = stream.event();
            assert!(data.unwrap().ends_with(r#""document":{"n":5}}"#), "{runtime}");
            first = id;
            assert!(stream.event().1.unwrap().contains(r#""n":9"#));
        }
        let mut again = Stream::open(&planck, "/watch/items?least=5", Some(&first));
        assert!(again.event().1.unwrap().contains(r#""n":9"#), "{runtime}");
        let mut again = Stream::open(&planck, "/watch/items", Some(&begins[0]));
        for n in [1, 5, 9] {
            assert!(again.event().1.unwrap().contains(&format!(r#""n":{n}"#)), "{runtime}");
        }
        client.close();
        drop((streams, again));
        // Where it was, over a restart too.
        assert_eq!(planck.stop().0, Some(0), "{runtime}");
        let planck = Planck::start(dir.path()).unwrap();
        let mut again = Stream::open(&planck, "/watch/items", Some(&first));
        assert!(again.event().1.unwrap().contains(r#""n":9"#), "{runtime}");
        assert_eq!(planck.stop().0, Some(0), "{runtime}");
    }
}
