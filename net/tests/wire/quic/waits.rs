//! Requests that wait, over QUIC: they hold up nobody, and a stream that is stopped ends its.

use super::super::waits::{HOUR, ask, waiting};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_holds_up_nobody() {
    let quic = Quic::new().await;
    let session = quic.session().await;
    // More than may be at work.
    let asked: Vec<_> = (0..20)
        .map(|id| {
            let session = session.clone();
            tokio::spawn(async move { call(&session, &ask(id, HOUR)).await })
        })
        .collect();
    waiting(&quic.house, 20).await;
    assert_eq!(count(&call(&session, &ask(77, "number 8")).await), 8);
    let (mut send, mut recv) = session.open_bi().await.unwrap();
    send.write_all(&ask(78, HOUR)).await.unwrap();
    send.finish().unwrap();
    waiting(&quic.house, 21).await;
    recv.stop(NO_REASON).unwrap();
    waiting(&quic.house, 20).await;
    let before = quic.house.echo.news.asked();
    quic.house.echo.news.value.send_replace(1);
    until(|| quic.house.echo.news.asked() == before + 20).await;
    waiting(&quic.house, 20).await;
    quic.house.echo.news.value.send_replace(2);
    for one in asked {
        assert_eq!(count(&one.await.unwrap()), 202);
    }
    waiting(&quic.house, 0).await;
    // A session that is gone takes its own along.
    let (mut send, _recv) = session.open_bi().await.unwrap();
    send.write_all(&ask(79, "await 9 3600000")).await.unwrap();
    send.finish().unwrap();
    waiting(&quic.house, 1).await;
    session.close(NO_REASON, b"");
    waiting(&quic.house, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_who_waits() {
    let quic = Quic::with(WireOptions { drain_timeout: LONG, ..options() }).await;
    let session = quic.session().await;
    let asked = tokio::spawn(async move { call(&session, &ask(1, HOUR)).await });
    waiting(&quic.house, 1).await;
    let House { server, echo, .. } = quic.house;
    soon(server.drain()).await;
    assert_eq!(count(&asked.await.unwrap()), 1);
    until(|| echo.news.held() == 0).await;
}
