//! A primary and a replica of it, in one process, page by page.

mod bounds;
mod follow;
mod lead;
mod served;

pub(super) use std::sync::Arc;

pub(super) use platform::Disk;
pub(super) use platform::sim::{SimClock, SimDisk, SimEntropy};
pub(super) use proto::doc::Doc;
pub(super) use proto::{Key, Request, Status};

pub(super) use super::kit::*;
pub(super) use crate::{
    AuditOptions, Bootstrap, Engine, Offered, Options, Place, Principal, Refusal, ReplicaOptions,
    ReplicaRole, Role, Took, place,
};

pub(super) fn options_of(primary: &str) -> Options {
    let replica =
        ReplicaOptions { primary: Some(primary.to_owned()), name: "two".to_owned(), bootstraps: 0 };
    Options { replica, ..options() }
}

pub(super) fn open_of(disk: &Arc<SimDisk>, primary: &str, seed: u64) -> Engine {
    let disk: Arc<dyn Disk> = disk.clone();
    let clock = Arc::new(SimClock::new(NOW + seed));
    Engine::open(disk, clock, Arc::new(SimEntropy::new(seed)), options_of(primary)).unwrap()
}

/// The document that is answered.
pub(super) fn document(
    engine: &Engine,
    who: &Principal,
    request: Request<'_>,
) -> Result<Vec<u8>, Refusal> {
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    request.encode(1, &mut packet);
    engine.dispatch_packet(who, &packet, &mut out);
    match proto::Reply::decode(&out).unwrap().1 {
        proto::Reply::Document(document) => Ok(document.to_vec()),
        proto::Reply::Error { status, message } => Err(Refusal::new(status, message)),
        other => panic!("{other:?}"),
    }
}

pub(super) fn replicator() -> Principal {
    Principal::new("two", Role::Replica)
}

/// One page from one to the other.
pub(super) fn page(primary: &Engine, replica: &Engine, bytes: u32) -> Result<Took, Refusal> {
    let what = replica.follow_request(bytes, 0)?;
    let page = document(primary, &replicator(), Request::Follow { what: &what })?;
    replica.take_followed(&page)
}

/// Until the replica has all that is durable.
pub(super) fn follow(primary: &Engine, replica: &Engine) {
    primary.sync().unwrap();
    while page(primary, replica, 1 << 20).unwrap().more {}
}

/// Makes the data of a replica on an empty disk.
pub(super) fn bootstrap(primary: &Engine, disk: &Arc<SimDisk>) {
    let disk: Arc<dyn Disk> = disk.clone();
    assert_eq!(place(&*disk).unwrap(), Place::Empty);
    let ask = Bootstrap::ask("two");
    let mut incoming = loop {
        let told = document(primary, &replicator(), Request::Snapshot { what: &ask }).unwrap();
        match Bootstrap::offered(&disk, &told).unwrap() {
            Offered::Making => drop(primary.tend_snapshot(&|| true).unwrap().unwrap()),
            Offered::Failed(why) => panic!("{why}"),
            Offered::Ready(incoming) => break incoming,
        }
    };
    while let Some(what) = incoming.next(1000) {
        let piece = document(primary, &replicator(), Request::Snapshot { what: &what }).unwrap();
        incoming.take(&piece).unwrap();
    }
    incoming.finish(&SimClock::new(NOW), &options().storage).unwrap();
    assert_eq!(place(&*disk).unwrap(), Place::Replica);
}

/// A primary with the store `s` and a document, and a replica of it.
pub(super) fn pair() -> (Engine, Engine, Arc<SimDisk>) {
    let primary = with_store();
    insert(&primary, 1, r#"{"a": 1}"#);
    let disk = SimDisk::new(2);
    bootstrap(&primary, &disk);
    let replica = open_of(&disk, "db.example:24010", 7);
    (primary, replica, disk)
}

pub(super) fn same(primary: &Engine, replica: &Engine) {
    assert_eq!(all(primary), all(replica));
    let (one, two) = (primary.lsm.last_lsn(), replica.lsm.last_lsn());
    assert_eq!(one, two);
}
