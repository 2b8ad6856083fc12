//! Sequences: made, changed, dropped, and their numbers.

use platform::sim::SimDisk;
use proto::{Request, Status};

use super::kit::*;
use crate::Engine;

/// Numbers of one request at most.
const MAX: u32 = 1_000_000;

#[test]
fn numbers_of_a_sequence_are_given_once() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    let create = |if_not_exists| Request::CreateSequence { sequence: "n", if_not_exists };
    let next = |count| Request::NextNumbers { sequence: "n", count };
    refused(&engine, next(1), Status::UnknownSequence, &["create it first"]);
    done(&engine, create(false));
    done(&engine, create(true));
    refused(&engine, create(false), Status::SequenceExists, &["if_not_exists"]);
    let said = |text: &str| Said::Document(text.to_owned());
    assert_eq!(done(&engine, next(3)), said(r#"{"first":1,"count":3}"#));
    refused(&engine, next(0), Status::BadChange, &["1 to 1000000"]);
    let engine = open_on(disk.kill(), options());
    assert_eq!(done(&engine, next(1)), said(r#"{"first":4,"count":1}"#));
    let Said::Rows(rows, None) = done(&engine, Request::ListSequences) else { panic!() };
    assert!(rows.len() == 1 && rows[0].ends_with(r#""next":5}"#), "{rows:?}");
    let drop = |if_exists| Request::DropSequence { sequence: "n", if_exists };
    done(&engine, drop(false));
    refused(&engine, drop(false), Status::UnknownSequence, &["\"n\""]);
    done(&engine, drop(true));
    // Made again, it begins again.
    done(&engine, create(false));
    assert_eq!(done(&engine, next(1)), said(r#"{"first":1,"count":1}"#));
    assert_eq!(engine.lsm.count(crate::catalog::COUNTERS), 0, "counters are not counted");
}

#[test]
fn a_sequence_is_renamed_and_its_numbers_go_on() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    let create = |sequence| Request::CreateSequence { sequence, if_not_exists: false };
    let said = |text: &str| Said::Document(text.to_owned());
    done(&engine, create("n"));
    done(&engine, create("m"));
    done(&engine, Request::NextNumbers { sequence: "n", count: 3 });
    let change = |text: &str| doc(text);
    for (to, status, words) in
        [("m", Status::SequenceExists, "choose another name"), ("1", Status::BadName, "a sequence")]
    {
        let change = change(&format!(r#"{{"rename": "{to}"}}"#));
        let rename = Request::AlterSequence { sequence: "n", change: &change };
        refused(&engine, rename, status, &[words]);
    }
    let (to, same) = (change(r#"{"rename": "o"}"#), change(r#"{"rename": "n"}"#));
    done(&engine, Request::AlterSequence { sequence: "n", change: &same });
    done(&engine, Request::AlterSequence { sequence: "n", change: &to });
    let gone = Request::AlterSequence { sequence: "n", change: &to };
    refused(&engine, gone, Status::UnknownSequence, &["\"n\""]);
    let engine = open_on(disk.kill(), options());
    let next = done(&engine, Request::NextNumbers { sequence: "o", count: 1 });
    assert_eq!(next, said(r#"{"first":4,"count":1}"#));
}

fn raise(engine: &Engine, next: &str) -> Said {
    let change = doc(&format!(r#"{{"next": {next}}}"#));
    ask(engine, Request::AlterSequence { sequence: "n", change: &change })
}

#[test]
fn a_sequence_is_raised_and_never_lowered() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    done(&engine, Request::CreateSequence { sequence: "n", if_not_exists: false });
    let taken = |engine: &Engine| done(engine, Request::NextNumbers { sequence: "n", count: 1 });
    let first = |n: i64| Said::Document(format!(r#"{{"first":{n},"count":1}}"#));
    assert_eq!(raise(&engine, "1"), Said::Empty);
    assert_eq!(taken(&engine), first(1));
    assert_eq!(raise(&engine, "100"), Said::Empty);
    assert_eq!(taken(&engine), first(100));
    for (next, words) in [
        ("100", "the next number of \"n\" is 101, those below may be in use: say 101 or more"),
        ("0", "a sequence is changed by"),
        ("-1", "a sequence is changed by"),
        ("\"7\"", "a sequence is changed by"),
        ("200, \"rename\": \"m\"", "one at a time"),
    ] {
        let Said::Refused(Status::BadChange, message) = raise(&engine, next) else { panic!() };
        assert!(message.contains(words), "{next}: {message}");
    }
    let nothing = doc("{}");
    let empty = Request::AlterSequence { sequence: "n", change: &nothing };
    refused(&engine, empty, Status::BadChange, &["{rename: \"name\"} or by {next: whole number}"]);
    assert_eq!(raise(&engine, "101"), Said::Empty);
    assert_eq!(raise(&engine, "9223372036854775807"), Said::Empty);
    let engine = open_on(disk.kill(), options());
    assert_eq!(taken(&engine), first(i64::MAX));
    let more = Request::NextNumbers { sequence: "n", count: 1 };
    refused(&engine, more, Status::LimitReached, &["2^63 - 1", "use another sequence"]);
}

#[test]
fn numbers_that_would_pass_the_highest_are_refused_and_none_is_skipped() {
    let engine = open();
    done(&engine, Request::CreateSequence { sequence: "n", if_not_exists: false });
    assert_eq!(raise(&engine, "9223372036854775806"), Said::Empty);
    let next = |count| Request::NextNumbers { sequence: "n", count };
    for count in [3, MAX] {
        refused(&engine, next(count), Status::LimitReached, &["\"n\"", "ask for fewer"]);
    }
    let said = Said::Document(r#"{"first":9223372036854775806,"count":2}"#.to_owned());
    assert_eq!(done(&engine, next(2)), said, "the last two");
    refused(&engine, next(1), Status::LimitReached, &[]);
}

#[test]
fn numbers_taken_while_a_sequence_is_raised_are_given_once() {
    let engine = open();
    done(&engine, Request::CreateSequence { sequence: "n", if_not_exists: false });
    let taken: Vec<String> = std::thread::scope(|scope| {
        let taker = || {
            let next = Request::NextNumbers { sequence: "n", count: 1 };
            (0..50).map(|_| format!("{:?}", done(&engine, next))).collect::<Vec<_>>()
        };
        let takers = [scope.spawn(taker), scope.spawn(taker)];
        for next in (10..500).step_by(10) {
            // Behind what was given out it is refused, which is the point.
            raise(&engine, &next.to_string());
        }
        takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect()
    });
    let different: std::collections::BTreeSet<&String> = taken.iter().collect();
    assert_eq!(different.len(), 100);
}

#[test]
fn the_number_of_sequences_is_bounded_and_one_too_many_is_told_so() {
    let engine = open();
    for n in 0..crate::catalog::MAX_SEQUENCES {
        done(&engine, Request::CreateSequence { sequence: &format!("n{n}"), if_not_exists: false });
    }
    let more = Request::CreateSequence { sequence: "more", if_not_exists: false };
    refused(&engine, more, Status::LimitReached, &["4096 sequences", "drop some"]);
    done(&engine, Request::DropSequence { sequence: "n7", if_exists: false });
    done(&engine, more);
}
