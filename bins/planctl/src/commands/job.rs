//! `planctl job retry`: a job that was given up, back among those that wait.

use super::open;
use crate::failure::Failure;
use crate::options::Global;
use crate::output;
use crate::session::unexpected;
use clap::Subcommand;
use proto::{Key, Reply, Request};

#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// Put a job that was given up back among those that wait, due at once
    #[command(
        after_help = "Example:\n  planctl query \"_dead_jobs.pluck(path, error)\" --dir ./service\n  \
                            planctl job retry 0190b0c2a1d07e3f8c4d5e6f708192a3 --dir ./service\n\n\
                            It is as new: its attempts are counted from 0 again. Jobs that wait are in the store _jobs; \
                            one is taken back by removing it there."
    )]
    Retry {
        /// Its key in the store _dead_jobs
        key: Key,
    },
}

impl Job {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let Job::Retry { key } = self;
        let answer = open(global)?.ask(&Request::RetryJob { job: *key })?;
        let Reply::Empty = answer.reply()? else { return Err(unexpected()) };
        if global.json {
            return output::print(&format!("{{\"job\":\"{key}\",\"done\":\"put back\"}}"));
        }
        output::note(&format!("the job {key} waits again"));
        Ok(())
    }
}
