//! Certificates that change while connections are open.

use super::*;
use net::tls::{Certificates, Change, Identity, Source, fingerprint};
use proto::Fingerprint;
use std::fs;
use std::path::PathBuf;

/// A directory with a pair made for it, and one to put in its place.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Files {
        let files = Files { dir: tempfile::tempdir().unwrap() };
        for name in ["first", "second"] {
            Identity::load_or_create(&files.path(name), &[]).unwrap();
        }
        fs::create_dir(files.path("own")).unwrap();
        files.install("first");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn install(&self, from: &str) {
        for file in ["cert.pem", "key.pem"] {
            fs::copy(self.path(from).join(file), self.path("own").join(file)).unwrap();
        }
    }

    fn open(&self) -> Certificates {
        let own = self.path("own");
        let (certificate, key) = (own.join("cert.pem"), own.join("key.pem"));
        Certificates::open(Source::Files { certificate, key }, None).unwrap()
    }

    /// Trusts both.
    fn client(&self, alpn: &[&[u8]]) -> Arc<rustls::ClientConfig> {
        let (first, second) = (self.path("first/cert.pem"), self.path("second/cert.pem"));
        let mut config = trusting(&[&first, &second]).with_no_client_auth();
        // Each connection is shown the certificate.
        config.resumption = rustls::client::Resumption::disabled();
        speaking(config, alpn)
    }
}

fn shown(stream: &TlsStream<TcpStream>) -> Fingerprint {
    fingerprint(&stream.get_ref().1.peer_certificates().unwrap()[0]).unwrap()
}

fn of(files: &Files, name: &str) -> Fingerprint {
    let dir = files.path(name);
    Identity::load(&dir.join("cert.pem"), &dir.join("key.pem")).unwrap().fingerprint
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_are_served_the_new_pair_and_old_sessions_go_on() {
    let files = Files::new();
    let certificates = files.open();
    let house = wire(certificates.wire().unwrap()).await;
    let config = files.client(&[WIRE]);
    let (_, mut before) = house.open(&config).await.unwrap();
    authenticate(&mut before).await.unwrap();
    assert_eq!(shown(&before), of(&files, "first"));

    files.install("second");
    let changes = certificates.refresh(false);
    assert!(matches!(changes[..], [Change::Reloaded { .. }]), "{changes:?}");
    let (_, mut after) = house.open(&config).await.unwrap();
    authenticate(&mut after).await.unwrap();
    assert_eq!(shown(&after), of(&files, "second"));
    ping(&mut before).await.unwrap();

    // A key that does not fit: the second serves on, for both listeners of it.
    fs::copy(files.path("first/key.pem"), files.path("own/key.pem")).unwrap();
    let changes = certificates.refresh(false);
    assert!(matches!(changes[..], [Change::Refused(_)]), "{changes:?}");
    let (_, mut later) = house.open(&config).await.unwrap();
    authenticate(&mut later).await.unwrap();
    assert_eq!(shown(&later), of(&files, "second"));
    let web = http(certificates.http().unwrap()).await;
    let (_, mut stream) = web.open(&files.client(&[b"http/1.1"])).await.unwrap();
    assert_eq!(get(&mut stream).await.unwrap(), "HTTP/1.1 200 OK");
    assert_eq!(shown(&stream), of(&files, "second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_handshake_while_pairs_are_swapped_is_of_one_whole_pair() {
    let files = Files::new();
    let certificates = Arc::new(files.open());
    let house = wire(certificates.wire().unwrap()).await;
    let config = files.client(&[WIRE]);
    let pins = [of(&files, "first"), of(&files, "second")];
    let mut seen = [0; 2];
    for round in 0..40 {
        let swapping = tokio::task::spawn_blocking({
            files.install(["second", "first"][round % 2]);
            let certificates = certificates.clone();
            move || certificates.refresh(false)
        });
        // A handshake proves that the key fits what is shown.
        let (_, mut stream) = house.open(&config).await.unwrap();
        authenticate(&mut stream).await.unwrap();
        let of = pins.iter().position(|pin| *pin == shown(&stream)).unwrap();
        seen[of] += 1;
        let changes = swapping.await.unwrap();
        assert!(matches!(changes[..], [Change::Reloaded { .. }]), "{changes:?}");
    }
    assert_eq!(seen[0] + seen[1], 40);
}
