//! Which names stores, indexes, sequences and users may have.

use proto::Status;

use crate::Refusal;
use crate::error::shown;

/// Bytes of the longest name.
pub(crate) const MAX_NAME: usize = 64;

/// Takes a name for `what` ("a store"), or says what is allowed.
pub(crate) fn check(name: &str, what: &str) -> Result<(), Refusal> {
    let fault = if name.is_empty() {
        "is empty"
    } else if name.starts_with('_') {
        "begins with _, which is kept for the system"
    } else if name.as_bytes()[0].is_ascii_digit() {
        "begins with a digit"
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        "has a character that is not allowed"
    } else if name.len() > MAX_NAME {
        "is too long"
    } else {
        return Ok(());
    };
    let message = format!(
        "{} {fault}: the name of {what} is 1 to {MAX_NAME} letters (a to z, A to Z), digits and _, \
         beginning with a letter",
        shown(name)
    );
    Err(Refusal::new(Status::BadName, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_the_edge_of_what_is_allowed() {
        let long = "a".repeat(64);
        for name in ["a", "Z9_", "flights", "a__b", &long] {
            assert_eq!(check(name, "a store"), Ok(()), "{name}");
        }
        let longer = "a".repeat(65);
        for (name, fault) in [
            ("", "is empty"),
            ("_a", "begins with _"),
            ("1a", "begins with a digit"),
            ("a-b", "not allowed"),
            ("a.b", "not allowed"),
            ("é", "not allowed"),
            ("a\0", "not allowed"),
            (longer.as_str(), "is too long"),
        ] {
            let refusal = check(name, "an index").unwrap_err();
            assert_eq!(refusal.status, Status::BadName);
            assert!(refusal.message.contains(fault), "{}", refusal.message);
            assert!(refusal.message.contains("1 to 64 letters"), "{}", refusal.message);
        }
    }
}
