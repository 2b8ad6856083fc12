//! What a setting's value may be.
//!
//! Invariant: a value out of its bounds is refused while it is read, so that the
//! error carries the line it stands on and the values that are allowed.

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use std::fmt;

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Number<MIN, MAX> {
    /// A default, checked when the program is built.
    pub const fn of(value: u64) -> Self {
        assert!(MIN <= value && value <= MAX, "a default must be within its bounds");
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// What is allowed, for people.
    pub fn allowed() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Number<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Number<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Whole<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Whole<MIN, MAX> {
            type Value = u64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&Number::<MIN, MAX>::allowed())
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
                if (MIN..=MAX).contains(&value) {
                    return Ok(value);
                }
                Err(E::invalid_value(Unexpected::Unsigned(value), &self))
            }
        }
        from.deserialize_u64(Whole::<MIN, MAX>).map(Self)
    }
}

/// Bytes, from `MIN` to `MAX`: a number, or one with a unit (`64MiB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size<const MIN: u64, const MAX: u64>(u64);

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    /// A default, checked when the program is built.
    pub const fn of(bytes: u64) -> Self {
        assert!(MIN <= bytes && bytes <= MAX, "a default must be within its bounds");
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// What is allowed, for people.
    pub fn allowed() -> String {
        format!("a size from {} to {}", shown(MIN), shown(MAX))
    }
}

/// A size with the largest unit that keeps it whole.
fn shown(bytes: u64) -> String {
    let (unit, factor) = UNITS
        .into_iter()
        .find(|(_, f)| bytes.is_multiple_of(*f) && bytes >= *f)
        .unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Size<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.0))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Size<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bytes<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Bytes<MIN, MAX> {
            type Value = u64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&Size::<MIN, MAX>::allowed())
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
                if (MIN..=MAX).contains(&value) {
                    return Ok(value);
                }
                Err(E::invalid_value(Unexpected::Unsigned(value), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
                let bytes = UNITS.into_iter().find_map(|(unit, factor)| {
                    let number = text.strip_suffix(unit)?.trim_end().parse::<u64>().ok()?;
                    number.checked_mul(factor)
                });
                bytes
                    .filter(|bytes| (MIN..=MAX).contains(bytes))
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        from.deserialize_any(Bytes::<MIN, MAX>).map(Self)
    }
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub std::net::IpAddr);

impl Address {
    /// What is allowed, for people.
    pub fn allowed() -> String {
        "an IP address; 0.0.0.0 for all".to_owned()
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let wrong = || D::Error::invalid_value(Unexpected::Str(&text), &Self::allowed().as_str());
        text.parse().map(Self).map_err(|_| wrong())
    }
}

/// An address or a range of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Addresses(pub net::AddressRange);

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// A short text of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<const MAX: usize>(pub String);

impl<const MAX: usize> Text<MAX> {
    /// What is allowed, for people.
    pub fn allowed() -> String {
        format!("a text of one line, up to {MAX} bytes")
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text.len() <= MAX && !text.chars().any(char::is_control) {
            return Ok(Self(text));
        }
        Err(D::Error::invalid_value(Unexpected::Other("another text"), &Self::allowed().as_str()))
    }
}

/// The name of a service: it becomes part of file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

impl Name {
    /// What is allowed, for people.
    pub fn allowed() -> String {
        "1 to 64 of a-z, 0-9, - and _, beginning with a letter".to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let fits = text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if fits {
            return Ok(Self(text));
        }
        Err(D::Error::invalid_value(Unexpected::Str(&text), &Self::allowed().as_str()))
    }
}

/// A path, relative to the service's directory unless it begins with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(pub String);

impl FilePath {
    /// What is allowed, for people.
    pub fn allowed() -> String {
        "a path, relative to the service's directory unless it begins with /".to_owned()
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if !text.is_empty() && !text.chars().any(char::is_control) {
            return Ok(Self(text));
        }
        Err(D::Error::invalid_value(Unexpected::Str(&text), &Self::allowed().as_str()))
    }
}

/// The fingerprint of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin(pub proto::Fingerprint);

impl Pin {
    /// What is allowed, for people.
    pub fn allowed() -> String {
        "64 hexadecimal digits, as planck prints them when it starts".to_owned()
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let wrong = || D::Error::invalid_value(Unexpected::Str(&text), &Self::allowed().as_str());
        text.parse().map(Self).map_err(|_| wrong())
    }
}

/// Where something is sent by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `HOST:PORT`.
    pub authority: String,
    /// From its `/` on.
    pub path: String,
}

impl Endpoint {
    /// What is allowed, for people.
    pub fn allowed() -> String {
        "http://HOST:PORT, with a path if it is not /v1/traces".to_owned()
    }

    fn of(text: &str) -> Option<Endpoint> {
        let rest = text.strip_prefix("http://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = authority.rsplit_once(':')?;
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '@' | '?' | '#' | '"' | '\\');
        let fits = !host.is_empty() && port.parse().is_ok_and(|port: u16| port > 0);
        let path = if path.len() < 2 { "/v1/traces" } else { path };
        let (authority, path) = (authority.to_owned(), path.to_owned());
        (fits && rest.chars().all(plain)).then_some(Endpoint { authority, path })
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let wrong = || D::Error::invalid_value(Unexpected::Str(&text), &Self::allowed().as_str());
        Endpoint::of(&text).ok_or_else(wrong)
    }
}

/// What a client asks a listener for: a path, and a query if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPath(pub String);

impl UrlPath {
    /// What is allowed, for people.
    pub fn allowed() -> String {
        "a path as clients send it, beginning with /, up to 1024 bytes".to_owned()
    }
}

impl<'de> Deserialize<'de> for UrlPath {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'\\' | b'<' | b'>');
        if text.starts_with('/') && text.len() <= 1024 && text.bytes().all(plain) {
            return Ok(Self(text));
        }
        Err(D::Error::invalid_value(Unexpected::Str(&text), &Self::allowed().as_str()))
    }
}
