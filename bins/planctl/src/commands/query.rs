//! `planctl query TEXT`: runs PQL and shows what comes back.
//!
//! What must stay true: one page of rows is in memory at a time, however long the
//! result is.

use super::open;
use crate::explained;
use crate::failure::Failure;
use crate::options::Global;
use crate::output::{self, Out};
use crate::session::{Session, unexpected};
use crate::table::{Rows, terminal_width};
use clap::Args;
use proto::doc::{Doc, DocBuf, ValueBuf};
use proto::json::{Limits, parse_json_value, to_json, write_row};
use proto::{Key, Reply, Request};

/// Rows and bytes of a page: a table of it is looked over at a time.
const PAGE: (u32, u32) = (1000, 1 << 20);

/// Run a query and show its result
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    planctl query 'flights.filter(origin = \"JFK\" and dep_delay > 60).count()' --dir ./service\n  \
    planctl query 'flights.filter(carrier = $1).orderBy(dep_delay, desc).limit(5)' --param UA\n  \
    planctl query 'flights.groupBy(origin).aggregate(n: count())' --json | jq .n\n\n\
    Rows come as a table, of long results as one after the other, a count as a bare number;\n\
    with --json as one object a line; explain() tells its steps, with --json all there is to\n\
    them. All rows are of the moment the query was asked.")]
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
        let mut session = open(global)?;
        let mut pages = session.stream(&self.text, parameters.as_deref(), PAGE)?;
        let mut out = Out::new();
        let mut rows = None;
        while let Some(page) = pages.next()? {
            if let Some(shown) = show_page(&mut out, &page.reply()?, global.json)? {
                *rows.get_or_insert(0) += shown;
            }
        }
        ended(out, rows, global.json)
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
    let rows = show_page(&mut out, reply, json)?;
    ended(out, rows, json)
}

/// Shows all users, as many replies as that takes.
pub(super) fn show_users(session: &mut Session, json: bool) -> Result<(), Failure> {
    let (mut out, mut users, mut after) = (Out::new(), 0, None::<String>);
    loop {
        let answer = session.ask(&Request::ListUsers { after: after.as_deref() })?;
        let reply = answer.reply()?;
        users += show_page(&mut out, &reply, json)?.unwrap_or(0);
        let Reply::Rows(rows) = reply else { return Err(unexpected()) };
        if rows.next.is_none() {
            return ended(out, Some(users), json);
        }
        let last = rows.iter().last().and_then(|(_, doc)| name_in(doc));
        // One that does not come further would be asked for ever.
        let further = last.filter(|last| after.as_deref().is_none_or(|after| after < *last));
        after = Some(further.ok_or_else(unexpected)?.to_owned());
    }
}

fn name_in(doc: &[u8]) -> Option<&str> {
    Doc::parse(doc).ok()?.get("name")?.as_str()
}

/// Ends the output; tells a person how many rows there were.
fn ended(out: Out, rows: Option<u64>, json: bool) -> Result<(), Failure> {
    out.finish()?;
    if let Some(rows) = rows
        && output::to_a_person()
        && !json
    {
        output::note(&output::count(rows, "row"));
    }
    Ok(())
}

/// Shows a reply of any shape; how many rows it had, if it is one of rows.
fn show_page(out: &mut Out, reply: &Reply<'_>, json: bool) -> Result<Option<u64>, Failure> {
    match reply {
        Reply::Rows(rows) => {
            let docs = rows
                .iter()
                .map(|(key, bytes)| Ok((key, Doc::parse(bytes).map_err(|_| unexpected())?)))
                .collect::<Result<Vec<_>, Failure>>()?;
            show_rows(out, &docs, json)?;
            return Ok(Some(docs.len() as u64));
        }
        Reply::Count(count) if json => out.line(&format!("{{\"count\":{count}}}"))?,
        Reply::Count(count) => out.line(&count.to_string())?,
        Reply::Key(key) => show_key(out, *key, json)?,
        Reply::Keys(keys) => keys.iter().try_for_each(|key| show_key(out, key, json))?,
        Reply::Document(bytes) => {
            let doc = Doc::parse(bytes).map_err(|_| unexpected())?;
            let explained = if json { None } else { explained::render(doc) };
            out.line(&explained.unwrap_or_else(|| to_json(doc)))?;
        }
        Reply::Empty if json => out.line("{}")?,
        Reply::Empty => output::note("done"),
        // No query is answered so.
        Reply::Error { .. } | Reply::Versioned { .. } => return Err(unexpected()),
    }
    Ok(None)
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
