//! What holds for rows of every format: a place is enough to go on from.

use super::csv::{CsvRows, Dialect};
use super::json::{Lines, Objects};
use super::{Place, Rows, Shape, Stop, bson};
use proptest::prelude::*;
use proto::doc::{Doc, DocBuf};
use proto::json::to_json;

/// Every row as `line key json`, every fault as `line: what`.
pub(super) fn read(rows: impl Rows) -> Vec<String> {
    read_all(rows).into_iter().map(|(told, _)| told).collect()
}

/// The same, each with the place behind it.
pub(super) fn read_all(mut rows: impl Rows) -> Vec<(String, Place)> {
    let mut all = Vec::new();
    loop {
        let told = match rows.next() {
            Ok(None) => return all,
            Ok(Some(Ok(row))) => {
                let key = row.key.map_or("-".to_owned(), |key| key.to_string());
                let json = to_json(Doc::parse(&row.document).unwrap());
                format!("{} {key} {json}", row.line)
            }
            Ok(Some(Err(bad))) => format!("{}: {}", bad.line, bad.what),
            Err(Stop::Broken(bad)) => {
                all.push((format!("STOP {}: {}", bad.line, bad.what), rows.place()));
                return all;
            }
            Err(Stop::Io(error)) => panic!("{error}"),
        };
        all.push((told, rows.place()));
    }
}

const PLAIN: Dialect = Dialect { separator: b',', comments: false };
const COMMENTED: Dialect = Dialect { comments: true, ..PLAIN };

/// Reads `text` from `start`.
type From = fn(&[u8], Place) -> Vec<(String, Place)>;

const FORMATS: [(&str, From); 4] = [
    ("csv", |text, start| {
        let rows = CsvRows::new(text, &Shape::default(), PLAIN).ok().unwrap();
        match start.offset {
            0 => read_all(rows),
            offset => read_all(rows.from(&text[offset as usize..], start)),
        }
    }),
    ("ndjson", |text, start| {
        read_all(Lines::new(&text[start.offset as usize..], Shape::default(), false, start))
    }),
    ("json", |text, start| {
        read_all(Objects::new(&text[start.offset as usize..], Shape::default(), false, start))
    }),
    ("bson", |text, start| {
        let text = &text[start.offset as usize..];
        read_all(bson::Documents::new(text, Shape::default(), start))
    }),
];

/// Reads from every place of a file; the rows must be those that follow there.
fn resumes(format: &str, text: &[u8]) -> usize {
    let (_, from) = FORMATS.iter().find(|(name, _)| *name == format).unwrap();
    let whole = from(text, Place::default());
    for (at, (told, place)) in whole.iter().enumerate() {
        // What ends the reading ends it: there is nowhere to go on.
        if told.starts_with("STOP") {
            continue;
        }
        assert_eq!(from(text, *place), whole[at + 1..], "{format}, after row {}", at + 1);
    }
    whole.len()
}

#[test]
fn reading_goes_on_at_any_place() {
    let csv = "\u{feff}a,b\r\n1,\"x\ny\"\r\n\r\n2\n3,4\n\"5\",\"\"\"\"";
    assert_eq!(resumes("csv", csv.as_bytes()), 4);
    let ndjson = "\u{feff}{\"a\":1}\n\n{\"a\":\n{\"a\":2}\r\n{\"a\":3}";
    assert_eq!(resumes("ndjson", ndjson.as_bytes()), 4);
    let array = "\u{feff}[ {\"a\":1},\n {\"a\": \n[2]} , {x}, {\"a\":\"é\"} ]\n";
    assert_eq!(resumes("json", array.as_bytes()), 4);
    assert_eq!(resumes("json", b" {\"a\":1}{\"a\":2}\n\n{x} {\"a\":3}"), 4);
    let documents: Vec<u8> = (0..4)
        .flat_map(|n| {
            let mut doc = DocBuf::new();
            doc.push("n", n).push("text", "x".repeat(n as usize).as_str());
            doc.finish().unwrap()
        })
        .collect();
    assert_eq!(resumes("bson", &documents), 4);
}

/// A quarantine file as it is written, for rows as they are.
fn quarantined(rows: &mut dyn Rows) -> Vec<u8> {
    let mut out = format!("{}\n", super::QUARANTINE).into_bytes();
    out.extend_from_slice(&rows.head());
    while let Some(_row) = rows.next().unwrap() {
        out.extend_from_slice(b"# why, {\"x\n");
        rows.raw(&mut out);
    }
    out
}

fn told(rows: impl Rows) -> Vec<String> {
    read(rows).iter().map(|told| told.split_once([' ', ':']).unwrap().1.to_owned()).collect()
}

#[test]
fn rows_as_they_were_are_read_again_below_the_reasons() {
    let shape = Shape::default;
    let csv = &b"a,#b\n#1,\"x\n#y\"\n2\n\xff,\"a,\"\"b\"\n3,4\n"[..];
    let copy = quarantined(&mut CsvRows::new(csv, &shape(), PLAIN).ok().unwrap());
    let again = CsvRows::new(&copy[..], &shape(), COMMENTED).ok().unwrap();
    assert_eq!(told(again), told(CsvRows::new(csv, &shape(), PLAIN).ok().unwrap()));

    let text = &b"{\"a\":\"#\"}\n{x}\n{\"a\":2}"[..];
    let copy = quarantined(&mut Lines::new(text, shape(), false, Place::default()));
    let again = Lines::new(&copy[..], shape(), true, Place::default());
    assert_eq!(told(again), told(Lines::new(text, shape(), false, Place::default())));

    let text = &b"[{\"a\":\n\"#\"},{\"a\": x},{\"a\":2}]"[..];
    let copy = quarantined(&mut Objects::new(text, shape(), false, Place::default()));
    let again = told(Objects::new(&copy[..], shape(), true, Place::default()));
    assert_eq!(again[0], told(Objects::new(text, shape(), false, Place::default()))[0]);
    assert!(again[1].contains("expected a value") && again.len() == 3, "{again:?}");
}

proptest! {
    #[test]
    fn reading_goes_on_at_any_place_of_any_text(
        text in "(\u{feff})?[a{}\\[\\]\":,1 \\n\\r#é]{0,40}",
    ) {
        for format in ["csv", "ndjson", "json"] {
            let text = if format == "csv" { format!("a,b\n{text}") } else { text.clone() };
            resumes(format, text.as_bytes());
        }
    }
}
