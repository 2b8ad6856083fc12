//! What QUIC has that TCP has not: many calls on one connection, none behind another.

use super::*;
use planck_client::{ConnectOptions, Fate, Session};
use proto::{Reply, Request};

async fn session(house: &House) -> Session {
    let Config { address, security, user, key, .. } = house.config();
    let options = ConnectOptions::default();
    soon(Session::connect(&address, security, &user, &key, options)).await.unwrap()
}

fn hold() -> Request<'static> {
    Request::Stream { rows: 0, bytes: 0, text: "hold()", parameters: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_a_connection() {
    let house = quic().await;
    let items = house.items(50).await;
    let before = house.memory.sessions.load(Ordering::SeqCst);
    let items = house.client().store::<Item>(items.name());
    let calls: Vec<_> = (0..200u128)
        .map(|n| {
            let (items, key) = (items.clone(), n % 50 + 1);
            tokio::spawn(async move {
                assert_eq!(items.get(Key(key)).await.unwrap(), Some(item(key)));
            })
        })
        .collect();
    for call in calls {
        soon(call).await.unwrap();
    }
    assert_eq!(house.memory.sessions.load(Ordering::SeqCst) - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_holds_up_no_other_and_is_cancelled_when_it_is_given_up() {
    let house = quic().await;
    let session = session(&house).await;
    let held = || house.memory.held.load(Ordering::SeqCst);
    let given_up = || house.memory.given_up.load(Ordering::SeqCst);
    let slow: Vec<_> = (0..5).map(|_| tokio::spawn(session.call(&hold()))).collect();
    eventually(|| held() == 5).await;
    for _ in 0..20 {
        soon(session.call(&Request::Ping)).await.unwrap();
    }
    assert_eq!(given_up(), 0);
    slow.iter().for_each(tokio::task::JoinHandle::abort);
    eventually(|| given_up() == 5).await;
    soon(session.call(&Request::Ping)).await.unwrap();
    // With the session goes what is in flight.
    let last = tokio::spawn(session.call(&hold()));
    eventually(|| held() == 6).await;
    soon(session.close()).await;
    let error = soon(last).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error}");
    eventually(|| given_up() == 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_come_one_at_a_time() {
    let house = quic().await;
    let session = session(&house).await;
    let mut pages = soon(session.stream("numbers(25)", None, (10, 0))).await.unwrap();
    let mut rows = Vec::new();
    while let Some(page) = soon(pages.next()).await.unwrap() {
        let Reply::Rows(found) = Reply::decode(&page).unwrap().1 else { panic!("no rows") };
        rows.push(found.iter().count());
    }
    assert_eq!(rows, [10, 10, 5]);
    let pages = soon(session.stream("numbers(25)", None, (10, 0))).await.unwrap();
    assert_eq!(house.memory.cursors.lock().unwrap().len(), 1);
    soon(pages.close()).await.unwrap();
    assert!(house.memory.cursors.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_so_and_who_asks_where_there_is_no_quic_is_too() {
    let house = quic().await;
    let mut config = house.config();
    config.key = "another key".to_owned();
    let error = soon(Client::new(config).unwrap().ping()).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::BadCredentials));
    let mut config = house.config();
    config.security = Trust::Pinned(identity().fingerprint);
    let error = soon(Client::new(config).unwrap().ping()).await.unwrap_err();
    assert!(matches!(error, Error::WrongCertificate { .. }), "{error}");

    let papers = identity();
    let options = WireOptions { quic: false, ..WireOptions::default() };
    let handler = Handler(Arc::default());
    let server = serve(anywhere(), papers.wire().unwrap(), options, handler).await.unwrap();
    let mut config = house.config();
    config.address = server.address().to_string();
    config.security = Trust::Pinned(papers.fingerprint);
    config.connect.connect_timeout = Duration::from_millis(200);
    config.retry.attempts = 1;
    let error = soon(Client::new(config).unwrap().ping()).await.unwrap_err();
    assert!(error.to_string().contains("quic.enabled"), "{error}");
    assert_eq!(error.fate(), Fate::NotDone);
}
