//! A server: an engine on a disk that crashes, and what can be asked of it.

use std::sync::Arc;

use engine::{Engine, Options, Principal, ReplicaOptions, Role, StorageOptions, SyncMode};
use platform::Disk;
use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::doc::Doc;
use proto::{Key, Reply, Request, Status, json};

/// Small, so that a run flushes, rotates and cuts.
pub fn storage(seed: u64) -> StorageOptions {
    StorageOptions {
        sync: if seed.is_multiple_of(3) { SyncMode::Sync } else { SyncMode::Async },
        wal_segment_bytes: 4096,
        memtable_bytes: 16 << 10,
        vlog_segment_bytes: 64 << 10,
        vlog_buffer_bytes: 4096,
        gc_step_bytes: 4096,
        wal_retain_bytes: if seed.is_multiple_of(5) { 8 << 10 } else { 256 << 10 },
        run_leaves: 4,
        ..StorageOptions::default()
    }
}

pub struct Node {
    pub disk: Arc<SimDisk>,
    engine: Option<Engine>,
    seed: u64,
    opened: u64,
}

pub type Said = Result<Vec<u8>, Status>;

impl Node {
    pub fn new(seed: u64) -> Node {
        Node { disk: SimDisk::new(seed), engine: None, seed, opened: 0 }
    }

    pub fn open(&mut self) {
        self.opened += 1;
        let salt = self.seed * 1000 + self.opened;
        let replica =
            ReplicaOptions { primary: None, name: format!("n{}", self.seed), bootstraps: 0 };
        let options = Options { storage: storage(self.seed), replica, ..Options::default() };
        let disk: Arc<dyn Disk> = self.disk.clone();
        let clock = Arc::new(SimClock::new(1_700_000_000_000_000 + salt));
        let engine = Engine::open(disk, clock, Arc::new(SimEntropy::new(salt)), options);
        self.engine = Some(engine.unwrap_or_else(|e| panic!("it must open: {e}")));
    }

    pub fn close(&mut self) {
        self.engine = None;
    }

    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("it is open")
    }

    pub fn is_crashed(&self) -> bool {
        self.disk.is_crashed()
    }

    /// The machine is there again, by one of three ways of going.
    pub fn restart(&mut self, how: u64) {
        self.engine = None;
        self.disk = match how % 3 {
            0 => self.disk.restart(),
            1 => self.disk.restart_worst(),
            _ => self.disk.kill(),
        };
    }

    pub fn ask(&self, request: Request<'_>) -> Said {
        self.ask_as(&Principal::new("root", Role::Admin), request)
    }

    /// The body of the answer.
    pub fn ask_as(&self, who: &Principal, request: Request<'_>) -> Said {
        let (mut packet, mut out) = (Vec::new(), Vec::new());
        request.encode(1, &mut packet);
        self.engine().dispatch_packet(who, &packet, &mut out);
        match Reply::decode(&out).unwrap().1 {
            Reply::Error { status, .. } => Err(status),
            Reply::Document(document) => Ok(document.to_vec()),
            _ => Ok(out),
        }
    }

    /// The last commit that is read.
    pub fn lsn(&self) -> u64 {
        let what = json::parse_json("{}").unwrap();
        let told = self.ask(Request::Position { what: &what }).unwrap();
        Doc::parse(&told).unwrap().get("lsn").unwrap().as_i64().unwrap().unsigned_abs()
    }

    /// All of it, as text.
    pub fn dump(&self) -> String {
        let mut out = String::new();
        for store in ["s0", "s1", "s2"] {
            let scan = Request::Scan { store, after: None, limit: 0, reverse: false };
            let (mut packet, mut answer) = (Vec::new(), Vec::new());
            scan.encode(1, &mut packet);
            self.engine().dispatch_packet(&root(), &packet, &mut answer);
            match Reply::decode(&answer).unwrap().1 {
                Reply::Rows(rows) => {
                    out += &format!("{store}:");
                    for (key, doc) in rows.iter() {
                        let text = json::to_json(Doc::parse(doc).unwrap());
                        out += &format!(" {}={text}", key.unwrap_or(Key::MIN).0);
                    }
                }
                Reply::Error { status: Status::UnknownStore, .. } => out += "none",
                _ if self.is_crashed() => return out,
                other => panic!("{store}: {other:?}"),
            }
            let counted = Request::Query { text: &format!("{store}.count()"), parameters: None };
            out += &format!(" ({:?})\n", self.ask(counted).map(|reply| reply[24..].to_vec()));
        }
        for request in [Request::ListSequences, Request::ListUsers { after: None }] {
            out += &format!("{:?}\n", self.ask(request).map(|reply| reply[24..].to_vec()));
        }
        out
    }

    /// What is wrong with its indexes.
    pub fn check(&self) {
        let report = self.engine().verify_indexes(&mut |_, _| {});
        assert!(report.is_clean(), "{report}");
    }
}

pub fn root() -> Principal {
    Principal::new("root", Role::Admin)
}
