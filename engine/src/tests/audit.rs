//! The audit log: what is in it, what a crash leaves of it, and that whoever changes it
//! is found out.

use std::sync::Arc;
use std::time::Duration;

use platform::sim::{Fault, SimClock, SimDisk, SimEntropy, Times};
use platform::{Disk, Open};
use proto::{Request, Status};
use serde_json::Value;

use super::kit::*;
use crate::{AuditOptions, AuditReport, Engine, OpenError, Options, Principal, Role, verify_audit};

const FIRST: &str = "audit/0000000000000001.jsonl";
const KEY: &str = "correct-horse-battery";

fn audited() -> Options {
    Options { audit: Some(AuditOptions::default()), ..options() }
}

/// Files of the least size.
fn small(keep: usize) -> Options {
    Options { audit: Some(AuditOptions { file_bytes: 16 << 10, keep }), ..options() }
}

fn try_open(disk: &Arc<SimDisk>, options: Options) -> Result<Engine, OpenError> {
    let clock = Arc::new(SimClock::new(NOW));
    Engine::open(disk.clone(), clock, Arc::new(SimEntropy::new(1)), options)
}

/// All lines on a disk, of all files.
fn lines(disk: &SimDisk) -> Vec<Value> {
    let files = disk.files().into_iter().filter(|path| path.ends_with(".jsonl"));
    let text: Vec<u8> = files.flat_map(|path| disk.file_bytes(&path).unwrap()).collect();
    let text = String::from_utf8(text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Of each line what, object and outcome.
fn told(disk: &SimDisk) -> Vec<String> {
    let told = |line: Value| {
        let object = line["object"].as_str().unwrap_or("-").to_owned();
        let text = |field: &str| line[field].as_str().unwrap().to_owned();
        format!("{} {object} {}", text("what"), text("outcome"))
    };
    lines(disk).into_iter().map(told).collect()
}

fn checked(disk: &SimDisk) -> AuditReport {
    verify_audit(disk, None).unwrap().unwrap()
}

fn whole(disk: &SimDisk) -> AuditReport {
    let report = checked(disk);
    assert_eq!(report.fault, None, "{report}");
    report
}

fn user(engine: &Engine, name: &str, role: &str) {
    let definition = doc(&format!(r#"{{"role": "{role}", "key": "{KEY}"}}"#));
    done(engine, Request::CreateUser { user: name, if_not_exists: false, definition: &definition });
}

#[test]
fn every_privileged_change_has_a_line_before_it_and_one_at_its_end() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), audited());
    let ddl =
        [r#"{"fields": ["a"]}"#, r#"{"ttl": null, "rename": "t"}"#, r#"{"next": 7}"#].map(doc);
    let grants = doc(r#"{"role": "none", "grants": {"s": "read_only"}}"#);
    let (key, by) = (doc(r#"{"name": "ci"}"#), Principal::new("root", Role::Admin).in_session(9));
    user(&engine, "ann", "read_only");
    let (sequence, store, user) = ("q", "s", "ann");
    for (request, object) in [
        (create("s"), "s"),
        (Request::CreateIndex { store, if_not_exists: false, definition: &ddl[0] }, "s"),
        (Request::DropIndex { store, index: "a", if_exists: false }, "s.a"),
        (Request::AlterUser { user, change: &grants }, "ann"),
        (Request::AlterStore { store, change: &ddl[1] }, "s"),
        (drop_store("t"), "t"),
        (Request::CreateSequence { sequence, if_not_exists: false }, "q"),
        (Request::AlterSequence { sequence, change: &ddl[2] }, "q"),
        (Request::DropSequence { sequence, if_exists: false }, "q"),
        (Request::CreateKey { user, definition: &key }, "ann"),
        (Request::RevokeKey { user, key: "ci", if_exists: false }, "ann"),
        (Request::DropUser { user, if_exists: false }, "ann"),
        (Request::Flush, "-"),
    ] {
        let before = lines(&disk).len();
        let said = ask_as(&engine, &by, request);
        assert!(!matches!(said, Said::Refused(..)), "{request:?}: {said:?}");
        let lines = lines(&disk).split_off(before);
        let name = request.opcode().name();
        assert_eq!(
            told(&disk)[before..],
            [format!("{name} {object} begun"), format!("{name} {object} done")]
        );
        assert_eq!((&lines[0]["who"], &lines[0]["session"]), (&"root".into(), &9.into()));
        assert_eq!(lines[1]["of"], lines[0]["seq"]);
        let durable = disk.durable_bytes(FIRST).unwrap();
        assert_eq!(durable, disk.file_bytes(FIRST).unwrap(), "{name}: durable once answered");
    }
    let all = lines(&disk);
    let line = |what: &str| all.iter().find(|line| line["what"] == *what).unwrap();
    assert_eq!(line("AlterUser")["grants"]["s"], "read_only");
    assert_eq!(
        (&line("AlterUser")["role"], &line("AlterStore")["rename"]),
        (&"none".into(), &"t".into())
    );
    assert_eq!(
        (&line("CreateKey")["key"], &line("AlterSequence")["next"]),
        (&"ci".into(), &7.into())
    );
    assert_eq!(all[0]["what"], "Start");
    engine.close().unwrap();
    assert_eq!(told(&disk).last().unwrap(), "Stop - done");
    assert_eq!(whole(&disk).lines, all.len() as u64 + 1);
}

#[test]
fn the_first_admin_log_ins_refusals_and_lockouts_are_told_and_nothing_secret_is() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), audited());
    let key = engine.ensure_admin().unwrap().unwrap();
    done(&engine, create("s"));
    insert(&engine, 1, r#"{"a": "a-word-of-a-document"}"#);
    user(&engine, "ann", "read_only");
    engine.authenticate_from("admin", &key, Some("10.0.0.7:5")).unwrap();
    assert!(engine.authenticate_from("ann", "wrong-key-of-ann", Some("::1")).is_err());
    engine.audit_lockout(Some("ann"), Some("::1"), Some(900));
    let ann = engine.authenticate("ann", KEY).unwrap();
    for text in ["s.insert({a: 'a-word-of-a-query'})", "s.count()"] {
        ask_as(&engine, &ann, query(text));
    }
    // Nothing to be done; refused for what it is; nothing privileged about it.
    done(&engine, Request::CreateStore { store: "s", if_not_exists: true });
    refused(&engine, create("s"), Status::StoreExists, &[]);
    refused(&engine, read(9), Status::NotFound, &[]);
    assert_eq!(
        told(&disk)[1..],
        [
            "CreateUser admin begun",
            "CreateUser admin done",
            "CreateStore s begun",
            "CreateStore s done",
            "CreateUser ann begun",
            "CreateUser ann done",
            "LogIn - done",
            "LogIn - PLK-1502",
            "LockedOut - done",
            "LogIn - done",
            "Query - PLK-1503",
            "CreateStore s done",
            "CreateStore s PLK-1203",
        ]
    );
    let all = lines(&disk);
    assert_eq!((&all[7]["who"], &all[7]["address"]), (&"admin".into(), &"10.0.0.7:5".into()));
    assert_eq!(all[7]["key"], "main");
    assert_eq!((&all[8]["who"], &all[8]["address"]), (&"ann".into(), &"::1".into()));
    assert_eq!(all[9]["seconds"], 900);
    assert_eq!(all[11]["session"], ann.session());
    // A key that was typed as a name is not written down.
    assert!(engine.authenticate("typed-as-name", KEY).is_err());
    engine.audit_lockout(Some("typed-as-name"), None, Some(1));
    let admin = admin();
    for request in [
        Request::DropUser { user: "typedkey", if_exists: false },
        Request::RevokeKey { user: "typedkey", key: "typedkey", if_exists: false },
        Request::RevokeKey { user: "ann", key: "typedkey", if_exists: false },
        Request::RevokeKey { user: "ann", key: "typedkey", if_exists: true },
    ] {
        ask_as(&engine, &admin, request);
    }
    for line in &lines(&disk)[14..16] {
        assert_eq!((&line["who"], &line["unknown_user"]), (&Value::Null, &true.into()), "{line}");
    }
    let text = String::from_utf8(disk.file_bytes(FIRST).unwrap()).unwrap();
    for secret in [KEY, &key[16..], "wrong-key", "typed", "a-word", "argon2"] {
        assert!(!text.contains(secret), "{secret}");
    }
    whole(&disk);
}

#[test]
fn a_change_of_many_grants_tells_them_all() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), small(64));
    user(&engine, "ann", "none");
    // As many as there can be, of names as long as they can be.
    let stores: Vec<String> = (0..256).map(|n| format!("s{n:063}")).collect();
    for store in &stores {
        done(&engine, create(store));
    }
    for (count, extra) in [(32, 0), (33, 1), (256, 7)] {
        let before = lines(&disk).len();
        let role = ["none", "read_only", "read_write"];
        let grants: Vec<String> =
            (0..count).map(|n| format!(r#""{}": "{}""#, stores[n], role[n % 3])).collect();
        let change = doc(&format!(r#"{{"grants": {{{}}}}}"#, grants.join(", ")));
        done(&engine, Request::AlterUser { user: "ann", change: &change });
        let lines = lines(&disk).split_off(before);
        assert_eq!(lines.len(), 2 + extra, "{count}");
        let (first, rest) = (&lines[0], &lines[1..1 + extra]);
        assert_eq!(first["all_grants"], if extra > 0 { count.into() } else { Value::Null });
        let mut told = serde_json::Map::new();
        for line in lines[..1 + extra].iter() {
            told.extend(line["grants"].as_object().unwrap().clone());
        }
        assert_eq!(told.len(), count);
        for (n, store) in stores[..count].iter().enumerate() {
            assert_eq!(told[store], role[n % 3]);
        }
        for line in rest {
            assert_eq!((&line["what"], &line["object"]), (&"AlterUser".into(), &"ann".into()));
            assert_eq!((&line["outcome"], &line["of"]), (&"besides".into(), &first["seq"]));
        }
        assert_eq!(lines[1 + extra]["of"], first["seq"]);
    }
    whole(&disk);
    // One that is refused says so in one line.
    let before = lines(&disk).len();
    let grants: Vec<String> = (0..99).map(|n| format!(r#""x{n}": "none""#)).collect();
    let change = doc(&format!(r#"{{"grants": {{{}}}}}"#, grants.join(", ")));
    let alter = Request::AlterUser { user: "ann", change: &change };
    refused(&engine, alter, Status::UnknownStore, &[]);
    let lines = lines(&disk).split_off(before);
    assert_eq!((lines.len(), &lines[0]["all_grants"]), (1, &99.into()));
}

#[test]
fn who_ends_a_query_of_another_is_told_and_ones_own_is_nobodys_business() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), audited());
    done(&engine, create("s"));
    for key in 0..3 {
        insert(&engine, key, "{}");
    }
    let who = |name: &str, session| Principal::new(name, Role::ReadOnly).in_session(session);
    let (ann, shop) = (who("ann", 1), Principal::service("shop").in_session(2));
    let open = |who: &Principal| {
        let stream = Request::Stream { rows: 1, bytes: 0, text: "s", parameters: None };
        let Said::Page(_, cursor) = ask_as(&engine, who, stream) else { panic!() };
        cursor
    };
    let (own, theirs, guests) = (open(&ann), open(&ann), open(&shop));
    let before = lines(&disk).len();
    let cancel = |query| Request::CancelQuery { query };
    // One's own, in another session; one that is not there; one that may not be ended.
    assert_eq!(ask_as(&engine, &who("ann", 7), cancel(own)), Said::Empty);
    refused(&engine, cancel(999), Status::UnknownQuery, &[]);
    refused_as(&engine, &who("bob", 3), cancel(theirs), Status::UnknownQuery, &[]);
    assert_eq!(lines(&disk).len(), before);
    done(&engine, cancel(theirs));
    done(&engine, cancel(guests));
    let told = lines(&disk).split_off(before);
    assert_eq!(told.len(), 2, "{told:?}");
    for (line, (query, user, service)) in
        told.iter().zip([(theirs, "ann", Value::Null), (guests, "shop", true.into())])
    {
        assert_eq!(
            (&line["what"], &line["who"], &line["outcome"]),
            (&"CancelQuery".into(), &"root".into(), &"done".into())
        );
        let of = (&line["query"], &line["of_user"], &line["of_service"]);
        assert_eq!(of, (&query.into(), &user.into(), &service));
    }
    // A log that takes nothing does not keep a query alive; it is counted.
    disk.fail(Fault::Write, "audit", Times::Every);
    done(&engine, cancel(open(&ann)));
    disk.clear_faults();
    done(&engine, create("t"));
    assert_eq!(lines(&disk)[before + 2]["events"], 1);
    whole(&disk);
}

#[test]
fn a_flood_makes_few_lines_and_is_counted() {
    let (disk, clock) = (SimDisk::new(1), Arc::new(SimClock::new(NOW)));
    let engine = open_at(Arc::clone(&clock), disk.clone(), audited());
    done(&engine, create("s"));
    let before = lines(&disk).len();
    let who = |name: &str| Principal::new(name, Role::None);
    for _ in 0..5000 {
        ask_as(&engine, &who("eve"), read(1));
    }
    ask_as(&engine, &who("ann"), read(1));
    assert_eq!(lines(&disk).len() - before, 21, "20 of the flood, and that of another");
    assert_eq!(lines(&disk).last().unwrap()["who"], "ann");
    // The count comes as soon as there is a line for it; and is synced in a second.
    clock.advance(Duration::from_secs(9));
    engine.tend().unwrap();
    assert_eq!(lines(&disk).len() - before, 21);
    clock.advance(Duration::from_secs(1));
    engine.tend().unwrap();
    let last = lines(&disk).pop().unwrap();
    assert_eq!(
        (&last["what"], &last["who"], &last["events"]),
        (&"Unsaid".into(), &"eve".into(), &4980.into())
    );
    assert_ne!(disk.durable_bytes(FIRST), disk.file_bytes(FIRST));
    clock.advance(Duration::from_secs(1));
    engine.tend().unwrap();
    assert_eq!(disk.durable_bytes(FIRST), disk.file_bytes(FIRST));
    whole(&disk);
}

#[test]
fn what_cannot_be_written_down_is_not_done_and_the_rest_goes_on() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), audited());
    done(&engine, create("s"));
    put_user(&engine, "ann", Role::ReadOnly);
    disk.fail(Fault::Write, "audit", Times::Every);
    let words = &["the audit log cannot be written", "nothing was changed", "free space"];
    let change = doc(r#"{"role": "none"}"#);
    refused(&engine, create("t"), Status::Io, words);
    refused(&engine, Request::AlterUser { user: "ann", change: &change }, Status::Io, words);
    refused(&engine, Request::Flush, Status::Io, words);
    assert_eq!(engine.catalogs.read().stores.len(), 1);
    // Documents are read and written, log-ins and refusals answered; they are counted.
    insert(&engine, 1, "{}");
    done(&engine, read(1));
    assert!(engine.authenticate("ann", KEY).is_err());
    let nobody = Principal::new("nobody", Role::None);
    refused_as(&engine, &nobody, read(1), Status::Forbidden, &[]);
    let Said::Document(stats) = done(&engine, Request::Stats) else { panic!() };
    assert!(stats.contains(r#""lost":5,"error":"#), "{stats}");
    disk.clear_faults();
    done(&engine, create("t"));
    let told = told(&disk);
    assert_eq!(
        told[told.len() - 3..],
        ["Lost - done", "CreateStore t begun", "CreateStore t done"]
    );
    let line = lines(&disk).into_iter().find(|line| line["what"] == "Lost").unwrap();
    assert_eq!(line["events"], 5);
    let Said::Document(stats) = done(&engine, Request::Stats) else { panic!() };
    assert!(stats.contains(r#""lost":5}"#), "{stats}");
    whole(&disk);
}

#[test]
fn after_a_sync_that_failed_nothing_is_written_until_the_log_is_opened_again() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), audited());
    disk.fail_sync("audit");
    refused(&engine, create("s"), Status::Io, &["nothing was changed"]);
    refused(&engine, create("s"), Status::Io, &["restart the service"]);
    drop(engine);
    let disk = disk.kill();
    let engine = open_on(disk.clone(), audited());
    done(&engine, create("s"));
    whole(&disk);
}

#[test]
fn old_files_go_and_the_rest_is_whole() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), small(3));
    for n in 0..120 {
        done(&engine, create(&format!("s{n}")));
    }
    let files = || disk.files().into_iter().filter(|path| path.starts_with("audit/")).count();
    assert_eq!(files(), 3);
    let report = whole(&disk);
    assert!(report.first > 1 && report.last.0 == 241, "{report}");
    assert!(report.to_string().contains("are not there: old files are removed"), "{report}");
    for file in disk.files().iter().filter(|path| path.starts_with("audit/")) {
        assert!(disk.file_bytes(file).unwrap().len() <= 16 << 10, "{file}");
    }
    drop(engine);
    let engine = open_on(disk.kill(), small(3));
    let begun = engine.audit_begin().unwrap();
    assert_eq!((begun.line, &begun.cut), (242, &None));
    for (options, name) in [
        (AuditOptions { file_bytes: (16 << 10) - 1, keep: 2 }, "audit.file_size is 16383"),
        (AuditOptions { file_bytes: 16 << 10, keep: 1 }, "audit.keep is 1, it must be at least 2"),
    ] {
        let options = Options { audit: Some(options), ..crate::Options::default() };
        let Err(error) = try_open(&SimDisk::new(1), options) else { panic!("{name}") };
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_crash_at_any_call_leaves_a_chain_that_goes_on_and_no_change_without_its_line() {
    let work = |engine: &Engine, done: &mut Vec<String>| {
        for n in 0..24 {
            let store = format!("s{n:060}");
            let said = ask(engine, create(&store));
            // What is in between is not synced.
            ask_as(engine, &Principal::new(store.as_str(), Role::None), read(1));
            match said {
                Said::Empty => done.push(store),
                _ => return,
            }
        }
    };
    let mut cut = 0;
    for n in 1.. {
        let disk = SimDisk::new(n);
        disk.crash_after(n);
        let mut done = Vec::new();
        if let Ok(engine) = try_open(&disk, small(2)) {
            work(&engine, &mut done);
        }
        let over = !disk.is_crashed();
        for found in [disk.restart(), disk.restart_worst(), disk.kill()] {
            // A second crash, while the first is mended.
            let again = found.snapshot();
            again.crash_after(n % 9);
            drop(try_open(&again, small(2)));
            let again = again.restart();
            for found in [found, again] {
                let engine = try_open(&found, small(2)).unwrap();
                let report = whole(&found);
                cut += u64::from(engine.audit_begin().unwrap().cut.is_some());
                let lines = lines(&found);
                let begun = |store: &String| {
                    let line =
                        |line: &Value| line["object"] == **store && line["outcome"] == "begun";
                    report.first > 1 || lines.iter().any(line)
                };
                assert!(done.iter().all(begun), "call {n}: {done:?} {lines:?}");
                assert!(engine.catalogs.read().stores.keys().all(begun), "call {n}");
            }
        }
        if over {
            assert!(n > 100 && cut > 20, "{n} calls, {cut} cuts");
            return;
        }
    }
}

#[test]
fn a_torn_tail_is_cut_and_told_and_what_is_more_than_that_is_kept() {
    for (tail, kept) in [("{\"seq\":4,\"prev\":\"00", false), ("nonsense\n{\"seq\":9}\n", true)] {
        let disk = SimDisk::new(1);
        let engine = open_on(disk.clone(), audited());
        done(&engine, create("s"));
        drop(engine);
        let disk = disk.kill();
        let file = disk.open(FIRST, Open::Write).unwrap();
        file.append(tail.as_bytes()).unwrap();
        let report = checked(&disk);
        match kept {
            true => assert!(report.fault.unwrap().contains("line 4 at byte"), "named"),
            false => {
                assert!(report.fault.is_none() && report.notes[0].contains("next start cuts it"))
            }
        }
        let engine = open_on(disk.clone(), audited());
        let cut = engine.audit_begin().unwrap().cut.clone().unwrap();
        assert_eq!((cut.file.as_str(), cut.bytes), (FIRST, tail.len() as u64));
        let aside = "audit/cut-0000000000000004";
        assert_eq!(cut.kept_in.as_deref(), kept.then_some(aside));
        let found = disk.file_bytes(aside);
        assert_eq!(found.as_deref(), kept.then_some(tail.as_bytes()));
        let report = whole(&disk);
        assert_eq!(report.lines, 4);
        let note = &report.notes[0];
        assert!(note.starts_with("line 4: at this start ") && note.contains("were cut"), "{note}");
        assert_eq!(note.contains(aside), kept);
    }
}

#[test]
fn whoever_changes_the_log_is_found_out_at_the_first_bad_line() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), audited());
    for store in ["a", "b", "c"] {
        done(&engine, create(store));
    }
    engine.close().unwrap();
    let text = String::from_utf8(disk.file_bytes(FIRST).unwrap()).unwrap();
    let good: Vec<&str> = text.lines().collect();
    assert_eq!(good.len(), 8);
    let check = |lines: &[&str]| {
        let disk = SimDisk::new(2);
        disk.create_dir("audit").unwrap();
        let file = disk.open(FIRST, Open::CreateNew).unwrap();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        file.append(text.as_bytes()).unwrap();
        checked(&disk)
    };
    assert_eq!(check(&good).fault, None);
    let changed = good[3].replace("\"b\"", "\"x\"");
    let (mut edited, mut put, mut swapped) = (good.clone(), good.clone(), good.clone());
    edited[3] = &changed;
    put.insert(3, good[2]);
    swapped.swap(3, 4);
    let without = [&good[..3], &good[4..]].concat();
    for (lines, words) in [
        (edited, "its hash does not fit it"),
        (put, "line 4 is due and this is line 3"),
        (swapped, "line 4 is due and this is line 5"),
        (without, "line 4 is due and this is line 5"),
    ] {
        let report = check(&lines);
        let fault = report.fault.clone().unwrap();
        assert!(fault.contains(words) && fault.contains("its line 4 at byte"), "{fault}");
        assert_eq!((report.lines, report.last.0), (3, 3), "{report}");
    }
    // A chain of its own behind the first lines: it does not follow.
    let other = SimDisk::new(9);
    let engine = open_on(other.clone(), audited());
    for store in ["x", "y", "z"] {
        done(&engine, create(store));
    }
    engine.close().unwrap();
    let text = String::from_utf8(other.file_bytes(FIRST).unwrap()).unwrap();
    let others: Vec<&str> = text.lines().collect();
    let mixed = [&good[..4], &others[4..]].concat();
    let fault = check(&mixed).fault.unwrap();
    assert!(fault.contains("line 5 does not follow from the line before it"), "{fault}");
    // A file that is gone from between.
    let disk = SimDisk::new(3);
    let engine = open_on(disk.clone(), small(9));
    for n in 0..120 {
        done(&engine, create(&format!("s{n}")));
    }
    let files: Vec<String> =
        disk.files().into_iter().filter(|path| path.starts_with("audit/")).collect();
    assert!(files.len() > 3);
    disk.remove(&files[1]).unwrap();
    let fault = checked(&disk).fault.unwrap();
    assert!(
        fault.contains("is missing: the next file is ") && fault.contains(&files[2]),
        "{fault}"
    );
    // The end of a file that is not the last.
    let disk = disk.snapshot();
    let file = disk.open(&files[0], Open::Write).unwrap();
    file.set_len(file.len().unwrap() - 1).unwrap();
    assert!(checked(&disk).fault.unwrap().contains("it has no end, and more follows"));
}
