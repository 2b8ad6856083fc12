//! Random queries by every way there is, against a store without indexes.
//!
//! What must stay true: ways are chosen by whim (`query::whim`), so that small stores
//! try all of them; a failure prints seed, indexes, query and documents. With little
//! memory a way may be refused for want of it, never answer otherwise.

use std::collections::BTreeMap;

use proto::{Request, Status};

use super::kit::*;
use crate::query::whim;
use crate::{Engine, Limits};

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of(&mut self, from: &[&str]) -> String {
        from[self.below(from.len())].to_owned()
    }
}

const FIELDS: [&str; 4] = ["a", "b", "c.d", "c.e"];

/// A value as JSON; texts of one beginning that is longer than an entry keeps.
fn value(dice: &mut Dice, arrays: bool) -> String {
    match dice.below(if arrays { 16 } else { 14 }) {
        0 => "null".to_owned(),
        1 => "1.0".to_owned(),
        2 => r#"{"$numberDecimal":"2.00"}"#.to_owned(),
        3 => "-3".to_owned(),
        4 => r#""""#.to_owned(),
        5 => format!(r#""t{}""#, dice.below(3)),
        6 => format!(r#""{}{}""#, "x".repeat(245), dice.below(3)),
        7 => "true".to_owned(),
        8 => "2147483648".to_owned(),
        9 => r#"{"z":1}"#.to_owned(),
        14 => format!("[{},{}]", dice.below(4), value(dice, false)),
        15 => "[]".to_owned(),
        _ => dice.below(5).to_string(),
    }
}

fn document(dice: &mut Dice, arrays: bool) -> String {
    let mut fields = Vec::new();
    for name in ["a", "b", "x"] {
        if !dice.one_in(5) {
            fields.push(format!(r#""{name}":{}"#, value(dice, arrays)));
        }
    }
    match dice.below(if arrays { 6 } else { 5 }) {
        0 => {}
        1 => fields.push(r#""c":7"#.to_owned()),
        5 => fields.push(format!(r#""c":[{{"d":{}}},{{"e":1}}]"#, value(dice, true))),
        _ => {
            let within = ["d", "e"].map(|name| match dice.one_in(4) {
                true => String::new(),
                false => format!(r#""{name}":{}"#, value(dice, arrays)),
            });
            let within = within.iter().filter(|f| !f.is_empty()).cloned().collect::<Vec<_>>();
            fields.push(format!(r#""c":{{{}}}"#, within.join(",")));
        }
    }
    format!("{{{}}}", fields.join(","))
}

/// A value as a query writes it.
fn literal(dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => "null".to_owned(),
        1 => "2.0".to_owned(),
        2 => format!("'t{}'", dice.below(3)),
        3 => format!("'{}{}'", "x".repeat(245), dice.below(3)),
        4 => "{z: 1}".to_owned(),
        _ => (dice.below(6) as i32 - 1).to_string(),
    }
}

fn condition(dice: &mut Dice, depth: usize) -> String {
    if depth > 0 && dice.one_in(2) {
        let many = 2 + dice.below(2);
        let parts: Vec<_> = (0..many).map(|_| condition(dice, depth - 1)).collect();
        return match dice.below(5) {
            0 | 1 => format!("({})", parts.join(" and ")),
            2 | 3 => format!("({})", parts.join(" or ")),
            _ => format!("not {}", parts[0]),
        };
    }
    let field = if dice.one_in(9) { "x".to_owned() } else { dice.of(&FIELDS) };
    match dice.below(12) {
        0..=3 => format!("{field} = {}", literal(dice)),
        4 | 5 => format!("{field} {} {}", dice.of(&[">", ">=", "<", "<="]), literal(dice)),
        6 => {
            let low = dice.below(3);
            format!("({field} > {low} and {field} <= {})", low + dice.below(3))
        }
        7 => format!("{field} between {} and {}", literal(dice), literal(dice)),
        8 => format!("{field} in [{}, {}, {}]", literal(dice), literal(dice), literal(dice)),
        9 => format!("{field} startsWith '{}'", dice.of(&["", "t", "xx", "t1"])),
        10 => format!("{field} exists"),
        _ => format!("{field} != {}", literal(dice)),
    }
}

fn fields(dice: &mut Dice, down: &str, key: bool) -> String {
    let mut names: Vec<String> = Vec::new();
    for _ in 0..1 + dice.below(3) {
        let name = if key && dice.one_in(8) { "key".to_owned() } else { dice.of(&FIELDS) };
        if names.iter().all(|other| other.strip_suffix(down).unwrap_or(other) != name) {
            names.push(if dice.one_in(2) { name } else { name + down });
        }
    }
    names.join(", ")
}

/// Fields as an index has them, `-` in front of those that sort downwards.
type Fields = Vec<String>;

fn definition(dice: &mut Dice) -> (String, Fields) {
    let mut names: Vec<String> = Vec::new();
    for _ in 0..1 + dice.below(3) {
        let name = dice.of(&FIELDS);
        if names.iter().all(|other| other.strip_prefix('-').unwrap_or(other) != name) {
            names.push(if dice.one_in(3) { format!("-{name}") } else { name });
        }
    }
    let fields = names.clone();
    let names: Vec<_> = names.iter().map(|name| format!(r#""{name}""#)).collect();
    let mut rest = String::new();
    if dice.one_in(4) {
        rest.push_str(r#","sparse":true"#);
    }
    if dice.one_in(4) {
        rest.push_str(&format!(r#","filter":"{}""#, condition(dice, 1)));
    }
    (format!(r#"{{"fields":[{}]{rest}}}"#, names.join(",")), fields)
}

/// The order of an index or the other way, or of its last fields alone.
fn order_of(dice: &mut Dice, fields: &Fields) -> String {
    let (turned, from) = (dice.one_in(2), dice.below(fields.len()));
    let from = if dice.one_in(2) { 0 } else { from };
    let one = |field: &String| match (field.strip_prefix('-'), turned) {
        (Some(path), false) => format!("{path} desc"),
        (Some(path), true) => path.to_owned(),
        (None, false) => field.clone(),
        (None, true) => format!("{field} desc"),
    };
    fields[from..].iter().map(one).collect::<Vec<_>>().join(", ")
}

fn text(dice: &mut Dice, indexes: &[Fields]) -> String {
    let index = &indexes[dice.below(indexes.len())];
    let first = index[0].trim_start_matches('-');
    let mut text = "s".to_owned();
    if !dice.one_in(4) {
        let many = 1 + dice.below(3);
        let all: Vec<_> = (0..many).map(|_| condition(dice, 2)).collect();
        // Often the order of an index behind one value of its first field.
        let one = if dice.one_in(2) {
            format!("{first} = {} and ", literal(dice))
        } else {
            String::new()
        };
        text.push_str(&format!(".filter({one}{})", all.join(" and ")));
    }
    let shape = dice.below(8);
    if shape == 0 {
        let by = fields(dice, "", false);
        return format!(
            "{text}.groupBy({by}).aggregate(n: count(), m: max(a), l: min(b), s: sum(a), k: min(key))"
        );
    }
    if shape == 1 {
        return format!("{text}.distinct({})", fields(dice, "", false));
    }
    if !dice.one_in(3) {
        let by = match dice.one_in(3) {
            true => fields(dice, " desc", true),
            false => order_of(dice, index),
        };
        text.push_str(&format!(".orderBy({by})"));
    }
    if dice.one_in(3) {
        text.push_str(&format!(".skip({})", dice.below(9)));
    }
    if dice.one_in(2) {
        text.push_str(&format!(".limit({})", dice.below(12)));
    }
    match shape {
        2 | 3 => text + ".count()",
        4 => format!("{text}.pluck({}, key)", fields(dice, "", false)),
        5 => format!("{text}.pluck({first}, key)"),
        _ => text,
    }
}

fn explained(engine: &Engine, text: &str) -> String {
    match ask(engine, query(&format!("{text}.explain()"))) {
        Said::Document(told) => told,
        other => format!("{other:?}"),
    }
}

#[test]
fn every_way_gives_the_answer_of_a_scan() {
    let mut taken: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let arrays = seed % 4 == 0;
        let memory = if seed % 5 == 4 { 6_000 } else { 1 << 20 };
        let limits = Limits { query_memory: memory, ..Limits::default() };
        let (indexed, plain) = (open_with(limits), with_store());
        let mut documents = Vec::new();
        for _ in 0..20 + dice.below(60) {
            let (key, document) = (dice.below(2000) as u128, document(&mut dice, arrays));
            if documents.iter().all(|(other, _)| *other != key) {
                insert(&indexed, key, &document);
                insert(&plain, key, &document);
                documents.push((key, document));
            }
        }
        let (definitions, fields): (Vec<_>, Vec<_>) = (0..3).map(|_| definition(&mut dice)).unzip();
        for (number, definition) in definitions.iter().enumerate() {
            let named = definition.replacen('{', &format!(r#"{{"name":"i{number}","#), 1);
            let definition = &doc(&named)[..];
            let request = Request::CreateIndex { store: "s", if_not_exists: false, definition };
            done(&indexed, request);
        }
        while indexed.tend().unwrap() {}
        for asked in 0..80 {
            if asked == 40 {
                indexed.flush().unwrap();
            }
            let text = text(&mut dice, &fields);
            let expected = done(&plain, query(&text));
            let whim = dice.below(1 << 40) as u64;
            whim::set(Some(whim));
            let got = ask(&indexed, query(&text));
            whim::set(Some(whim));
            let told = explained(&indexed, &text);
            whim::set(None);
            if matches!(&got, Said::Refused(Status::QueryMemory, _)) && memory < 1 << 20 {
                *taken.entry("refused".to_owned()).or_default() += 1;
                continue;
            }
            assert!(
                got == expected,
                "seed {seed}: {text}\nindexes {definitions:#?}\n{told}\ngot {got:#?}\nwanted {expected:#?}\nof {documents:#?}"
            );
            let mut ways =
                ["scan", "kept", "index"].map(|way| format!(r#""step":"{way}""#)).to_vec();
            ways.extend(["fetch", "walk"].map(|way| format!(r#""way":"{way}""#)));
            let said = ["ordered", "covered", "reverse", "turned"];
            ways.extend(said.map(|way| format!(r#""{way}":true"#)));
            for way in ways.into_iter().filter(|way| told.contains(way)) {
                *taken.entry(way).or_default() += 1;
            }
        }
    }
    println!("{taken:#?}");
    for way in ["fetch", "walk"] {
        assert!(taken[&format!(r#""way":"{way}""#)] > 300, "{taken:#?}");
    }
    assert!(taken[r#""turned":true"#] > 40, "{taken:#?}");
    for way in ["ordered", "covered", "reverse"] {
        assert!(taken[&format!(r#""{way}":true"#)] > 100, "{taken:#?}");
    }
    assert!(taken.get("refused").copied().unwrap_or(0) < 300, "{taken:#?}");
}
