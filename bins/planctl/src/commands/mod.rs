//! What planctl can do: one command, one file.

mod backup;
mod cancel;
mod create;
mod drop;
mod explain;
mod export;
mod format;
mod import;
mod index;
mod job;
mod key;
mod list;
mod ping;
mod queries;
mod query;
mod replication;
mod sequence;
mod service;
mod stats;
mod store;
mod user;

use crate::failure::Failure;
use crate::options::Global;
use crate::session::Session;
use crate::target::Target;
use clap::{Parser, Subcommand};

/// The command line of a Planck service.
#[derive(Debug, Parser)]
#[command(
    name = "planctl",
    version,
    arg_required_else_help = true,
    after_help = "Say where the service is with --dir DIR (on this machine) or with --server, \
                  --fingerprint and --key-file.\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 denied, 5 conflict, \
                  6 unreachable or busy, 7 invalid query or data."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Query(query::Query),
    Import(import::Import),
    Export(export::Export),
    /// Make something: `create store NAME`
    #[command(subcommand)]
    Create(create::Create),
    /// Remove something: `drop store NAME`
    #[command(subcommand)]
    Drop(drop::Drop),
    List(list::List),
    /// Make, remove, show and prove indexes
    #[command(subcommand)]
    Index(index::Index),
    /// Have a job run again that was given up
    #[command(subcommand)]
    Job(job::Job),
    /// Show a store, change its name, what documents must look like, when they expire
    #[command(subcommand)]
    Store(store::Store),
    /// Make, change, remove and show sequences, and take numbers of them
    #[command(subcommand)]
    Sequence(sequence::Sequence),
    /// Change the module of the guest while the service serves
    #[command(subcommand)]
    Service(service::Service),
    /// Make, change, remove and show users, their grants and keys
    #[command(subcommand)]
    User(user::User),
    Format(format::Format),
    Backup(backup::Backup),
    Promote(replication::Promote),
    Demote(replication::Demote),
    Replication(replication::Replication),
    Ping(ping::Ping),
    Queries(queries::Queries),
    Cancel(cancel::Cancel),
    Stats(stats::Stats),
    Explain(explain::Explain),
}

impl Cli {
    /// Does what was asked.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let global = &self.global;
        match &self.command {
            Command::Query(command) => command.run(global),
            Command::Import(command) => command.run(global),
            Command::Export(command) => command.run(global),
            Command::Create(command) => command.run(global),
            Command::Drop(command) => command.run(global),
            Command::List(command) => command.run(global),
            Command::Backup(command) => command.run(global),
            Command::Promote(command) => command.run(global),
            Command::Demote(command) => command.run(global),
            Command::Replication(command) => command.run(global),
            Command::Index(command) => command.run(global),
            Command::Job(command) => command.run(global),
            Command::Store(command) => command.run(global),
            Command::Sequence(command) => command.run(global),
            Command::Service(command) => command.run(global),
            Command::User(command) => command.run(global),
            Command::Format(command) => command.run(global),
            Command::Ping(command) => command.run(global),
            Command::Queries(command) => command.run(global),
            Command::Cancel(command) => command.run(global),
            Command::Stats(command) => command.run(global),
            Command::Explain(command) => command.run(global),
        }
    }
}

/// A session with the service the options name.
fn open(global: &Global) -> Result<Session, Failure> {
    Session::open(&Target::find(global)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_explained_by_an_example() {
        for command in Cli::command().get_subcommands() {
            for leaf in command.get_subcommands().chain([command]) {
                if leaf.has_subcommands() || leaf.get_name() == "help" {
                    continue;
                }
                let help = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("planctl "), "{} shows no example", leaf.get_name());
                assert!(leaf.get_about().is_some(), "{}", leaf.get_name());
            }
        }
    }
}
