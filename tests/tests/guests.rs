//! Guests behind HTTP: what a failing one costs, on both runtimes.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::fs;
use tests::{Planck, service_dir};

/// Answers 200 with "ok"; spins on a request for `/spin`, traps on `/trap`, grows
/// without end on `/grow`, answers nonsense on `/bad`. The target's second byte
/// decides: it stands at offset 1 + 2 + 3 ("GET") + 4 in the request.
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
    (if (i32.eq (local.get $what) (i32.const 103))
      (then (loop $more (drop (memory.grow (i32.const 16))) (br $more))))
    (if (i32.eq (local.get $what) (i32.const 98))
      (then (return (i64.const 0x0000040000000003))))
    (i64.const 7)))
"#;

fn with_guest(runtime: &str) {
    let yaml = format!(
        "name: t\ntls: {{enabled: false}}\nhttp: {{port: 0}}\n\
         wasm: {{runtime: {runtime}, min_instances: 1, max_instances: 2, deadline_in_ms: 300, memory: 4MiB}}\n"
    );
    let dir = service_dir("port: 0\n", Some(&yaml));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    fs::write(dir.path().join("wasm/planck.t.wasm"), wat::parse_str(GUEST).unwrap()).unwrap();
    let planck = Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(planck.get("/"), (200, "ok".to_owned()));
    // More failures than there are instances: none may keep its slot.
    for round in 0..3 {
        for (target, status, code) in [
            ("/spin", 504, "PLK-1602"),
            ("/trap", 500, "PLK-1999"),
            ("/grow", 504, ""),
            ("/bad", 500, "PLK-1999"),
        ] {
            let (got, body) = planck.get(target);
            if target == "/grow" {
                // Out of memory or out of time: a refused growth is no trap by itself.
                assert!(got == 500 || got == 504, "{runtime} {target} {round}: {got} {body}");
            } else {
                assert_eq!(got, status, "{runtime} {target} {round}: {body}");
                assert!(body.contains(code), "{body}");
            }
            assert_eq!(planck.get("/"), (200, "ok".to_owned()), "{runtime} after {target}");
        }
    }
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn a_failing_guest_costs_its_instance_only_on_wasmi() {
    with_guest("wasmi");
}

#[test]
fn a_failing_guest_costs_its_instance_only_on_wasmer() {
    with_guest("wasmer");
}

#[test]
fn static_files_are_served_without_a_guest() {
    let yaml = "tls: {enabled: false}\nhttp: {port: 0, static_dir: www}\nwasm: {enabled: false}\n";
    let dir = service_dir("port: 0\n", Some(yaml));
    fs::create_dir(dir.path().join("www")).unwrap();
    fs::write(dir.path().join("www/a.txt"), "a file").unwrap();
    let planck = Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(planck.get("/a.txt"), (200, "a file".to_owned()));
    let (status, body) = planck.get("/b.txt");
    assert_eq!(status, 404);
    assert!(body.contains("there is no file of that name"), "{body}");
    assert_eq!(planck.get("/../admin.key").0, 404);
}

#[test]
fn a_static_dir_with_keys_in_it_is_refused() {
    for path in [".", "tls", "data"] {
        let yaml = format!(
            "tls: {{enabled: false}}\nhttp: {{port: 0, static_dir: {path}}}\nwasm: {{enabled: false}}\n"
        );
        let dir = service_dir("port: 0\n", Some(&yaml));
        let said = Planck::start(dir.path()).err().expect("it must not start");
        assert!(said.contains("78") && said.contains("a folder of its own"), "{path}: {said}");
    }
}

#[test]
fn a_guest_that_cannot_start_does_not_look_ready() {
    let yaml = "name: t\nhttp: {port: 0}\nwasm: {runtime: wasmi, memory: 64KiB}\n";
    let dir = service_dir("port: 0\n", Some(yaml));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    let large = GUEST.replace("(memory (export \"memory\") 1)", "(memory (export \"memory\") 2)");
    fs::write(dir.path().join("wasm/planck.t.wasm"), wat::parse_str(large).unwrap()).unwrap();
    let said = Planck::start(dir.path()).err().expect("it must not start");
    assert!(said.contains("78") && said.contains("the guest cannot start"), "{said}");
}
