//! `planctl user key create|revoke`.
//!
//! What must stay true: as of `user.rs`: a key is never an argument, and one that is made
//! goes to standard output, once, or into a file that is its owner's alone.

use super::create::done;
use super::open;
use super::user::{Saved, ask};
use crate::failure::Failure;
use crate::options::Global;
use clap::Subcommand;
use proto::Request;
use proto::doc::{DocBuf, Value};
use proto::json::date_time_from_text;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a user one more key; everybody may make one for themselves
    #[command(
        after_help = "Examples:\n  planctl user key create ann ci --save-key ann-ci.key --dir ./service\n  \
                            planctl user key create ann ci2 --days 90 --save-key ann-ci2.key --dir ./service\n  \
                            planctl user key revoke ann ci --dir ./service\n\n\
                            A user has up to 8 keys. To change one without a break: make another, \
                            let everything use it, then revoke the old one. The key that came with \
                            the user is called main."
    )]
    Create {
        /// The user
        #[arg(value_name = "USER")]
        of: String,
        /// What the key is called: a letter, then letters, digits and _
        name: String,
        /// When it expires, such as 2027-01-31T00:00:00Z; it never does if nothing is said
        #[arg(long, value_name = "TIME", conflicts_with = "days")]
        expires: Option<String>,
        /// In how many days it expires
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        days: Option<u16>,
        /// Write the key into this new file, readable by you alone
        #[arg(long, value_name = "FILE")]
        save_key: Option<PathBuf>,
    },
    /// Take a key from a user; the sessions it opened end
    #[command(after_help = "Example:\n  planctl user key revoke ann ci --dir ./service")]
    Revoke {
        /// The user
        #[arg(value_name = "USER")]
        of: String,
        /// The key's name
        name: String,
        /// Do nothing, and succeed, if they have none of that name
        #[arg(long)]
        if_exists: bool,
    },
}

impl Key {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        match self {
            Key::Create { of, name, expires, days, save_key } => {
                let expires = match expires {
                    Some(text) => Some(date_time_from_text(text).ok_or_else(|| {
                        Failure::usage(format!(
                            "{text:?} is no moment: write it in UTC, such as 2027-01-31T00:00:00Z"
                        ))
                    })?),
                    None => days.map(|days| now().saturating_add(i64::from(days) * DAY)),
                };
                let mut doc = DocBuf::new();
                doc.push("name", name);
                doc.extend(expires.map(|end| ("expires", Value::DateTime(end))));
                let definition = doc.finish().map_err(|e| Failure::usage(e.to_string()))?;
                // A file that cannot be made must not cost a key.
                let saved = save_key.as_deref().map(Saved::begin).transpose()?;
                ask(global, of, &Request::CreateKey { user: of, definition: &definition }, saved)
            }
            Key::Revoke { of, name, if_exists } => {
                let request = Request::RevokeKey { user: of, key: name, if_exists: *if_exists };
                open(global)?.ask(&request)?.reply()?;
                done(global, "key", name, "revoked")
            }
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
