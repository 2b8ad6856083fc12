//! Requests whose answer is not wanted any more, and what is read while one is at work.

use super::*;

fn ask(id: u64, text: &str, patience: u32) -> Vec<u8> {
    let mut packet = Vec::new();
    let query = Request::Query { text, parameters: None };
    query.encode_with_patience(id, patience, &mut packet);
    packet
}

fn cancel(id: u64) -> Vec<u8> {
    Header::cancel(id).to_bytes().to_vec()
}

/// The id and the status of the next reply.
async fn ended(stream: &mut TcpStream) -> (u64, Status) {
    let reply = one_reply(stream).await;
    let header = Header::parse(&reply).unwrap();
    (header.id, Status::from_number(header.code).unwrap())
}

fn given_up(house: &House) -> usize {
    house.echo.given_up.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_at_work_is_cancelled_and_the_session_goes_on() {
    let house = plain(options()).await;
    let mut stream = authenticated(&house).await;
    stream.write_all(&ask(1, "hold", 0)).await.unwrap();
    until(|| house.echo.arrived()).await;
    // Of no request in flight, and in pieces.
    stream.write_all(&cancel(7)).await.unwrap();
    stream.write_all(&cancel(1)[..9]).await.unwrap();
    assert_eq!(given_up(&house), 0);
    stream.write_all(&[&cancel(1)[9..], &ask(2, "number 3", 0)].concat()).await.unwrap();
    assert_eq!(ended(&mut stream).await, (1, Status::Cancelled));
    assert_eq!(count(&one_reply(&mut stream).await), 3);
    assert_eq!(given_up(&house), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_cancelled_unseen_and_all_are_answered_in_order() {
    let house = plain(options()).await;
    let mut stream = authenticated(&house).await;
    let _opens = Opens(house.echo.clone());
    let batch = [ask(1, "wait", 0), ask(2, "who", 0), ask(3, "number 4", 0)].concat();
    stream.write_all(&batch).await.unwrap();
    until(|| house.echo.arrived()).await;
    // One of the same batch, one that comes behind it, and one that stays.
    stream.write_all(&[cancel(2), ask(4, "who", 0), cancel(4)].concat()).await.unwrap();
    stream.write_all(&ask(5, "hold", 0)).await.unwrap();
    // That they were read is seen by what follows.
    stream.write_all(&cancel(5)).await.unwrap();
    tokio::time::sleep(SHORT).await;
    house.echo.gate.lock().unwrap().1 = true;
    house.echo.moved.notify_all();
    assert_eq!(ended(&mut stream).await, (1, Status::Ok));
    assert_eq!(ended(&mut stream).await, (2, Status::Cancelled));
    assert_eq!(count(&one_reply(&mut stream).await), 4);
    assert_eq!(ended(&mut stream).await, (4, Status::Cancelled));
    assert_eq!(ended(&mut stream).await, (5, Status::Cancelled));
    assert_eq!(house.echo.handled.load(Ordering::SeqCst), 2, "two were carried out");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_behind_others_longer_than_it_has_patience_is_told_so() {
    let house = plain(options()).await;
    let mut stream = authenticated(&house).await;
    let _opens = Opens(house.echo.clone());
    let minute = 60_000;
    let batch = [ask(1, "wait", 0), ask(2, "who", 20), ask(3, "number 4", minute)].concat();
    stream.write_all(&batch).await.unwrap();
    until(|| house.echo.arrived()).await;
    tokio::time::sleep(SHORT).await;
    house.echo.open();
    assert_eq!(ended(&mut stream).await, (1, Status::Ok));
    assert_eq!(ended(&mut stream).await, (2, Status::Timeout));
    assert_eq!(count(&one_reply(&mut stream).await), 4);
    assert_eq!(house.echo.handled.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_off_cancels_what_it_asked_for() {
    let house = plain(WireOptions { max_sessions: 1, ..options() }).await;
    let mut stream = authenticated(&house).await;
    stream.write_all(&ask(1, "hold", 0)).await.unwrap();
    until(|| house.echo.arrived()).await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    until(|| given_up(&house) == 1).await;
    house.client_eventually().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ends_its_side_is_answered_all_the_same() {
    let house = plain(options()).await;
    let mut stream = authenticated(&house).await;
    let _opens = Opens(house.echo.clone());
    let batch = [ask(1, "wait", 0), ask(2, "number 9", 0)].concat();
    stream.write_all(&batch).await.unwrap();
    until(|| house.echo.arrived()).await;
    stream.shutdown().await.unwrap();
    tokio::time::sleep(SHORT).await;
    house.echo.open();
    let replies = until_closed(&mut stream).await;
    let one = replies.len() / 2;
    assert_eq!((count(&replies[..one]), count(&replies[one..])), (1, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_requests_in_flight_nothing_is_read() {
    let house = plain(WireOptions { max_in_flight: 3, ..options() }).await;
    let mut stream = authenticated(&house).await;
    let _opens = Opens(house.echo.clone());
    stream.write_all(&ask(1, "hold", 0)).await.unwrap();
    until(|| house.echo.arrived()).await;
    // Two more fit, and a Cancel behind them is seen ..
    let more: Vec<u8> = (2..=3).flat_map(|id| ask(id, "number 1", 0)).collect();
    stream.write_all(&[more, cancel(1)].concat()).await.unwrap();
    assert_eq!(ended(&mut stream).await, (1, Status::Cancelled));
    assert_eq!(ended(&mut stream).await, (2, Status::Ok));
    assert_eq!(ended(&mut stream).await, (3, Status::Ok));
    // .. behind a third it is not.
    house.echo.gate.lock().unwrap().0 = false;
    stream.write_all(&ask(11, "hold", 0)).await.unwrap();
    until(|| house.echo.arrived()).await;
    let more: Vec<u8> = (12..=14).flat_map(|id| ask(id, "number 1", 0)).collect();
    stream.write_all(&[more, cancel(11)].concat()).await.unwrap();
    tokio::time::sleep(SHORT).await;
    assert_eq!(given_up(&house), 1);
    // Nor are bytes without end.
    let pings = encoded(Request::Ping).repeat(10_000);
    let filling = async { while stream.write_all(&pings).await.is_ok() {} };
    assert!(tokio::time::timeout(4 * SHORT, filling).await.is_err(), "the writer waits");
    house.echo.open();
    assert_eq!(ended(&mut stream).await, (11, Status::Ok));
    for id in 12..=14 {
        assert_eq!(ended(&mut stream).await, (id, Status::Ok));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_drains_takes_no_more_and_answers_what_it_has() {
    let house = plain(WireOptions { drain_timeout: LONG, ..options() }).await;
    let mut stream = authenticated(&house).await;
    let echo = house.echo.clone();
    let _opens = Opens(echo.clone());
    stream.write_all(&[ask(1, "wait", 0), ask(2, "number 5", 0)].concat()).await.unwrap();
    until(|| echo.arrived()).await;
    let draining = tokio::spawn(house.server.drain());
    tokio::time::sleep(SHORT).await;
    stream.write_all(&ask(3, "number 6", 0)).await.unwrap();
    tokio::time::sleep(SHORT).await;
    echo.open();
    assert_eq!(ended(&mut stream).await, (1, Status::Ok));
    assert_eq!(count(&one_reply(&mut stream).await), 5);
    assert_eq!(until_closed(&mut stream).await, b"");
    soon(draining).await.unwrap();
}
