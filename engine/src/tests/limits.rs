//! Each limit, at its edge: the last that is taken, the first that is refused.

use platform::sim::SimDisk;
use proto::doc::Doc;
use proto::request::BatchBuf;
use proto::{Key, Reply, Request, Status};

use super::kit::*;
use crate::{Limits, Options, Role};

/// Bytes of the smallest message there can be.
const MESSAGE: usize = 64 << 10;

/// 64 KiB messages, 20,000-byte documents, batches of 3.
fn small() -> Limits {
    Limits {
        max_batch_size: 3,
        max_message_size: MESSAGE,
        max_document_size: 20_000,
        query_memory: 1 << 20,
        query_spill: 0,
        ..Limits::default()
    }
}

/// Bytes of a batch's packet before its documents: header, store, count.
const BATCH_HEAD: usize = 24 + 3 + 4;
/// Bytes before each of its documents.
const ITEM_HEAD: usize = 17;

#[test]
fn a_document_may_be_as_large_as_the_limit() {
    let engine = open_with(small());
    let (fits, over) = (doc_of(20_000), doc_of(20_001));
    let (store, key) = ("s", Key(1));
    let update = |document| Request::Update { store, key, document, upsert: true };
    assert_eq!(done(&engine, update(&fits)), Said::Key(key));
    let words = &["20001 bytes", "20000", "split it"];
    refused(&engine, update(&over), Status::DocumentTooLarge, words);
    let insert = Request::Insert { store, key: None, document: &over };
    refused(&engine, insert, Status::DocumentTooLarge, words);
    let mut batch = BatchBuf::new();
    batch.push(None, &over);
    let insert = Request::BatchInsert { store, batch: batch.as_batch() };
    refused(&engine, insert, Status::DocumentTooLarge, words);
    // Nor does it grow there by a query.
    let grow = query("s.all().set({more: 1})");
    refused(&engine, grow, Status::DocumentTooLarge, &["document 0000", "20000"]);
    let Said::Rows(rows, None) = done(&engine, read(1)) else { panic!() };
    assert_eq!(rows.len(), 1);
}

#[test]
fn the_largest_document_fits_every_message() {
    let limits = Limits { max_document_size: (64 << 10) - 256, ..small() };
    let store = "s".repeat(64);
    let engine = open_on(SimDisk::new(1), Options { limits, ..options() });
    done(&engine, create(&store));
    let document = doc_of(limits.max_document_size);
    let key = Some(Key(1));
    done(&engine, Request::Insert { store: &store, key, document: &document });
    done(&engine, Request::Read { store: &store, key: Key(1) });
    done(&engine, Request::Scan { store: &store, after: None, limit: 0, reverse: false });
    done(&engine, query(&format!("{store}.filter(b exists)")));
    let mut batch = BatchBuf::new();
    batch.push(None, &document);
    done(&engine, Request::BatchInsert { store: &store, batch: batch.as_batch() });
}

#[test]
fn a_message_may_be_as_large_as_the_limit() {
    let engine = open_with(small());
    let packet_of = |bytes: usize| {
        let mut batch = BatchBuf::new();
        batch.push(None, &doc_of(20_000));
        batch.push(None, &doc_of(20_000));
        batch.push(None, &doc_of(bytes - BATCH_HEAD - 3 * ITEM_HEAD - 40_000));
        let mut packet = Vec::new();
        Request::BatchInsert { store: "s", batch: batch.as_batch() }.encode(1, &mut packet);
        assert_eq!(packet.len(), bytes);
        packet
    };
    let answer = |packet: &[u8]| {
        let mut out = Vec::new();
        engine.dispatch_packet(&admin(), packet, &mut out);
        let (id, reply) = Reply::decode(&out).unwrap();
        assert_eq!(id, 1);
        match reply {
            Reply::Error { status, message } => Some((status, message.to_owned())),
            _ => None,
        }
    };
    // The last document is over its own limit, which is looked at second.
    let (status, _) = answer(&packet_of(64 << 10)).unwrap();
    assert_eq!(status, Status::DocumentTooLarge);
    let (status, message) = answer(&packet_of((64 << 10) + 1)).unwrap();
    assert_eq!(status, Status::MessageTooLarge);
    assert!(message.contains("65537") && message.contains("65536"), "{message}");
    assert_eq!(all(&engine).len(), 0);
}

#[test]
fn a_batch_may_have_as_many_documents_as_the_limit() {
    let engine = open_with(small());
    let insert = |items: &BatchBuf| {
        let mut packet = Vec::new();
        Request::BatchInsert { store: "s", batch: items.as_batch() }.encode(77, &mut packet);
        packet
    };
    let four = batch(&[(None, "{}"); 4]);
    let request = Request::BatchInsert { store: "s", batch: four.as_batch() };
    let words = &["4 documents", "max_batch_size is 3", "several batches"];
    refused(&engine, request, Status::BatchTooLarge, words);
    let mut out = Vec::new();
    engine.dispatch_packet(&admin(), &insert(&batch(&[(None, "{}"); 3])), &mut out);
    assert!(matches!(Reply::decode(&out).unwrap().1, Reply::Keys(keys) if keys.len() == 3));
}

#[test]
fn no_reply_is_larger_than_a_message_and_pages_miss_nothing() {
    let limits = small();
    let engine = open_with(limits);
    // Sizes that leave every kind of rest at the end of a page.
    for key in 0..120u128 {
        let document = doc_of(500 + (key as usize * 7919) % 9000);
        let key = Some(Key(key));
        done(&engine, Request::Insert { store: "s", key, document: &document });
    }
    for reverse in [false, true] {
        let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
        loop {
            let mut packet = Vec::new();
            Request::Scan { store: "s", after, limit: 0, reverse }.encode(1, &mut packet);
            let mut out = Vec::new();
            engine.dispatch_packet(&admin(), &packet, &mut out);
            assert!(out.len() <= limits.max_message_size);
            let Ok((_, Reply::Rows(rows))) = Reply::decode(&out) else { panic!() };
            seen.extend(rows.iter().map(|(key, _)| key.unwrap().0));
            pages += 1;
            after = rows.next;
            if after.is_none() {
                break;
            }
            assert!(out.len() > limits.max_message_size - 10_000, "pages are filled");
        }
        if reverse {
            seen.reverse();
        }
        assert_eq!(seen, (0..120).collect::<Vec<u128>>());
        assert!(pages > 5);
    }
}

#[test]
fn a_page_is_filled_to_the_last_byte() {
    let engine = open_with(small());
    // header, tag, keyed, next, count; then key and document.
    let room = (64 << 10) - 24 - 1 - 1 - 17 - 4;
    for (key, bytes) in
        [(1, 20_000), (2, 20_000), (3, room - 40_000 - 10_000 - 4 * 16), (4, 10_000)]
    {
        let request = Request::Insert { store: "s", key: Some(Key(key)), document: &doc_of(bytes) };
        done(&engine, request);
    }
    assert_eq!(all(&engine).len(), 4);
    let bytes = room - 40_000 - 10_000 - 4 * 16 + 1;
    let more = doc_of(bytes);
    done(&engine, Request::Update { store: "s", key: Key(3), document: &more, upsert: false });
    let scan = Request::Scan { store: "s", after: None, limit: 0, reverse: false };
    let Said::Rows(rows, next) = done(&engine, scan) else { panic!() };
    assert_eq!((rows.len(), next), (3, Some(3)));
}

#[test]
fn a_document_of_larger_times_is_refused_by_name() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    done(&engine, create("s"));
    insert(&engine, 1, "{}");
    let document = doc_of(70_000);
    done(&engine, Request::Insert { store: "s", key: Some(Key(2)), document: &document });
    drop(engine);
    let engine = open_on(disk.kill(), Options { limits: small(), ..options() });
    let words = &["00000002", "70000 bytes", "raise limits.max_message_size"];
    refused(&engine, read(2), Status::ResultTooLarge, words);
    let scan = |after| Request::Scan { store: "s", after, limit: 0, reverse: false };
    assert_eq!(done(&engine, scan(None)), Said::Rows(vec!["1 {}".to_owned()], Some(1)));
    refused(&engine, scan(Some(Key(1))), Status::ResultTooLarge, words);
}

#[test]
fn sorting_beyond_the_memory_of_a_query_is_refused() {
    let engine = open_with(Limits { query_memory: 50_000, ..small() });
    for key in 0..3 {
        let document = doc_of(20_000);
        done(&engine, Request::Insert { store: "s", key: Some(Key(key)), document: &document });
    }
    refused(&engine, query("s.orderBy(b)"), Status::QueryMemory, &["50000 bytes"]);
    let change = query("s.all().set({b: 1})");
    refused(&engine, change, Status::QueryMemory, &["50000 bytes", "change so many"]);
    assert_eq!(all(&engine).len(), 3);
    // To delete, keys are enough.
    assert_eq!(done(&engine, query("s.all().delete()")), Said::Count(3));
}

#[test]
fn an_error_is_short_however_long_what_it_names() {
    let engine = with_store();
    let name = "n".repeat(100_000);
    let document = [
        &(200_000u32 + 4 + 1 + 4).to_le_bytes()[..],
        &[0x0a],
        name.as_bytes(),
        &[0, 0x0a],
        name.as_bytes(),
        &[0, 0],
    ]
    .concat();
    let document = &document;
    let request = Request::Insert { store: "s", key: None, document };
    let Said::Refused(Status::BadDocument, message) = ask(&engine, request) else { panic!() };
    assert!(message.starts_with("field \"nnn"), "{}", &message[..80]);
    assert!(message.len() <= 4096);
}

/// A user at every bound: of the longest name, with grants in as many stores as can be, of
/// names as long, and eight keys.
#[test]
fn the_largest_user_there_can_be_fits_the_smallest_message() {
    let engine = open_with(small());
    let name = "u".repeat(64);
    put_user(&engine, &name, Role::ReadOnly);
    let mut grants = Vec::new();
    for n in 0..256 {
        let store = format!("s{n:063}");
        done(&engine, create(&store));
        grants.push(format!(r#""{store}": "read_write""#));
    }
    let change = doc(&format!(r#"{{"grants": {{{}}}}}"#, grants.join(", ")));
    done(&engine, Request::AlterUser { user: &name, change: &change });
    for n in 0..7 {
        let key =
            format!(r#"{{"name": "k{n:063}", "expires": {{"$date": "2050-01-01T00:00:00Z"}}}}"#);
        done(&engine, Request::CreateKey { user: &name, definition: &doc(&key) });
    }
    let Said::Rows(rows, None) = done(&engine, Request::ListUsers { after: None }) else {
        panic!()
    };
    assert_eq!((rows.len(), rows[0].matches("created_at").count()), (1, 9));
    assert_eq!(rows[0].matches("read_write").count(), 256);
}

#[test]
fn users_that_do_not_fit_a_message_are_listed_page_by_page() {
    let engine = open_with(small());
    let mut names: Vec<String> = (0..1500).map(|n| format!("u{}", n * 7919 % 1500)).collect();
    for name in &names {
        put_user(&engine, name, Role::None);
    }
    names.sort_unstable();
    let (mut listed, mut pages, mut after) = (Vec::new(), 0, None::<String>);
    loop {
        let mut out = Vec::new();
        let list = Request::ListUsers { after: after.as_deref() };
        engine.dispatch(&admin(), 1, list, &mut out);
        assert!(out.len() <= MESSAGE, "{}", out.len());
        let Reply::Rows(rows) = Reply::decode(&out).unwrap().1 else { panic!() };
        listed.extend(
            rows.iter().map(|(_, row)| {
                Doc::trusted(row).get("name").unwrap().as_str().unwrap().to_owned()
            }),
        );
        pages += 1;
        match rows.next {
            None => break,
            Some(next) => {
                assert_eq!(next, Key::MIN, "a name is no key");
                assert!(MESSAGE - out.len() < 200, "{} bytes were left", MESSAGE - out.len());
            }
        }
        // One that is gone meanwhile is no place to get lost at.
        after = listed.last().cloned();
        let user = after.as_deref().unwrap();
        done(&engine, Request::DropUser { user, if_exists: false });
    }
    assert!(pages > 2, "{pages}");
    assert_eq!(listed, names);
    let behind = Request::ListUsers { after: Some("zzz") };
    assert_eq!(done(&engine, behind), Said::Rows(vec![], None));
}
