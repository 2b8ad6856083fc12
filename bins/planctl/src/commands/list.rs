//! `planctl list`: the stores.

use super::{open, query};
use crate::failure::Failure;
use crate::options::Global;
use crate::output::Out;
use crate::session::unexpected;
use crate::table::{Rows, terminal_width};
use clap::Args;
use proto::doc::{Array, Doc, DocBuf, Value};
use proto::{Reply, Request};

/// Show the stores
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  planctl list --dir ./service")]
pub(crate) struct List {}

impl List {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let answer = open(global)?.ask(&Request::List)?;
        let reply = answer.reply()?;
        let Reply::Rows(rows) = &reply else { return query::show(&reply, global.json) };
        if global.json {
            return query::show(&reply, true);
        }
        // For people the indexes by name; `planctl index list` has the rest.
        let short = |(_, bytes)| short(Doc::parse(bytes).map_err(|_| unexpected())?);
        let short: Vec<Vec<u8>> = rows.iter().map(short).collect::<Result<_, Failure>>()?;
        let mut out = Out::new();
        if !short.is_empty() {
            let docs = short.iter().map(|row| (None, Doc::trusted(row)));
            out.line(&Rows::new(docs).render(terminal_width()))?;
        }
        out.finish()
    }
}

/// A store with the names of its indexes, and the state of those that are not ready.
fn short(store: Doc<'_>) -> Result<Vec<u8>, Failure> {
    let mut row = DocBuf::new();
    for (name, value) in store {
        match value {
            Value::Array(indexes) if name == "indexes" => row.push(name, &names(indexes)),
            value => row.push(name, value),
        };
    }
    row.finish().map_err(|_| unexpected())
}

fn names(indexes: Array<'_>) -> String {
    let name = |index: Value<'_>| {
        let Value::Doc(index) = index else { return String::new() };
        let field = |name| index.get(name).and_then(|v| v.as_str()).unwrap_or_default();
        match field("state") {
            "ready" => field("name").to_owned(),
            state => format!("{} ({state})", field("name")),
        }
    };
    indexes.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::json::{parse_json, to_json};

    #[test]
    fn indexes_are_told_by_name_and_those_not_ready_by_state() {
        let store = r#"{"name":"s","documents":3,"indexes":[{"name":"a","state":"ready"},
            {"name":"b_desc","state":"failed","entries":7}]}"#;
        let row = short(Doc::trusted(&parse_json(store).unwrap())).unwrap();
        let wanted = r#"{"name":"s","documents":3,"indexes":"a, b_desc (failed)"}"#;
        assert_eq!(to_json(Doc::trusted(&row)), wanted);
    }
}
