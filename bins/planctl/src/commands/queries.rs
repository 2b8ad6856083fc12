//! `planctl queries`: what runs now.

use super::{open, query};
use crate::failure::Failure;
use crate::options::Global;
use clap::Args;
use proto::Request;

/// Show the queries that run, or wait for their next page to be fetched
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  planctl queries --dir ./service\n\n\
                        An admin sees everybody's, others their own. time_us is how long one runs, or waits.")]
pub(crate) struct Queries {}

impl Queries {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let answer = open(global)?.ask(&Request::RunningQueries)?;
        query::show(&answer.reply()?, global.json)
    }
}
