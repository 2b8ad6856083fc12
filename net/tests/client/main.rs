//! `planck_client` and this crate's wire, on real loopback sockets, by TCP and by QUIC:
//! documents, queries, restarts, many callers. How the client takes a server that
//! misbehaves stands beside it.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

#[path = "../common/mod.rs"]
mod common;
mod memory;
mod queries;
mod quic;

use common::*;
use memory::{Handler, KEY, Memory};
use net::wire::{WireOptions, serve};
use net::{Security, Server};
use planck_client::{Client, Config, Error, Key, Security as Trust, Status, Store, Transport};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    name: String,
    size: Option<i64>,
}

fn item(n: u128) -> Item {
    Item { name: format!("item {n}"), size: n.is_multiple_of(2).then_some(7) }
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

struct House {
    server: Server,
    memory: Arc<Memory>,
    papers: Option<net::tls::Identity>,
    transport: Transport,
}

async fn listening(
    address: SocketAddr,
    memory: &Arc<Memory>,
    papers: Option<&net::tls::Identity>,
) -> Server {
    let options = WireOptions { drain_timeout: Duration::from_millis(200), ..Default::default() };
    soon(async {
        loop {
            let security = papers.map_or(Security::Plaintext, |papers| papers.wire().unwrap());
            // The port of a server that has stopped may take a moment to be free by UDP.
            match serve(address, security, options.clone(), Handler(memory.clone())).await {
                Ok(server) => return server,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await
}

async fn house(papers: Option<net::tls::Identity>, transport: Transport) -> House {
    let memory = Arc::new(Memory::default());
    let server = listening(anywhere(), &memory, papers.as_ref()).await;
    House { server, memory, papers, transport }
}

async fn plain() -> House {
    house(None, Transport::Tcp).await
}

async fn tls() -> House {
    house(Some(identity()), Transport::Tcp).await
}

async fn quic() -> House {
    house(Some(identity()), Transport::Quic).await
}

impl House {
    fn config(&self) -> Config {
        let trust =
            self.papers.as_ref().map_or(Trust::Plaintext, |it| Trust::Pinned(it.fingerprint));
        let mut config = Config::new(self.server.address().to_string(), trust, "ann", KEY);
        config.transport = self.transport;
        config.retry.first_pause = Duration::from_millis(5);
        config
    }

    fn client(&self) -> Client {
        Client::new(self.config()).unwrap()
    }

    /// Stops, and listens anew at the same address as soon as `meanwhile` is over.
    async fn restart(self, meanwhile: impl Future<Output = ()>) -> House {
        let House { server, memory, papers, transport } = self;
        let address = server.address();
        soon(server.drain()).await;
        meanwhile.await;
        let server = listening(address, &memory, papers.as_ref()).await;
        House { server, memory, papers, transport }
    }

    /// A store of the items under keys 1 to `n`.
    async fn items(&self, n: u128) -> Store<Item> {
        let store = self.client().store::<Item>("items");
        let all: Vec<_> = (1..=n).map(|key| (Key(key), item(key))).collect();
        let inserting = store.insert_many_with_keys(all.iter().map(|(key, item)| (*key, item)));
        soon(inserting).await.unwrap();
        store
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_comes_back_until_it_is_deleted() {
    for house in [tls().await, quic().await] {
        come_and_go(&house).await;
    }
}

async fn come_and_go(house: &House) {
    let items = house.items(2).await;
    assert_eq!(soon(items.get(Key(1))).await.unwrap(), Some(item(1)));
    soon(items.replace(Key(1), &item(8))).await.unwrap();
    assert_eq!(soon(items.get(Key(1))).await.unwrap(), Some(item(8)));
    soon(items.upsert(Key(9), &item(9))).await.unwrap();
    let made = soon(items.insert(&item(3))).await.unwrap();
    assert_eq!(soon(items.get(made)).await.unwrap(), Some(item(3)));
    soon(items.delete(Key(1))).await.unwrap();
    assert_eq!(soon(items.get(Key(1))).await.unwrap(), None);
    assert_eq!(soon(items.get(Key(9))).await.unwrap(), Some(item(9)));
    let more = [item(10), item(11)];
    let keys = soon(items.insert_many(&more)).await.unwrap();
    assert_eq!(soon(items.get(keys[1])).await.unwrap(), Some(item(11)));
    assert_eq!(soon(items.insert_many(&[])).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_keeps_its_status() {
    let house = plain().await;
    let items = house.items(1).await;
    let status = |result: Result<(), Error>| result.unwrap_err().status();
    let taken = soon(items.insert_with_key(Key(1), &item(1))).await;
    assert_eq!(status(taken), Some(Status::KeyExists));
    assert_eq!(status(soon(items.replace(Key(2), &item(2))).await), Some(Status::NotFound));
    assert_eq!(status(soon(items.delete(Key(2))).await), Some(Status::NotFound));
    // All or none.
    let two = [(Key(7), &item(7)), (Key(1), &item(1))];
    let taken = soon(items.insert_many_with_keys(two)).await;
    assert_eq!(status(taken), Some(Status::KeyExists));
    assert_eq!(soon(items.get(Key(7))).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_another_type_is_an_error_that_names_it() {
    let house = plain().await;
    house.items(1).await;
    #[derive(Debug, Deserialize)]
    struct Other {
        #[allow(dead_code)] // Nothing is ever read as one.
        name: u64,
    }
    let others = house.client().store::<Other>("items");
    let error = soon(others.get(Key(1))).await.unwrap_err();
    assert!(error.to_string().contains(&Key(1).to_string()), "{error}");
    let numbers = house.client().store::<i32>("items");
    assert!(matches!(soon(numbers.insert(&5)).await, Err(Error::NoDocument(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_gives_each_document_once_both_ways_by_pages() {
    let house = plain().await;
    let items = house.items(25).await;
    let keys = |rows: Vec<planck_client::Row<Item>>| -> Vec<u128> {
        rows.into_iter()
            .map(|row| {
                assert_eq!(row.value, item(row.key.0));
                row.key.0
            })
            .collect()
    };
    for page in [0, 1, 7, 25, 26] {
        let all = soon(items.scan().page(page).all(25)).await.unwrap();
        assert_eq!(keys(all), (1..=25).collect::<Vec<_>>());
        let back = soon(items.scan().page(page).reverse().all(25)).await.unwrap();
        assert_eq!(keys(back), (1..=25).rev().collect::<Vec<_>>());
        let some = soon(items.range(Key(3)..Key(9)).page(page).all(25)).await.unwrap();
        assert_eq!(keys(some), (3..9).collect::<Vec<_>>());
        let rest = soon(items.range(Key(20)..).page(page).reverse().all(25)).await.unwrap();
        assert_eq!(keys(rest), (20..=25).rev().collect::<Vec<_>>());
    }
    let nothing = [items.range(Key(9)..Key(9)), items.range(..Key(0)), items.range(Key(30)..)];
    for none in nothing {
        assert_eq!(soon(none.all(0)).await.unwrap(), []);
    }
    let error = soon(items.scan().all(24)).await.unwrap_err();
    assert!(matches!(error, Error::TooManyRows(24)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_restart_between_calls_and_between_pages() {
    for mut house in [plain().await, quic().await] {
        let items = house.items(10).await;
        let mut scan = items.scan().page(3);
        let mut seen = Vec::new();
        for round in 0..4u128 {
            // Written by a client whose connection is from before the restart.
            soon(items.upsert(Key(100 + round), &item(round))).await.unwrap();
            for _ in 0..3 {
                seen.extend(soon(scan.next()).await.unwrap().map(|row| row.key.0));
            }
            // The client learns of it as of anything that happens to a connection at rest.
            house = house.restart(tokio::time::sleep(Duration::from_millis(20))).await;
        }
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 100, 101]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_waited_for() {
    for house in [plain().await, quic().await] {
        let items = house.items(1).await;
        let mut asking = None;
        let away = async {
            let call = tokio::spawn(async move { items.get(Key(1)).await });
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(!call.is_finished());
            asking = Some(call);
        };
        let _house = house.restart(away).await;
        assert_eq!(soon(asking.unwrap()).await.unwrap().unwrap(), Some(item(1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_given_up_at_any_moment_never_mix_up_answers() {
    for house in [plain().await, quic().await] {
        give_up(&house).await;
    }
}

async fn give_up(house: &House) {
    house.items(50).await;
    let mut config = house.config();
    config.pool.connections = 4;
    let items = Client::new(config).unwrap().store::<Item>("items");
    let callers: Vec<_> = (0..8u64)
        .map(|caller| {
            let items = items.clone();
            tokio::spawn(async move {
                let mut answered = 0;
                for n in 0..60u64 {
                    let key = u128::from((caller * 7 + n) % 50 + 1);
                    // One in ten is not given up.
                    let patience = match n % 10 {
                        9 => Duration::from_secs(10),
                        _ => Duration::from_micros((caller * 31 + n * 57) % 3000),
                    };
                    let asking = tokio::time::timeout(patience, items.get(Key(key)));
                    if let Ok(found) = asking.await {
                        assert_eq!(found.unwrap(), Some(item(key)));
                        answered += 1;
                    }
                }
                answered
            })
        })
        .collect();
    let mut answered = 0;
    for caller in callers {
        answered += soon(caller).await.unwrap();
    }
    assert!(answered > 0 && answered < 8 * 60, "{answered} of 480 were answered");
    assert_eq!(soon(items.get(Key(3))).await.unwrap(), Some(item(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_and_stores_are_read_as_types() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Figures {
        documents: u64,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Named {
        name: String,
    }
    let house = plain().await;
    house.items(5).await;
    let client = house.client();
    soon(client.ping()).await.unwrap();
    assert_eq!(soon(client.stats::<Figures>()).await.unwrap(), Figures { documents: 5 });
    let stores = soon(client.stores::<Named>()).await.unwrap();
    assert_eq!(stores, [Named { name: "items".to_owned() }]);
    soon(client.create_store("more")).await.unwrap();
    soon(client.drop_store("more")).await.unwrap();
    let by_name = std::collections::BTreeMap::from([("fields", vec!["name"])]);
    soon(client.create_index("items", &by_name)).await.unwrap();
    soon(client.drop_index("items", "name")).await.unwrap();
    assert_eq!(house.memory.definitions.load(Ordering::SeqCst), 4);
}
