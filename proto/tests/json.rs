//! JSON against documents, the oracle's relaxed extended JSON, and literal text.

mod common;

use bson::Bson;
use common::{bytes, document};
use proptest::prelude::*;
use proto::Key;
use proto::doc::{Doc, Value};
use proto::json::*;
use proto::order::equal;

proptest! {
    #[test]
    fn given_a_document_when_written_and_read_then_it_equals_the_one_before(document in document()) {
        let bytes = bytes(&document);
        let doc = Doc::parse(&bytes).expect("valid");
        for text in [to_json(doc), to_json_pretty(doc)] {
            let read = parse_json(&text).expect(&text);
            prop_assert!(
                equal(Some(Value::Doc(Doc::parse(&read).expect("valid"))), Some(Value::Doc(doc))),
                "{}", text
            );
            // What came out of JSON once comes out the same from then on, but NaNs
            // lose their sign on the way.
            prop_assert_eq!(to_json(Doc::trusted(&read)), to_json(doc));
        }
        let mut out = Vec::new();
        write_json(doc, &mut out);
        prop_assert_eq!(String::from_utf8(out).expect("UTF-8"), to_json(doc));
    }

    #[test]
    fn given_a_document_when_written_then_another_reader_takes_it_for_json(document in document()) {
        let bytes = bytes(&document);
        let doc = Doc::parse(&bytes).expect("valid");
        let one: serde_json::Value = serde_json::from_str(&to_json(doc)).expect("JSON");
        let many: serde_json::Value = serde_json::from_str(&to_json_pretty(doc)).expect("JSON");
        prop_assert_eq!(one, many);
    }

    #[test]
    fn given_the_oracle_s_extended_json_when_read_then_it_equals_the_document(document in document()) {
        let text = Bson::Document(document.clone()).into_relaxed_extjson().to_string();
        let canonical = Bson::Document(document.clone()).into_canonical_extjson().to_string();
        let bytes = bytes(&document);
        let expected = Doc::parse(&bytes).expect("valid");
        // The oracle shows some decimals beyond 34 digits; IEEE 754 calls them zero.
        prop_assume!(!to_json(expected).contains("\"0E"));
        // And it writes instants just beyond the year 9999 as its last nanosecond.
        prop_assume!(!text.contains("9999-12-31T23:59:59.999999999Z"));
        for text in [text, canonical] {
            let read = parse_json(&text).expect(&text);
            prop_assert!(
                equal(Some(Value::Doc(Doc::trusted(&read))), Some(Value::Doc(expected))),
                "{} {}", text, to_json(expected)
            );
        }
    }

    #[test]
    fn given_any_text_when_read_then_nothing_panics_and_errors_have_a_place(
        text in "[\\[\\]{}\":,$a-e0-9.\\\\ \\n-]{0,40}|\\PC{0,40}",
    ) {
        for result in [
            parse_json(&text).map(|_| ()),
            parse_json_value(&text, Limits::default()).map(|_| ()),
            parse_documents(&text, Limits::default()).collect::<Result<Vec<_>, _>>().map(|_| ()),
        ] {
            if let Err(error) = result {
                prop_assert!(error.line <= text.lines().count() + 1);
                prop_assert!(error.column <= text.chars().count() + 1);
            }
        }
    }

    #[test]
    fn given_damaged_json_when_read_then_it_is_valid_or_an_error(
        document in document(), at in any::<prop::sample::Index>(), with in "[\\[\\]{}\":,0a\\\\]",
    ) {
        let bytes = bytes(&document);
        let mut characters: Vec<char> = to_json(Doc::trusted(&bytes)).chars().collect();
        let at = at.index(characters.len());
        characters.splice(at..=at, with.chars());
        let text: String = characters.into_iter().collect();
        if let Ok(bytes) = parse_json(&text) {
            prop_assert!(Doc::parse(&bytes).is_ok());
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
        }
    }
}

#[test]
fn given_one_value_of_each_type_when_read_and_written_then_the_text_is_this() {
    let text =
        r#"{"int":1,"long":9223372036854775807,"more":{"$numberDecimal":"18446744073709551615"},"#
            .to_owned()
            + r#""double":1.0,"small":1e-7,"large":1e300,"zero":-0.0,"nan":{"$numberDouble":"NaN"},"#
            + r#""inf":{"$numberDouble":"-Infinity"},"money":{"$numberDecimal":"19.90"},"#
            + r#""text":"a\"\\\n\r\t\u0001é😀/","bool":true,"null":null,"#
            + r#""date":{"$date":"2013-01-01T05:00:00Z"},"ms":{"$date":"1969-12-31T23:59:59.999Z"},"#
            + r#""far":{"$date":{"$numberLong":"9223372036854775807"}},"#
            + r#""oid":{"$oid":"000102030405060708090a0b"},"#
            + r#""bin":{"$binary":{"base64":"AQID","subType":"80"}},"#
            + r#""ts":{"$timestamp":{"t":4294967295,"i":1}},"#
            + r#""re":{"$regularExpression":{"pattern":"^\"a","options":"i"}},"#
            + r#""min":{"$minKey":1},"max":{"$maxKey":1},"list":[1,[],{}],"doc":{"a":{"$other":1}}}"#;
    let bytes = parse_json(&text).expect("valid");
    assert_eq!(to_json(Doc::parse(&bytes).expect("valid")), text);
}

#[test]
fn given_numbers_when_read_then_each_has_the_type_that_keeps_it() {
    let read = |text: &str| parse_json_value(text, Limits::default()).expect(text);
    assert_eq!(read("2147483647").get(), Value::Int32(i32::MAX));
    assert_eq!(read("2147483648").get(), Value::Int64(2_147_483_648));
    assert_eq!(read(" -9007199254740993 ").get(), Value::Int64(-9_007_199_254_740_993));
    assert_eq!(read("1.0").get(), Value::Double(1.0));
    assert_eq!(read("1e3").get(), Value::Double(1000.0));
    assert!(matches!(read("-0").get(), Value::Double(d) if d == 0.0 && d.is_sign_negative()));
    assert!(matches!(
        read("18446744073709551616").get(),
        Value::Decimal128(d) if d.to_i128() == Some(1 << 64)
    ));
    assert!(matches!(read("[1, \"a\"]").get(), Value::Array(a) if a.len() == 2));
    assert_eq!(read("{\"$date\": 5}").get(), Value::DateTime(5));
    assert_eq!(
        read("{\"$uuid\": \"00010203-0405-0607-0809-0a0b0c0d0e0f\"}").get(),
        Value::Binary(proto::doc::Binary {
            subtype: 4,
            bytes: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
        })
    );
}

#[test]
fn given_text_that_is_no_document_when_read_then_the_error_says_where_and_what() {
    let long = "1".repeat(35);
    let deep = "{\"a\":".repeat(65);
    for (text, error) in [
        ("", "line 1, column 1: expected an object, {...}, found the end of the text"),
        ("[]", "line 1, column 1: expected an object, {...}, found '['"),
        (
            "{\n  \"é\": 1,\n  \"é\": 2\n}",
            "line 3, column 3: field \"é\" is given twice in one object",
        ),
        ("{\"a\": 1,}", "line 1, column 9: expected a field name in quotes, found '}'"),
        ("{\"a\" 1}", "line 1, column 6: expected a colon after a field name, found '1'"),
        ("{\"é\": x}", "line 1, column 7: expected a value, found 'x'"),
        ("{\"a\": nul}", "line 1, column 7: expected a value, found \"nul\""),
        ("{\"a\": [1 2]}", "line 1, column 10: expected a comma or ] after an item, found '2'"),
        ("{\"a\": 1} x", "line 1, column 10: expected the end, found 'x'"),
        ("{\"a\": \"b", "line 1, column 7: this string has no end"),
        ("{\"a\": \"\\x\"}", "line 1, column 8: an escape JSON does not know"),
        ("{\"a\": \"\\é\"}", "line 1, column 8: an escape JSON does not know"),
        ("{\"a\": \"\\ud800\"}", "line 1, column 8: half of a surrogate pair is no character"),
        ("{\"a\": \"\\u12\"}", "line 1, column 8: \\u needs four hex digits"),
        (
            "{\"a\": \"\n\"}",
            "line 1, column 8: a control character in a string; write it as \\u00XX",
        ),
        ("{\"a\\u0000\": 1}", "line 1, column 2: a field name cannot hold a NUL character"),
        ("{\"a\": 01}", "line 1, column 7: \"01\" is not a number JSON knows"),
        ("{\"a\": 1.}", "line 1, column 7: \"1.\" is not a number JSON knows"),
        ("{\"a\": -}", "line 1, column 7: \"-\" is not a number JSON knows"),
        (
            "{\"a\": 1e999}",
            "line 1, column 7: this number is beyond a double; write {\"$numberDecimal\": \"...\"}",
        ),
        (
            &format!("{{\"a\": {long}}}"),
            "line 1, column 7: this integer has more than 34 digits; write it as a string, or with an exponent as a double",
        ),
        (&deep, "line 1, column 321: nested deeper than 64; flatten the document"),
        (
            "{\"$oid\": \"00\"}",
            "line 1, column 2: a document has fields; \"$oid\" makes this a single value",
        ),
        ("{\"a\": {\"$oid\": \"00\"}}", "line 1, column 8: $oid holds 24 hex digits in quotes"),
        (
            "{\"a\": {\"$date\": \"soon\"}}",
            "line 1, column 8: $date holds an instant such as \"2013-01-01T05:00:00Z\", or milliseconds",
        ),
        (
            "{\"a\": {\"$minKey\": 1, \"b\": 2}}",
            "line 1, column 20: expected } after the value: $minKey stands alone in its object, found ','",
        ),
        (
            "{\"a\": {\"$numberDecimal\": \"1.2.3\"}}",
            "line 1, column 8: $numberDecimal holds a decimal; this is not a decimal number",
        ),
        (
            "{\"a\": {\"$numberDouble\": \"inf\"}}",
            "line 1, column 8: $numberDouble holds a number, NaN, Infinity or -Infinity in quotes",
        ),
        (
            "{\"a\": {\"$binary\": {\"base64\": \"AQ==\", \"subType\": \"02\"}}}",
            "line 1, column 8: $binary holds subtype 2, which is deprecated; write 00",
        ),
        (
            "{\"a\": {\"$binary\": {\"base64\": \"AQ==\", \"subType\": \"+1\"}}}",
            "line 1, column 8: $binary holds {\"base64\": \"...\", \"subType\": \"00\"} with padded base64",
        ),
        (
            "{\"a\": {\"$symbol\": \"x\"}}",
            "line 1, column 8: $symbol is a BSON type that is not stored; convert it",
        ),
    ] {
        let found = parse_json(text).expect_err(text).to_string();
        assert_eq!(found, error, "{text}");
    }
}

#[test]
fn given_limits_when_a_document_passes_them_then_the_error_says_where() {
    let limits = Limits { max_bytes: 30, max_depth: 2 };
    assert!(parse_json_with("{\"a\":[1]}", limits).is_ok());
    assert_eq!(
        parse_json_with("{\"a\":[[1]]}", limits).expect_err("too deep").what,
        "nested deeper than 2; flatten the document"
    );
    let error = parse_json_with("{\"a\":\"0123456789\",\n\"b\":\"0123456789\"}", limits);
    let error = error.expect_err("too long");
    assert_eq!((error.line, error.column), (2, 5));
    assert_eq!(error.what, "the document passes the limit of 30 bytes here; split it");
}

#[test]
fn given_many_documents_when_read_then_lines_and_arrays_both_do() {
    let read = |text: &str| {
        parse_documents(text, Limits::default())
            .map(|doc| doc.map(|bytes| to_json(Doc::trusted(&bytes))).map_err(|e| e.to_string()))
            .collect::<Vec<_>>()
    };
    let one = || Ok("{\"a\":1}".to_owned());
    assert_eq!(read(" \n"), []);
    assert_eq!(read("{\"a\":1}\r\n\r\n{\"a\":1}{\"a\": 1}\n"), [one(), one(), one()]);
    assert_eq!(read("\u{feff}[{\"a\":1},\n{\"a\":1}]\n"), [one(), one()]);
    assert_eq!(read("[]"), []);
    assert_eq!(
        read("[{\"a\":1},]"),
        [one(), Err("line 1, column 10: expected an object, {...}, found ']'".to_owned())]
    );
    assert_eq!(
        read("[{\"a\":1}{\"a\":1}]"),
        [one(), Err("line 1, column 9: expected a comma or ] after an item, found '{'".to_owned())]
    );
    assert_eq!(
        read("[{\"a\":1}] {}"),
        [one(), Err("line 1, column 11: expected the end, found '{'".to_owned())]
    );
    assert_eq!(
        read("{\"a\":1}\n5\n{\"a\":1}"),
        [one(), Err("line 2, column 1: expected an object, {...}, found '5'".to_owned())]
    );
    assert_eq!(
        read("[{\"a\":1}"),
        [
            one(),
            Err("line 1, column 9: expected a comma or ] after an item, found the end of the text"
                .to_owned())
        ]
    );
}

#[test]
fn given_a_row_when_written_then_its_key_comes_first_and_once() {
    let bytes = parse_json("{\"key\": 1, \"a\": [2]}").expect("valid");
    let mut out = String::new();
    write_row(Key(255), Doc::trusted(&bytes), &mut out);
    assert_eq!(out, "{\"key\":\"000000000000000000000000000000ff\",\"a\":[2]}");
    out.clear();
    write_json_pretty(Doc::trusted(&bytes), &mut out);
    assert_eq!(out, "{\n  \"key\": 1,\n  \"a\": [\n    2\n  ]\n}");
}
