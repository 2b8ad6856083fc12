//! Who is let in by QUIC: keys, addresses, places, and handshakes that are left open.

use super::*;
use tokio::net::UdpSocket;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_before_auth() {
    let quic = Quic::new().await;
    // There is no second stream ..
    let connection = quic.connection().await;
    let (_send, recv) = soon(connection.open_bi()).await.unwrap();
    assert!(tokio::time::timeout(SHORT, connection.open_bi()).await.is_err());
    drop(recv);
    // .. and on the first no other packet.
    for packet in [encoded(Request::Ping), ask(&"x".repeat(100_000)), b"GET /".to_vec()] {
        let connection = quic.connection().await;
        let (mut send, recv) = soon(connection.open_bi()).await.unwrap();
        if soon(send.write_all(&packet)).await.is_ok() {
            send.finish().ok();
        }
        let reply = end(recv).await;
        let status = error(&reply).0;
        assert!(matches!(status, Status::NotAuthenticated | Status::BadPacket), "{status}");
        assert_eq!(closed(&connection).await, status as u64);
    }
    let authenticated = || quic.house.echo.authenticated.load(Ordering::SeqCst);
    assert_eq!((quic.handled(), authenticated()), (0, 0));
    // No stream one way, no datagram.
    let session = quic.session().await;
    assert!(tokio::time::timeout(SHORT, session.open_uni()).await.is_err());
    assert!(session.max_datagram_size().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_authenticate_in_time_is_cut_off() {
    let quic = Quic::with(WireOptions { auth_timeout: SHORT, ..options() }).await;
    let connection = quic.connection().await;
    soon(connection.closed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_lock_the_address_for_tcp_too() {
    let lockout = LockoutOptions {
        max_failed_attempts: 3,
        lockout_multiplier: 1000,
        ..LockoutOptions::default()
    };
    let quic = Quic::with(WireOptions { lockout, ..options() }).await;
    let before = quic.session().await;
    for _ in 0..3 {
        let connection = quic.connection().await;
        let reply = call(&connection, &auth("wrong")).await;
        assert_eq!(error(&reply).0, Status::BadCredentials);
        assert_eq!(closed(&connection).await, 1502);
    }
    // The server's own machine has a turn a second later, and not another one for a minute.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let connection = quic.connection().await;
    assert_eq!(error(&call(&connection, &auth("wrong")).await).0, Status::BadCredentials);
    let connection = quic.connection().await;
    assert_eq!(error(&call(&connection, &auth(KEY)).await).0, Status::LockedOut);
    let refused = quic.house.connect(KEY).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { status: Status::LockedOut, .. }), "{refused}");
    assert_eq!(quic.house.echo.authenticated.load(Ordering::SeqCst), 5, "1 right, 4 wrong");
    assert_eq!(count(&call(&before, &ask("number 1")).await), 1, "sessions live on");
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_those_of_tcp_and_are_given_back() {
    let quic = Quic::with(WireOptions { max_sessions: 1, ..options() }).await;
    let tcp = quic.house.client().await;
    let connection = quic.connection().await;
    assert_eq!(error(&call(&connection, &auth(KEY)).await).0, Status::Busy);
    tcp.close().await;
    let session = soon(async {
        loop {
            let connection = quic.connection().await;
            let reply = call(&connection, &auth(KEY)).await;
            match Reply::decode(&reply).unwrap().1 {
                Reply::Document(_) => return connection,
                Reply::Error { status: Status::Busy, .. } => tokio::task::yield_now().await,
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    let refused = quic.house.connect(KEY).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { status: Status::Busy, .. }), "{refused}");
    session.close(NO_REASON, b"");
    quic.house.client_eventually().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_not_allowed_hear_nothing() {
    let elsewhere = "192.0.2.0/24".parse().unwrap();
    let quic = Quic::with(WireOptions { allowed_ips: vec![elsewhere], ..options() }).await;
    let connecting = quic.endpoint().connect(quic.house.address(), "localhost").unwrap();
    assert!(tokio::time::timeout(4 * SHORT, connecting).await.is_err());
    let here = "127.0.0.1".parse().unwrap();
    Quic::with(WireOptions { allowed_ips: vec![elsewhere, here], ..options() })
        .await
        .session()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_not_spoken() {
    let dir = tempfile::tempdir().unwrap();
    let identity = net::tls::Identity::load_or_create(dir.path(), &[]).unwrap();
    let handler = Handler(Arc::default());
    let server = serve(anywhere(), identity.wire().unwrap(), options(), handler).await.unwrap();
    for alpn in [None, Some(&b"h3"[..])] {
        let endpoint = client_endpoint(Arc::new(client_tls(dir.path(), alpn)));
        let connecting = endpoint.connect(server.address(), "localhost").unwrap();
        assert!(soon(connecting).await.is_err(), "{alpn:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_or_if_it_is_off_there_is_no_quic() {
    let house = plain(options()).await;
    UdpSocket::bind(house.address()).await.unwrap();
    let quic = Quic::with(WireOptions { quic: false, ..options() }).await;
    UdpSocket::bind(quic.house.address()).await.unwrap();
    let quic = Quic::new().await;
    UdpSocket::bind(quic.house.address()).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_holds_half_of_the_places_of_those_who_have_not_authenticated() {
    let most = WireOptions { max_unauthenticated: 4, auth_timeout: LONG, ..options() };
    let quic = Quic::with(most).await;
    let _kept = [quic.connection().await, quic.connection().await];
    // By TCP and by QUIC together.
    let third = quic.endpoint().connect(quic.house.address(), "localhost").unwrap();
    if let Ok(third) = soon(third).await {
        assert_eq!(closed(&third).await, 1601);
    }
    assert_eq!(talk(quic.house.address(), b"").await, b"");
}

/// What a client sends first, and nothing that it is answered.
async fn first_datagram(quic: &Quic) -> Vec<u8> {
    let nobody = UdpSocket::bind(anywhere()).await.unwrap();
    let endpoint = quic.endpoint();
    let _connecting = endpoint.connect(nobody.local_addr().unwrap(), "localhost").unwrap();
    let mut datagram = vec![0; 2000];
    let len = soon(nobody.recv(&mut datagram)).await.unwrap();
    datagram.truncate(len);
    datagram
}

/// Whether a datagram is a Retry: a long header of version 1 and type 3.
fn is_retry(datagram: &[u8]) -> bool {
    datagram[0] & 0xf0 == 0xf0 && datagram[1..5] == [0, 0, 0, 1]
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_left_open_are_few_and_others_are_asked_to_show_where_they_are() {
    let most = WireOptions { max_unauthenticated: 8, auth_timeout: LONG, ..options() };
    let quic = Quic::with(most).await;
    let mut sockets = Vec::new();
    let mut retries = 0;
    for n in 0..30 {
        let datagram = first_datagram(&quic).await;
        let socket = UdpSocket::bind(anywhere()).await.unwrap();
        socket.send_to(&datagram, quic.house.address()).await.unwrap();
        let mut answer = [0; 2000];
        let len = soon(socket.recv(&mut answer)).await.unwrap();
        let retry = is_retry(&answer[..len]);
        assert_eq!(retry, n >= 2, "a quarter of 8 are let in");
        retries += usize::from(retry);
        sockets.push(socket);
    }
    assert_eq!(retries, 28);
    // Who is where it says comes in, and has the turns of its address to itself.
    let session = quic.session().await;
    assert_eq!(count(&call(&session, &ask("number 1")).await), 1);
    quic.house.client().await;
}
