//! A door for `tests/fuzz`; not part of the interface.

use crate::meta::Meta;
use crate::{Batch, Error};

/// Takes any 64 bytes for the store's part of the page file's meta page.
///
/// # Errors
/// Another version; bytes that make no sense.
pub fn meta(bytes: &[u8; 64]) -> Result<(), Error> {
    let meta = Meta::decode(bytes, "meta")?;
    assert_eq!(meta.encode(), *bytes, "what decodes encodes to the same bytes");
    Ok(())
}

/// The bytes that a frame of the log would carry.
pub fn payload(batch: &Batch) -> &[u8] {
    batch.payload()
}
