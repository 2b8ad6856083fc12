//! What can be seen of a running `planck` from outside: figures, health, its log.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::{Planck, ask, root, service_dir};

const DB: &str = "port: 0\nadmin: {enabled: true, port: 0}\n";
const SERVICE: &str = "name: t\ntls: {enabled: false}\nhttp: {port: 0, static_dir: www}\n\
                       wasm: {runtime: wasmi, min_instances: 1, max_instances: 1, deadline_in_ms: \
                       3000}\n";

/// Answers 200 with "ok"; spins on a request for `/spin`, traps on `/trap`.
const GUEST: &str = r#"
(module
  (memory (export "memory") 1)
  (data (i32.const 0) "\01\c8\00\00\00ok")
  (func (export "planck_abi") (result i32) (i32.const 1))
  (func (export "alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "process") (param $ptr i32) (param $len i32) (result i64)
    (local $what i32)
    (local.set $what (i32.load8_u (i32.add (local.get $ptr) (i32.const 11))))
    (if (i32.eq (local.get $what) (i32.const 115)) (then (loop $again (br $again))))
    (if (i32.eq (local.get $what) (i32.const 116)) (then unreachable))
    (i64.const 7)))
"#;

fn prepared(db_yaml: &str) -> tempfile::TempDir {
    let dir = service_dir(db_yaml, Some(SERVICE));
    for (folder, file, bytes) in [
        ("wasm", "planck.t.wasm", wat::parse_str(GUEST).unwrap()),
        ("www", "a.txt", b"a file".to_vec()),
    ] {
        fs::create_dir(dir.path().join(folder)).unwrap();
        fs::write(dir.path().join(folder).join(file), bytes).unwrap();
    }
    dir
}

fn start(dir: &Path) -> Planck {
    Planck::start(dir).unwrap_or_else(|said| panic!("{said}"))
}

/// Metrics that a Markdown table names in its first column.
fn documented() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("| `planck_")?.split('`').next());
    names.map(|name| format!("planck_{name}")).collect()
}

#[test]
fn what_a_service_does_is_in_its_metrics_and_in_its_stats() {
    let dir = prepared(DB);
    let planck = start(dir.path());
    for _ in 0..3 {
        assert_eq!(planck.get("/"), (200, "ok".to_owned()));
    }
    assert_eq!(planck.get("/trap").0, 500);
    assert_eq!(planck.request("POST", "/", "four").0, 200);
    assert_eq!(planck.get("/a.txt"), (200, "a file".to_owned()));
    planck.planctl_ok(&["create", "store", "s"]);
    assert!(!planck.planctl(&["create", "store", "s"]).status.success());
    planck.planctl_ok(&["query", "s.insert({a: 1})"]);
    planck.planctl_ok(&["query", "s.filter(a = 1)"]);

    let page = planck.page();
    let of = |series: &str, labels: &[(&str, &str)]| {
        page.value(series, labels).unwrap_or_else(|| panic!("no {series} {labels:?}"))
    };
    let requests = |method: &str, code: &str, source: &str| {
        let labels = [("method", method), ("code", code), ("source", source)];
        of("planck_http_requests_total", &labels)
    };
    assert_eq!(requests("GET", "2xx", "guest"), 3.0);
    assert_eq!(requests("POST", "2xx", "guest"), 1.0);
    assert_eq!(requests("GET", "5xx", "guest"), 1.0);
    assert_eq!(requests("GET", "2xx", "file"), 1.0);
    let routes = "planck_http_request_duration_seconds_count";
    assert_eq!(of(routes, &[("route", "/")]), 4.0);
    assert_eq!(of(routes, &[("route", "(file)")]), 1.0);
    assert_eq!(of(routes, &[("route", "(other)")]), 1.0);
    assert!(of("planck_http_request_duration_seconds_sum", &[("route", "/")]) < 100.0);
    assert_eq!(of("planck_http_received_bytes_total", &[]), 4.0);
    assert!(of("planck_http_sent_bytes_total", &[]) >= 14.0);
    assert_eq!(of("planck_pool_calls_total", &[]), 5.0);
    assert_eq!(of("planck_pool_wait_seconds_count", &[]), 5.0);
    assert_eq!(of("planck_pool_traps_total", &[("kind", "unreachable")]), 1.0);
    assert_eq!(of("planck_pool_instances", &[]), 1.0);
    assert_eq!(of("planck_pool_here_total", &[]), 0.0);
    assert!(page.0["planck_module_info"].samples[0].1["sha256"].len() == 64);
    assert_eq!(of("planck_requests_total", &[("operation", "CreateStore")]), 2.0);
    let create = [("operation", "CreateStore"), ("origin", "wire")];
    assert_eq!(of("planck_request_duration_seconds_count", &create), 2.0);
    assert_eq!(of("planck_requests_refused_total", &[("code", "PLK-1203")]), 1.0);
    // Three are the system's own.
    assert_eq!(of("planck_stores", &[]), 4.0);
    assert_eq!(of("planck_connections_total", &[("listener", "wire")]), 4.0);
    assert_eq!(of("planck_connections_total", &[("listener", "http")]), 6.0);
    assert_eq!(of("planck_wire_sessions_total", &[]), 4.0);
    assert!(of("planck_wire_sent_bytes_total", &[]) > 0.0);
    assert!(of("planck_commits_total", &[]) >= 2.0);
    assert!(of("planck_wal_appended_bytes_total", &[]) > 0.0);
    assert_eq!(of("planck_storage_state", &[("state", "healthy")]), 1.0);
    assert_eq!(of("planck_ready", &[]), 1.0);
    assert!(of("planck_audit_lines_total", &[]) > 0.0);
    let anonymous = of("planck_process_anonymous_bytes", &[]);
    assert!(anonymous > 1e6 && of("planck_process_resident_bytes", &[]) > anonymous);
    assert!(of("planck_process_cpu_seconds_total", &[]) > 0.0);
    assert!(of("planck_log_lines_total", &[("level", "error")]) >= 1.0);
    let ends = of("planck_tls_certificate_end_timestamp_seconds", &[("listener", "wire")]);
    assert!(ends > 1.7e9, "{ends}");

    let told: BTreeSet<String> = page.0.keys().cloned().collect();
    assert_eq!(told, documented());

    let stats = planck.planctl_ok(&["stats"]);
    for name in
        ["latency.CreateStore.p99_us", "pool.wait.p50_us", "http./.p999_us", "wire.sessions"]
    {
        let shown = stats.lines().any(|line| line.split_whitespace().next() == Some(name));
        assert!(shown, "{name} is not in:\n{stats}");
    }
}

#[test]
fn health_and_readiness_are_told_on_an_address_of_their_own_until_the_end() {
    let dir = prepared(DB);
    let planck = start(dir.path());
    let admin = planck.admin.unwrap();
    assert_eq!(planck.look("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(planck.look("/readyz"), (200, "{\"ready\":true,\"reasons\":[]}\n".to_owned()));
    assert_eq!(planck.look("/readyz?x=1").0, 200);
    assert_eq!(planck.look("/").0, 404);
    assert_eq!(planck.look("/metrics/").0, 404);
    assert_eq!(ask(admin, "POST", "/readyz", "", "").0, 405);
    assert_eq!(ask(admin, "GET", "/readyz", "", "x").0, 413);
    assert_eq!(ask(admin, "HEAD", "/metrics", "", ""), (200, String::new()));
    for target in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(planck.get(target), (200, "ok".to_owned()), "the guest's, not ours");
    }
    // A request in flight keeps a service that stops from ending.
    let http = planck.http.unwrap();
    let slow = std::thread::spawn(move || ask(http, "GET", "/spin", "", ""));
    std::thread::sleep(Duration::from_millis(500));
    let pid = planck.pid().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let until = Instant::now() + Duration::from_secs(2);
    let (mut status, mut body) = planck.look("/readyz");
    while status == 200 && Instant::now() < until {
        (status, body) = planck.look("/readyz");
    }
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("\"code\":\"draining\""), "{body}");
    assert_eq!(planck.look("/healthz").0, 200);
    assert_eq!(slow.join().unwrap().0, 504);
}

#[test]
fn without_being_asked_for_there_is_no_admin_address() {
    let dir = prepared("port: 0\n");
    let planck = start(dir.path());
    assert_eq!(planck.admin, None);
}

#[test]
fn a_data_directory_in_use_is_the_reason_whatever_the_admin_port() {
    let dir = service_dir(DB, None);
    let planck = start(dir.path());
    let port = planck.admin.unwrap().port();
    fs::write(
        dir.path().join("db.yaml"),
        format!("port: 0\nadmin: {{enabled: true, port: {port}}}\n"),
    )
    .unwrap();
    let said = Planck::start(dir.path()).err().unwrap();
    assert!(said.contains("73") && said.contains("in use by another planck"), "{said}");
    let other = service_dir(&format!("port: 0\nadmin: {{enabled: true, port: {port}}}\n"), None);
    let said = Planck::start(other.path()).err().unwrap();
    assert!(said.contains("78") && said.contains("another program listens there"), "{said}");
}

fn lines_of(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn a_log_in_a_file_is_json_if_asked_for_and_opened_anew_on_sighup() {
    let dir = prepared("port: 0\nlogging: {path: log/planck.log, format: json}\n");
    let planck = start(dir.path());
    let path = dir.path().join("log/planck.log");
    assert_eq!(planck.get("/trap").0, 500);
    let lines = lines_of(&path);
    assert!(lines.iter().any(|line| line.contains("the guest failed")), "{lines:?}");
    let read = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let objects: Vec<_> = lines.iter().map(read).collect();
    let failed = objects.iter().find(|line| line["level"] == "ERROR").unwrap();
    assert_eq!(failed["fields"]["path"], "/trap");
    assert_eq!(failed["target"], "planck::http");
    // Moved away, as logrotate does it.
    let moved = dir.path().join("log/moved");
    fs::rename(&path, &moved).unwrap();
    planck.hang_up();
    let until = Instant::now() + Duration::from_secs(20);
    while !lines_of(&path).iter().any(|line| line.contains("opened anew")) {
        assert!(Instant::now() < until, "{:?}", lines_of(&path));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(planck.get("/trap").0, 500);
    assert!(lines_of(&path).iter().any(|line| line.contains("the guest failed")));
    let (code, said) = planck.stop();
    assert_eq!(code, Some(0));
    assert_eq!(said, Vec::<String>::new(), "nothing is said on standard error");
}

/// The metrics that an expression names.
fn named(expression: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c| !is_word(c)).filter(|word| word.starts_with("planck_"));
    let documented = documented();
    let family = |word: &str| {
        let cut = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        let cut = cut.filter(|_| !documented.contains(word));
        cut.unwrap_or(word).to_owned()
    };
    words.map(family).collect()
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are_and_leaves_none_out() {
    let text = fs::read_to_string(root().join("docs/grafana-planck.json")).unwrap();
    let board: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(board["schemaVersion"].as_u64().unwrap() >= 39);
    let variables = board["templating"]["list"].as_array().unwrap();
    assert_eq!(variables[0]["name"], "datasource");
    assert_eq!(variables[0]["type"], "datasource");
    let (mut asked, mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in board["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        // Each stands within the width of a page, and on no other.
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{title} stands on another");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let mut letters = BTreeSet::new();
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            assert!(letters.insert(target["refId"].as_str().unwrap()), "{title}");
            let expression = target["expr"].as_str().unwrap();
            let open = |c| expression.matches(c).count();
            assert_eq!((open('('), open('{')), (open(')'), open('}')), "{title}: {expression}");
            let names = named(expression);
            assert!(!names.is_empty(), "{title}: {expression}");
            asked.extend(names);
        }
    }
    let documented = documented();
    let unknown: Vec<_> = asked.difference(&documented).collect();
    assert!(unknown.is_empty(), "the dashboard asks for {unknown:?}");
    // What no panel shows, by choice: counts that say little over time.
    let unshown: BTreeSet<&str> = documented.difference(&asked).map(String::as_str).collect();
    let chosen = [
        "planck_stores",
        "planck_users",
        "planck_commits_not_flushed",
        "planck_log_holders",
        "planck_log_holders_let_go_total",
        "planck_memtables_frozen",
        "planck_commit_wait_seconds_total",
        "planck_snapshots_expired_total",
        "planck_gc_waiting_bytes",
        "planck_gc_segments_total",
        "planck_runs",
        "planck_run_entries",
        "planck_runs_written_total",
        "planck_run_merges_total",
        "planck_audit_lines_total",
        "planck_audit_files",
        "planck_pool_calls_total",
        "planck_pool_here_total",
        "planck_pool_made_total",
        "planck_upstream_idle_connections",
        "planck_upstream_connections_total",
    ];
    assert_eq!(unshown, BTreeSet::from(chosen));
}
