//! `planctl backup`: asks for one, and waits for it.

use super::open;
use crate::failure::{Exit, Failure};
use crate::options::Global;
use crate::output::Out;
use crate::session::{Session, unexpected};
use clap::Args;
use proto::doc::{Doc, Value};
use proto::json::to_json;
use proto::{Reply, Request};
use std::time::Duration;

/// How often it asks how the backup goes.
const ASK: Duration = Duration::from_millis(200);

/// Back the service up, while it serves
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  planctl backup --dir ./service\n  \
                        planctl backup --status --dir ./service\n\n\
                        It goes where backup.dest_path in the service's db.yaml says. After the \
                        first, only what has changed is copied.")]
pub(crate) struct Backup {
    /// Copy everything again
    #[arg(long, conflicts_with = "status")]
    full: bool,
    /// Only say how the last one went, or goes
    #[arg(long)]
    status: bool,
}

impl Backup {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let mut session = open(global)?;
        let mut answer = ask(&mut session, !self.status, self.full)?;
        if !self.status {
            while matches!(text(&answer, "state")?.as_str(), "asked" | "running") {
                std::thread::sleep(ASK);
                answer = ask(&mut session, false, false)?;
            }
        }
        let doc = Doc::parse(&answer).map_err(|_| unexpected())?;
        let mut out = Out::new();
        if global.json {
            out.line(&to_json(doc))?;
        } else {
            out.line(&words(&answer)?)?;
        }
        out.finish()?;
        match text(&answer, "state")?.as_str() {
            "failed" => {
                Err(Failure::new(Exit::Failure, "the backup failed; earlier ones are as they were"))
            }
            _ => Ok(()),
        }
    }
}

fn ask(session: &mut Session, begin: bool, full: bool) -> Result<Vec<u8>, Failure> {
    let answer = session.ask(&Request::Backup { begin, full })?;
    let Reply::Document(bytes) = answer.reply()? else { return Err(unexpected()) };
    Ok(bytes.to_vec())
}

fn words(answer: &[u8]) -> Result<String, Failure> {
    let path = text(answer, "path")?;
    let number = |name| number(answer, name);
    Ok(match text(answer, "state")?.as_str() {
        "never" => format!("no backup was taken since the service was started; they go to {path}"),
        "asked" => "a backup was asked for and will begin in a moment".to_owned(),
        "running" => format!(
            "a backup is being taken: {} of {} bytes looked at, {} written",
            number("seen_bytes")?,
            number("of_bytes")?,
            number("written_bytes")?
        ),
        "done" => {
            let taken = format!(
                "backup {} is in {path}: up to commit {}, {} bytes, {} of them written now; \
                 {} old backups removed",
                number("number")?,
                number("lsn")?,
                number("bytes")?,
                number("written_bytes")?,
                number("removed")?
            );
            match text(answer, "not_removed") {
                Ok(why) => format!("{taken}\nwarning: {why}"),
                Err(_) => taken,
            }
        }
        "failed" => format!("the last backup failed: {}", text(answer, "reason")?),
        _ => return Err(unexpected()),
    })
}

fn field<'a>(answer: &'a [u8], name: &str) -> Result<Value<'a>, Failure> {
    let doc = Doc::parse(answer).map_err(|_| unexpected())?;
    doc.iter().find(|(n, _)| *n == name).map(|(_, value)| value).ok_or_else(unexpected)
}

fn text(answer: &[u8], name: &str) -> Result<String, Failure> {
    match field(answer, name)? {
        Value::String(text) => Ok(crate::table::visible(text)),
        _ => Err(unexpected()),
    }
}

fn number(answer: &[u8], name: &str) -> Result<i64, Failure> {
    field(answer, name)?.as_i64().ok_or_else(unexpected)
}
