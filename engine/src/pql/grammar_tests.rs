//! `docs/pql.tmLanguage.json`, the grammar for editors: it knows the words that the
//! parser knows, and colours as [`super::highlight`] does.
//!
//! What must stay true of the grammar: its patterns have neither lookaround nor back
//! references, so that every engine of editors, and `regex` here, reads them alike.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use regex::{Captures, Regex};
use serde_json::Value;

use super::ast::{Comparison, Function};
use super::condition::WORDED;
use super::steps::{STEPS, TELLING};
use super::tests::queries;
use super::value::FUNCTIONS;
use super::words::{CONSTANTS, IMAGES, JOINING, NAMING, ORDERS};
use super::{Class, highlight};

const GRAMMAR: &str = include_str!("../../../docs/pql.tmLanguage.json");
const REFERENCE: &str = include_str!("../../../docs/pql.md");

/// A rule, as far as this grammar uses what there is.
struct Rule {
    /// What it matches, or begins with.
    begin: Regex,
    /// What ends it, if it goes on, and what may stand within.
    within: Option<(Regex, Vec<Rule>)>,
    class: Option<Class>,
    captures: BTreeMap<usize, Class>,
}

/// The class that a scope stands for.
fn class_of(scope: &str) -> Class {
    let known = [
        ("entity.name.type.store", Class::Store),
        ("entity.name.function.step", Class::Step),
        ("support.function", Class::Function),
        ("keyword.control", Class::Keyword),
        ("variable.other", Class::Name),
        ("keyword.operator", Class::Operator),
        ("punctuation", Class::Punctuation),
        ("string.quoted", Class::String),
        ("constant.character.escape", Class::String),
        ("constant.numeric", Class::Number),
        ("constant.language", Class::Constant),
        ("variable.parameter", Class::Parameter),
        ("invalid.illegal", Class::Error),
    ];
    let found = known.iter().find(|(prefix, _)| scope.starts_with(prefix));
    found.unwrap_or_else(|| panic!("an unknown scope: {scope}")).1
}

fn grammar() -> Value {
    serde_json::from_str(GRAMMAR).unwrap()
}

/// The rules of a list, with what it includes in its place.
fn rules(grammar: &Value, patterns: &Value, into: &mut Vec<Rule>) {
    for pattern in patterns.as_array().unwrap() {
        if let Some(name) = pattern.get("include") {
            let name = name.as_str().unwrap().strip_prefix('#').unwrap();
            let rule = &grammar["repository"][name];
            match rule.get("patterns").filter(|_| rule.get("begin").is_none()) {
                Some(list) => rules(grammar, list, into),
                None => into.push(rule_of(grammar, rule)),
            }
            continue;
        }
        into.push(rule_of(grammar, pattern));
    }
}

fn rule_of(grammar: &Value, rule: &Value) -> Rule {
    let text = |name: &str| rule.get(name).map(|text| text.as_str().unwrap());
    let begin = text("match").or(text("begin")).expect("a rule matches or begins");
    let within = text("end").map(|end| {
        let mut inner = Vec::new();
        rules(grammar, &rule["patterns"], &mut inner);
        (Regex::new(end).unwrap(), inner)
    });
    let captures = rule.get("captures").map(|all| all.as_object().unwrap());
    let capture = |(number, scope): (&String, &Value)| {
        (number.parse().unwrap(), class_of(scope["name"].as_str().unwrap()))
    };
    Rule {
        begin: Regex::new(begin).unwrap(),
        within,
        class: text("name").map(class_of),
        captures: captures.into_iter().flatten().map(capture).collect(),
    }
}

/// The first match from `at` on; of several there, that of the first rule.
fn first<'r, 't>(rules: &'r [Rule], line: &'t str, at: usize) -> Option<(&'r Rule, Captures<'t>)> {
    let found = |rule: &'r Rule| rule.begin.captures_at(line, at).map(|found| (rule, found));
    rules.iter().filter_map(found).min_by_key(|(_, found)| found.get(0).unwrap().start())
}

/// The class of each byte, as an editor finds it: line by line, from left to right.
fn coloured(rules: &[Rule], text: &str) -> Vec<Option<Class>> {
    let mut classes = vec![None; text.len()];
    let mut open: Option<&Rule> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let mut at = 0;
        while at < line.len() {
            let mut paint = |from: usize, to: usize, class: Option<Class>| {
                classes[start + from..start + to].fill(class);
            };
            if let Some(rule) = open {
                let (end, inner) = rule.within.as_ref().unwrap();
                let end = end.find_at(line, at);
                let escape = first(inner, line, at).map(|(_, found)| found.get(0).unwrap());
                let to = match (end, escape) {
                    (Some(end), Some(escape)) if escape.start() < end.start() => escape.end(),
                    (None, Some(escape)) => escape.end(),
                    (Some(end), _) => {
                        open = None;
                        end.end()
                    }
                    (None, None) => line.len(),
                };
                paint(at, to, rule.class);
                at = to;
                continue;
            }
            let Some((rule, found)) = first(rules, line, at) else { break };
            let whole = found.get(0).unwrap();
            paint(whole.start(), whole.end(), rule.class);
            for (number, class) in &rule.captures {
                let part = found.get(*number).unwrap();
                paint(part.start(), part.end(), Some(*class));
            }
            open = rule.within.as_ref().map(|_| rule);
            assert!(whole.end() > at, "a rule of the grammar matches nothing");
            at = whole.end();
        }
        start += line.len();
    }
    classes
}

/// What differs between the grammar and [`highlight`]; space is not coloured.
fn difference(text: &str) -> Option<String> {
    let mut ours = vec![None; text.len()];
    for word in highlight(text) {
        ours[word.range].fill(Some(word.class));
    }
    let theirs = coloured(&RULES, text);
    let differs = |(at, c): &(usize, char)| !c.is_whitespace() && ours[*at] != theirs[*at];
    let (at, c) = text.char_indices().find(differs)?;
    Some(format!("{text}\n`{c}` at {at}: highlight {:?}, grammar {:?}", ours[at], theirs[at]))
}

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let grammar = grammar();
    let mut all = Vec::new();
    rules(&grammar, &grammar["patterns"], &mut all);
    all
});

/// The words of a rule: what stands between the parentheses of its group `number`.
fn words(rule: &str, number: usize) -> Vec<String> {
    let grammar = grammar();
    let pattern = grammar["repository"][rule]["match"].as_str().unwrap().to_owned();
    let pattern = pattern.replace("\\(", "").replace("\\.", "");
    let group = pattern.split('(').nth(number).unwrap().split(')').next().unwrap();
    group.split('|').map(str::to_owned).collect()
}

#[test]
fn the_grammar_knows_the_words_that_the_parser_knows() {
    let sorted = |mut words: Vec<String>| {
        words.sort();
        words
    };
    let equal = |rule: &str, number: usize, known: &[&str]| {
        let known = known.iter().map(|&word| word.to_owned()).collect();
        assert_eq!(sorted(words(rule, number)), sorted(known), "{rule}");
    };
    equal("steps", 2, &[&STEPS[..], &TELLING].concat());
    equal("aggregates", 1, &Function::ALL.map(|(name, _)| name));
    equal("values", 1, &FUNCTIONS);
    let keywords = [&JOINING[..], &WORDED, &ORDERS, &NAMING, &IMAGES].concat();
    equal("keywords", 1, &keywords);
    equal("constants", 1, &CONSTANTS);

    // Every sign there is: of one or two characters, and of no class but this.
    let signs = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    let one = signs.chars().map(String::from);
    let two = signs.chars().flat_map(|a| signs.chars().map(move |b| format!("{a}{b}")));
    let operator = |text: &String| match &highlight(text)[..] {
        [word] => word.class == Class::Operator && word.range.len() == text.len(),
        _ => false,
    };
    let operators: Vec<String> = one.chain(two).filter(operator).collect();
    let operators: Vec<&str> = operators.iter().map(String::as_str).collect();
    equal("operators", 1, &operators);
    equal("compared", 2, &operators);
    for comparison in [
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
    ] {
        assert!(operators.contains(&comparison.sign()), "{comparison:?}");
    }
}

#[test]
fn every_example_of_the_reference_is_coloured_alike() {
    let mut examples = 0;
    for block in REFERENCE.split("```pql\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for text in block.split("\n\n") {
            assert_eq!(difference(text), None);
            examples += 1;
        }
    }
    assert!(examples >= 30, "only {examples} examples were found");
    for text in [
        "flights.fliter(delay > 10)",
        "s.filter(a = 'it\\'s\n\"so\"' and not in = true or `b c`.not exists)",
        "s.filter(and = 1).orderBy(a desc, b asc).lookup(t, a = b as c).all().returning(before)",
        "s\n  .insert({true: null, \"a b\": [date(\"2013-01-01\"), -1.5e3, $1]})",
    ] {
        assert_eq!(difference(text), None);
    }
}

proptest! {
    #[test]
    fn every_query_is_coloured_alike(text in queries()) {
        prop_assert_eq!(difference(&text), None);
        let formatted = super::format(&super::parse(&text).unwrap());
        prop_assert_eq!(difference(&formatted), None);
    }
}
