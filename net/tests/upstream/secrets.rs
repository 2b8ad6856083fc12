//! TLS that is verified, and secrets that go to the upstream and nowhere else.

use super::common::identity_in;
use super::kit::{Outside, Peer, Rig, Script, packet, read_request};
use net::upstream::{SecretHeaders, UpstreamOptions};
use proto::Status;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt::{Debug, Write as _};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, Once};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// Speaks TLS with the certificate in `dir`, and answers `ok`; or cuts the connection without
/// the end that TLS has.
fn secure(dir: &Path, cut: bool) -> Outside {
    let certificate = CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    Outside::new(move |peer: Peer, _| {
        let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, peer.stream);
        while let Some(request) = read_request(&mut stream) {
            assert!(request.contains("\r\nhost: localhost:"), "{request}");
            let head = if cut { "connection: close" } else { "content-length: 2" };
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nok");
            stream.write_all(answer.as_bytes()).unwrap();
            stream.flush().unwrap();
            if cut {
                return;
            }
        }
    })
}

fn ca(dir: &Path) -> Option<Vec<u8>> {
    Some(std::fs::read(dir.join("cert.pem")).unwrap())
}

fn options(outside: &Outside, host: &str, ca: Option<Vec<u8>>) -> UpstreamOptions {
    let url = format!("https://{host}:{}", outside.address.port());
    UpstreamOptions { url, ca, ..outside.options() }
}

fn rig(options: UpstreamOptions) -> Rig {
    Rig::with(vec![options], 9, Script::new(&[&["127.0.0.1"]]))
}

#[test]
fn tls_is_spoken_with_whom_the_authorities_know_and_nobody_else() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    identity_in(dir.path());
    identity_in(other.path());
    let outside = secure(dir.path(), false);
    let known = rig(options(&outside, "localhost", ca(dir.path())));
    for _ in 0..2 {
        assert_eq!(known.get("/").unwrap().body, Ok("ok".to_owned()));
    }
    assert_eq!(known.stats().connections, 1);
    // Another authority; the right one for another name; one that speaks no TLS.
    let plain = Outside::new(|mut peer, _| {
        peer.say("220 ready\r\n");
        peer.wait();
    });
    for options in [
        options(&outside, "localhost", ca(other.path())),
        options(&outside, "up.example", ca(dir.path())),
        options(&plain, "localhost", ca(dir.path())),
    ] {
        let (status, message) = rig(options).get("/").unwrap_err();
        assert_eq!(status, Status::UpstreamUnreachable);
        assert!(message.contains("failed the TLS handshake"), "{message}");
    }
}

#[test]
fn a_body_cut_under_tls_does_not_look_whole() {
    let dir = tempfile::tempdir().unwrap();
    identity_in(dir.path());
    let outside = secure(dir.path(), true);
    let answer = rig(options(&outside, "localhost", ca(dir.path()))).get("/").unwrap();
    assert_eq!((answer.status, answer.body), (200, Err(Status::UpstreamBroken)));
}

static LOG: Mutex<String> = Mutex::new(String::new());
static ONCE: Once = Once::new();

/// Keeps everything that anybody in this process says, at whatever level.
struct Everything;

struct Words;

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut log = LOG.lock().unwrap();
        write!(log, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, about: &span::Attributes<'_>) -> span::Id {
        about.record(&mut Words);
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Words);
    }
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut Words);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

const CANARY: &str = "canary-7c1e";

#[test]
fn a_secret_reaches_the_upstream_and_nobody_else() {
    ONCE.call_once(|| tracing::subscriber::set_global_default(Everything).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, format!("Authorization: Bearer {CANARY}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    // Gives its header back, then breaks.
    let outside = Outside::new(|mut peer, number| {
        let Some(request) = peer.request() else { return };
        assert!(request.contains(&format!("\r\nauthorization: Bearer {CANARY}\r\n")), "{request}");
        if number == 0 {
            peer.say(&format!(
                "HTTP/1.1 200 OK\r\nAuthorization: Bearer {CANARY}\r\nconnection: close\r\n\
                 content-length: 0\r\n\r\n"
            ));
        }
    });
    let options = UpstreamOptions {
        secret_headers: SecretHeaders::read(&path).unwrap(),
        ..outside.options()
    };
    let shown = format!("{options:?}");
    let rig = Rig::new(options);
    let guests: &[(&str, &[u8])] = &[("authorization", b"mine")];
    let answer = rig.ask(&packet("POST", "/", guests, b"")).unwrap();
    let failure = rig.ask(&packet("POST", "/", guests, b"")).unwrap_err();
    assert_eq!((outside.requests().len(), failure.0), (2, Status::UpstreamBroken));
    assert_eq!(answer.headers, [("content-length".to_owned(), "0".to_owned())]);
    let log = LOG.lock().unwrap().clone();
    assert!(log.contains("a call failed"), "the log is heard: {log}");
    for said in [&shown, &format!("{answer:?}"), &failure.1, &log] {
        assert!(!said.contains(CANARY), "{said}");
    }
}
