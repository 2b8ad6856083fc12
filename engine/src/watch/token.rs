//! A place in the log, as watchers keep it: `log.stores.lsn.at`.
//!
//! ```text
//! 6f..32 hexadecimal digits..e1 . 17,18       . 1234          . 0
//! the identity of the log         the stores'   the last        the position within it of
//!                                 numbers       commit given    the last event; 0: all of it
//! ```
//!
//! What must stay true: a token names one place of one log for ever, so that who comes
//! back with it goes on there or is told why not. It is no secret, and gives no right.

use std::fmt;

use lsm::{KeyspaceId, Lsn, StoreId};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) log: StoreId,
    /// In the order in which they are watched.
    pub(crate) stores: Vec<KeyspaceId>,
    pub(crate) place: Place,
}

/// All before it was given, and it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) lsn: Lsn,
    /// Of the operations of that commit those up to here; 0: all of them.
    pub(crate) at: u32,
}

impl Place {
    /// The first commit that has something behind it.
    pub(crate) fn from(self) -> Lsn {
        if self.at == 0 { self.lsn.saturating_add(1) } else { self.lsn }
    }
}

impl Token {
    /// `None`: it is none.
    pub(crate) fn parse(text: &str) -> Option<Token> {
        let mut parts = text.split('.');
        let (log, stores) = (parts.next()?, parts.next()?);
        let (lsn, at) = (digits(parts.next()?)?, digits(parts.next()?)?);
        parts.next().is_none().then_some(())?;
        let stores = stores.split(',').map(|id| digits(id).map(KeyspaceId));
        Some(Token {
            log: parse_log(log)?,
            stores: stores.collect::<Option<_>>()?,
            place: Place { lsn, at },
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.log)?;
        for (at, store) in self.stores.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { "," }, store.0)?;
        }
        write!(f, ".{}.{}", self.place.lsn, self.place.at)
    }
}

/// A number as it is written here: no sign, no zeros before it.
fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with("00");
    let plain = plain && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

fn parse_log(text: &str) -> Option<StoreId> {
    let mut id = [0; 16];
    let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == 32 && text.bytes().all(plain)).then_some(())?;
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(StoreId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_this_text() {
        let token = Token {
            log: StoreId([0x6f; 16]),
            stores: vec![KeyspaceId(17), KeyspaceId(18)],
            place: Place { lsn: 1234, at: 0 },
        };
        let text = "6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f.17,18.1234.0";
        assert_eq!(token.to_string(), text);
        assert_eq!(Token::parse(text), Some(token));
        for other in [
            "",
            "6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f.17,18.1234",
            "6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f.17,18.1234.0.0",
            "6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f.17,18.+1234.0",
            "6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f.17,18.01234.0",
            "6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f.17,,18.1234.0",
            "6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f..1234.0",
            "6F6F6f6f6f6f6f6f6f6f6f6f6f6f6f6f.17.1234.0",
            "6f6f.17.1234.0",
            "6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f.17.1234.4294967296",
        ] {
            assert_eq!(Token::parse(other), None, "{other}");
        }
    }

    #[test]
    fn behind_a_whole_commit_is_the_next_one() {
        assert_eq!(Place { lsn: 7, at: 0 }.from(), 8);
        assert_eq!(Place { lsn: 7, at: 3 }.from(), 7);
        assert_eq!(Place { lsn: u64::MAX, at: 0 }.from(), u64::MAX);
    }
}
