//! Steps as packets.

use engine::Lsn;
use proto::doc::{Doc, DocBuf, Value};
use proto::request::Part;
use proto::{Key, NewJob, Request};

use crate::guest::{Order, script_of};
use crate::model::{DEAD, Event, FORGETS, JOBS, Row, STORES};
use crate::plan::{Fields, Job, Step};

/// The service outside.
pub const OUTSIDE: &str = "mail";

/// The id of every request.
const ID: u64 = 1;

/// A request as a packet.
pub fn packet(request: &Request<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    request.encode(ID, &mut out);
    out
}

/// A step as the packet of a request, part of a transaction of that number if there is one
/// (0: of the call's own). `None`: nothing is asked.
pub fn packet_of(step: &Step, transaction: Option<u64>) -> Option<Vec<u8>> {
    let number = transaction.unwrap_or(0);
    let bson = |fields: &Fields| fields.row().to_bson();
    let query =
        |text: String| asked(&Request::Query { text: &text, parameters: None }, transaction);
    let name = |store: &usize| STORES[*store];
    Some(match step {
        Step::Read(store, key) => {
            asked(&Request::Read { store: name(store), key: Key(*key) }, transaction)
        }
        Step::Version(store, key) => {
            asked(&Request::ReadVersion { store: name(store), key: Key(*key) }, transaction)
        }
        Step::Insert(store, key, fields) => {
            let (document, key) = (bson(fields), key.map(Key));
            asked(&Request::Insert { store: name(store), key, document: &document }, transaction)
        }
        Step::Put(store, key, fields) | Step::Replace(store, key, fields) => {
            let (document, key) = (bson(fields), Key(*key));
            let upsert = matches!(step, Step::Put(..));
            let request = Request::Update { store: name(store), key, document: &document, upsert };
            asked(&request, transaction)
        }
        Step::Delete(store, key) => {
            asked(&Request::Delete { store: name(store), key: Key(*key) }, transaction)
        }
        Step::All(store) => asked(
            &Request::Scan { store: name(store), after: None, limit: 0, reverse: false },
            transaction,
        ),
        Step::Find(store, n) => query(format!("{}.filter(n = {n})", name(store))),
        Step::Between(store, low, high) => {
            query(format!("{}.filter(n between {low} and {high}).orderBy(n)", name(store)))
        }
        Step::Count(store, n) => query(format!("{}.filter(n >= {n}).count()", name(store))),
        Step::Newest(store) => query(format!("{}.all().orderBy(v desc).limit(1)", name(store))),
        Step::Inc(store, n) => query(format!("{}.filter(n = {n}).inc({{m: 1}})", name(store))),
        Step::Move(store, n, to) => {
            query(format!("{}.filter(n = {n}).set({{n: {to}}})", name(store)))
        }
        Step::Remove(store, n) => query(format!("{}.filter(n = {n}).delete()", name(store))),
        Step::Savepoint => packet(&Request::Savepoint { transaction: number }),
        Step::Rollback(savepoint) => {
            packet(&Request::Rollback { transaction: number, savepoint: *savepoint })
        }
        Step::Commit => packet(&Request::Commit { transaction: number }),
        Step::Abort => packet(&Request::Abort { transaction: number }),
        Step::Schedule(job) => {
            let document = scheduled(job);
            asked(&Request::Schedule { job: &document }, transaction)
        }
        Step::Spin(_) | Step::Trap => return None,
        // They are the host's.
        Step::Take(_) | Step::Fired(_) | Step::Fire(..) => return None,
    })
}

fn asked(request: &Request<'_>, transaction: Option<u64>) -> Vec<u8> {
    match transaction {
        None => packet(request),
        Some(transaction) => {
            let mut room = Vec::new();
            let part = Part::of(request, &mut room);
            packet(&Request::Within { transaction, part })
        }
    }
}

/// A job as Schedule takes it.
pub fn scheduled(job: &Job) -> Vec<u8> {
    let path = format!("/{}", job.id);
    let new = match job.outside {
        true => NewJob::upstream(OUTSIDE, &path),
        false => NewJob::route(&path).bytes(script(job.status, &job.steps)),
    };
    let after = std::time::Duration::from_millis(job.in_ms.unsigned_abs());
    new.after(after).encode().expect("a job that can be written")
}

/// What a guest is told to do for some steps.
pub fn script(status: u16, steps: &[Step]) -> Vec<u8> {
    let packets: Vec<_> = steps.iter().map(|step| packet_of(step, None)).collect();
    script_of(status, &orders(steps, &packets))
}

/// As a guest is told of them.
pub fn orders<'a>(steps: &[Step], packets: &'a [Option<Vec<u8>>]) -> Vec<Order<'a>> {
    let order = |(step, packet): (&Step, &'a Option<Vec<u8>>)| match (step, packet) {
        (_, Some(packet)) => Order::Ask(packet),
        (Step::Spin(turns), _) => Order::Spin(*turns),
        _ => Order::Trap,
    };
    steps.iter().zip(packets).map(order).collect()
}

/// A page of events behind a token, or a commit.
pub fn watched(stores: &[usize], since: &Result<String, Lsn>) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.array("stores", |all| {
        for store in stores {
            all.item_doc(|one| {
                one.push("store", name_of(*store)).push("before", *store < FORGETS);
            });
        }
    });
    match since {
        Ok(token) => doc.push("since", token.as_str()),
        Err(lsn) => doc.push("since", lsn.cast_signed()),
    };
    let what = doc.finish().expect("a watch that can be written");
    packet(&Request::Watch { what: &what })
}

fn name_of(store: usize) -> &'static str {
    match store {
        JOBS => engine::JOBS,
        DEAD => engine::DEAD,
        store => STORES[store],
    }
}

/// A page of events, each with its commit.
pub struct Page {
    /// In their order.
    pub events: Vec<(Lsn, Event)>,
    /// The token to go on from.
    pub next: String,
    /// The last durable commit.
    pub durable: Lsn,
}

/// Reads a page.
pub fn page(document: &[u8]) -> Option<Page> {
    let doc = Doc::parse(document).ok()?;
    let Value::Array(events) = doc.get("events")? else { return None };
    let mut all = Vec::new();
    for event in events.iter() {
        let Value::Doc(event) = event else { return None };
        let row = |name| match event.get(name) {
            Some(Value::Doc(doc)) => Row::of(doc.as_bytes()),
            _ => None,
        };
        let name = event.get("store")?.as_str()?.to_owned();
        let store = (0..=DEAD).find(|store| name_of(*store) == name)?;
        let key = event.get("key")?.as_str()?.parse::<Key>().ok()?.0;
        let op = event.get("op")?.as_str()?.to_owned();
        let lsn = event.get("lsn")?.as_i64()?.unsigned_abs();
        let (document, before) = (row("document"), row("before"));
        all.push((lsn, Event { store, key, op, document, before }));
    }
    let next = doc.get("next")?.as_str()?.to_owned();
    Some(Page { events: all, next, durable: doc.get("durable")?.as_i64()?.unsigned_abs() })
}
