//! `planctl stats`: the engine's figures.

use super::open;
use crate::failure::Failure;
use crate::options::Global;
use crate::output::Out;
use crate::session::unexpected;
use crate::table::{plain, visible};
use clap::Args;
use proto::doc::{Doc, Value};
use proto::json::to_json;
use proto::{Reply, Request};

/// Show figures of the engine
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  planctl stats --json --dir ./service")]
pub(crate) struct Stats {}

impl Stats {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let answer = open(global)?.ask(&Request::Stats)?;
        let Reply::Document(bytes) = answer.reply()? else { return Err(unexpected()) };
        let doc = Doc::parse(bytes).map_err(|_| unexpected())?;
        let mut out = Out::new();
        if global.json {
            out.line(&to_json(doc))?;
            return out.finish();
        }
        let mut lines = Vec::new();
        flatten("", doc, &mut lines);
        let wide = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in lines {
            out.line(&format!("{name:wide$}  {value}"))?;
        }
        out.finish()
    }
}

/// Each figure with its dotted name. What a reply may nest bounds the recursion.
fn flatten(prefix: &str, doc: Doc<'_>, lines: &mut Vec<(String, String)>) {
    for (name, value) in doc {
        let name = format!("{prefix}{}", visible(name));
        match value {
            Value::Doc(inner) => flatten(&format!("{name}."), inner, lines),
            other => lines.push((name, visible(&plain(other)))),
        }
    }
}
