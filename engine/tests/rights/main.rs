//! Every operation, by every caller, in every store, at the engine's own door.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod cases;
mod keys;

use std::sync::Arc;

use cases::{Caller, KEY, Service};
use engine::{BackupTarget, Engine, JobOptions, Options, Principal, Role};
use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::doc::Doc;
use proto::{Opcode, Request};

/// Somebody, at the engine.
struct AtEngine(Arc<Engine>, Principal);

impl Caller for AtEngine {
    fn ask(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        self.0.dispatch_packet(&self.1, packet, &mut reply);
        reply
    }
}

struct Engines(Arc<Engine>);

impl Service for Engines {
    fn caller(&mut self, name: &str) -> Option<Box<dyn Caller>> {
        let who = match name {
            "service" => Principal::service("service"),
            "admin" => Principal::new("root", Role::Admin),
            user => self.0.authenticate(user, KEY).unwrap(),
        };
        Some(Box::new(AtEngine(Arc::clone(&self.0), who)))
    }

    fn lsn(&mut self) -> Option<u64> {
        let stats = self.0.stats().unwrap();
        Doc::parse(&stats).unwrap().get("lsn").and_then(|v| v.as_i64()).map(|lsn| lsn as u64)
    }
}

fn engines() -> Engines {
    let target = BackupTarget { disk: SimDisk::new(2), path: "/backups".into(), keep: 2 };
    let options = Options { backup: Some(target), ..Options::default() };
    let (clock, entropy) = (Arc::new(SimClock::new(1 << 50)), Arc::new(SimEntropy::new(1)));
    let engine = Engine::open(SimDisk::new(1), clock, entropy, options).unwrap();
    engine.begin_jobs(JobOptions::default(), || {}).unwrap();
    let mut engines = Engines(Arc::new(engine));
    let mut admin = engines.caller("admin").unwrap();
    // Its name is that of a user, who is the last admin.
    let admin_user = proto::json::parse_json(&format!(r#"{{"role": "admin", "key": "{KEY}"}}"#));
    let definition = &admin_user.unwrap();
    for user in ["admin", "root"] {
        let mut packet = Vec::new();
        Request::CreateUser { user, if_not_exists: false, definition }.encode(1, &mut packet);
        admin.ask(&packet);
    }
    cases::make_users(&mut *admin);
    engines
}

#[test]
fn everybody_does_what_they_may_and_nothing_else() {
    let (asked, opcodes) = cases::ask_all(&mut engines());
    let all: Vec<Opcode> =
        Opcode::ALL.iter().copied().filter(|opcode| *opcode != Opcode::Auth).collect();
    assert_eq!(opcodes, all, "a new operation needs its lines in the table");
    println!("{asked} cases");
    assert!(asked > 2_000, "{asked}");
}

#[test]
fn nobody_is_shown_a_store_that_they_may_not_read() {
    cases::ask_what_is_shown(&mut engines());
}
