//! Every operation, by every caller, in every store, over the wire and from a guest: the
//! table and the requests of `engine/tests/rights`, through the real service.
//!
//! QUIC: a `Service` whose callers speak it takes its place beside [`Process`], with the
//! same [`cases::ask_all`].

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "../../engine/tests/rights/cases.rs"]
mod cases;

use cases::{Caller, KEY, Service};
use net::client::{Client, ClientOptions, Security};
use proto::{Opcode, Request};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use tests::{Planck, service_dir};
use tokio::runtime::Runtime;

/// Answers a request with the reply to the packet in its body.
const GUEST: &str = r#"
(module
  (import "planck" "host_request" (func $ask (param i32 i32 i32 i32) (result i64)))
  (memory (export "memory") 4)
  (data (i32.const 0) "\01\c8\00\00\00")
  (func (export "planck_abi") (result i32) (i32.const 1))
  (func (export "alloc") (param i32) (result i32) (i32.const 131072))
  (func (export "process") (param $ptr i32) (param $len i32) (result i64)
    (local $at i32)
    (local.set $at (local.get $ptr))
    (block $found
      (loop $again
        (br_if $found (i32.eq (i32.load (local.get $at)) (i32.const 0x4b4e4c50)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $again)))
    (i64.add (i64.const 5)
      (call $ask
        (local.get $at)
        (i32.sub (local.get $len) (i32.sub (local.get $at) (local.get $ptr)))
        (i32.const 5)
        (i32.const 131000)))))
"#;

/// A session of the wire.
struct OverWire(Arc<Runtime>, Client);

impl Caller for OverWire {
    fn ask(&mut self, packet: &[u8]) -> Vec<u8> {
        let request = Request::decode(packet).unwrap().1;
        self.0.block_on(self.1.call(&request)).unwrap()
    }
}

/// The guest, by HTTP.
struct FromGuest(SocketAddr);

impl Caller for FromGuest {
    fn ask(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.0).unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            packet.len()
        );
        stream.write_all(&[head.as_bytes(), packet].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        answer.split_off(end)
    }
}

/// The service as a process: users over the wire, the service itself from its guest.
struct Process {
    planck: Planck,
    runtime: Arc<Runtime>,
}

impl Service for Process {
    fn caller(&mut self, name: &str) -> Option<Box<dyn Caller>> {
        if name == "service" {
            return Some(Box::new(FromGuest(self.planck.http.unwrap())));
        }
        let key = match name {
            "admin" => fs::read_to_string(self.planck.dir.join("admin.key")).unwrap(),
            _ => KEY.to_owned(),
        };
        let (address, options) = (self.planck.wire.to_string(), ClientOptions::default());
        let client = Client::connect(&address, Security::Plaintext, name, key.trim(), options);
        let client = self.runtime.block_on(client).unwrap();
        Some(Box::new(OverWire(Arc::clone(&self.runtime), client)))
    }

    fn lsn(&mut self) -> Option<u64> {
        None
    }
}

#[test]
fn everybody_does_what_they_may_over_the_wire_and_from_a_guest() {
    let yaml = "name: service\ntls: {enabled: false}\nhttp: {port: 0}\n\
                wasm: {runtime: wasmi, min_instances: 1, max_instances: 1}\n";
    let dir = service_dir("port: 0\ntls: {enabled: false}\n", Some(yaml));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    fs::write(dir.path().join("wasm/planck.service.wasm"), wat::parse_str(GUEST).unwrap()).unwrap();
    let planck = Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut service = Process { planck, runtime: Arc::new(runtime) };
    cases::make_users(&mut *service.caller("admin").unwrap());
    cases::ask_what_is_shown(&mut service);
    let (asked, opcodes) = cases::ask_all(&mut service);
    println!("{asked} cases");
    assert!(asked > 2_000, "{asked}");
    assert_eq!(opcodes.len(), Opcode::ALL.len() - 1, "all but Auth");

    // What was done is in the audit log, whole.
    assert_eq!(service.planck.stop().0, Some(0));
    let planck = std::process::Command::new(tests::program("planck"));
    let checked = { planck }.args(["audit", "verify", "--dir"]).arg(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.contains("the chain is whole"), "{said}");
}
