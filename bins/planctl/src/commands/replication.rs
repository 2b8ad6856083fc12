//! `planctl promote`, `planctl demote`, `planctl replication`: who takes writes.

use super::open;
use crate::failure::Failure;
use crate::options::Global;
use crate::output::Out;
use crate::session::{Session, unexpected};
use clap::Args;
use proto::doc::{Doc, DocBuf, Value};
use proto::json::to_json;
use proto::{Reply, Request};

/// Make this replica the primary
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  planctl promote --dir ./shop-b\n\n\
                        It takes writes from then on, behind the last commit it has: what the old \
                        primary did not ship is not there. Demote the old primary first, if it \
                        runs; if it does not, demote it before it is started again (planck demote \
                        --dir DIR).")]
pub(crate) struct Promote {}

/// Make this primary a replica, which takes no writes
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  planctl demote --dir ./shop-a\n\n\
                        Writes are refused at once; the last one is durable when this returns. It \
                        follows the primary that replica in its db.yaml names.")]
pub(crate) struct Demote {}

/// Say what this server is, and how far
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  planctl replication --dir ./shop-b\n  \
                        planctl replication --wait-for 1240 --dir ./shop-b")]
pub(crate) struct Replication {
    /// Return when this commit can be read there
    #[arg(long, value_name = "LSN")]
    wait_for: Option<u64>,
    /// How long to wait for it
    #[arg(long, value_name = "MS", default_value_t = 30_000, requires = "wait_for")]
    for_ms: u32,
}

impl Promote {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let answer = ask(&mut open(global)?, &Request::Promote)?;
        told(global, &answer, |doc| {
            let (term, lsn) = (number(doc, "term")?, number(doc, "lsn")?);
            Ok(format!("it is the primary: term {term} begins with commit {lsn}"))
        })
    }
}

impl Demote {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let answer = ask(&mut open(global)?, &Request::Demote)?;
        told(global, &answer, |doc| {
            let lsn = number(doc, "lsn")?;
            Ok(format!("it is a replica: its last commit is {lsn}, and it is durable"))
        })
    }
}

impl Replication {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let mut what = DocBuf::new();
        if let Some(lsn) = self.wait_for {
            what.push("lsn", i64::try_from(lsn).unwrap_or(i64::MAX));
            what.push("max_wait_ms", i64::from(self.for_ms));
        }
        let what = what.finish().map_err(|_| unexpected())?;
        let answer = ask(&mut open(global)?, &Request::Position { what: &what })?;
        told(global, &answer, |doc| {
            let role = doc.get("role").and_then(|role| role.as_str()).ok_or_else(unexpected)?;
            let (term, lsn) = (number(doc, "term")?, number(doc, "lsn")?);
            let mut words = format!("{role}, term {term}, commit {lsn}");
            if role == "replica" {
                match doc.get("primary") {
                    Some(Value::String(primary)) => words += &format!(", of {primary}"),
                    _ => words += ", of no primary",
                }
                words += match doc.get("connected") {
                    Some(Value::Bool(true)) => ", connected",
                    _ => ", not connected",
                };
                words += &format!(", {} commits behind", number(doc, "behind")?);
            }
            Ok(words)
        })
    }
}

fn ask(session: &mut Session, request: &Request<'_>) -> Result<Vec<u8>, Failure> {
    let answer = session.ask(request)?;
    let Reply::Document(bytes) = answer.reply()? else { return Err(unexpected()) };
    Ok(bytes.to_vec())
}

fn number(doc: Doc<'_>, name: &str) -> Result<i64, Failure> {
    doc.get(name).and_then(|value| value.as_i64()).ok_or_else(unexpected)
}

fn told(
    global: &Global,
    answer: &[u8],
    words: impl FnOnce(Doc<'_>) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let doc = Doc::parse(answer).map_err(|_| unexpected())?;
    let mut out = Out::new();
    out.line(&if global.json { to_json(doc) } else { words(doc)? })?;
    out.finish()
}
