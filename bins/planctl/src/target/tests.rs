//! Options that fit, options that do not, and what a service's directory says.

use super::*;
use std::fs;

const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn exit(result: Result<Target, Failure>) -> (Exit, String) {
    match result.unwrap_err() {
        Failure::Told { exit, message } => (exit, message),
        Failure::PipeClosed => panic!("no pipe is involved"),
    }
}

/// A directory as planck leaves it, with a certificate that is one.
fn service(db_yaml: Option<&str>, published: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    net::tls::Identity::load_or_create(&dir.path().join("tls"), &[]).unwrap();
    fs::write(dir.path().join("admin.key"), "secret\n").unwrap();
    if let Some(text) = db_yaml {
        fs::write(dir.path().join("db.yaml"), text).unwrap();
    }
    if let Some(text) = published {
        fs::create_dir(dir.path().join("run")).unwrap();
        fs::write(dir.path().join("run/wire.addr"), text).unwrap();
    }
    dir
}

fn at(dir: &Path) -> Global {
    Global { dir: Some(dir.to_owned()), ..Global::default() }
}

#[test]
fn options_that_conflict_or_miss_are_a_sentence_and_exit_2() {
    let dir = service(None, None);
    let key_file = Some(dir.path().join("admin.key"));
    let server = Some("127.0.0.1:1".to_owned());
    let pin = Some(HEX.to_owned());
    let none = Global::default;
    let local = || at(dir.path());
    for (global, says) in [
        (none(), "no service is named"),
        (Global { server: server.clone(), ..local() }, "both say where"),
        (Global { fingerprint: pin.clone(), ..local() }, "--fingerprint do not go together"),
        (Global { plaintext: true, ..local() }, "--plaintext do not go together"),
        (Global { user: Some("bob".into()), ..local() }, "--user bob needs --key-file"),
        (Global { server: server.clone(), ..none() }, "needs --fingerprint"),
        (Global { server: server.clone(), fingerprint: pin.clone(), ..none() }, "needs --key-file"),
        (
            Global {
                server: server.clone(),
                fingerprint: pin,
                plaintext: true,
                key_file: key_file.clone(),
                ..none()
            },
            "give one of them",
        ),
        (
            Global { server, fingerprint: Some("abc".into()), key_file, ..none() },
            "is not a certificate fingerprint",
        ),
        (Global { server: Some("here".into()), ..none() }, "is no address"),
        (Global { server: Some("here:0".into()), ..none() }, "is no address"),
    ] {
        let (code, message) = exit(Target::find(&global));
        assert_eq!(code, Exit::Usage, "{message}");
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn a_server_is_taken_as_given() {
    let dir = service(None, None);
    let mut global = Global {
        server: Some("db.example:24010".into()),
        fingerprint: Some(HEX.into()),
        key_file: Some(dir.path().join("admin.key")),
        user: Some("bob".into()),
        ..Global::default()
    };
    let target = Target::find(&global).unwrap();
    assert_eq!((target.address.as_str(), target.user.as_str()), ("db.example:24010", "bob"));
    assert_eq!(target.key, "secret");
    assert_eq!(target.security, Security::Pinned(HEX.parse().unwrap()));
    global.fingerprint = None;
    global.plaintext = true;
    assert_eq!(Target::find(&global).unwrap().security, Security::Plaintext);
}

#[test]
fn a_directory_says_all() {
    let dir = service(None, Some("127.0.0.1:4711\n"));
    let target = Target::find(&at(dir.path())).unwrap();
    assert_eq!((target.address.as_str(), target.user.as_str()), ("127.0.0.1:4711", "admin"));
    assert_eq!(target.key, "secret");
    let identity = net::tls::Identity::load_or_create(&dir.path().join("tls"), &[]).unwrap();
    assert!(!identity.created);
    assert_eq!(target.security, Security::Pinned(identity.fingerprint));
}

#[test]
fn without_a_published_address_db_yaml_and_then_the_defaults_hold() {
    for (yaml, address) in [
        (None, "127.0.0.1:24010"),
        (Some("# nothing\n"), "127.0.0.1:24010"),
        (Some("port: 24999\nmax_sessions: 4\n"), "127.0.0.1:24999"),
        (Some("address: 0.0.0.0\n"), "127.0.0.1:24010"),
        (Some("address: \"::\"\nport: 9\n"), "[::1]:9"),
    ] {
        let dir = service(yaml, None);
        assert_eq!(Target::find(&at(dir.path())).unwrap().address, address, "{yaml:?}");
    }
    let dir = service(Some("tls:\n  enabled: false\n"), Some("0.0.0.0:5\n"));
    let target = Target::find(&at(dir.path())).unwrap();
    assert_eq!((target.address.as_str(), target.security), ("127.0.0.1:5", Security::Plaintext));
}

#[test]
fn a_directory_without_a_service_says_what_is_missing() {
    let dir = service(Some("port: 0\n"), None);
    let (code, message) = exit(Target::find(&at(dir.path())));
    assert_eq!(code, Exit::Unreachable);
    assert!(message.contains("does not run"), "{message}");

    let dir = service(None, None);
    fs::remove_file(dir.path().join("admin.key")).unwrap();
    let (code, message) = exit(Target::find(&at(dir.path())));
    assert_eq!(code, Exit::NotFound);
    assert!(message.contains("first start") && message.contains("--key-file"), "{message}");
    fs::write(dir.path().join("admin.key"), "two words\n").unwrap();
    let (code, message) = exit(Target::find(&at(dir.path())));
    assert_eq!(code, Exit::Invalid);
    assert!(message.contains("--key-file"), "{message}");
    // Of another file nothing is said about the admin's.
    let Err(Failure::Told { exit: code, message }) = key(&dir.path().join("no.key"), "--use-key")
    else {
        panic!("there is none");
    };
    assert_eq!(code, Exit::NotFound);
    assert!(message.ends_with("give --use-key the file with the key"), "{message}");

    let empty = tempfile::tempdir().unwrap();
    let (code, message) = exit(Target::find(&at(empty.path())));
    assert_eq!(code, Exit::NotFound);
    assert!(message.contains("cert.pem"), "{message}");
    assert_eq!(exit(Target::find(&at(&empty.path().join("nowhere")))).0, Exit::NotFound);
}
