//! `planctl list`: the stores.

use super::{open, query};
use crate::failure::Failure;
use crate::options::Global;
use clap::Args;
use proto::Request;

/// Show the stores
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  planctl list --dir ./service")]
pub(crate) struct List {}

impl List {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let answer = open(global)?.ask(&Request::List)?;
        query::show(&answer.reply()?, global.json)
    }
}
