//! The Rust client and the engine behind the wire, in one process: typed documents,
//! queries as they come, and that no query which writes is taken for one that reads.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use engine::{Engine, Options, Principal, Role};
use net::wire::{Call, WireHandler, WireOptions, serve};
use net::{Security, Server};
use planck_client::{Client, Config, Key, Security as Trust, Status};
use platform::real::{RealClock, RealEntropy};
use platform::sim::SimDisk;
use proto::{Reply, Request};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

struct Handler(Arc<Engine>);

/// As `planck` has it: cursors go with their session.
struct Caller(Arc<Engine>, Principal);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.end_session(&self.1);
    }
}

impl WireHandler for Handler {
    type Session = Caller;

    fn authenticate(&self, user: &str, _: &str, _: SocketAddr) -> Result<Caller, (Status, String)> {
        let who = Principal::new(user, Role::Admin).in_session(self.0.begin_session());
        Ok(Caller(self.0.clone(), who))
    }

    fn handle(&self, caller: &Caller, packet: &[u8], _: &Call, out: &mut Vec<u8>) {
        self.0.dispatch_packet(&caller.1, packet, out);
    }
}

fn engine() -> Arc<Engine> {
    let (clock, entropy) = (Arc::new(RealClock::new()), Arc::new(RealEntropy));
    Arc::new(Engine::open(SimDisk::new(1), clock, entropy, Options::default()).unwrap())
}

async fn house(engine: Arc<Engine>) -> (Server, Client) {
    let address = ([127, 0, 0, 1], 0).into();
    let listening = serve(address, Security::Plaintext, WireOptions::default(), Handler(engine));
    let server = listening.await.unwrap();
    let config = Config::new(server.address().to_string(), Trust::Plaintext, "ann", "");
    (server, Client::new(config).unwrap())
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flight {
    carrier: String,
    delay: Option<i32>,
}

fn flight(n: u128) -> Flight {
    let carrier = if n.is_multiple_of(2) { "UA" } else { "B6" };
    Flight { carrier: carrier.to_owned(), delay: (!n.is_multiple_of(5)).then_some(n as i32) }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_go_there_and_come_back_and_queries_stream() {
    let (server, client) = house(engine()).await;
    let flights = client.store::<Flight>("flights");
    flights.create().await.unwrap();
    let all: Vec<_> = (1..=3000).map(|n| (Key(n), flight(n))).collect();
    for some in all.chunks(1000) {
        let some = some.iter().map(|(key, flight)| (*key, flight));
        flights.insert_many_with_keys(some).await.unwrap();
    }
    assert_eq!(flights.get(Key(10)).await.unwrap(), Some(flight(10)));
    let taken = flights.insert_with_key(Key(10), &flight(1)).await.unwrap_err();
    assert_eq!(taken.status(), Some(Status::KeyExists));
    let made = flights.insert(&flight(2)).await.unwrap();
    flights.delete(made).await.unwrap();

    let mut scan = flights.scan().page(700);
    for (key, flight) in &all {
        let row = scan.next().await.unwrap().unwrap();
        assert_eq!((row.key, &row.value), (*key, flight));
    }
    assert_eq!(scan.next().await.unwrap(), None);

    let late = client.query("flights.filter(carrier = $1 and delay > $2)", ("UA", 100));
    let mut rows = late.page(100, 0).rows::<Flight>().await.unwrap();
    let expected = all.iter().filter(|(_, f)| f.carrier == "UA" && f.delay > Some(100));
    for (key, flight) in expected {
        let row = rows.next().await.unwrap().unwrap();
        assert_eq!((row.key, &row.value), (Some(*key), flight));
    }
    assert_eq!(rows.next().await.unwrap(), None);
    assert_eq!(client.query("flights.count()", ()).count().await.unwrap(), 3000);
    let late = "flights.filter(delay > $1).set($2)";
    let other = BTreeMap::from([("carrier", "ZZ")]);
    assert_eq!(client.query(late, (2990, other)).count().await.unwrap(), 8);

    #[derive(Debug, PartialEq, Deserialize)]
    struct ByCarrier {
        carrier: String,
        n: u64,
    }
    let groups = "flights.groupBy(carrier).aggregate(n: count()).orderBy(n)";
    let groups = client.query(groups, ()).all::<ByCarrier>(9).await.unwrap();
    assert_eq!(groups[0].value, ByCarrier { carrier: "ZZ".to_owned(), n: 8 });
    assert_eq!(groups[0].key, None);

    let index = BTreeMap::from([("fields", ["carrier"])]);
    client.create_index("flights", &index).await.unwrap();
    client.drop_index("flights", "carrier").await.unwrap();
    client.drop_store("flights").await.unwrap();
    let gone = flights.get(Key(1)).await.unwrap_err();
    assert_eq!(gone.status(), Some(Status::UnknownStore));
    server.drain().await;
}

/// The queries of the reference.
fn examples() -> Vec<&'static str> {
    let reference = include_str!("../../docs/pql.md");
    let blocks = reference.split("```pql\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(|block| block.split("\n\n")).map(str::trim).collect()
}

/// `client.query(..).reads()` decides what is sent a second time; the engine, by what it
/// lets a user do who may only read, knows.
#[tokio::test]
async fn no_query_that_writes_is_taken_for_one_that_reads() {
    let engine = engine();
    let ask = |role, request: &Request<'_>| {
        let (mut packet, mut out) = (Vec::new(), Vec::new());
        request.encode(1, &mut packet);
        engine.dispatch_packet(&Principal::new("x", role), &packet, &mut out);
        match Reply::decode(&out).unwrap().1 {
            Reply::Error { status, .. } => status,
            _ => Status::Ok,
        }
    };
    for store in ["flights", "airlines", "visits"] {
        ask(Role::Admin, &Request::CreateStore { store, if_not_exists: false });
    }
    let client = Client::new(Config::new("127.0.0.1:9", Trust::Plaintext, "", "")).unwrap();
    let (mut reading, mut writing) = (0, 0);
    for text in examples() {
        let status = ask(Role::ReadOnly, &Request::Query { text, parameters: None });
        let writes = status == Status::Forbidden;
        assert_eq!(client.query(text, ()).reads(), !writes, "{text}: {status}");
        *if writes { &mut writing } else { &mut reading } += 1;
    }
    assert!(reading >= 20 && writing >= 7, "{reading} read, {writing} write");
}
