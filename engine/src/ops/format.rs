//! FormatQuery: the canonical text of a query.

use proto::doc::DocBuf;
use proto::{ReplyWriter, Status};

use crate::pql::{self, MAX_TEXT};
use crate::{Engine, Refusal};

impl Engine {
    /// Answers `{text}`, which means what the text asked about means. Nothing is run,
    /// and no store need be there.
    pub(crate) fn format_query(&self, text: &str, reply: ReplyWriter<'_>) -> Result<(), Refusal> {
        let query = self.queries.parse(text);
        let query = query.map_err(|e| Refusal::new(Status::BadQuery, e.to_string()))?;
        let text = pql::format(&query);
        if text.len() > MAX_TEXT {
            let message = format!(
                "written in full the query has {} bytes, {MAX_TEXT} are allowed: pass long values \
                 as parameters ($1)",
                text.len()
            );
            return Err(Refusal::new(Status::ResultTooLarge, message));
        }
        let mut doc = DocBuf::new();
        doc.push("text", &text);
        let doc = super::finished(doc);
        if doc.len() + crate::options::MESSAGE_OVERHEAD > self.limits.max_message_size {
            let message = "the query does not fit a message: raise limits.max_message_size in \
                           db.yaml, or pass long values as parameters ($1)";
            return Err(Refusal::new(Status::ResultTooLarge, message));
        }
        reply.document(&doc);
        Ok(())
    }
}
