//! Whom a call reaches: vetted addresses and no others.

use super::common::identity_in;
use super::kit::{Outside, Rig, Script};
use net::upstream::{Circuit, UpstreamOptions};
use proto::Status;
use std::sync::Arc;
use std::time::{Duration, Instant};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// An upstream by a name, in the clear within a private network.
fn named(outside: &Outside) -> UpstreamOptions {
    let url = format!("http://up.example:{}", outside.address.port());
    UpstreamOptions { url, ..outside.options() }
}

#[test]
fn a_name_that_turns_to_another_address_is_vetted_each_time() {
    let outside = Outside::answering(OK);
    // A resolver that rebinds: what was vetted is what is connected to, and the next
    // connection is vetted anew.
    let script = Script::new(&[&["127.0.0.1"], &["169.254.169.254"], &["127.0.0.1"]]);
    let rig = Rig::with(vec![named(&outside)], 9, script.clone());
    assert_eq!(rig.get("/").unwrap().body, Ok("ok".to_owned()));
    assert_eq!(script.asked().len(), 1, "one connection, one question");
    assert_eq!(rig.fails("/"), Status::UpstreamAddress);
    assert_eq!(script.asked().len(), 2);
    assert_eq!(rig.get("/").unwrap().body, Ok("ok".to_owned()));
    assert_eq!((script.asked().len(), outside.connections()), (3, 2));
}

#[test]
fn without_leave_no_private_address_is_called_in_whatever_clothes() {
    let outside = Outside::answering(OK);
    let dir = tempfile::tempdir().unwrap();
    identity_in(dir.path());
    let ca = std::fs::read(dir.path().join("cert.pem")).unwrap();
    for address in [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "fd00::1",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "192.0.2.1",
        "2001:db8::1",
    ] {
        let options = UpstreamOptions {
            url: format!("https://up.example:{}", outside.address.port()),
            allow_private: false,
            ca: Some(ca.clone()),
            ..outside.options()
        };
        let rig = Rig::with(vec![options], 9, Script::new(&[&[address]]));
        assert_eq!(rig.fails("/"), Status::UpstreamAddress, "{address}");
    }
    assert_eq!(outside.connections(), 0);
}

#[test]
fn with_leave_link_local_and_public_in_the_clear_stay_refused() {
    let outside = Outside::answering(OK);
    for address in [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "fd00:ec2::254",
        "64:ff9b::10.0.0.1",
        "192.0.2.1",
        "8.8.8.8",
        "2606:4700::1111",
    ] {
        let rig = Rig::with(vec![named(&outside)], 9, Script::new(&[&[address]]));
        assert_eq!(rig.fails("/"), Status::UpstreamAddress, "{address}");
    }
    assert_eq!(outside.connections(), 0);
}

#[test]
fn refused_addresses_are_passed_over_and_dead_ones_too() {
    let outside = Outside::answering(OK);
    // Nobody listens at 127.0.0.2 on that port.
    let script = Script::new(&[&["169.254.169.254", "::", "127.0.0.2", "127.0.0.1"]]);
    let rig = Rig::with(vec![named(&outside)], 9, script);
    assert_eq!(rig.get("/").unwrap().body, Ok("ok".to_owned()));
}

#[test]
fn a_name_without_an_address_or_an_answer_is_told() {
    let outside = Outside::answering(OK);
    let rig = Rig::with(vec![named(&outside)], 9, Script::new(&[&[]]));
    assert_eq!(rig.fails("/"), Status::UpstreamUnreachable);
    // A resolver that never answers.
    let options = UpstreamOptions { timeout: Duration::from_millis(200), ..named(&outside) };
    let rig = Rig::with(vec![options], 9, Script::new(&[]));
    let begun = Instant::now();
    assert_eq!(rig.fails("/"), Status::UpstreamTimeout);
    assert!(begun.elapsed() < Duration::from_secs(10));
    // One that answers with more than anybody looks at.
    let flood = vec!["169.254.169.254"; 100_000];
    let rig = Rig::with(vec![named(&outside)], 9, Script::new(&[&flood]));
    assert_eq!(rig.fails("/"), Status::UpstreamAddress);
}

#[test]
fn nobody_listening_is_told_at_once_and_opens_the_circuit() {
    let outside = Outside::answering(OK);
    // The port of somebody who has gone.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{gone}");
    let rig = Rig::new(UpstreamOptions { url, ..outside.options() });
    for _ in 0..5 {
        assert_eq!(rig.fails("/"), Status::UpstreamUnreachable);
    }
    assert_eq!(rig.stats().circuit, Circuit::Open);
}

#[test]
fn what_an_operator_writes_wrongly_is_refused_by_name() {
    let outside = Outside::answering(OK);
    let of = |url: &str, allow_private| {
        let options = UpstreamOptions { url: url.to_owned(), allow_private, ..outside.options() };
        Rig::try_with(vec![options], 9, Script::new(&[&["127.0.0.1"]])).err().unwrap_or_default()
    };
    for (url, allow_private, words) in [
        ("http://127.0.0.1", false, "allow_private"),
        ("http://api.example", false, "https://"),
        ("https://127.0.0.1", false, "allow_private"),
        ("https://[::ffff:10.0.0.1]", false, "allow_private"),
        ("http://169.254.169.254", true, "never called"),
        ("http://8.8.8.8", true, "https://"),
        ("https://user:canary@a", true, "secret_headers_file"),
        ("ftp://a", true, "https://"),
    ] {
        let said = of(url, allow_private);
        assert!(said.starts_with("the upstream 'up': its url") && said.contains(words), "{said}");
        assert!(!said.contains("canary"), "{said}");
    }
    let twice = vec![outside.options(), outside.options()];
    let said = Rig::try_with(twice, 9, Script::new(&[])).err().unwrap();
    assert!(said.contains("two upstreams are called 'up'"), "{said}");
    let ca = UpstreamOptions { ca: Some(b"no PEM".to_vec()), ..outside.options() };
    let said = Rig::try_with(vec![ca.clone()], 9, Script::new(&[])).err().unwrap();
    assert!(said.contains("ca_file is set"), "{said}");
    let ca = UpstreamOptions { url: "https://a".to_owned(), ..ca };
    let said = Rig::try_with(vec![ca], 9, Script::new(&[])).err().unwrap();
    assert!(said.contains("ca_file: holds no certificate"), "{said}");
    let headers = vec![("Host".to_owned(), "a".to_owned())];
    let options = UpstreamOptions { headers, ..outside.options() };
    let said = Rig::try_with(vec![options], 9, Arc::clone(&Script::new(&[])) as _).err().unwrap();
    assert!(said.contains("the host's own"), "{said}");
}
