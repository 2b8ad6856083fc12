//! What can be wrong with a document. Offsets are bytes from its start.

use std::fmt;

/// Why bytes are no document, or why one cannot be built or changed as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DocError {
    /// The bytes are not BSON.
    Malformed {
        /// Where, in bytes from the start of the document.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// A BSON type Planck does not store.
    Refused {
        /// Where the element starts.
        offset: usize,
        /// The field's name.
        field: String,
        /// The type's name in the BSON specification.
        kind: &'static str,
    },
    /// A field name occurs twice in one document.
    Duplicate {
        /// Where the document that holds both starts.
        offset: usize,
        /// The name.
        field: String,
    },
    /// More than [`super::MAX_DEPTH`] documents and arrays inside each other.
    TooDeep {
        /// Where the first one too many starts.
        offset: usize,
    },
    /// Longer than BSON's length field can say (2 GiB).
    TooLarge {
        /// How long it would be.
        bytes: usize,
    },
    /// A field name or a regular expression with a NUL in it, which BSON cannot hold.
    Nul {
        /// The name or the pattern.
        text: String,
    },
    /// A path that cannot be read, set or unset.
    Path {
        /// The dotted path.
        path: String,
        /// Why not.
        why: String,
    },
    /// Calls on [`super::DocBuf`] that do not fit together: a bug in the caller.
    Misuse(&'static str),
}

impl fmt::Display for DocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DocError::Malformed { offset, what } => {
                write!(f, "the document is not valid BSON at byte {offset}: {what}")
            }
            DocError::Refused { offset, field, kind } => write!(
                f,
                "field {field:?} at byte {offset} has the BSON type {kind}, which is not stored; \
                 convert it before sending"
            ),
            DocError::Duplicate { offset, field } => write!(
                f,
                "field {field:?} occurs twice in the document at byte {offset}; \
                 give each field once"
            ),
            DocError::TooDeep { offset } => write!(
                f,
                "documents are nested deeper than {} at byte {offset}; flatten the document",
                super::MAX_DEPTH
            ),
            DocError::TooLarge { bytes } => {
                write!(f, "the document would be {bytes} bytes long, more than BSON can say")
            }
            DocError::Nul { text } => {
                write!(f, "{text:?} holds a NUL character, which a name or pattern cannot")
            }
            DocError::Path { path, why } => write!(f, "path {path:?}: {why}"),
            DocError::Misuse(what) => write!(f, "the document builder was misused: {what}"),
        }
    }
}

impl std::error::Error for DocError {}
