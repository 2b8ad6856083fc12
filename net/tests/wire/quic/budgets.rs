//! Memory that sessions share, over QUIC, and what a connection has of it.

use super::super::budgets::{PLACES, little, stuck};
use super::*;

async fn says_nothing(recv: &mut RecvStream) {
    assert!(tokio::time::timeout(4 * SHORT, recv.read_chunk(1, true)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_authenticated_sends_little_ahead() {
    let quic = Quic::new().await;
    let (mut send, _recv) = soon(quic.connection().await.open_bi()).await.unwrap();
    let much = vec![0; 1 << 20];
    assert_eq!(soon(send.write(&much)).await.unwrap(), 8 << 10);
    let (mut send, _recv) = soon(quic.session().await.open_bi()).await.unwrap();
    assert_eq!(soon(send.write(&much)).await.unwrap(), 256 << 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_with_replies_of_unknown_size_are_begun_and_no_more() {
    let quic = Quic::with(little()).await;
    let session = quic.session().await;
    let _opens = Opens(quic.house.echo.clone());
    let mut waiting = Vec::new();
    for _ in 0..PLACES {
        waiting.push(begin(&session, &ask("wait")).await.1);
    }
    until(|| quic.handled() == PLACES).await;
    let mut next = begin(&session, &ask("number 5")).await.1;
    says_nothing(&mut next).await;
    assert_eq!(quic.handled(), PLACES, "it is not begun");
    // Small ones wait for nobody; one that waits is given up.
    assert_eq!(Reply::decode(&call(&session, &encoded(Request::Flush)).await).unwrap().0, 9);
    let mut other = begin(&session, &ask("who")).await.1;
    says_nothing(&mut other).await;
    other.stop(NO_REASON).unwrap();
    tokio::time::sleep(SHORT).await;
    let most = (64 << 10) - HEADER_BYTES;
    let read = |bytes: usize| Request::Read { store: "s", key: proto::Key(bytes as u128) };
    assert_eq!(error(&call(&session, &encoded(read(most))).await).1.len(), most);
    let mut large = begin(&session, &encoded(read(most + 1))).await.1;
    says_nothing(&mut large).await;
    let before = quic.handled();
    quic.house.echo.open();
    for recv in waiting {
        assert_eq!(count(&end(recv).await), 1);
    }
    assert_eq!(count(&end(next).await), 5);
    assert_eq!(error(&end(large).await).1.len(), most + 1);
    assert_eq!(quic.handled(), before + 2, "the large one was made again");
}

/// Memory for one reply of 4 MiB, which no buffers take.
fn large() -> WireOptions {
    WireOptions { max_message_size: 4 << 20, ..little() }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_nobody_takes_keep_others_waiting_until_they_are_taken() {
    let quic = Quic::with(large()).await;
    let (slow, neighbour) = (quic.session().await, quic.session().await);
    let stalled = begin(&slow, &ask("bytes 4000000")).await.1;
    stuck(&quic.house, 2).await;
    let mut waits = begin(&neighbour, &ask("number 5")).await.1;
    says_nothing(&mut waits).await;
    assert_eq!(quic.handled(), 1);
    assert_eq!(error(&end(stalled).await).1.len(), 4_000_000);
    assert_eq!(count(&end(waits).await), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_while_others_wait_is_cut_off_early() {
    // In calm there would be a second for each 16 KiB: four minutes.
    let quic = Quic::with(WireOptions { write_timeout: 10 * SHORT, ..large() }).await;
    let (slow, neighbour) = (quic.session().await, quic.session().await);
    let mut stalled = begin(&slow, &ask("bytes 4000000")).await.1;
    stuck(&quic.house, 2).await;
    assert_eq!(count(&call(&neighbour, &ask("number 5")).await), 5);
    assert!(soon(stalled.read_to_end(64 << 20)).await.is_err(), "that stream was reset");
    assert_eq!(count(&call(&slow, &ask("number 6")).await), 6, "and the session goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_has_a_quarter_of_the_memory_for_requests() {
    let quic = Quic::with(WireOptions { max_buffered_bytes: 8 << 20, ..little() }).await;
    let (session, neighbour) = (quic.session().await, quic.session().await);
    // Two of the largest are all that it has.
    let large = ask(&format!("number 5{}", " ".repeat((1 << 20) - 100)));
    let mut halves = Vec::new();
    for _ in 0..2 {
        let (mut send, recv) = soon(session.open_bi()).await.unwrap();
        soon(send.write_all(&large[..100_000])).await.unwrap();
        halves.push((send, recv));
        // For its first bytes to arrive before those of others.
        assert_eq!(count(&call(&session, &ask("number 1")).await), 1);
        tokio::time::sleep(4 * SHORT).await;
    }
    let (mut send, recv) = soon(session.open_bi()).await.unwrap();
    if soon(send.write_all(&large)).await.is_ok() {
        send.finish().ok();
    }
    assert_eq!(error(&end(recv).await).0, Status::Busy);
    assert_eq!(count(&call(&neighbour, &large).await), 5, "others have theirs");
    for (mut send, recv) in halves {
        soon(send.write_all(&large[100_000..])).await.unwrap();
        send.finish().unwrap();
        assert_eq!(count(&end(recv).await), 5);
    }
    assert_eq!(count(&call(&session, &large).await), 5, "it was given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_byte_by_byte_has_an_end() {
    let quic = Quic::with(WireOptions { message_timeout: 10 * SHORT, ..little() }).await;
    let session = quic.session().await;
    let (mut send, recv) = soon(session.open_bi()).await.unwrap();
    let trickling = async {
        for byte in ask(&" ".repeat(10_000)) {
            if send.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(SHORT / 2).await;
        }
        panic!("all was taken");
    };
    soon(trickling).await;
    assert_eq!(error(&end(recv).await).0, Status::Timeout);
    assert_eq!(count(&call(&session, &ask("number 5")).await), 5);
}
