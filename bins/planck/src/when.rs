//! Moments as people write them: RFC 3339 in UTC, to and from microseconds.

use proto::json::{date_time_from_text, date_time_to_text};

/// `2026-11-22T18:30:00Z`, a fraction of a second allowed, as microseconds since
/// 1970.
///
/// # Errors
/// What is expected.
pub fn instant(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no moment: write it in UTC, such as 2026-11-22T18:30:00Z");
    let millis = date_time_from_text(text).ok_or_else(wrong)?;
    u64::try_from(millis).ok().and_then(|ms| ms.checked_mul(1000)).ok_or_else(wrong)
}

/// The moment for people.
pub fn moment(micros: u64) -> String {
    let millis = i64::try_from(micros / 1000).unwrap_or(i64::MAX);
    date_time_to_text(millis).unwrap_or_else(|| format!("{micros} microseconds after 1970"))
}
