//! What `explain()` answers, for people: a line of figures, then a line for each step.
//!
//! What must stay true: nothing of the answer is left out. A step or a field that this
//! planctl does not know is shown as it came.

use crate::output::{count, grouped};
use crate::table::{plain, visible};
use proto::doc::{Doc, Value};

/// Fields that every explanation has, and no document by chance.
const FIELDS: [&str; 9] = [
    "store",
    "plan",
    "entries",
    "examined",
    "returned",
    "time_us",
    "memory_bytes",
    "spilled_bytes",
    "spilled_runs",
];

/// The text of an explanation; `None` if the document is something else.
pub(crate) fn render(doc: Doc<'_>) -> Option<String> {
    let mut names = doc.iter().map(|(name, _)| name);
    if !FIELDS.iter().all(|field| names.next() == Some(field)) || names.next().is_some() {
        return None;
    }
    let Some(Value::Array(steps)) = doc.get("plan") else { return None };
    let mut text = visible(&figures(doc)?);
    for (number, step) in steps.iter().enumerate() {
        let Value::Doc(step) = step else { return None };
        let name = step.get("step")?.as_str()?;
        for (line, told) in told(name, step).iter().enumerate() {
            let head = if line == 0 { format!("{}. {name}", number + 1) } else { String::new() };
            text.push('\n');
            text.push_str(&visible(format!("{head:11}  {told}").trim_end()));
        }
    }
    Some(text)
}

fn figures(doc: Doc<'_>) -> Option<String> {
    let figure = |name| u64::try_from(doc.get(name)?.as_i64()?).ok();
    let (entries, examined) = (figure("entries")?, figure("examined")?);
    let micros = figure("time_us")?;
    let mut text = format!(
        "{}: {} in {}.{:03} ms; {} examined",
        plain(doc.get("store")?),
        count(figure("returned")?, "row"),
        grouped(micros / 1000),
        micros % 1000,
        grouped(examined),
    );
    if entries > 0 {
        text.push_str(&format!(", {} of them entries of indexes", grouped(entries)));
    }
    text.push_str(&format!("; {} of memory", count(figure("memory_bytes")?, "byte")));
    let (spilled, runs) = (figure("spilled_bytes")?, figure("spilled_runs")?);
    if spilled > 0 || runs > 0 {
        let (spilled, runs) = (count(spilled, "byte"), count(runs, "run"));
        text.push_str(&format!("; {spilled} spilled to disk in {runs}"));
    }
    Some(text)
}

/// The fields of a step, each taken once; what nobody took is told as it is.
struct Fields<'d> {
    left: Vec<(&'d str, Value<'d>)>,
}

impl<'d> Fields<'d> {
    fn take(&mut self, name: &str) -> Option<Value<'d>> {
        let at = self.left.iter().position(|(field, _)| *field == name)?;
        Some(self.left.remove(at).1)
    }

    fn text(&mut self, name: &str) -> String {
        self.take(name).map(plain).unwrap_or_default()
    }

    /// `said` if the field is there and true.
    fn flag(&mut self, name: &str, said: &str) -> Option<String> {
        match self.take(name)? {
            Value::Bool(true) => Some(said.to_owned()),
            _ => None,
        }
    }

    /// "1 range", "2 ranges".
    fn count(&mut self, name: &str, thing: &str) -> String {
        let number = self.take(name).and_then(|n| u64::try_from(n.as_i64()?).ok());
        count(number.unwrap_or(0), thing)
    }

    fn number(&mut self, name: &str) -> String {
        match self.take(name) {
            Some(value) => match value.as_i64().and_then(|n| u64::try_from(n).ok()) {
                Some(number) => grouped(number),
                None => plain(value),
            },
            None => "0".to_owned(),
        }
    }
}

/// What is to be said of a step, in lines.
fn told(name: &str, step: Doc<'_>) -> Vec<String> {
    let mut fields = Fields { left: step.iter().filter(|(name, _)| *name != "step").collect() };
    let f = &mut fields;
    let mut lines = match name {
        "scan" => scan(f),
        "keys" => vec![format!(
            "{} documents of {}, by the keys named",
            f.number("keys"),
            f.text("store")
        )],
        "kept" => vec![format!("the number of documents of {}, which is kept", f.text("store"))],
        "index" => index(f),
        "get" => vec![format!("{} of {}", f.text("key"), f.text("store"))],
        "insert" => vec![format!("{} bytes into {}", f.number("bytes"), f.text("store"))],
        "filter" | "having" => vec![f.text("condition")],
        "lookup" => lookup(f),
        "group" => match (f.text("by"), f.count("figures", "figure")) {
            (by, figures) if by.is_empty() => vec![format!("all into one; {figures}")],
            (by, figures) => vec![format!("by {by}; {figures}")],
        },
        "distinct" => vec![format!("by {}", f.text("by"))],
        "sort" => vec![format!("by {}", f.text("by"))],
        "cut" => {
            let skip = f.number("skip");
            let skipped = (skip != "0").then(|| format!("leaves out the first {skip}"));
            let limit = f.take("limit").map(|n| format!("gives {} at most", plain(n)));
            vec![skipped.into_iter().chain(limit).collect::<Vec<_>>().join("; ")]
        }
        "pluck" => vec![f.text("fields")],
        _ => vec![String::new()],
    };
    let mut more = Vec::new();
    more.extend(f.take("keeps").map(|n| format!("only the first {} are kept", plain(n))));
    more.extend(f.flag("reverse", "backwards"));
    if f.take("done").is_some_and(|done| done.as_bool() == Some(false)) {
        more.push("not done: it is only explained".to_owned());
    }
    more.extend(f.left.drain(..).map(|(name, value)| format!("{name} {}", plain(value))));
    if let Some(last) = lines.last_mut() {
        for more in more {
            last.push_str(if last.is_empty() { "" } else { ", " });
            last.push_str(&more);
        }
    }
    lines
}

fn scan(f: &mut Fields<'_>) -> Vec<String> {
    let store = f.text("store");
    f.take("by");
    let edges = [("from", "from key"), ("to", "to key")].map(|(name, said)| {
        f.take(name).map(|key| format!(" {said} {}", plain(key))).unwrap_or_default()
    });
    let which = match (f.take("nothing"), edges.concat()) {
        (Some(_), _) => format!("no document of {store}: no key can meet the condition"),
        (None, edges) if edges.is_empty() => format!("all documents of {store}"),
        (None, edges) => format!("documents of {store}{edges}"),
    };
    let keys_only = f.flag("keys_only", ", their keys alone").unwrap_or_default();
    vec![which + &keys_only]
}

fn index(f: &mut Fields<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(Value::Array(parts)) = f.take("parts") {
        for part in parts.iter() {
            let Value::Doc(part) = part else { continue };
            let mut p = Fields { left: part.iter().collect() };
            let (name, on) = (p.text("index"), p.text("on"));
            let (ranges, fields) = (p.count("ranges", "range"), p.count("fields", "field"));
            let expected = p.number("expected");
            lines.push(match on.is_empty() {
                true => format!("{name}, all of it: {expected} entries expected"),
                false => {
                    format!("{name} for {on}: {ranges} of {fields}, {expected} entries expected")
                }
            });
        }
    }
    let mut said = vec![match f.text("way").as_str() {
        "walk" => "entry by entry".to_owned(),
        "fetch" => "first all entries are read, then their documents".to_owned(),
        way => way.to_owned(),
    }];
    // The store is that of the first line.
    f.take("store");
    said.extend(f.flag("ordered", "in the order asked for"));
    said.extend(f.flag("covered", "no document is read"));
    lines.push(said.join(", "));
    lines
}

fn lookup(f: &mut Fields<'_>) -> Vec<String> {
    let found = f.flag("one", "the first one").unwrap_or_else(|| "all".to_owned());
    let (store, on, name) = (f.text("store"), f.text("on"), f.text("as"));
    let by = match (f.text("by").as_str(), f.take("index")) {
        ("key", _) => "by key".to_owned(),
        ("index", Some(index)) => format!("by its index {}", plain(index)),
        ("hash", _) => format!("{store} is read into memory for it: an index would help"),
        (by, _) => by.to_owned(),
    };
    vec![format!("{found} of {store} with {on}, as {name}; {by}")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::json::parse_json;

    fn shown(plan: &str) -> Option<String> {
        let text = format!(
            r#"{{"store": "s", "plan": [{plan}], "entries": 12, "examined": 1200, "returned": 1,
                "time_us": 1234567, "memory_bytes": 0, "spilled_bytes": 0, "spilled_runs": 0}}"#
        );
        render(Doc::trusted(&parse_json(&text).unwrap()))
    }

    #[test]
    fn an_explanation_is_told_step_by_step() {
        let plan = r#"
            {"step": "index", "store": "s", "parts": [
                {"index": "i", "on": "a = 1", "fields": 1, "ranges": 2, "expected": 3000},
                {"index": "j", "on": "", "fields": 0, "ranges": 1, "expected": 7}],
             "way": "walk", "ordered": true, "covered": true, "reverse": true},
            {"step": "filter", "condition": "b > 2\u001b"},
            {"step": "lookup", "store": "t", "by": "hash", "on": "a = b", "as": "x", "one": true},
            {"step": "group", "by": "", "figures": 2},
            {"step": "sort", "by": "a desc", "keeps": 15},
            {"step": "cut", "skip": 5, "limit": 10},
            {"step": "count"},
            {"step": "newer", "what": [1], "reverse": true, "done": false}"#;
        let expected = "\
s: 1 row in 1,234.567 ms; 1,200 examined, 12 of them entries of indexes; 0 bytes of memory
1. index     i for a = 1: 2 ranges of 1 field, 3,000 entries expected
             j, all of it: 7 entries expected
             entry by entry, in the order asked for, no document is read, backwards
2. filter    b > 2\\u{1b}
3. lookup    the first one of t with a = b, as x; t is read into memory for it: an index would help
4. group     all into one; 2 figures
5. sort      by a desc, only the first 15 are kept
6. cut       leaves out the first 5; gives 10 at most
7. count
8. newer     backwards, not done: it is only explained, what [1]";
        assert_eq!(shown(plan).unwrap(), expected);
    }

    #[test]
    fn every_way_to_the_documents_is_told() {
        for (step, expected) in [
            (
                r#""scan", "store": "s", "by": "key", "keys_only": true, "reverse": true"#,
                "1. scan      all documents of s, their keys alone, backwards",
            ),
            (
                r#""scan", "store": "s", "by": "key", "from": "0a", "to": "0b", "keys_only": false"#,
                "1. scan      documents of s from key 0a to key 0b",
            ),
            (
                r#""scan", "store": "s", "by": "key", "nothing": true"#,
                "1. scan      no document of s: no key can meet the condition",
            ),
            (
                r#""keys", "store": "s", "keys": 2"#,
                "1. keys      2 documents of s, by the keys named",
            ),
            (r#""kept", "store": "s""#, "1. kept      the number of documents of s, which is kept"),
            (r#""get", "store": "s", "key": "0a""#, "1. get       0a of s"),
            (
                r#""insert", "store": "s", "bytes": 9, "indexes": ["i"], "done": false"#,
                "1. insert    9 bytes into s, not done: it is only explained, indexes [\"i\"]",
            ),
            (r#""distinct", "by": "a, b""#, "1. distinct  by a, b"),
        ] {
            let text = shown(&format!("{{\"step\": {step}}}")).unwrap();
            assert_eq!(text.lines().nth(1), Some(expected));
        }
    }

    #[test]
    fn what_is_no_explanation_is_not_told_as_one() {
        assert!(shown("").is_some());
        assert_eq!(shown("7"), None);
        for text in ["{}", r#"{"store": "s", "plan": []}"#] {
            assert_eq!(render(Doc::trusted(&parse_json(text).unwrap())), None);
        }
    }
}
