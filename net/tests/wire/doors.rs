//! Who is let in over TCP: certificates, keys, addresses, places; and what goes before.

use super::common::*;
use super::*;
use std::collections::BTreeSet;
use std::thread::current;

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_client_asks_over_tls() {
    let house = tls().await;
    let mut client = house.client().await;
    assert_eq!(count(&query(&mut client, "number 7").await), 7);
    assert_eq!(error(&query(&mut client, "who").await).1, "ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_certificate_is_refused_before_the_key_is_sent() {
    let mut house = tls().await;
    house.pin = Some(Fingerprint([1; 32]));
    let error = house.connect(KEY).await.unwrap_err();
    assert!(matches!(error, ClientError::WrongCertificate { .. }), "{error}");
    assert!(error.to_string().contains("not the one pinned"), "{error}");
    assert_eq!(house.echo.authenticated.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_tls12_is_refused() {
    let house = tls().await;
    assert_eq!(talk(house.address(), &hello_of_tls12()).await, PROTOCOL_VERSION_ALERT);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_ask_for_the_wire_in_its_handshake_is_not_listened_to() {
    let dir = tempfile::tempdir().unwrap();
    let identity = net::tls::Identity::load_or_create(dir.path(), &[]).unwrap();
    let echo = Arc::new(Echo::default());
    let handler = Handler(echo.clone());
    let server = serve(anywhere(), identity.wire().unwrap(), options(), handler).await.unwrap();
    let mut stream = tls_client(dir.path(), None, server.address(), "localhost").await;
    stream.write_all(&auth(KEY)).await.ok();
    let mut all = Vec::new();
    soon(stream.read_to_end(&mut all)).await.ok();
    assert_eq!(error(&all).0, Status::BadPacket);
    assert_eq!(echo.authenticated.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_plaintext_find_out_about_each_other() {
    let mut secret = tls().await;
    secret.pin = None;
    let error = secret.connect(KEY).await.unwrap_err();
    assert!(matches!(error, ClientError::NeedsTls { .. }), "{error}");
    assert_eq!(secret.echo.authenticated.load(Ordering::SeqCst), 0);

    let mut open = plain(options()).await;
    open.pin = Some(Fingerprint([1; 32]));
    let error = open.connect(KEY).await.unwrap_err();
    assert!(matches!(error, ClientError::Handshake { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_said_with_the_address() {
    let address = {
        let taken = tokio::net::TcpListener::bind(anywhere()).await.unwrap();
        taken.local_addr().unwrap().to_string()
    };
    let options = ClientOptions::default();
    let error = Client::connect(&address, Trust::Plaintext, "", "", options).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_auth_is_carried_out_before_auth() {
    let house = plain(options()).await;
    for request in [Request::Ping, Request::List, Request::Flush] {
        let reply = talk(house.address(), &encoded(request)).await;
        assert_eq!(error(&reply).0, Status::NotAuthenticated);
    }
    let large = encoded(Request::Query { text: &"x".repeat(100_000), parameters: None });
    assert_eq!(error(&talk(house.address(), &large).await).0, Status::NotAuthenticated);
    let large = encoded(Request::Auth { user: "ann", key: &"x".repeat(4096) });
    assert_eq!(error(&talk(house.address(), &large).await).0, Status::MessageTooLarge);
    assert_eq!(house.echo.handled.load(Ordering::SeqCst), 0);
    assert_eq!(house.echo.authenticated.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_answered_and_closed_with_what_was_pipelined_behind_it() {
    let house = plain(options()).await;
    let bytes = [auth("wrong"), encoded(Request::Ping)].concat();
    let reply = talk(house.address(), &bytes).await;
    assert_eq!(error(&reply).0, Status::BadCredentials);
    assert_eq!(house.echo.handled.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_pipelined_behind_the_right_key_are_served() {
    let house = plain(options()).await;
    let mut stream = TcpStream::connect(house.address()).await.unwrap();
    stream.write_all(&[auth(KEY), encoded(Request::Ping)].concat()).await.unwrap();
    let first = one_reply(&mut stream).await;
    let (9, Reply::Document(document)) = Reply::decode(&first).unwrap() else { panic!("greeted") };
    let options = options();
    let greeting = Greeting {
        server: "echo 1",
        session: 5,
        user: "ann",
        role: "echoer",
        max_message_size: options.max_message_size as u64,
        max_in_flight: options.max_in_flight as u64,
        idle_timeout_ms: options.idle_timeout.as_millis() as u64,
    };
    assert_eq!(Greeting::decode(document), Ok(greeting));
    assert_eq!(Reply::decode(&one_reply(&mut stream).await), Ok((9, Reply::Empty)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_too_many_is_told_so_and_let_in_when_one_leaves() {
    let house = plain(WireOptions { max_sessions: 2, ..options() }).await;
    let (first, _second) = (house.client().await, house.client().await);
    let error = house.connect(KEY).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: Status::Busy, .. }), "{error}");
    first.close().await;
    let mut third = house.client_eventually().await;
    assert_eq!(count(&query(&mut third, "number 1").await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_holds_half_of_the_unauthenticated_places_at_most() {
    let patient = WireOptions { max_unauthenticated: 4, auth_timeout: LONG, ..options() };
    let house = plain(patient).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(house.address()).await.unwrap());
    }
    // They are looked at at once, so any of them may be the one too many.
    let [a, b, c] = &mut silent[..] else { unreachable!("three of them") };
    tokio::select! {
        heard = until_closed(a) => assert_eq!(heard, b""),
        heard = until_closed(b) => assert_eq!(heard, b""),
        heard = until_closed(c) => assert_eq!(heard, b""),
    }
    let open = |stream: &&TcpStream| {
        stream.try_read(&mut [0]).is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
    };
    assert_eq!(silent.iter().filter(open).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_not_allowed_hear_nothing() {
    let elsewhere = "192.0.2.0/24".parse().unwrap();
    let house = plain(WireOptions { allowed_ips: vec![elsewhere], ..options() }).await;
    assert_eq!(talk(house.address(), &auth(KEY)).await, b"");
    assert_eq!(house.echo.authenticated.load(Ordering::SeqCst), 0);
    let here = "127.0.0.1".parse().unwrap();
    plain(WireOptions { allowed_ips: vec![elsewhere, here], ..options() }).await.client().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_failures_lock_the_address_without_checking_further_keys() {
    let lockout = LockoutOptions {
        max_failed_attempts: 3,
        lockout_multiplier: 1000,
        ..LockoutOptions::default()
    };
    let house = plain(WireOptions { lockout, ..options() }).await;
    let mut before = house.client().await;
    for _ in 0..3 {
        let error = house.connect("wrong").await.unwrap_err();
        assert!(matches!(error, ClientError::Refused { status: Status::BadCredentials, .. }));
    }
    // The server's own machine has a turn a second later, and not another one for a minute.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let error = house.connect("wrong").await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: Status::BadCredentials, .. }));
    let error = house.connect(KEY).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: Status::LockedOut, .. }), "{error}");
    assert_eq!(house.echo.authenticated.load(Ordering::SeqCst), 5, "1 right, 3 wrong, a turn");
    assert_eq!(count(&query(&mut before, "number 1").await), 1, "sessions live on");
}

/// The names of the threads that work for strangers, that check keys, that carry out.
#[derive(Clone, Default)]
struct Threads(Arc<Mutex<[BTreeSet<String>; 3]>>);

impl Threads {
    fn note(&self, what: usize) {
        let (id, name) = (current().id(), current().name().unwrap_or_default().to_owned());
        self.0.lock().unwrap()[what].insert(format!("{id:?} {name}"));
    }
}

impl WireHandler for Threads {
    type Session = ();

    fn for_strangers(&self) {
        self.note(0);
    }

    fn authenticate(&self, _: &str, _: &str, _: SocketAddr) -> Result<(), (Status, String)> {
        self.note(1);
        Ok(())
    }

    fn welcome(&self, (): &()) -> Welcome {
        self.note(2);
        Welcome::default()
    }

    fn handle(&self, (): &(), packet: &[u8], _: &Call, out: &mut Vec<u8>) {
        self.note(2);
        ReplyWriter::new(Request::decode(packet).unwrap().0, out).empty();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_worked_for_on_threads_of_their_own() {
    let (threads, identity) = (Threads::default(), identity());
    let server = serve(anywhere(), identity.wire().unwrap(), options(), threads.clone()).await;
    let address = server.as_ref().unwrap().address().to_string();
    for _ in 0..3 {
        let trust = Trust::Pinned(identity.fingerprint);
        let connecting = Client::connect(&address, trust, "ann", KEY, ClientOptions::default());
        let mut client = soon(connecting).await.unwrap();
        for request in [Request::Ping, Request::Flush] {
            soon(client.call(&request)).await.unwrap();
        }
    }
    let [strangers, keys, sessions] = threads.0.lock().unwrap().clone();
    assert_eq!(keys.len(), 3, "a thread that may step back is not used again: {keys:?}");
    assert!(keys.iter().all(|name| name.ends_with("planck-key")), "{keys:?}");
    assert!(keys.is_disjoint(&strangers), "a few step back for nobody: {keys:?} {strangers:?}");
    let door = strangers.iter().collect::<Vec<_>>();
    assert!(matches!(door[..], [name] if name.ends_with("planck-door")), "{door:?}");
    // The welcome is written at the door.
    let others = sessions.difference(&strangers).count();
    assert!(others >= 1 && sessions.len() <= others + 1, "{sessions:?} {strangers:?}");
}
