//! `planctl format TEXT`: a query in its canonical form.

use super::open;
use crate::failure::Failure;
use crate::options::Global;
use crate::output;
use crate::session::unexpected;
use clap::Args;
use proto::doc::Doc;
use proto::{Reply, Request};
use std::io::Read;

/// Bytes read of standard input at most: no query is longer, and the server says so.
const MAX_INPUT: u64 = 1 << 20;

/// Write a query as it is best read; nothing is run
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  planctl format 's.filter(a=1 and b>2)' --dir ./service\n  \
                        planctl format - --dir ./service < long.pql\n\n\
                        The text that comes out means the same, and comes out of itself again. A \
                        query that is wrong is shown with the place, as when it is run.")]
pub(crate) struct Format {
    /// The query, or - for standard input
    text: String,
}

impl Format {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let mut text = self.text.clone();
        if text == "-" {
            text.clear();
            let read = std::io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text);
            read.map_err(|e| Failure::file("read", "standard input".as_ref(), &e))?;
        }
        let answer = open(global)?.ask(&Request::FormatQuery { text: &text })?;
        let Reply::Document(bytes) = answer.reply()? else { return Err(unexpected()) };
        let doc = Doc::parse(bytes).map_err(|_| unexpected())?;
        let text = doc.get("text").and_then(|v| v.as_str()).ok_or_else(unexpected)?;
        match global.json {
            true => output::print(&output::object(&[("text", text.into())])),
            false => output::print(text),
        }
    }
}
