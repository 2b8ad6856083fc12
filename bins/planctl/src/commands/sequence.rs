//! `planctl sequence create|alter|drop|list|next`.

use super::create::done;
use super::{open, query};
use crate::failure::Failure;
use crate::options::Global;
use crate::output;
use crate::session::unexpected;
use clap::{Args, Subcommand};
use proto::doc::{Doc, DocBuf};
use proto::{Reply, Request};

#[derive(Debug, Subcommand)]
pub(crate) enum Sequence {
    /// Make a sequence; its first number is 1
    #[command(
        after_help = "Example:\n  planctl sequence create invoices --if-not-exists --dir ./service"
    )]
    Create {
        /// A letter, then letters, digits and _
        name: String,
        /// Do nothing, and succeed, if there is one of that name
        #[arg(long)]
        if_not_exists: bool,
    },
    /// Give a sequence another name, or let it go on from a higher number
    #[command(
        after_help = "Examples:\n  planctl sequence alter invoices --rename bills --dir ./service\n  \
                            planctl sequence alter bills --next 100000 --dir ./service\n\n\
                            A sequence is never lowered: no number is given out twice."
    )]
    Alter {
        /// The sequence
        name: String,
        #[command(flatten)]
        change: Change,
    },
    /// Remove a sequence
    #[command(after_help = "Example:\n  planctl sequence drop invoices --dir ./service\n\n\
                            One made again under its name begins at 1.")]
    Drop {
        /// The sequence
        name: String,
        /// Do nothing, and succeed, if there is none of that name
        #[arg(long)]
        if_exists: bool,
    },
    /// Show the sequences, each with its next number
    #[command(after_help = "Example:\n  planctl sequence list --dir ./service")]
    List,
    /// Take the next numbers: nobody else gets them
    #[command(
        after_help = "Example:\n  planctl sequence next invoices --count 10 --dir ./service\n\n\
                            The first of them is told; the others follow it one by one."
    )]
    Next {
        /// The sequence
        name: String,
        /// How many
        #[arg(long, default_value_t = 1)]
        count: u32,
    },
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Change {
    /// Its new name
    #[arg(long, value_name = "NAME")]
    rename: Option<String>,
    /// The next number
    #[arg(long, value_name = "NUMBER")]
    next: Option<i64>,
}

impl Sequence {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        match self {
            Sequence::Create { name, if_not_exists } => {
                let request =
                    Request::CreateSequence { sequence: name, if_not_exists: *if_not_exists };
                open(global)?.ask(&request)?.reply()?;
                done(global, "sequence", name, "created")
            }
            Sequence::Alter { name, change } => {
                let mut doc = DocBuf::new();
                doc.extend(change.rename.as_deref().map(|to| ("rename", to.into())));
                doc.extend(change.next.map(|n| ("next", n.into())));
                let doc = doc.finish().map_err(|e| Failure::usage(e.to_string()))?;
                let request = Request::AlterSequence { sequence: name, change: &doc };
                open(global)?.ask(&request)?.reply()?;
                let what = match (&change.rename, change.next) {
                    (Some(to), _) => format!("now {to}"),
                    (None, next) => format!("to go on from {}", next.unwrap_or_default()),
                };
                done(global, "sequence", name, &what)
            }
            Sequence::Drop { name, if_exists } => {
                let request = Request::DropSequence { sequence: name, if_exists: *if_exists };
                open(global)?.ask(&request)?.reply()?;
                done(global, "sequence", name, "removed")
            }
            Sequence::List => {
                query::show(&open(global)?.ask(&Request::ListSequences)?.reply()?, global.json)
            }
            Sequence::Next { name, count } => {
                let request = Request::NextNumbers { sequence: name, count: *count };
                let answer = open(global)?.ask(&request)?;
                let reply = answer.reply()?;
                if global.json {
                    return query::show(&reply, true);
                }
                let Reply::Document(bytes) = reply else { return Err(unexpected()) };
                let doc = Doc::parse(bytes).map_err(|_| unexpected())?;
                let first = doc.get("first").and_then(|v| v.as_i64()).ok_or_else(unexpected)?;
                output::print(&first.to_string())
            }
        }
    }
}
