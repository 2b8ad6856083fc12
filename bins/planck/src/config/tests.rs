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
        ("tls: {enabled: false, cert_file: a, key_file: b}\n", &["tls.cert_file", "remove one"]),
        ("tls: {enabled: false, client_ca_file: a}\n", &["tls.client_ca_file", "remove one"]),
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
    for (text, expected) in [
        ("upstreams: {a: {}}\n", "line 1"),
        ("upstreams: [{url: 'https://a'}]\n", "upstreams[0] has no name"),
        ("upstreams: [{name: a, url: 'https://a'}, {name: b}]\n", "upstreams[1] has no url"),
        ("upstreams: [{name: A}]\n", "beginning with a letter"),
        ("upstreams: [{name: a, url: 'https://a', follow: true}]\n", "unknown field `follow`"),
        ("upstreams: [{name: a, url: 'https://a'}]\nwasm: {enabled: false}\n", "remove one"),
        (
            "upstreams: [{name: a, url: 'https://a'}]\nwasm: {min_instances: 1, max_instances: 1}\n",
            "must be at least 2",
        ),
    ] {
        let message = load(None, Some(text)).expect_err(text);
        assert!(message.contains(expected), "{text:?} gave {message:?}");
    }
    let of = |count| {
        let all: String =
            (0..count).map(|n| format!("- {{name: a{n}, url: 'https://a'}}\n")).collect();
        load(None, Some(&format!("upstreams:\n{all}")))
    };
    assert_eq!(of(64).unwrap().service.unwrap().upstreams.len(), 64);
    assert!(of(65).unwrap_err().contains("64 are allowed"));
    let message = load(None, Some("tls: {enabled: false}\nhttp: {http3: true}\n")).unwrap_err();
    assert!(message.contains("http.http3") && message.contains("remove one"), "{message}");
    let message = load(None, Some("http: {compression: some}\n")).unwrap_err();
    assert!(message.contains("line 1") && message.contains("`static`"), "{message}");
    let message = load(None, Some("wasm: {min_instances: 9}\n")).unwrap_err();
    assert!(message.contains("min_instances is 9"), "{message}");
}

#[test]
fn the_written_reference_is_the_real_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, reference(), "run `cargo run -p planck -- --settings > docs/settings.md`");
}

/// A dotted setting as YAML.
fn nested(name: &str, value: &str) -> String {
    if let Some((list, name)) = name.split_once("[].") {
        return format!("{list}: [{{name: a, url: 'https://a', {}}}]", nested(name, value));
    }
    let (groups, last) = name.rsplit_once('.').unwrap_or(("", name));
    let groups: Vec<&str> = groups.split('.').filter(|group| !group.is_empty()).collect();
    let open: String = groups.iter().map(|group| format!("{group}: {{")).collect();
    format!("{open}{last}: {value}{}", "}".repeat(groups.len()))
}

/// The number that a bound is written as.
fn number(bound: &str) -> u128 {
    let digits = bound.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &bound[digits.len()..] {
        "GiB" => 1 << 30,
        "MiB" => 1 << 20,
        "KiB" => 1 << 10,
        _ => 1,
    };
    digits.parse::<u128>().unwrap() * unit
}

/// Whether a file says that a setting is within its bounds. What two settings must be
/// to each other is looked at later.
fn is_within(file: &str, name: &str, value: u128) -> bool {
    let text = nested(name, &value.to_string());
    let said = match file {
        "db.yaml" => load(Some(&text), None),
        _ => load(None, Some(&text)),
    };
    let of_two = ["at most half of", "at most the maximum", "set both"];
    said.err().is_none_or(|message| of_two.iter().any(|words| message.contains(words)))
}

fn rows() -> Vec<(&'static str, table::Row)> {
    let mut all = Vec::new();
    let mut of = |file, rows: fn(&str, &mut Vec<table::Row>)| {
        let mut found = Vec::new();
        rows("", &mut found);
        all.extend(found.into_iter().map(|row| (file, row)));
    };
    of("db.yaml", <Db as table::Settings>::rows);
    of("service.yaml", <Service as table::Settings>::rows);
    all
}

#[test]
fn every_bound_of_every_setting_is_held_to_the_last_number() {
    let mut bounded = 0;
    for (file, row) in rows() {
        let Some((_, bounds)) = row.allowed.split_once(" from ") else { continue };
        let (least, most) = bounds.split_once(" to ").unwrap();
        let (least, most) = (number(least), number(most));
        assert!(is_within(file, &row.name, least), "{}: {least}", row.name);
        assert!(is_within(file, &row.name, most), "{}: {most}", row.name);
        assert!(!is_within(file, &row.name, most + 1), "{}: {}", row.name, most + 1);
        if let Some(less) = least.checked_sub(1) {
            assert!(!is_within(file, &row.name, less), "{}: {less}", row.name);
        }
        bounded += 1;
    }
    assert!(bounded > 40, "{bounded} settings have bounds");
}

/// A file of the repository.
fn of_repository(path: &str) -> String {
    let path = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The public fields of a struct, as its file has them.
fn fields(path: &str, name: &str) -> Vec<String> {
    let text = of_repository(path);
    let (_, rest) = text.split_once(&format!("pub struct {name} {{")).unwrap();
    let (body, _) = rest.split_once("\n}").unwrap();
    let field = |line: &str| Some(line.trim().strip_prefix("pub ")?.split_once(':')?.0.to_owned());
    body.lines().filter_map(field).collect()
}

#[test]
fn every_limit_names_a_test_that_is_there() {
    let document = of_repository("docs/limits.md");
    let lines = document.lines().filter(|line| line.starts_with("| `"));
    let cells = lines.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let mut named: Vec<String> = Vec::new();
    for cells in cells {
        let limit = cells[1].trim_matches('`').to_owned();
        for test in cells[3].split(", ").filter(|test| test.starts_with('`')) {
            let (path, name) = test.trim_matches('`').split_once("::").unwrap();
            let text = of_repository(path);
            assert!(text.contains(&format!("fn {name}(")), "{limit}: {path} has no test {name}");
        }
        named.push(limit);
    }
    let settings = rows().into_iter().map(|(file, row)| format!("{file} {}", row.name));
    let of = |path, name: &'static str| {
        fields(path, name).into_iter().map(move |field| format!("{name}.{field}"))
    };
    let wire = of("net/src/wire/mod.rs", "WireOptions");
    let http = of("net/src/http/mod.rs", "HttpOptions");
    let guest = of("runtime-api/src/limits.rs", "Limits");
    for limit in settings.chain(wire).chain(http).chain(guest) {
        assert!(named.contains(&limit), "docs/limits.md does not say which test is {limit}'s");
    }
}

#[test]
fn a_timetable_is_refused_by_its_entry() {
    let entry = |name: &str, more: &str| {
        format!("- {{name: {name}, schedule: '0 3 * * *', route: /a{more}}}\n")
    };
    for (entries, more, expected) in [
        (entry("a", "") + &entry("a", ""), "", "two entries of cron are called 'a'"),
        (entry("a", "") + "- {name: b}\n", "", "cron[1] has no schedule"),
        (entry("A", ""), "", "beginning with a letter"),
        (entry("a", ", missed: twice"), "", "`once`"),
        (entry("a", ", payload: \"a\\nb\""), "", "a text of one line"),
        (entry("a", ", timezone: Nowhere"), "", "cron: the entry 'a': there is no time zone"),
        (entry("a", ""), "wasm: {enabled: false}\n", "remove one of them"),
    ] {
        let message = load(None, Some(&format!("{more}cron:\n{entries}"))).unwrap_err();
        assert!(message.contains(expected), "{entries} gave {message:?}");
    }
    let of = |count: usize| {
        let all: String = (0..count).map(|n| entry(&format!("a{n}"), "")).collect();
        load(None, Some(&format!("cron:\n{all}")))
    };
    assert_eq!(of(256).unwrap().service.unwrap().cron.len(), 256);
    assert!(of(257).unwrap_err().contains("256 are allowed"));
    let long = |bytes: usize| {
        let text = entry("a", &format!(", payload: {}", "x".repeat(bytes)));
        load(None, Some(&format!("cron:\n{text}")))
    };
    assert!(long(65_536).is_ok());
    assert!(long(65_537).unwrap_err().contains("65536"));
    let message = load(None, Some("jobs: {retry_base_ms: 2, retry_max_ms: 1}\n")).unwrap_err();
    assert!(message.contains("jobs.retry_base_ms is 2"), "{message}");
}

#[test]
fn a_health_path_is_what_clients_send() {
    let of = |path: &str| {
        let config = load(None, Some(&format!("wasm: {{health_path: '{path}'}}\n")));
        config.map(|config| config.service.unwrap().wasm.health_path.unwrap().0)
    };
    let longest = format!("/{}", "a".repeat(1023));
    for path in ["/", "/healthz?deep=1", "/%20", &longest] {
        assert_eq!(of(path).as_deref(), Ok(path));
    }
    for wrong in ["", "health", "/a b", "/a#b", "/\u{e9}", "//a\"", &format!("{longest}a")] {
        let message = of(wrong).unwrap_err();
        assert!(message.contains("line 1") && message.contains("beginning with /"), "{message}");
    }
}

#[test]
fn an_endpoint_is_a_host_a_port_and_maybe_a_path() {
    let of = |text: &str| {
        let file = format!("tracing: {{otlp_endpoint: {text}}}\n");
        let endpoint = load(Some(&file), None).map(|config| config.db.tracing.otlp_endpoint);
        endpoint.map(|endpoint| endpoint.map(|endpoint| (endpoint.authority, endpoint.path)))
    };
    let is = |authority: &str, path: &str| Ok(Some((authority.to_owned(), path.to_owned())));
    assert_eq!(of("'http://localhost:4318'"), is("localhost:4318", "/v1/traces"));
    assert_eq!(of("'http://localhost:4318/'"), is("localhost:4318", "/v1/traces"));
    assert_eq!(of("'http://[::1]:1/otlp/x'"), is("[::1]:1", "/otlp/x"));
    for wrong in [
        "localhost:4318",
        "'https://localhost:4318'",
        "'http://localhost'",
        "'http://:4318'",
        "'http://localhost:0'",
        "'http://localhost:70000'",
        "'http://u@localhost:4318'",
        "'http://localhost:4318/a b'",
    ] {
        let message = of(wrong).unwrap_err();
        assert!(message.contains("http://HOST:PORT"), "{wrong}: {message}");
    }
}
