//! What may be stored as a document.
//!
//! What must stay true: whatever is stored passed [`check`], so that readers
//! may trust stored bytes; no stored document has a field `key` of its own,
//! since that is where its primary key is shown.

use proto::Status;
use proto::doc::Doc;

use crate::{Limits, Refusal};

/// The field a primary key is shown in.
pub(crate) const KEY_FIELD: &str = "key";

/// Takes bytes for a document, or says why not.
pub(crate) fn check<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Doc<'a>, Refusal> {
    let limit = limits.max_document_size;
    if bytes.len() > limit {
        let message = format!(
            "the document has {} bytes, a document may have {limit}: split it, or keep large \
             parts in documents of their own",
            bytes.len()
        );
        return Err(Refusal::new(Status::DocumentTooLarge, message));
    }
    let doc = Doc::parse(bytes).map_err(|e| Refusal::new(Status::BadDocument, e.to_string()))?;
    if doc.contains(KEY_FIELD) {
        let message = "the document has a field named `key`, where the primary key is shown: \
                       rename the field, or give its value as the document's key";
        return Err(Refusal::new(Status::BadDocument, message));
    }
    Ok(doc)
}
