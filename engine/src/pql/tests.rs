//! The grammar, by example.

use super::ast::*;
use super::parse;
use proptest::prelude::*;
use proto::Key;
use proto::doc::{Doc, Value, ValueBuf};

fn value<'v>(value: impl Into<Value<'v>>) -> Operand {
    Operand::Value(ValueBuf::new(value).unwrap())
}

fn path(path: &str) -> Path {
    Path(path.to_owned())
}

fn select(text: &str) -> Select {
    match parse(text).unwrap_or_else(|e| panic!("{e}")).verb {
        Verb::Select(select) => select,
        other => panic!("{other:?}"),
    }
}

fn filter(expr: &str) -> Expr {
    select(&format!("s.filter({expr})")).filter.unwrap()
}

fn error(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn a_whole_chain() {
    let query = parse(
        "flights.filter(origin = \"JFK\" and (dep_delay > 60 or carrier in [\"UA\", $2]))\
         .orderBy(dep_delay, desc, month).skip(5).limit($1).pluck(flight, a.b.0)",
    )
    .unwrap();
    assert_eq!((query.store.as_str(), query.parameters), ("flights", 2));
    let expected = Select {
        filter: Some(Expr::And(vec![
            Expr::Compare(path("origin"), Comparison::Equal, value("JFK")),
            Expr::Or(vec![
                Expr::Compare(path("dep_delay"), Comparison::Greater, value(60)),
                Expr::In(path("carrier"), vec![value("UA"), Operand::Parameter(2)]),
            ]),
        ])),
        order: vec![
            Order { path: path("dep_delay"), descending: true },
            Order { path: path("month"), descending: false },
        ],
        skip: Some(value(5)),
        limit: Some(Operand::Parameter(1)),
        output: Output::Pluck(vec![path("flight"), path("a.b.0")]),
    };
    assert_eq!(query.verb, Verb::Select(expected));
}

#[test]
fn every_operator() {
    use Comparison::*;
    for (text, comparison) in [
        ("=", Equal),
        ("!=", NotEqual),
        (">", Greater),
        (">=", GreaterOrEqual),
        ("<", Less),
        ("<=", LessOrEqual),
    ] {
        assert_eq!(
            filter(&format!("a {text} -1")),
            Expr::Compare(path("a"), comparison, value(-1))
        );
    }
    assert_eq!(filter("a in []"), Expr::In(path("a"), vec![]));
    assert_eq!(filter("a between 1 and 2.5"), Expr::Between(path("a"), value(1), value(2.5)));
    assert_eq!(filter("a contains 'x'"), Expr::Contains(path("a"), value("x")));
    assert_eq!(filter("a startsWith 'x'"), Expr::StartsWith(path("a"), value("x")));
    assert_eq!(filter("a ~ '^x'"), Expr::Matches(path("a"), value("^x")));
    assert_eq!(filter("a exists"), Expr::Exists(path("a")));
    assert_eq!(filter("not a exists"), Expr::Not(Box::new(Expr::Exists(path("a")))));
}

#[test]
fn and_binds_tighter_than_or_and_between_keeps_its_and() {
    let a = || Expr::Compare(path("a"), Comparison::Equal, value(1));
    assert_eq!(filter("a = 1 or a = 1 and a = 1"), Expr::Or(vec![a(), Expr::And(vec![a(), a()])]));
    let between = || Expr::Between(path("a"), value(1), value(2));
    assert_eq!(filter("a between 1 and 2 and a = 1"), Expr::And(vec![between(), a()]));
}

#[test]
fn words_of_the_grammar_may_be_fields() {
    let one = |name| Expr::Compare(path(name), Comparison::Equal, value(1));
    for name in ["not", "in", "and", "or", "count", "filter", "desc", "between"] {
        assert_eq!(filter(&format!("{name} = 1")), one(name), "{name}");
    }
    assert_eq!(filter("`dep delay` = 1"), one("dep delay"));
    let order = select("s.orderBy(desc)").order;
    assert_eq!(order, [Order { path: path("desc"), descending: false }]);
    let order = select("s.orderBy(a desc, desc asc)").order;
    assert_eq!(order[0], Order { path: path("a"), descending: true });
    assert_eq!(order[1], Order { path: path("desc"), descending: false });
}

#[test]
fn literals_keep_their_values() {
    let read = |text: &str| match filter(&format!("a = {text}")) {
        Expr::Compare(_, _, Operand::Value(value)) => value,
        other => panic!("{other:?}"),
    };
    assert_eq!(read("9223372036854775807").get(), Value::Int64(i64::MAX));
    assert_eq!(read("-9223372036854775808").get(), Value::Int64(i64::MIN));
    assert_eq!(read("1.5e3").get(), Value::Double(1500.0));
    assert_eq!(read("null").get(), Value::Null);
    assert_eq!(read("true").get(), Value::Bool(true));
    assert_eq!(read(r#""a\"\n\u00e9\ud83d\ude00é""#).get(), Value::String("a\"\né😀é"));
    assert_eq!(read(r"'it\'s'").get(), Value::String("it's"));
    let nested = read(r#"{a: [1, {b: null}, []], "c d": {}}"#);
    let Value::Doc(doc) = nested.get() else { panic!() };
    assert_eq!(doc.path("a.1.b"), Some(Value::Null));
    assert!(matches!(doc.get("c d"), Some(Value::Doc(d)) if d.is_empty()));
    assert!(Doc::parse(doc.as_bytes()).is_ok());
}

#[test]
fn groups_and_figures() {
    let output =
        select("s.groupBy(a, b.c).aggregate(n: count(), t: sum(x), m: max(y.z)).orderBy(t desc)");
    let figure = |alias: &str, function, p: Option<&str>| Aggregate {
        alias: alias.to_owned(),
        function,
        path: p.map(path),
    };
    let expected = Output::Group {
        by: vec![path("a"), path("b.c")],
        aggregates: vec![
            figure("n", Function::Count, None),
            figure("t", Function::Sum, Some("x")),
            figure("m", Function::Max, Some("y.z")),
        ],
    };
    assert_eq!(output.output, expected);
    assert!(
        matches!(select("s.aggregate(n: count())").output, Output::Group { by, .. } if by.is_empty())
    );
}

#[test]
fn keys_and_single_documents() {
    let verb = |text: &str| parse(text).unwrap_or_else(|e| panic!("{e}")).verb;
    for key in ["00000000000000000000000000000001", "12e45678901234567890123456789abc"] {
        let expected = Verb::Get(KeyOperand::Key(key.parse::<Key>().unwrap()));
        assert_eq!(verb(&format!("s.get({key})")), expected);
        assert_eq!(verb(&format!("s.get('{key}')")), expected);
    }
    assert_eq!(verb("s.get($1)"), Verb::Get(KeyOperand::Parameter(1)));
    assert!(matches!(verb("s.insert({a: 1})"), Verb::Insert(Operand::Value(_))));
    assert!(matches!(verb("s.insert($1)"), Verb::Insert(Operand::Parameter(1))));
}

#[test]
fn a_mutation_says_which_documents() {
    for text in ["s.delete()", "s.set({a: 1})", "s.limit(1).delete()"] {
        assert!(error(text).contains("put filter(..) before it, or all()"), "{text}");
    }
    assert_eq!(select("s.all().delete()").output, Output::Delete);
    assert!(matches!(select("s.filter(a = 1).limit(3).set({a: 2})").output, Output::Set(_)));
}

#[test]
fn an_error_shows_its_place_and_what_was_expected() {
    let shown = error("flights.filter(origin == 'JFK' and dep_delay >> 60)");
    assert_eq!(
        shown,
        "line 1, column 47: expected a value, found `>`\n  \
         flights.filter(origin == 'JFK' and dep_delay >> 60)\n  \
         \x20                                             ^"
    );
    let multi = parse("s\n  .filter(é = 1)\n  .limt(5)").unwrap_err();
    assert_eq!(multi.position(), (3, 4));
}

#[test]
fn nothing_is_skipped() {
    for (text, expected) in [
        ("", "expected the name of a store, found the end of the query"),
        ("s.filter()", "expected a field, found `)`"),
        ("s.filter(a)", "`)` is no operator"),
        ("s.filter(a like 'x')", "`like` is no operator"),
        ("s.filter(a = 1 b = 2)", "expected `)`, found `b`"),
        ("s.filter(a = 1", "expected `)`, found the end of the query"),
        ("s.filter((a = 1)", "expected `)`, found the end"),
        ("s.filter(a = JFK)", "strings need quotes"),
        ("s.filter(a in 1)", "expected `[`"),
        ("s.filter(a in [1 2])", "expected `,` or `]`"),
        ("s.filter(a between 1, 2)", "expected `and` and the upper end"),
        ("s.filter(a = 'x)", "no end"),
        ("s.filter(a = 99999999999999999999)", "does not fit 64 bits"),
        ("s.filter(a = $0)", "parameters are $1"),
        ("s.filter(a = {b: $1})", "cannot stand inside"),
        ("s.filter(a = {b: 1, b: 2})", "b"),
        ("s.filter(a..b = 1)", "expected a field after the dot"),
        ("s.limit(-1)", "0 or more"),
        ("s.limit(1.5)", "expected a whole number"),
        ("s.limit(1).filter(a = 1)", "filter() cannot stand here"),
        ("s.count().limit(1)", "nothing can follow count()"),
        ("s.count().count()", "count"),
        ("s.groupBy(a).pluck(a)", "pluck() cannot follow groupBy()"),
        ("s.groupBy(a).delete()", "delete() cannot follow groupBy()"),
        ("s.aggregate(t: sum())", "expected the field to compute the sum of"),
        ("s.aggregate(t: median(a))", "`median` is no aggregate"),
        ("s.get(12)", "32 hexadecimal digits"),
        ("s.get(00000000000000000000000000000001).count()", "expected the end of the query"),
        ("s.insert(1)", "takes one document"),
        ("s.filter(a = 1).insert({})", "insert() stands alone"),
        ("s.drop()", "`drop` is no step"),
        ("s filter(a = 1)", "expected `.` and a step"),
        ("s.filter(a = 1); t", "`;` is no part of PQL"),
    ] {
        let shown = error(text);
        assert!(shown.contains(expected), "{text}\n{shown}");
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = |n: usize| format!("s.filter({}a = 1{})", "(".repeat(n), ")".repeat(n));
    assert!(parse(&deep(40)).is_ok());
    assert!(error(&deep(10_000)).contains("nested deeper"));
    assert!(error(&format!("s.filter({}a = 1)", "not ".repeat(10_000))).contains("nested deeper"));
    assert!(error(&format!("s.filter(a = {})", "[".repeat(10_000))).contains("nested deeper"));
    assert!(error(&"s".repeat(super::MAX_TEXT + 1)).contains("pass long values as parameters"));
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        if let Err(error) = parse(&text) {
            let _shown = error.to_string();
        }
    }

    #[test]
    fn no_soup_of_words_panics(words in proptest::collection::vec(
        proptest::sample::select(vec![
            "s", ".", "filter", "(", ")", "a", "=", "1", "and", "or", "not", "in", "[", "]", ",",
            "'x'", "{", "}", ":", "$1", "orderBy", "limit", "between", "get", "~", "desc", "`q`",
        ]), 0..24)
    ) {
        if let Err(error) = parse(&words.join(" ")) {
            let _shown = error.to_string();
        }
    }
}
