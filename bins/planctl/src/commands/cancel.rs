//! `planctl cancel ID`: ends a query.

use super::open;
use crate::failure::Failure;
use crate::options::Global;
use crate::output;
use clap::Args;
use proto::Request;

/// End a query that runs or waits
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  planctl cancel 4711 --dir ./service\n\n\
                        planctl queries shows the ids. Who asked the query is told; nothing of it changed.")]
pub(crate) struct Cancel {
    /// Its id
    id: u64,
}

impl Cancel {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        open(global)?.ask(&Request::CancelQuery { query: self.id })?.reply()?;
        if global.json {
            let id = i64::try_from(self.id).unwrap_or(i64::MAX);
            return output::print(&output::object(&[
                ("id", id.into()),
                ("done", "cancelled".into()),
            ]));
        }
        output::note(&format!("query {} was told to end", self.id));
        Ok(())
    }
}
