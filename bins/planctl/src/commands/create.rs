//! `planctl create store NAME`.

use super::open;
use crate::failure::Failure;
use crate::options::Global;
use crate::output;
use crate::table::visible;
use clap::Subcommand;
use proto::Request;

#[derive(Debug, Subcommand)]
pub(crate) enum Create {
    /// Make an empty store
    #[command(
        after_help = "Example:\n  planctl create store flights --if-not-exists --dir ./service"
    )]
    Store {
        /// A letter, then letters, digits and _
        name: String,
        /// Do nothing, and succeed, if there is one of that name
        #[arg(long)]
        if_not_exists: bool,
    },
}

impl Create {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let Create::Store { name, if_not_exists } = self;
        let request = Request::CreateStore { store: name, if_not_exists: *if_not_exists };
        open(global)?.ask(&request)?.reply()?;
        done(global, "store", name, "created")
    }
}

/// Says what was done to something, such as a store.
pub(super) fn done(global: &Global, kind: &str, name: &str, what: &str) -> Result<(), Failure> {
    if global.json {
        return output::print(&output::object(&[(kind, name.into()), ("done", what.into())]));
    }
    output::note(&format!("{kind} {} is {what}", visible(name)));
    Ok(())
}
