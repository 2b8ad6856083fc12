//! The certificates of a running process: replaced, spoiled, asked about by SIGHUP.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tests::{Planck, service_dir};

const OWN: &str = "port: 0\ntls: {cert_file: own/cert.pem, key_file: own/key.pem}\n";

/// A directory with a pair in use and one to put in its place.
fn own() -> tempfile::TempDir {
    let dir = service_dir(OWN, None);
    for name in ["first", "second"] {
        net::tls::Identity::load_or_create(&dir.path().join(name), &[]).unwrap();
    }
    fs::create_dir(dir.path().join("own")).unwrap();
    install(dir.path(), "first", &["cert.pem", "key.pem"]);
    dir
}

fn install(dir: &Path, from: &str, files: &[&str]) {
    for file in files {
        fs::copy(dir.join(from).join(file), dir.join("own").join(file)).unwrap();
    }
}

fn hang_up(planck: &Planck) {
    let pid = planck.pid().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
}

/// Whether a client that trusts what lies in `own/cert.pem` comes in.
fn fits(planck: &Planck) -> bool {
    planck.planctl(&["ping"]).status.success()
}

/// Until a client comes in that trusts the files of now.
fn until_it_fits(planck: &Planck) {
    for _ in 0..200 {
        if fits(planck) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("what lies in the files is not served");
}

#[test]
fn sighup_serves_what_lies_in_the_files_and_keeps_what_cannot_be_replaced() {
    let dir = own();
    let planck = Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"));
    assert!(fits(&planck));
    install(dir.path(), "second", &["cert.pem", "key.pem"]);
    assert!(!fits(&planck), "nobody has looked yet");
    hang_up(&planck);
    until_it_fits(&planck);
    // A key that does not fit, and then the first pair whole.
    install(dir.path(), "first", &["key.pem"]);
    hang_up(&planck);
    assert!(fits(&planck), "the second serves on");
    install(dir.path(), "first", &["cert.pem"]);
    hang_up(&planck);
    until_it_fits(&planck);
    hang_up(&planck); // Nothing has changed.
    assert!(fits(&planck));
    let (code, said) = planck.stop();
    assert_eq!(code, Some(0), "{said:#?}");
    let lines = |words: &str| said.iter().filter(|line| line.contains(words)).count();
    assert_eq!(lines("must pin the one of now"), 2, "{said:#?}");
    assert!(lines("BEGIN") == 0, "no key is logged");
}

#[test]
fn authorities_that_are_not_there_stop_the_start_by_name() {
    let dir = service_dir("port: 0\ntls: {client_ca_file: ca.pem}\n", None);
    let said = Planck::start(dir.path()).err().expect("it must not start");
    assert!(said.contains("78") && said.contains("ca.pem"), "{said}");
    fs::write(dir.path().join("ca.pem"), "no certificate").unwrap();
    let said = Planck::start(dir.path()).err().expect("it must not start");
    assert!(said.contains("78") && said.contains("holds no PEM certificate"), "{said}");
}

#[test]
fn clients_without_a_certificate_are_kept_out_and_told_why() {
    let dir = service_dir("port: 0\ntls: {client_ca_file: ca.pem}\n", None);
    let authority = dir.path().join("authority");
    net::tls::Identity::load_or_create(&authority, &[]).unwrap();
    fs::copy(authority.join("cert.pem"), dir.path().join("ca.pem")).unwrap();
    let planck = Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"));
    let output = planck.planctl(&["ping"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("CertificateRequired"), "{said}");
    let (code, said) = planck.stop();
    assert_eq!(code, Some(0));
    let line = said.iter().filter(|line| line.contains("showed no certificate")).count();
    assert_eq!(line, 1, "{said:#?}");
}
