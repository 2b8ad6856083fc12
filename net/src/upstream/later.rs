//! What a `Retry-After` asks for (RFC 9110, 10.2.3).

use std::time::{Duration, SystemTime};

/// How long it asks to wait: so many seconds, or until a date, whose time may have passed.
/// `None`: it is neither.
pub fn retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than a number holds is for ever.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nothing_else() {
        // Sun, 06 Nov 1994 08:49:37 GMT.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let asked = |text: &str| retry_after(text.as_bytes(), now).map(|wait| wait.as_secs());
        for (text, seconds) in [
            ("0", 0),
            ("120", 120),
            (" 7 ", 7),
            ("99999999999999999999999", u64::MAX),
            ("Sun, 06 Nov 1994 08:49:47 GMT", 10),
            ("Sunday, 06-Nov-94 08:49:47 GMT", 10),
            ("Sun Nov  6 08:49:47 1994", 10),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
            ("Sun, 06 Nov 1983 08:49:37 GMT", 0),
        ] {
            assert_eq!(asked(text), Some(seconds), "{text}");
        }
        for text in ["", "-1", "1.5", "+3", "1e3", "soon", "Sun, 06 Nov 1994"] {
            assert_eq!(asked(text), None, "{text}");
        }
        assert_eq!(retry_after(b"\xff", now), None);
    }
}
