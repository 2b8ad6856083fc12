//! `planctl drop store NAME`: asks first.

use super::create::done;
use super::open;
use crate::failure::Failure;
use crate::options::Global;
use clap::Subcommand;
use proto::Request;
use std::io::{BufRead, IsTerminal, Write};

#[derive(Debug, Subcommand)]
pub(crate) enum Drop {
    /// Remove a store with all its documents
    #[command(after_help = "Example:\n  planctl drop store old_flights --yes --dir ./service\n\n\
                            On a terminal it asks; elsewhere --yes must say so.")]
    Store {
        /// The store
        name: String,
        /// Do nothing, and succeed, if there is none of that name
        #[arg(long)]
        if_exists: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

impl Drop {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let Drop::Store { name, if_exists, yes } = self;
        if !yes && !sure(name)? {
            return Err(Failure::usage(format!("store {name} is as it was; nothing was removed")));
        }
        let request = Request::DropStore { store: name, if_exists: *if_exists };
        open(global)?.ask(&request)?.reply()?;
        done(global, "store", name, "removed")
    }
}

fn sure(name: &str) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(format!(
            "this removes store {name} with all its documents: say --yes if that is meant"
        )));
    }
    let ask = || -> std::io::Result<String> {
        let mut stderr = std::io::stderr();
        write!(stderr, "remove store {name} with all its documents? [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|e| Failure::file("ask on", "the terminal".as_ref(), &e))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
