//! `planctl ping`: is it there, and how far away.

use crate::failure::Failure;
use crate::options::Global;
use crate::output;
use crate::session::Session;
use crate::target::Target;
use clap::Args;
use proto::Request;
use std::time::Instant;

/// Ask whether the service answers
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  planctl ping --dir ./service && echo up\n\n\
                        Ends with 6 if nobody answers.")]
pub(crate) struct Ping {}

impl Ping {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let target = Target::find(global)?;
        let mut session = Session::open(&target)?;
        let start = Instant::now();
        session.ask(&Request::Ping)?.reply()?;
        let millis = start.elapsed().as_secs_f64() * 1000.0;
        if global.json {
            return output::print(&format!("{{\"ok\":true,\"milliseconds\":{millis:.3}}}"));
        }
        output::print(&format!("{} answered in {millis:.2} ms", target.address))
    }
}
