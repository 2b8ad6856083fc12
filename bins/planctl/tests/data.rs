//! Import and export, through the binary and a wire, with an engine in memory.

mod common;

use common::{Service, command};
use std::io::Read;

const A: &str = "0000000000000000000000000000000a";
const B: &str = "0000000000000000000000000000000b";

/// Documents of every type JSON can write, with keys of their own.
fn ndjson(rows: u32) -> String {
    (0..rows)
        .map(|n| {
            let key = u128::from(n) << 64 | 5;
            format!(
                "{{\"key\":\"{key:032x}\",\"n\":{n},\"x\":{n}.5,\"big\":{},\"t\":\"é\\\"\\n{n}\",\
                 \"list\":[1,null,{{\"a\":true}}],\"at\":{{\"$date\":\"2013-01-01T05:00:00Z\"}},\
                 \"b\":{{\"$binary\":{{\"base64\":\"AAE=\",\"subType\":\"00\"}}}}}}\n",
                u64::from(n) + (1 << 40)
            )
        })
        .collect()
}

#[test]
fn what_is_exported_is_imported_again_the_same_with_its_keys() {
    let service = Service::start();
    let text = ndjson(250); // Several pages, several batches.
    let file = service.file("in.ndjson", &text);
    service.run(&["import", "a", &file, "--create", "--batch-size", "60"]).ok();
    assert_eq!(service.run(&["export", "a"]).ok(), text);

    for name in ["out.json", "out.ndjson"] {
        let path = service.path(name);
        let path = path.to_str().unwrap();
        assert_eq!(service.run(&["export", "a", path]).ok(), "");
        let store = name.replace('.', "_");
        service.run(&["import", &store, path, "--create"]).ok();
        assert_eq!(service.documents(&store), service.documents("a"), "{name}");
    }
    let batches = service.memory.lock().unwrap().batches.clone();
    assert_eq!(batches[..5], [60, 60, 60, 60, 10]);
}

#[test]
fn csv_is_typed_and_keyed() {
    let service = Service::start();
    let text =
        "carrier,name,fleet,first,late\n9E,Endeavor,17,2.5,NA\nAA,\"American, Inc\",,NA,true\n";
    let file = service.file("airlines.csv", text);
    let ran =
        service.run(&["import", "a", &file, "--create", "--key", "carrier:t2", "--null", "NA"]);
    assert!(ran.err.contains("a: 2 rows inserted in "), "{}", ran.err);
    assert_eq!(
        service.documents("a"),
        [
            r#"39450000000000000000000000000000 {"carrier":"9E","name":"Endeavor","fleet":17,"first":2.5}"#,
            r#"41410000000000000000000000000000 {"carrier":"AA","name":"American, Inc","late":true}"#,
        ]
    );
    let exported = service.run(&["export", "a", "--format", "csv"]).ok();
    assert_eq!(
        exported,
        "key,carrier,name,fleet,first,late\n\
         39450000000000000000000000000000,9E,Endeavor,17,2.5,\n\
         41410000000000000000000000000000,AA,\"American, Inc\",,,true\n"
    );
    // Its own CSV goes back in, by the column `key`.
    let file = service.file("again.csv", &exported);
    service.run(&["import", "b", &file, "--create"]).ok();
    assert_eq!(service.documents("b"), service.documents("a"));
}

#[test]
fn standard_input_and_several_files_are_read() {
    let service = Service::start();
    let one = service.file("one.json", "{\"a\": 1}");
    let args = ["import", "s", &one, "-", "--create", "--format", "ndjson", "--json"];
    let out = service.run_with(&args, b"{\"a\":2}\n\n{\"a\":3}\n").ok();
    assert!(out.starts_with(r#"{"store":"s","inserted":3,"skipped":0,"replaced":0,"bad":0,"#));
    assert_eq!(service.documents("s").len(), 3);
    service.run(&["import", "s", "-"]).fails(2, "say --format");
    service.run(&["import", "s", "-", "-"]).fails(2, "only once");
    service.run(&["import", "s", "/nowhere.csv"]).fails(3, "cannot read /nowhere.csv");
    service.run(&["import", "s", &one, "--null", "NA"]).fails(2, "--null is for CSV");
}

fn keyed(rows: &[(&str, u32)]) -> String {
    rows.iter().map(|(key, n)| format!("{{\"key\":\"{key}\",\"n\":{n}}}\n")).collect()
}

#[test]
fn a_conflict_stops_skips_or_replaces() {
    let service = Service::start();
    let first = service.file("first.ndjson", &keyed(&[(B, 1)]));
    let rows = service.file("rows.ndjson", &keyed(&[(A, 2), (B, 3)]));
    service.run(&["import", "s", &first, "--create"]).ok();

    let ran = service.run(&["import", "s", &rows]);
    assert!(ran.err.contains("--on-conflict skip"), "{}", ran.err);
    assert!(ran.err.contains("1 row was imported into s"), "{}", ran.err);
    ran.fails(5, "rows.ndjson, line 2: PLK-1302: there is a document under key");
    let stored = |n| [format!("{A} {{\"n\":2}}"), format!("{B} {{\"n\":{n}}}")];
    assert_eq!(service.documents("s"), stored(1), "all before the conflict, nothing of it");

    let ran = service.run(&["import", "s", &rows, "--on-conflict", "skip"]);
    assert!(ran.err.contains("0 rows inserted, 2 skipped"), "{}", ran.err);
    assert_eq!(service.documents("s"), stored(1));
    let ran = service.run(&["import", "s", &rows, "--on-conflict", "replace"]);
    assert!(ran.err.contains("0 rows inserted, 2 replaced"), "{}", ran.err);
    assert_eq!(service.documents("s"), stored(3));
}

#[test]
fn a_bad_row_stops_the_import_or_is_counted() {
    let service = Service::start();
    let text = "a,b\n1,2\n3\n5,6\n\"7\",x\n";
    let file = service.file("rows.csv", text);
    service
        .run(&["import", "s", &file, "--create"])
        .fails(7, "rows.csv, line 3: it has 1 cell, and the first line names 2 columns");
    assert_eq!(service.documents("s").len(), 1);

    // Bad here, and bad to the server.
    let file = service.file("rows.ndjson", "{\"a\": 1}\n{\"a\": }\n{\"reject\": 1}\n{\"a\": 2}\n");
    let ran = service.run(&["import", "t", &file, "--create", "--on-error", "skip"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for says in [
        "passed over: ",
        "rows.ndjson, line 2: column 7: expected a value",
        "rows.ndjson, line 3: PLK-1101: the document has a field `reject`",
        "t: 2 rows inserted, 2 bad in ",
    ] {
        assert!(ran.err.contains(says), "{}", ran.err);
    }
    assert_eq!(service.documents("t").len(), 2);

    let many: String = (0..15).map(|_| "{x}\n").collect();
    let file = service.file("many.ndjson", &many);
    let ran = service.run(&["import", "t", &file, "--on-error", "skip"]);
    assert_eq!(ran.err.matches("passed over").count(), 10, "{}", ran.err);
    assert!(ran.err.contains("... and 5 more"), "{}", ran.err);
}

#[test]
fn limits_and_unknown_stores_say_which_option_helps() {
    let service = Service::start();
    let file = service.file("rows.ndjson", &"{\"a\": 1}\n".repeat(50));
    service.run(&["import", "s", &file]).fails(3, "; --create makes it");
    service.memory.lock().unwrap().max_batch = Some(20);
    service.run(&["import", "s", &file, "--create"]).fails(7, "--batch-size");
    service.run(&["import", "s", &file, "--batch-size", "20"]).ok();
    service.run(&["import", "s", &file, "--batch-bytes", "100"]).ok();
    assert_eq!(service.documents("s").len(), 100);
}

#[test]
fn an_export_that_fails_leaves_no_file() {
    let service = Service::start();
    let path = service.path("out.csv");
    let out = path.to_str().unwrap();
    service.run(&["export", "none", out]).fails(3, "PLK-1202");
    assert!(!path.exists());

    // The last of 80 rows has a field that no row of the first page (70) has.
    let text = ndjson(79) + "{\"key\":\"ff000000000000000000000000000000\",\"late\":1}\n";
    let file = service.file("in.ndjson", &text);
    service.run(&["import", "s", &file, "--create"]).ok();
    service.run(&["export", "s", out]).fails(7, "a field `late`");
    assert!(!path.exists());
    let left: Vec<_> = std::fs::read_dir(service.dir.path()).unwrap().collect();
    assert!(left.iter().all(|entry| !format!("{entry:?}").contains(".part")), "{left:?}");
    service.run(&["export", "s", out, "--fields", "late,n"]).ok();
    let lines = std::fs::read_to_string(&path).unwrap();
    assert!(lines.starts_with("late,n\n,0\n") && lines.ends_with("\n1,\n"), "{lines}");
}

#[test]
fn a_reader_that_goes_away_ends_an_export_quietly() {
    let service = Service::start();
    let file = service.file("in.ndjson", &ndjson(3000)); // More than a pipe holds.
    service.run(&["import", "s", &file, "--create"]).ok();
    let mut child =
        command(&["export", "s", "--dir", service.dir.path().to_str().unwrap()]).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 100]).unwrap();
    drop(out);
    let ran = child.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(0));
    assert_eq!(String::from_utf8(ran.stderr).unwrap(), "");
}
