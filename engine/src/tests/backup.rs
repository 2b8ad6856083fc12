//! Backups on request: asked for, taken, told; and what they are worth.

use std::sync::Arc;

use lsm::{Restore, Until};
use platform::Disk;
use platform::sim::{Fault, SimClock, SimDisk, SimEntropy, Times};
use proto::{Request, Status};

use super::kit::*;
use crate::{BackupTarget, Engine, Options};

const ASK: Request<'_> = Request::Backup { begin: false, full: false };
const BEGIN: Request<'_> = Request::Backup { begin: true, full: false };

fn with_target(disk: &Arc<SimDisk>) -> Engine {
    let target = BackupTarget { disk: disk.clone(), path: "/backups".into(), keep: 2 };
    let engine = open_on(SimDisk::new(1), Options { backup: Some(target), ..options() });
    done(&engine, create("s"));
    engine
}

/// What a request for a backup was told.
fn told(engine: &Engine, request: Request<'_>) -> String {
    match ask(engine, request) {
        Said::Document(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn asked_for_taken_told_and_restored() {
    let disk = SimDisk::new(2);
    let engine = with_target(&disk);
    insert(&engine, 7, r#"{"a": 1}"#);
    assert!(told(&engine, ASK).contains(r#""state":"never""#));
    assert!(engine.take_backup(&|| true).is_none(), "nobody has asked");

    assert!(told(&engine, BEGIN).contains(r#""begun":true,"state":"asked""#));
    assert!(told(&engine, BEGIN).contains(r#""begun":false,"state":"asked""#), "one at a time");
    let info = engine.take_backup(&|| true).unwrap().unwrap().info;
    assert!(told(&engine, ASK).contains(r#""state":"done","number":1"#));
    assert!(engine.take_backup(&|| true).is_none(), "once");

    // What is written later is not in it; what was written before is.
    insert(&engine, 8, r#"{"a": 2}"#);
    let target: Arc<dyn Disk> = SimDisk::new(3);
    let what = Restore {
        disk: disk.clone(),
        dir: String::new(),
        number: Some(info.number),
        archive: None,
        until: Until::Latest,
    };
    let clock = SimClock::new(NOW);
    lsm::restore(&what, &target, &clock, &options().storage, &mut |_, _| {}).unwrap();
    let again =
        Engine::open(target, Arc::new(clock), Arc::new(SimEntropy::new(3)), options()).unwrap();
    assert_eq!(ask(&again, read(7)), Said::Rows(vec![r#"7 {"a":1}"#.into()], None));
    assert!(matches!(ask(&again, read(8)), Said::Refused(Status::NotFound, _)));
}

#[test]
fn the_oldest_beyond_those_kept_go() {
    let disk = SimDisk::new(2);
    let engine = with_target(&disk);
    for n in 1..=4 {
        insert(&engine, n, "{}");
        told(&engine, BEGIN);
        engine.take_backup(&|| true).unwrap().unwrap();
    }
    let kept: Vec<u64> =
        lsm::backups(&*disk, "").unwrap().list.iter().map(|backup| backup.number).collect();
    assert_eq!(kept, [3, 4]);
}

#[test]
fn one_that_fails_says_why_and_the_next_may_succeed() {
    let disk = SimDisk::new(2);
    let engine = with_target(&disk);
    insert(&engine, 7, "{}");
    disk.fail(Fault::Write, "", Times::Next);
    told(&engine, BEGIN);
    let why = engine.take_backup(&|| true).unwrap().unwrap_err();
    assert!(why.starts_with("/backups: "), "{why}");
    assert!(told(&engine, ASK).contains(r#""state":"failed","reason":"/backups: "#));
    told(&engine, BEGIN);
    engine.take_backup(&|| true).unwrap().unwrap();
}

#[test]
fn one_beside_a_rotten_one_is_taken_whole_and_says_that_nothing_was_removed() {
    // Given three backups, the first with a rotten manifest,
    let disk = SimDisk::new(2);
    let engine = with_target(&disk);
    for n in 1..=2 {
        insert(&engine, n, "{}");
        told(&engine, BEGIN);
        engine.take_backup(&|| true).unwrap().unwrap();
    }
    disk.corrupt("0000000001.manifest", 40, 1).unwrap();
    // when another is asked for, then it is there,
    told(&engine, BEGIN);
    let taken = engine.take_backup(&|| true).unwrap().unwrap();
    assert_eq!((taken.info.number, taken.info.parent), (3, None));
    // and that the oldest could not be removed is told, with what to do,
    let said = told(&engine, ASK);
    assert!(said.contains(r#""state":"done","number":3"#), "{said}");
    assert!(said.contains("not_removed") && said.contains("0000000001.manifest"), "{said}");
    // which works.
    disk.remove("0000000001.manifest").unwrap();
    told(&engine, BEGIN);
    let taken = engine.take_backup(&|| true).unwrap().unwrap();
    assert_eq!((taken.info.parent, taken.pruned.unwrap().removed), (Some(3), vec![2]));
    assert!(!told(&engine, ASK).contains("not_removed"));
}

#[test]
fn one_that_is_told_to_stop_leaves_none() {
    let disk = SimDisk::new(2);
    let engine = with_target(&disk);
    insert(&engine, 7, "{}");
    told(&engine, BEGIN);
    let why = engine.take_backup(&|| false).unwrap().unwrap_err();
    assert!(why.contains("stopping"), "{why}");
    assert_eq!(lsm::backups(&*disk, "").unwrap(), lsm::Backups::default());
}

#[test]
fn without_a_place_it_is_refused() {
    let engine = with_store();
    refused(&engine, BEGIN, Status::NotSetUp, &["backup.dest_path", "db.yaml"]);
    assert!(engine.take_backup(&|| true).is_none());
}
