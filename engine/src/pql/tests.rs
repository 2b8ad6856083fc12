//! The grammar, by example.

use super::ast::*;
use super::{Class, parse};
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
        Verb::Select(select) => *select,
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
        lookups: vec![],
        joined: None,
        shape: None,
        having: None,
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
    assert_eq!(query.verb, Verb::Select(Box::new(expected)));
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
    let shape =
        select("s.groupBy(a, b.c).aggregate(n: count(), t: sum(x), m: max(y.z)).orderBy(t desc)");
    let figure = |alias: &str, function, p: Option<&str>| Aggregate {
        alias: alias.to_owned(),
        function,
        path: p.map(path),
    };
    let expected = Shape::Group {
        by: vec![path("a"), path("b.c")],
        aggregates: vec![
            figure("n", Function::Count, None),
            figure("t", Function::Sum, Some("x")),
            figure("m", Function::Max, Some("y.z")),
        ],
    };
    assert_eq!(shape.shape, Some(expected));
    assert!(
        matches!(select("s.aggregate(n: count())").shape, Some(Shape::Group { by, .. }) if by.is_empty())
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
    assert!(matches!(
        verb("s.insert({a: 1})"),
        Verb::Insert { document: Operand::Value(_), returning: false }
    ));
    assert!(matches!(verb("s.insert($1)"), Verb::Insert { document: Operand::Parameter(1), .. }));
}

#[test]
fn a_mutation_says_which_documents() {
    for text in ["s.delete()", "s.set({a: 1})", "s.limit(1).delete()"] {
        assert!(error(text).contains("put filter(..) before it, or all()"), "{text}");
    }
    let delete = Output::Mutate { how: Mutation::Delete, returning: None };
    assert_eq!(select("s.all().delete()").output, delete);
    let many = select(
        "s.filter(a = 1).limit(3).set({a: 2}).unset(b, c.d).inc({n: -1}).push({t: 'x'}).upsert({u: 1}).returning(before)",
    );
    let Output::Mutate { how: Mutation::Edit(edits), returning: Some(Image::Before) } = many.output
    else {
        panic!()
    };
    assert_eq!(edits.len(), 5);
    assert_eq!(edits[1], Edit::Unset(vec![path("b"), path("c.d")]));
    for (text, image) in [
        ("s.all().delete().returning()", Image::Before),
        ("s.all().replace({}).returning()", Image::After),
    ] {
        assert!(
            matches!(select(text).output, Output::Mutate { returning: Some(i), .. } if i == image)
        );
    }
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
        ("", "the query is empty: begin with a store, such as flights.count()"),
        (" \n", "the query is empty"),
        ("(", "expected the name of a store, found `(`"),
        ("SELECT * FROM flights", "PQL is no SQL: begin with a store"),
        ("update s set a = 1", "column 1: PQL is no SQL"),
        ("select .fliter()", "did you mean `filter`"),
        ("s.filter(a <> 1)", "column 12: `<>` is no operator: write `!=`"),
        (
            "s.filter(a is null)",
            "`is` is no operator; expected =, !=, >, >=, <, <=, ~, in, between",
        ),
        ("s.filter(a is null)", "did you mean `=`?"),
        ("s.filter(a = 1 && b = 2)", "`&` is no part of PQL: write `and`"),
        ("s.filter(a = 1 || b = 2)", "`|` is no part of PQL: write `or`"),
        ("s.filter(!a exists)", "`!` is no part of PQL: write `not`"),
        ("s // all", "`/` is no part of PQL, which has no comments"),
        ("s.aggregate(avg(a))", "column 13: a figure needs a name: write `name: avg(..)`"),
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
        ("s.filter(a = date('2013-02-30'))", "date(..) takes an instant such as"),
        ("s.filter(a = decimal('1,1'))", "decimal(..) takes a number of at most 34 digits"),
        ("s.filter(a = objectId('12'))", "24 hexadecimal digits"),
        ("s.filter(a = uuid('12'))", "8-4-4-4-12"),
        ("s.filter(a = binary('a'))", "padded base64"),
        ("s.filter(a = binary('', 2))", "but not 2"),
        (
            "s.filter(a = datum('x'))",
            "`datum` makes no value; expected date, decimal, objectId, uuid or binary",
        ),
        ("s.filter(a = date(1.5))", "expected a text in quotes"),
        ("s.filter(a = flase)", "strings need quotes; did you mean `false`?"),
        ("s.filter(a lke 'x')", "`lke` is no operator"),
        ("s.filter(a contain 'x')", "did you mean `contains`?"),
        ("s.fliter(a = 1)", "`fliter` is no step; did you mean `filter`?"),
        ("s.where(a = 1)", "did you mean `filter`?"),
        ("s.aggregate(t: average(a))", "did you mean `avg`?"),
        ("s.limit(1).lookup(t, a = b)", "lookup() cannot stand here"),
        ("s.lookup(t a = b)", "expected `,` and the fields to compare"),
        ("s.lookup(t, a > b)", "expected `=` and the field of the other store"),
        ("s.lookup(t, a = b as key)", "cannot be put in `key`"),
        ("s.lookup(t, a = b).lookup(t, c = d)", "add `as` and a name"),
        ("s.filter(x = 1).lookup(t, a = b).delete()", "delete() cannot follow lookup()"),
        ("s.distinct(a).aggregate(n: count())", "aggregate() cannot follow distinct()"),
        ("s.distinct(a).orderBy(b)", "orderBy(b): a group has only"),
        ("s.groupBy(a).having(b = 1)", "having(b): a group has only"),
        ("s.groupBy(a).pluck(b)", "pluck(b): a group has only"),
        ("s.having(a = 1)", "having() chooses groups"),
        ("s.all().set({a: 1}).delete()", "delete() cannot follow set()"),
        ("s.all().delete().set({a: 1})", "set() cannot stand here"),
        ("s.all().delete().returning(after)", "no document after a delete"),
        ("s.all().set({a: 1}).returning(aftr)", "did you mean `after`?"),
        ("s.filter(a = 1).returning()", "returning() says which documents a change gives back"),
        ("s.insert({}).returning(before)", "no document before an insert"),
        ("s.insert({}).count()", "only returning() and explain() can follow insert()"),
        ("s.insert({}).returning().returning()", "each once"),
        ("s.insert({}).explain().returning()", "nothing can follow explain()"),
        ("s.insert({}).returning().explain().explain()", "nothing can follow explain()"),
        ("s.count().explain().explain()", "nothing can follow explain()"),
        ("s.limit(-1)", "0 or more"),
        ("s.limit(1.5)", "expected a whole number"),
        ("s.limit(1).filter(a = 1)", "filter() cannot stand here"),
        ("s.count().limit(1)", "nothing can follow count()"),
        ("s.count().count()", "count"),
        ("s.groupBy(a).set({a: 1})", "set() cannot follow groupBy()"),
        ("s.groupBy(a).delete()", "delete() cannot follow groupBy()"),
        ("s.aggregate(t: sum())", "expected the field to compute the sum of"),
        ("s.aggregate(t: median(a))", "`median` is no aggregate"),
        ("s.get(12)", "32 hexadecimal digits"),
        ("s.get(00000000000000000000000000000001).count()", "only explain() can follow get()"),
        ("s.insert(1)", "takes one document"),
        ("s.filter(a = 1).insert({})", "insert() stands alone"),
        ("s.drop()", "`drop` is no step"),
        ("s filter(a = 1)", "expected `.` and a step"),
        (
            "s.filter(a = 1); t",
            "`;` is no part of PQL: one query is one chain, and nothing ends it",
        ),
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
    // To the last level and the last byte.
    let last = (1..100).take_while(|levels| parse(&deep(*levels)).is_ok()).count();
    assert!((40..=48).contains(&last), "{last}");
    assert!(error(&deep(last + 1)).contains("nested deeper than 48 levels"));
    let long = |bytes: usize| "s.count()".to_owned() + &" ".repeat(bytes - "s.count()".len());
    assert!(parse(&long(super::MAX_TEXT)).is_ok());
    assert!(error(&long(super::MAX_TEXT + 1)).contains("pass long values as parameters"));
}

#[test]
fn values_of_other_types_have_functions() {
    let read = |text: &str| match filter(&format!("a = {text}")) {
        Expr::Compare(_, _, Operand::Value(value)) => value,
        other => panic!("{other:?}"),
    };
    let nested = read(
        r#"{d: date("2013-01-01T05:00:00Z"), l: [date(-1), decimal("1.10"), binary("AQI=", 5)],
            o: objectId("0102030405060708090a0b0c"), u: uuid("00112233-4455-6677-8899-aabbccddeeff")}"#,
    );
    let Value::Doc(doc) = nested.get() else { panic!() };
    assert_eq!(doc.get("d"), Some(Value::DateTime(1_357_016_400_000)));
    assert_eq!(doc.path("l.0"), Some(Value::DateTime(-1)));
    assert_eq!(doc.path("l.1"), Some(Value::Decimal128("1.10".parse().unwrap())));
    let binary = |subtype, bytes| Some(Value::Binary(proto::doc::Binary { subtype, bytes }));
    assert_eq!(doc.path("l.2"), binary(5, &[1, 2]));
    assert!(matches!(doc.get("o"), Some(Value::ObjectId(id)) if id.0[11] == 12));
    let Some(Value::Binary(uuid)) = doc.get("u") else { panic!() };
    assert_eq!((uuid.subtype, uuid.bytes[0], uuid.bytes[15]), (4, 0, 0xff));
    // They are fields too, where no value is expected.
    assert_eq!(filter("date = 1"), Expr::Compare(path("date"), Comparison::Equal, value(1)));
}

#[test]
fn lookups_and_what_follows_them() {
    let select = select(
        "s.filter(a = 1).lookup(t, b.c = key).lookupOne(t, t.0.d = e as u).filter(u.x = 2)\
         .groupBy(u.x).aggregate(n: count()).having(n > 1).orderBy(n desc).skip(1).count()",
    );
    let lookup = |local: &str, foreign: &str, name: &str, one| Lookup {
        store: "t".to_owned(),
        local: path(local),
        foreign: path(foreign),
        name: name.to_owned(),
        one,
    };
    assert_eq!(select.lookups, [lookup("b.c", "key", "t", false), lookup("t.0.d", "e", "u", true)]);
    assert!(select.joined.is_some() && select.having.is_some());
    assert_eq!(select.output, Output::Count);
    assert!(parse("s.explain()").unwrap().explain);
}

#[test]
fn every_word_is_coloured() {
    let classes = |text: &str| -> String {
        super::highlight(text)
            .iter()
            .map(|h| match h.class {
                Class::Store => 'S',
                Class::Step => 's',
                Class::Function => 'f',
                Class::Keyword => 'k',
                Class::Name => 'n',
                Class::Operator => 'o',
                Class::Punctuation => '.',
                Class::String => '"',
                Class::Number => '1',
                Class::Constant => 'c',
                Class::Parameter => '$',
                Class::Error => '!',
            })
            .collect()
    };
    assert_eq!(classes("s.filter(not a.b = 1 and c in ['x', $1])"), "S.s.kn.no1knk.\".$..");
    assert_eq!(
        classes("s.filter(count = null or `q` exists)"),
        "S.s.nockn.k.".replace("n.k.", "nk.")
    );
    assert_eq!(classes("s.aggregate(n: sum(x)).orderBy(n desc)"), "S.s.n.f.n...s.nk.");
    assert_eq!(classes("s.filter(d > date('2013'))"), "S.s.nof.\"..");
    assert_eq!(classes("s.filtr(a = 'x"), "S.!.no!");
    assert_eq!(classes("s.lookup(t, a = b as c)"), "S.s.n.nonkn.");
}

/// Texts that mean all there is to say.
pub(super) fn queries() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b.c", "`d e`", "in.`not`", "x.0.y", "key", "n"]);
    let literal = prop::sample::select(vec![
        "1",
        "-2.5",
        "'it\\'s'",
        "null",
        "true",
        "$1",
        "$3",
        "[1, [], {a: 'x'}]",
        "{}",
        "{`p q`: 1, \"r s\": [null]}",
        "date('2013-01-01T05:00:00.001Z')",
        "date(99999999999999999)",
        "decimal('1.10')",
        "decimal('-Infinity')",
        "objectId('0102030405060708090a0b0c')",
        "uuid('00112233-4455-6677-8899-aabbccddeeff')",
        "binary('AQI=')",
        "binary('AQI=', 128)",
        "9223372036854775807",
        "1e300",
        "\"\\u0000\\ud83d\\ude00\"",
    ]);
    let leaf =
        (name.clone(), literal.clone(), literal, 0..12u8).prop_map(|(n, v, w, op)| match op {
            0 => format!("{n} = {v}"),
            1 => format!("{n} != {v}"),
            2 => format!("{n} > {v}"),
            3 => format!("{n} >= {v}"),
            4 => format!("{n} < {v}"),
            5 => format!("{n} <= {v}"),
            6 => format!("{n} in [{v}, {w}]"),
            7 => format!("{n} between {v} and {w}"),
            8 => format!("{n} contains {v}"),
            9 => format!("{n} startsWith 'x'"),
            10 => format!("{n} ~ $2"),
            _ => format!("{n} exists"),
        });
    let expr = leaf.prop_recursive(4, 24, 3, |inner| {
        (prop::collection::vec(inner, 1..4), 0..4u8).prop_map(|(parts, how)| match how {
            0 => parts.join(" and "),
            1 => parts.join(" or "),
            2 => format!("({})", parts.join(" or ")),
            _ => format!("not ({})", parts.join(" and ")),
        })
    });
    let tail = prop::sample::select(vec![
        "",
        ".pluck(a, `d e`)",
        ".count()",
        ".orderBy(a desc, `asc`).skip(1).limit($2)",
        ".lookup(t, a = key).lookupOne(`u v`, b.c = d as w).filter(t.x = 1).explain()",
        ".groupBy(a, b.c).aggregate(n: count(), `m m`: max(x)).having(n > 1).orderBy(n)",
        ".distinct(a, b.c).count()",
        ".aggregate(n: avg(x))",
        ".delete()",
        ".set({a: 1}).unset(b, c.d).inc({n: 1}).push({t: [1]}).upsert({k: 'x'}).returning(before)",
        ".replace($1).returning()",
        ".limit(3).delete().returning().explain()",
    ]);
    (prop::option::weighted(0.8, expr), tail).prop_map(|(filter, tail)| match filter {
        Some(filter) => format!("s.filter({filter}){tail}"),
        None => format!("`s t`.all(){tail}"),
    })
}

proptest! {
    #[test]
    fn a_formatted_query_means_the_same(text in queries()) {
        let query = parse(&text).unwrap_or_else(|e| panic!("{e}"));
        let formatted = super::format(&query);
        let again = parse(&formatted).unwrap_or_else(|e| panic!("{text}\n{e}"));
        prop_assert_eq!(&again, &query, "{}", formatted);
        prop_assert_eq!(super::format(&again), formatted);
    }

    #[test]
    fn every_text_is_coloured_whole(text in "(\\PC|[ \n.(\"'`$~]){0,60}") {
        let mut end = 0;
        for highlight in super::highlight(&text) {
            prop_assert!(highlight.range.start >= end && highlight.range.end > highlight.range.start);
            let skipped = text.get(end..highlight.range.start);
            prop_assert!(skipped.is_some_and(|s| s.trim().is_empty()), "{:?}", skipped);
            prop_assert!(text.get(highlight.range.clone()).is_some());
            end = highlight.range.end;
        }
        prop_assert!(text[end..].trim().is_empty());
    }

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

#[test]
fn a_field_of_a_row_is_named_once_and_the_second_is_refused_at_its_place() {
    for (text, column, words) in [
        ("s.pluck(a, b.c, a)", 17, "pluck(a) is there already: name each field once"),
        ("s.pluck(a, b.c, b.c)", 17, "pluck(b.c) is there already"),
        ("s.pluck(key, `key`)", 14, "pluck(key) is there already"),
        ("s.groupBy(a, a)", 14, "groupBy(a) is there already"),
        ("s.distinct(a, b, b).count()", 18, "distinct(b) is there already"),
        ("s.groupBy(a).aggregate(a: count())", 24, "a group has a field `a` already"),
        ("s.aggregate(n: count(), n: sum(b))", 25, "give the figure another name"),
        ("s.filter(a = 1).pluck(a, a).explain()", 26, "pluck(a) is there already"),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.position(), (1, column), "{text}: {error}");
        assert!(error.message.contains(words), "{text}: {error}");
    }
    // One within another is another field of the row.
    for text in ["s.pluck(a, a.b, a.c)", "s.groupBy(a, a.b).aggregate(n: count(), m: count())"] {
        assert!(parse(text).is_ok(), "{text}");
    }
}
