//! Rows of CSV, good and bad.

use super::*;
use proto::json::to_json;

const PLAIN: Dialect = Dialect { separator: b',', comments: false };

fn read_with(text: &[u8], shape: &Shape) -> Result<Vec<String>, String> {
    let told = |stop| match stop {
        Stop::Broken(bad) => format!("{}: {}", bad.line, bad.what),
        Stop::Io(error) => error.to_string(),
    };
    let mut rows = CsvRows::new(text, shape, PLAIN).map_err(told)?;
    let mut all = Vec::new();
    while let Some(next) = rows.next().map_err(told)? {
        all.push(match next {
            Ok(row) => {
                let key = row.key.map_or("-".to_owned(), |key| key.to_string());
                format!("{} {key} {}", row.line, to_json(Doc::parse(&row.document).unwrap()))
            }
            Err(bad) => format!("{}: {}", bad.line, bad.what),
        });
    }
    Ok(all)
}

fn read(text: &str) -> Vec<String> {
    read_with(text.as_bytes(), &Shape::default()).unwrap()
}

#[test]
fn cells_are_typed_one_by_one_and_empty_ones_left_out() {
    let text =
        "\u{feff}n,x,t,b\n1,2.5,\"a, \"\"b\"\"\",true\n,,,\n007,1.0,\"two\nlines\",x\n8,,,\n";
    assert_eq!(
        read(text),
        [
            r#"2 - {"n":1,"x":2.5,"t":"a, \"b\"","b":true}"#,
            "3 - {}",
            r#"4 - {"n":"007","x":1.0,"t":"two\nlines","b":"x"}"#,
            r#"6 - {"n":8}"#,
        ]
    );
}

#[test]
fn nulls_are_left_out_and_text_columns_stay_text() {
    let shape = Shape {
        nulls: vec!["NA".into(), "-".into()],
        text: vec!["code".into()],
        ..Shape::default()
    };
    let text = "code,n\n12,NA\nNA,-\n,5\ntrue,NAN\n";
    assert_eq!(
        read_with(text.as_bytes(), &shape).unwrap(),
        [r#"2 - {"code":"12"}"#, "3 - {}", r#"4 - {"n":5}"#, r#"5 - {"code":"true","n":"NAN"}"#,]
    );
}

#[test]
fn keys_come_from_fields_or_from_the_column_key() {
    let shape = Shape { key: Some("y:u16,c:t2".parse().unwrap()), ..Shape::default() };
    let text = "c,y\n12,2013\n9E,\n";
    let rows = read_with(text.as_bytes(), &shape).unwrap();
    assert_eq!(rows[0], r#"2 07dd3132000000000000000000000000 {"c":"12","y":2013}"#);
    assert!(rows[1].starts_with("3: it has no `y`"), "{}", rows[1]);

    let key = "000102030405060708090a0b0c0d0e0f";
    let rows = read(&format!("key,a\n{key},1\n,2\n12,3\n"));
    assert_eq!(rows[..2], [format!("2 {key} {{\"a\":1}}"), "3 - {\"a\":2}".to_owned()]);
    assert!(rows[2].contains("32 hexadecimal digits"), "{}", rows[2]);
}

#[test]
fn a_row_that_does_not_fit_the_header_or_is_no_text_is_bad_and_the_next_is_read() {
    let rows = read_with(b"a,b\n1\n1,2,3\n\xff,1\n3,4\n", &Shape::default()).unwrap();
    assert_eq!(
        rows,
        [
            "2: it has 1 cell, and the first line names 2 columns",
            "3: it has 3 cells, and the first line names 2 columns",
            "4: column `a` is not UTF-8; convert the file",
            r#"5 - {"a":3,"b":4}"#,
        ]
    );
}

#[test]
fn a_quote_that_is_open_at_the_end_makes_the_row_a_bad_one() {
    for (text, rows) in [
        ("a,b\n1,\"2\n", &["2: a quote in it"][..]),
        ("a,b\n1,2\n3,\"4", &["2 - {\"a\":1,\"b\":2}", "3: a quote in it"]),
        ("a,b\n1,\"2\n3,4\n5,6\n", &["2: a quote in it is never closed: close it"]),
        ("a,b\n1,\"2\"", &["2 - {\"a\":1,\"b\":2}"]),
        ("a,b\n1,\"2\n\"\n\n", &["2 - {\"a\":1,\"b\":\"2\\n\"}"]),
        ("a,b", &[]),
        ("a,b\n\n", &[]),
    ] {
        let found = read(text);
        assert_eq!(found.len(), rows.len(), "{text:?}: {found:?}");
        for (found, row) in found.iter().zip(rows) {
            assert!(found.starts_with(row), "{text:?}: {found}");
        }
    }
    // Put aside it is as it was, and behind it is the end.
    let text = "a,b\n1,\"2\n";
    let mut rows = CsvRows::new(text.as_bytes(), &Shape::default(), PLAIN).unwrap();
    assert!(matches!(rows.next(), Ok(Some(Err(_)))));
    let mut raw = Vec::new();
    rows.raw(&mut raw);
    assert_eq!(raw, b"1,\"2\n\"\n");
    assert_eq!(rows.place().offset, text.len() as u64);
    assert!(matches!(rows.next(), Ok(None)));
    let text = "a,b\n1,2\n";
    let mut rows = CsvRows::new(text.as_bytes(), &Shape::default(), PLAIN).unwrap();
    while rows.next().unwrap().is_some() {}
    assert_eq!((rows.place().offset, rows.place().lines), (text.len() as u64, 2));
}

#[test]
fn a_header_that_cannot_be_used_is_refused() {
    let keyed = Shape { key: Some("year:u16".parse().unwrap()), ..Shape::default() };
    let text = Shape { text: vec!["zip".into()], ..Shape::default() };
    for (csv, shape, says) in [
        ("", &Shape::default(), "1: the file is empty"),
        ("\n\n", &Shape::default(), "1: the file is empty"),
        ("a,\"b\n1,2\n", &Shape::default(), "1: a quote in it is never closed"),
        ("a,,b\n", &Shape::default(), "1: column 2 has no name"),
        ("a,b,a\n", &Shape::default(), "\"a\" occurs twice"),
        ("a,b\n", &keyed, "--key names `year`, and the columns are a, b"),
        ("a,b\n", &text, "--text names `zip`"),
        ("key,year\n", &keyed, "leave that option out"),
    ] {
        let error = read_with(csv.as_bytes(), shape).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_quote_that_is_never_closed_does_not_read_the_file_into_memory() {
    let endless = b"a,b\n1,2\n3,\"".chain(std::io::repeat(b'x'));
    let mut rows = CsvRows::new(endless, &Shape::default(), PLAIN).unwrap();
    assert!(matches!(rows.next(), Ok(Some(Ok(_)))));
    let Err(Stop::Broken(bad)) = rows.next() else { panic!("an endless row") };
    assert!(bad.what.contains("is a quote not closed?"), "{}", bad.what);
}
