//! What the two files accept, and how they refuse.

use super::*;

fn load(db: Option<&str>, service: Option<&str>) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("db.yaml", db), ("service.yaml", service)] {
        if let Some(text) = text {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
    }
    Config::load(dir.path())
        .map_err(|e| e.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

fn refused(db: &str) -> String {
    load(Some(db), None).expect_err(db)
}

#[test]
fn without_files_everything_is_default_and_http_is_off() {
    let config = load(None, None).unwrap();
    assert_eq!(config.db, Db::default());
    assert_eq!(config.service, None);
    assert!(config.db.tls.enabled);
    assert_eq!(config.db.durability.flush_interval_in_ms.get(), 1000);
}

#[test]
fn an_empty_file_sets_nothing() {
    let config = load(Some("# nothing\n\n"), Some("")).unwrap();
    assert_eq!(config.db, Db::default());
    assert_eq!(config.service, Some(Service::default()));
}

#[test]
fn settings_are_read() {
    let config = load(
        Some("port: 0\nbuffers:\n  memtable: 64MiB\nallowed_ips: [10.0.0.0/8]\nlogging: {level: debug}\n"),
        Some("name: flights\nwasm:\n  runtime: wasmi\n  memory: 65536\nhttp:\n  static_dir: www\n"),
    )
    .unwrap();
    assert_eq!(config.db.port.get(), 0);
    assert_eq!(config.db.buffers.memtable.get(), 64 << 20);
    assert_eq!(config.db.allowed_ips.len(), 1);
    let service = config.service.as_ref().unwrap();
    assert_eq!(service.wasm.runtime, service::Runtime::Wasmi);
    assert_eq!(service.wasm.memory.get(), 65536);
    assert_eq!(config.module(service), config.dir.join("wasm/planck.flights.wasm"));
}

#[test]
fn a_refusal_names_file_line_and_what_is_allowed() {
    for (text, expected) in [
        ("port: 1\nprot: 2\n", &["db.yaml: line 2", "unknown field `prot`", "`port`"][..]),
        ("port: 70000\n", &["line 1", "70000", "a whole number from 0 to 65535"]),
        ("port: -1\n", &["line 1", "a whole number from 0 to 65535"]),
        ("port: lots\n", &["line 1", "a whole number from 0 to 65535"]),
        ("address: here\n", &["line 1", "IP address"]),
        ("buffers:\n  memtable: 3kB\n", &["line 2", "3kB", "a size from 64KiB to 4GiB"]),
        ("buffers:\n  memtable: 1\n", &["line 2", "a size from 64KiB to 4GiB"]),
        ("logging:\n  level: loud\n", &["line 2", "loud", "`info`"]),
        ("allowed_ips: [10.0.0.0/40]\n", &["line 1", "10.0.0.0/40"]),
        ("durability: {log_archive: {enable: true}}\n", &["line 1", "unknown field `enable`"]),
        ("port: 1\nport: 2\n", &["duplicate"]),
        ("port: [\n", &["line"]),
        ("- 1\n", &["db.yaml"]),
        ("tls: {cert_file: a.pem}\n", &["tls.key_file", "set both or none"]),
        ("tls: {enabled: false, cert_file: a, key_file: b}\n", &["remove one"]),
        ("limits: {max_in_flight: 0}\n", &["line 1", "a whole number from 1 to 1024"]),
        ("limits: {max_in_flight: 1025}\n", &["line 1", "a whole number from 1 to 1024"]),
        ("limits: {max_message_size: 1MiB}\n", &["max_document_size", "at most half"]),
    ] {
        let message = refused(text);
        for part in expected {
            assert!(message.contains(part), "{text:?} gave {message:?}, without {part:?}");
        }
    }
    let message = load(None, Some("name: My Service\n")).unwrap_err();
    assert!(
        message.contains("service.yaml: line 1") && message.contains("beginning with a letter"),
        "{message}"
    );
    let message = load(None, Some("wasm: {min_instances: 9}\n")).unwrap_err();
    assert!(message.contains("min_instances is 9"), "{message}");
}

#[test]
fn the_written_reference_is_the_real_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, reference(), "run `cargo run -p planck -- --settings > docs/settings.md`");
}
