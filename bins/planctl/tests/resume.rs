//! Imports and exports that break off, bad rows, and the memory they take.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::{Ran, Service, command};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

const SLOW: Duration = Duration::from_millis(20);

fn rows(count: u32) -> String {
    (0..count).map(|n| format!("{n},row {n}\n")).collect()
}

/// Waits until a file says `what`, or the process that writes it ends.
fn until(path: &Path, what: &str, child: &mut Child) {
    while !std::fs::read_to_string(path).is_ok_and(|text| text.contains(what)) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before {what} was written");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn spawn(service: &Service, args: &[&str]) -> Child {
    let dir = service.dir.path().to_str().unwrap();
    command(&[args, &["--dir", dir]].concat()).spawn().unwrap()
}

/// Kills an import of `file` in the middle, and once more, then lets it end.
fn killed_twice(service: &Service, args: &[&str], file: &str) -> Ran {
    let state = format!("{file}.planck-import");
    let state = Path::new(&state);
    service.memory.lock().unwrap().slow = SLOW;
    let mut child = spawn(service, args);
    until(state, "- file:", &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = std::fs::read_to_string(state).unwrap();
    let mut child = spawn(service, args);
    while std::fs::read_to_string(state).unwrap() == before {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it wrote again");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    service.memory.lock().unwrap().slow = Duration::ZERO;
    let ran = service.run(args);
    assert!(!state.exists());
    ran
}

#[test]
fn an_import_killed_twice_goes_on_to_the_same_store() {
    let service = Service::start();
    let text = format!("n,t\n{}", rows(3000));
    let file = service.file("rows.csv", &text);
    service.run(&["import", "whole", &file, "--create", "--key", "n:u32"]).ok();

    let args =
        ["import", "s", &file, "--create", "--key", "n:u32", "--resume", "--batch-size", "50"];
    let ran = killed_twice(&service, &args, &file);
    assert!(ran.err.contains("s: goes on behind "), "{}", ran.err);
    ran.ok();
    assert_eq!(service.documents("s"), service.documents("whole"));

    // Rows without keys are given keys by their number: none comes twice.
    let lines: String = (0..3000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let file = service.file("rows.ndjson", &lines);
    let args = ["import", "t", &file, "--create", "--resume", "--batch-size", "50"];
    killed_twice(&service, &args, &file).ok();
    let numbers: Vec<String> = service
        .documents("t")
        .iter()
        .map(|row| row.split_once(' ').unwrap().1.to_owned())
        .collect();
    let expected: Vec<String> = lines.lines().map(str::to_owned).collect();
    assert_eq!(numbers, expected, "each once, in the order of the file");
}

#[test]
fn an_import_goes_on_only_as_it_was_begun() {
    let service = Service::start();
    let file = service.file("rows.csv", "n\n1\nx\n3\n");
    let typed = service.file("m.yaml", "fields: [{name: n, type: int32}]\n");
    let args = ["import", "s", &file, "--create", "--resume", "--manifest", &typed];
    let ran = service.run(&args);
    assert!(ran.err.contains("the same command goes on from there"), "{}", ran.err);
    ran.fails(7, "rows.csv, line 3: field `n`");
    let state = service.path("rows.csv.planck-import");
    assert!(state.exists());

    service
        .run(&["import", "t", &file, "--resume", "--create", "--manifest", &typed])
        .fails(5, "into the store s");
    service.run(&["import", "s", &file, "--resume"]).fails(5, "with other options");
    service
        .run(&["import", "s", &file, "--resume", "--manifest", &typed, "--key", "n:u8"])
        .fails(5, "with other options");
    // It stands before the bad row, and that row is still bad.
    service.run(&args).fails(7, "rows.csv, line 3");
    assert_eq!(service.documents("s").len(), 1);
    // The store was emptied: what the record says is not true any more.
    service.memory.lock().unwrap().stores.get_mut("s").unwrap().clear();
    service.run(&args).fails(5, "was the store emptied?");
    service.file("rows.csv", "n\n1\n2\n3\n");
    service.run(&args).fails(5, "the files were changed");
    std::fs::write(&state, "planck_import: 9").unwrap();
    service.run(&args).fails(7, "remove it to begin anew");
    std::fs::remove_file(&state).unwrap();
    service.run(&args).ok();
    assert_eq!(service.documents("s").len(), 3);
    service
        .run(&["import", "s", "-", "--format", "csv", "--resume"])
        .fails(2, "files that can be read again");
}

#[test]
fn bad_rows_are_put_aside_and_mended_rows_imported() {
    let service = Service::start();
    let typed = service.file("m.yaml", "key: n:u32\nfields: [{name: n, type: int32}]\n");
    let text = "n,t\n1,a\nx,\"b, \"\"c\"\"\"\n3\n4,#d\n-5,e\n";
    let file = service.file("rows.csv", text);
    let aside = service.path("aside.csv");
    let aside = aside.to_str().unwrap();
    let with = |file, more: &[&'static str]| {
        let args = ["import", "s", file, "--create", "--manifest", &typed];
        service
            .run(&[&args[..], more, &["--on-error", "quarantine", "--quarantine", aside]].concat())
    };
    let ran = with(&file, &["--batch-size", "2"]);
    assert!(ran.err.contains("s: 2 rows inserted, 3 bad"), "{}", ran.err);
    assert!(ran.err.contains("put aside in "), "{}", ran.err);
    ran.ok();
    let text = std::fs::read_to_string(aside).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("# planctl quarantine") && lines[1] == "n,t", "{text}");
    assert!(lines[2].contains("rows.csv, line 3: field `n`: \"x\" is no int32"), "{text}");
    assert_eq!(lines[3], "x,\"b, \"\"c\"\"\"");
    assert!(lines[4].contains("rows.csv, line 4: it has 1 cell"), "{text}");
    assert_eq!((lines[5], lines[7]), ("3", "-5,e"));
    with(&file, &[]).fails(5, "aside.csv is there already");

    let mended = text.replace("\nx,", "\n2,").replace("\n3\n", "\n3,x\n").replace("\n-5,", "\n5,");
    let mended = service.file("mended.csv", &mended);
    let args = ["import", "s", &mended, "--manifest", &typed];
    service.run(&args).ok();
    let documents = service.documents("s");
    let numbers: Vec<&str> = documents.iter().map(|row| &row[33..39]).collect();
    assert_eq!(numbers, ["{\"n\":1", "{\"n\":2", "{\"n\":3", "{\"n\":4", "{\"n\":5"]);
    assert!(documents[1].contains("b, \\\"c\\\""), "{documents:?}");

    let bound = ["import", "u", &file, "--create", "--manifest", &typed, "--on-error", "skip"];
    let ran = service.run(&[&bound[..], &["--max-bad", "2"]].concat());
    assert!(ran.err.contains("--max-bad lets 2 bad rows pass"), "{}", ran.err);
    ran.fails(7, "rows.csv, line 6");
    service.run(&["import", "u", &file, "--on-error", "quarantine"]).fails(2, "--quarantine FILE");
}

#[test]
fn rows_the_server_refuses_are_put_aside_as_they_were() {
    let service = Service::start();
    let file =
        service.file("rows.json", "[{\"a\": 1},\n{\"reject\":\n 1, \"b\":2}, {x}, {\"a\": 3}]");
    let aside = service.path("aside.json");
    let aside = aside.to_str().unwrap();
    let quarantine = ["--on-error", "quarantine", "--quarantine", aside];
    service.run(&[&["import", "s", &file, "--create"][..], &quarantine].concat()).ok();
    let text = std::fs::read_to_string(aside).unwrap();
    assert!(text.contains("rows.json, line 2: PLK-1101"), "{text}");
    assert!(text.contains("{\"reject\":\n 1, \"b\":2}\n") && text.contains("\n{x}\n"), "{text}");
    std::fs::write(aside, text.replace("reject", "kept").replace("{x}", "{}")).unwrap();
    service.run(&["import", "s", aside]).ok();
    assert_eq!(service.documents("s").len(), 4);

    // BSON: the documents alone, and the reasons beside.
    let good = bson::doc! { "a": 1 }.to_vec().unwrap();
    let bad = bson::doc! { "code": bson::Bson::Symbol("x".into()) }.to_vec().unwrap();
    std::fs::write(service.path("rows.bson"), [&good[..], &bad, &good].concat()).unwrap();
    let file = service.path("rows.bson");
    let aside = service.path("aside.bson");
    let (file, aside) = (file.to_str().unwrap(), aside.to_str().unwrap());
    let quarantine = ["--on-error", "quarantine", "--quarantine", aside];
    service.run(&[&["import", "b", file, "--create"][..], &quarantine].concat()).ok();
    assert_eq!(std::fs::read(aside).unwrap(), bad);
    let reasons = std::fs::read_to_string(format!("{aside}.reasons")).unwrap();
    assert!(reasons.contains("rows.bson, document 2: ") && reasons.contains("symbol"), "{reasons}");
    assert_eq!(service.documents("b").len(), 2);
}

#[test]
fn a_killed_import_puts_each_bad_row_aside_once() {
    let service = Service::start();
    let text: String = (0..3000)
        .map(|n| if n % 10 == 3 { format!("{{bad {n}\n") } else { format!("{{\"n\":{n}}}\n") })
        .collect();
    let file = service.file("rows.ndjson", &text);
    let aside = service.path("aside.ndjson");
    let args = [
        "import",
        "s",
        &file,
        "--create",
        "--resume",
        "--batch-size",
        "50",
        "--on-error",
        "quarantine",
        "--quarantine",
        aside.to_str().unwrap(),
    ];
    killed_twice(&service, &args, &file).ok();
    assert_eq!(service.documents("s").len(), 2700);
    let text = std::fs::read_to_string(&aside).unwrap();
    let bad: Vec<&str> = text.lines().filter(|line| line.starts_with("{bad")).collect();
    let expected: Vec<String> = (0..300).map(|n| format!("{{bad {}", n * 10 + 3)).collect();
    assert_eq!(bad, expected);
}

#[test]
fn an_export_that_was_killed_goes_on() {
    let service = Service::start();
    let lines: String = (0..6000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let file = service.file("rows.ndjson", &lines);
    service.run(&["import", "s", &file, "--create"]).ok();
    for name in ["out.ndjson", "out.json", "out.csv", "out.bson"] {
        let path = service.path(name);
        let out = path.to_str().unwrap();
        service.run(&["export", "s", out]).ok();
        let whole = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let args = ["export", "s", out, "--resume"];
        service.memory.lock().unwrap().slow = SLOW;
        let mut child = spawn(&service, &args);
        until(&service.path(&format!("{name}.planck-export")), "rows:", &mut child);
        child.kill().unwrap();
        child.wait().unwrap();
        service.memory.lock().unwrap().slow = Duration::ZERO;
        assert!(!path.exists());
        service.run(&[&args[..], &["--filter", "even"]].concat()).fails(5, "with other options");
        service.run(&args).ok();
        assert_eq!(std::fs::read(&path).unwrap(), whole, "{name}");
        assert!(!service.path(&format!("{name}.planck-export")).exists());
    }
    service.run(&["export", "s", "--resume"]).fails(2, "--resume needs a file");
}
