//! `planctl query TEXT`: runs PQL and shows what comes back.

use super::open;
use crate::failure::Failure;
use crate::options::Global;
use crate::output::{self, Out};
use crate::session::unexpected;
use crate::table::{Rows, terminal_width};
use clap::Args;
use proto::doc::{Doc, DocBuf, ValueBuf};
use proto::json::{Limits, parse_json_value, to_json, write_row};
use proto::{Key, Reply, Request};

/// Run a query and show its result
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    planctl query 'flights.filter(origin = \"JFK\" and dep_delay > 60).count()' --dir ./service\n  \
    planctl query 'flights.filter(carrier = $1).orderBy(dep_delay, desc).limit(5)' --param UA\n  \
    planctl query 'flights.groupBy(origin).aggregate(n: count())' --json | jq .n\n\n\
    Rows come as a table, a count as a bare number; with --json as one object a line.")]
pub(crate) struct Query {
    /// The query, in quotes that keep the shell out
    text: String,
    /// The value of $1, then of $2, ...: JSON, or else plain text
    #[arg(long = "param", value_name = "VALUE", allow_negative_numbers = true)]
    parameters: Vec<String>,
}

impl Query {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let parameters = parameters(&self.parameters)?;
        let request = Request::Query { text: &self.text, parameters: parameters.as_deref() };
        let answer = open(global)?.ask(&request)?;
        show(&answer.reply()?, global.json)
    }
}

/// The document of parameters, `{"1": .., "2": ..}`, if there are any.
fn parameters(texts: &[String]) -> Result<Option<Vec<u8>>, Failure> {
    if texts.is_empty() {
        return Ok(None);
    }
    let mut doc = DocBuf::new();
    for (at, text) in texts.iter().enumerate() {
        let number = at + 1;
        let value = parameter(text)
            .map_err(|what| Failure::usage(format!("--param number {number}: {what}")))?;
        doc.push(&number.to_string(), &value);
    }
    doc.finish().map(Some).map_err(|e| Failure::usage(format!("--param: {e}")))
}

/// JSON where it is JSON. What begins like a JSON object, list or string must be
/// one; anything else is text, so that names need no second pair of quotes.
fn parameter(text: &str) -> Result<ValueBuf, String> {
    match parse_json_value(text, Limits::default()) {
        Ok(value) => Ok(value),
        Err(error) if text.trim_start().starts_with(['{', '[', '"']) => Err(error.to_string()),
        Err(_) => ValueBuf::new(text).map_err(|e| e.to_string()),
    }
}

/// Shows a reply of any shape.
pub(super) fn show(reply: &Reply<'_>, json: bool) -> Result<(), Failure> {
    let mut out = Out::new();
    match reply {
        Reply::Rows(rows) => {
            let docs = rows
                .iter()
                .map(|(key, bytes)| Ok((key, Doc::parse(bytes).map_err(|_| unexpected())?)))
                .collect::<Result<Vec<_>, Failure>>()?;
            show_rows(&mut out, &docs, json)?;
            out.finish()?;
            if output::to_a_person() && !json {
                output::note(&output::count(docs.len() as u64, "row"));
            }
            if rows.next.is_some() {
                output::note("there are more rows than fit a reply: page with skip and limit");
            }
            return Ok(());
        }
        Reply::Count(count) if json => out.line(&format!("{{\"count\":{count}}}"))?,
        Reply::Count(count) => out.line(&count.to_string())?,
        Reply::Key(key) => show_key(&mut out, *key, json)?,
        Reply::Keys(keys) => keys.iter().try_for_each(|key| show_key(&mut out, key, json))?,
        Reply::Document(bytes) => {
            out.line(&to_json(Doc::parse(bytes).map_err(|_| unexpected())?))?;
        }
        Reply::Empty if json => out.line("{}")?,
        Reply::Empty => output::note("done"),
        Reply::Error { .. } => return Err(unexpected()),
    }
    out.finish()
}

fn show_rows(out: &mut Out, rows: &[(Option<Key>, Doc<'_>)], json: bool) -> Result<(), Failure> {
    if json {
        let mut line = String::new();
        for (key, doc) in rows {
            line.clear();
            match key {
                Some(key) => write_row(*key, *doc, &mut line),
                None => line = to_json(*doc),
            }
            out.line(&line)?;
        }
        return Ok(());
    }
    if !rows.is_empty() {
        out.line(&Rows::new(rows.iter().copied()).render(terminal_width()))?;
    }
    Ok(())
}

fn show_key(out: &mut Out, key: Key, json: bool) -> Result<(), Failure> {
    if json { out.line(&format!("{{\"key\":\"{key}\"}}")) } else { out.line(&key.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::doc::Value;

    #[test]
    fn parameters_are_json_or_else_text() {
        let texts = ["5", "-2.5", "true", "null", "JFK", "007", "\"5\"", "[1, 2]", "two words"];
        let bytes = parameters(&texts.map(str::to_owned)).unwrap().unwrap();
        let expected = r#"{"1":5,"2":-2.5,"3":true,"4":null,"5":"JFK","6":"007","7":"5","8":[1,2],"9":"two words"}"#;
        assert_eq!(to_json(Doc::parse(&bytes).unwrap()), expected);
        assert_eq!(parameters(&[]).unwrap(), None);
    }

    #[test]
    fn what_begins_as_json_must_be_json() {
        for text in ["{\"a\": ", "[1,", "\"open", " {x}"] {
            let what = parameter(text).unwrap_err();
            assert!(what.contains("line 1"), "{what}");
        }
        assert_eq!(parameter("").unwrap().get(), Value::String(""));
    }
}
