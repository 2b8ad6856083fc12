//! `planctl user create|alter|drop|list`, and `planctl user key create|revoke` (`key.rs`).
//!
//! What must stay true: a key is never an argument, where other users of the machine
//! would see it. One that is made goes to standard output, once, or into a file that is
//! its owner's alone from its first byte on.

use super::create::done;
use super::{open, query};
use crate::failure::{Exit, Failure};
use crate::options::Global;
use crate::output;
use crate::session::unexpected;
use crate::table::visible;
use crate::target;
use clap::{Args, Subcommand, ValueEnum};
use proto::doc::{Doc, DocBuf, Value};
use proto::{Reply, Request};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Make a user
    #[command(
        after_help = "Examples:\n  planctl user create ann --role read_only --save-key ann.key --dir ./service\n  \
                            planctl user create app --role read_write --use-key app.key --dir ./service\n  \
                            planctl user create cid --role none --grant orders=read_only --dir ./service\n  \
                            planctl list --user ann --key-file ann.key --dir ./service\n\n\
                            Without --use-key the service makes a key of 256 random bits and tells \
                            it once: into the file of --save-key, or else on standard output."
    )]
    Create {
        /// A letter, then letters, digits and _
        name: String,
        /// What they may do
        #[arg(long)]
        role: Role,
        /// Do nothing, and succeed, if there is one of that name and role; its key stays
        #[arg(long)]
        if_not_exists: bool,
        /// Another role in one store, upwards or downwards; may be said again
        #[arg(long, value_name = "STORE=ROLE", value_parser = grant)]
        grant: Vec<(String, Role)>,
        #[command(flatten)]
        key: KeyFiles,
    },
    /// Give a user another role, other grants, or another key
    #[command(
        after_help = "Examples:\n  planctl user alter ann --role read_write --dir ./service\n  \
                            planctl user alter ann --grant orders=read_write --revoke salaries --dir ./service\n  \
                            planctl user alter ann --new-key --save-key ann.new --dir ./service\n  \
                            planctl user alter ann --use-key ann.new --user ann --key-file ann.key --dir ./service\n\n\
                            Everybody may give themselves another key. It takes the place of all \
                            their keys and ends their other sessions ('planctl user key' makes one \
                            beside them); another role or grant holds for open sessions from their \
                            next request on."
    )]
    Alter {
        /// The user
        name: String,
        /// What they may do from now on
        #[arg(long, required_unless_present_any = ["new_key", "use_key", "grant", "revoke"])]
        role: Option<Role>,
        /// Another role in one store, upwards or downwards; may be said again
        #[arg(long, value_name = "STORE=ROLE", value_parser = grant)]
        grant: Vec<(String, Role)>,
        /// Take the grant for a store away, so that their role holds there; may be said again
        #[arg(long, value_name = "STORE")]
        revoke: Vec<String>,
        /// Let the service make them another key
        #[arg(long, conflicts_with = "use_key")]
        new_key: bool,
        #[command(flatten)]
        key: KeyFiles,
    },
    /// Remove a user; their sessions end
    #[command(after_help = "Example:\n  planctl user drop ann --dir ./service")]
    Drop {
        /// The user
        name: String,
        /// Do nothing, and succeed, if there is none of that name
        #[arg(long)]
        if_exists: bool,
    },
    /// Show the users, their roles and grants, and the names of their keys
    #[command(after_help = "Example:\n  planctl user list --dir ./service")]
    List,
    /// Make one more key, or revoke one, so that one is changed for another without a break
    #[command(subcommand)]
    Key(super::key::Key),
}

/// `STORE=ROLE`.
fn grant(text: &str) -> Result<(String, Role), String> {
    let (store, role) = text.split_once('=').ok_or("say STORE=ROLE, such as orders=read_only")?;
    match Role::from_str(role, false) {
        Ok(Role::Admin | Role::Replica) | Err(_) => {
            Err(format!("{role:?} cannot be granted: say none, read_only or read_write"))
        }
        Ok(role) => Ok((store.to_owned(), role)),
    }
}

/// Puts grants, and those to be taken away, into a request.
fn put_grants(
    doc: &mut DocBuf,
    grants: &[(String, Role)],
    revoked: &[String],
) -> Result<(), Failure> {
    if grants.is_empty() && revoked.is_empty() {
        return Ok(());
    }
    let mut all = DocBuf::new();
    all.extend(grants.iter().map(|(store, role)| (store.as_str(), role.name().into())));
    all.extend(revoked.iter().map(|store| (store.as_str(), Value::Null)));
    // A store that is named twice is refused here.
    let all = all.finish().map_err(|e| Failure::usage(e.to_string()))?;
    doc.push("grants", Doc::trusted(&all));
    Ok(())
}

/// What a user may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Nothing
    None,
    /// Follow the log and copy the data: for a replica
    Replica,
    /// Read documents
    ReadOnly,
    /// Read and change documents
    ReadWrite,
    /// Everything
    Admin,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::None => "none",
            Role::Replica => "replica",
            Role::ReadOnly => "read_only",
            Role::ReadWrite => "read_write",
            Role::Admin => "admin",
        }
    }
}

/// Where a key comes from, or goes.
#[derive(Args, Debug)]
pub(crate) struct KeyFiles {
    /// A file with the key they are to have: 12 to 1024 characters without space
    #[arg(long, value_name = "FILE")]
    use_key: Option<PathBuf>,
    /// Write the key that is made into this new file, readable by you alone; with
    /// --if-not-exists the file may be there, with the key
    #[arg(long, value_name = "FILE", conflicts_with = "use_key")]
    save_key: Option<PathBuf>,
}

impl User {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let mut doc = DocBuf::new();
        match self {
            User::Create { name, role, if_not_exists, grant, key } => {
                doc.push("role", role.name());
                put_grants(&mut doc, grant, &[])?;
                let (key, saved) = key.open(*if_not_exists)?;
                doc.extend(key.as_deref().map(|key| ("key", key.into())));
                let definition = doc.finish().map_err(|e| Failure::usage(e.to_string()))?;
                let if_not_exists = *if_not_exists;
                let request =
                    Request::CreateUser { user: name, if_not_exists, definition: &definition };
                ask(global, name, &request, saved)
            }
            User::Alter { name, role, grant, revoke, new_key, key } => {
                if key.save_key.is_some() && !new_key {
                    return Err(Failure::usage(
                        "--save-key is for a key that is made: say --new-key",
                    ));
                }
                put_grants(&mut doc, grant, revoke)?;
                let (key, saved) = key.open(false)?;
                doc.extend(role.map(|role| ("role", role.name().into())));
                doc.extend(key.as_deref().map(|key| ("key", key.into())));
                doc.extend(new_key.then_some(("key", Value::Null)));
                let change = doc.finish().map_err(|e| Failure::usage(e.to_string()))?;
                ask(global, name, &Request::AlterUser { user: name, change: &change }, saved)
            }
            User::Drop { name, if_exists } => {
                let request = Request::DropUser { user: name, if_exists: *if_exists };
                open(global)?.ask(&request)?.reply()?;
                done(global, "user", name, "removed")
            }
            User::List => query::show_users(&mut open(global)?, global.json),
            User::Key(command) => command.run(global),
        }
    }
}

impl KeyFiles {
    /// The key to be asked for, or the file for one that is made. `again`: a file that is
    /// there was written by this command before, and has the key.
    fn open(&self, again: bool) -> Result<(Option<String>, Option<Saved<'_>>), Failure> {
        match (&self.use_key, &self.save_key) {
            (Some(file), _) => Ok((Some(target::key(file, "--use-key")?), None)),
            (None, Some(file)) if again && file.exists() => {
                Ok((Some(target::key(file, "--save-key")?), None))
            }
            // A file that cannot be made must not cost a key: it is made before one is.
            (None, Some(file)) => Ok((None, Some(Saved::begin(file)?))),
            (None, None) => Ok((None, None)),
        }
    }
}

/// Asks, and gives the key that was made to whom it belongs.
pub(super) fn ask(
    global: &Global,
    name: &str,
    request: &Request<'_>,
    saved: Option<Saved<'_>>,
) -> Result<(), Failure> {
    let answer = open(global)?.ask(request)?;
    let Reply::Document(bytes) = answer.reply()? else { return Err(unexpected()) };
    let doc = Doc::parse(bytes).map_err(|_| unexpected())?;
    let key = doc.get("key").and_then(|v| v.as_str());
    let what = match (request, doc.get("created").and_then(|v| v.as_bool())) {
        (_, Some(false)) => "there already, with its key",
        (Request::CreateKey { .. }, _) => "given one more key",
        (Request::CreateUser { .. }, _) => "created",
        _ => "changed",
    };
    match (key, saved) {
        (Some(key), Some(file)) => {
            file.end(name, key)?;
            done(global, "user", name, what)
        }
        (Some(key), None) if global.json => {
            let fields = [("user", name.into()), ("done", what.into()), ("key", key.into())];
            output::print(&output::object(&fields))
        }
        (Some(key), None) => {
            done(global, "user", name, &format!("{what}; this is the key, told only now:"))?;
            output::print(key)
        }
        // Whoever asked for the key must not go on without it.
        (None, Some(file)) => {
            let file = visible(&file.path.display().to_string()).to_string();
            Err(Failure::new(
                Exit::Failure,
                format!(
                    "{name} is there already, and its key is told to nobody: have another made, \
                     planctl user alter {name} --new-key --save-key {file}, or go on with the file \
                     that has it"
                ),
            ))
        }
        (None, None) => done(global, "user", name, what),
    }
}

/// A file made for a key; removed unless one is put into it.
pub(super) struct Saved<'p> {
    path: &'p Path,
    file: File,
    kept: bool,
}

impl<'p> Saved<'p> {
    pub(super) fn begin(path: &'p Path) -> Result<Saved<'p>, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => {
                let message = format!(
                    "{0} is there already, and is left as it is, since a key in it may be the \
                     only copy: give --save-key a file that is not there, or give the user the \
                     key that is in it with --use-key {0}",
                    visible(&path.display().to_string())
                );
                Failure::new(Exit::of_io(&e), message)
            }
            _ => Failure::file("make", path, &e),
        })?;
        Ok(Saved { path, file, kept: false })
    }

    fn end(mut self, name: &str, key: &str) -> Result<(), Failure> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        // The name too: it is the only copy.
        let written = writeln!(self.file, "{key}")
            .and_then(|()| self.file.sync_all())
            .and_then(|()| File::open(parent.unwrap_or(Path::new(".")))?.sync_all());
        self.kept = written.is_ok();
        written.map_err(|e| {
            Failure::new(
                Exit::Failure,
                format!(
                    "{name} has a new key, which could not be written to {}: {e}; have another made: \
                     planctl user alter {name} --new-key",
                    visible(&self.path.display().to_string())
                ),
            )
        })
    }
}

impl Drop for Saved<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody's key is lost with it.
            std::fs::remove_file(self.path).ok();
        }
    }
}
