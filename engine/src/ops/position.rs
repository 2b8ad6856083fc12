//! Position: how far this server is, and waiting until a commit can be read here.
//!
//! What must stay true: a Position that was to wait for a commit is answered only when a
//! read that begins afterwards, of whichever session, sees it; or refused.

use proto::Status;
use proto::doc::{Doc, DocBuf, Value};

use super::finished;
use super::watch::{Told, Waits};
use crate::error::shown;
use crate::{Engine, Lsn, Refusal};

/// A Position waits so long at most, in milliseconds.
const MAX_WAIT_MS: u32 = 60_000;

fn figure(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

struct Asked {
    lsn: Lsn,
    wait_ms: u32,
}

fn parse(what: &[u8]) -> Result<Asked, Refusal> {
    let bad = |message: String| Refusal::new(Status::BadFollow, message);
    let doc = Doc::parse(what).map_err(|e| bad(format!("the position: {e}")))?;
    let mut asked = Asked { lsn: 0, wait_ms: 0 };
    for (name, value) in doc {
        let number = value.as_i64().and_then(|n| u64::try_from(n).ok());
        match (name, number) {
            ("lsn", Some(lsn)) => asked.lsn = lsn,
            ("max_wait_ms", Some(millis)) => {
                asked.wait_ms = u32::try_from(millis).unwrap_or(u32::MAX).min(MAX_WAIT_MS);
            }
            _ => {
                return Err(bad(format!(
                    "a position has lsn and max_wait_ms (numbers, 0 or more), and no {} of type {}",
                    shown(name),
                    value.type_name()
                )));
            }
        }
    }
    Ok(asked)
}

impl Engine {
    /// Where this server is, once it has the commit that is asked for.
    pub(crate) fn position(&self, what: &[u8]) -> Result<Told, Refusal> {
        let asked = parse(what)?;
        let visible = self.lsm.visible_lsn();
        if visible < asked.lsn {
            let refused = Refusal::new(
                Status::NotReached,
                format!(
                    "commit {} cannot be read here yet, the last that can is {visible}: wait \
                     longer (max_wait_ms), or read at the primary",
                    asked.lsn
                ),
            );
            let waits = (asked.wait_ms > 0)
                .then_some(Waits { behind: asked.lsn - 1, millis: asked.wait_ms });
            return Ok(Told { now: Err(refused), waits });
        }
        let figures = self.replication();
        let mut doc = DocBuf::new();
        doc.push("role", figures.role.name()).push("term", figure(figures.term));
        doc.push("lsn", figure(visible)).push("durable", figure(self.lsm.durable_lsn()));
        doc.push("set", &self.replica.set_name());
        match self.replica.primary() {
            Some(primary) if !self.leads() => doc.push("primary", primary),
            _ => doc.push("primary", Value::Null),
        };
        if let Some(link) = figures.link {
            doc.push("connected", link.connected);
            doc.push("primary_durable", figure(link.primary_durable_lsn));
            doc.push("behind", figure(link.behind));
        }
        Ok(Told { now: Ok(finished(doc)), waits: None })
    }
}
