//! Headers of a call: the guest's, the operator's, ours; and those of the answer.
//!
//! What must stay true: what concerns the connection (RFC 9110, 7.6.1), the host and the
//! length is ours. A header that the operator set is sent as it was set, whatever the guest
//! gives, and one of its name is not given back to the guest. Secrets are marked, so that
//! nothing that prints headers prints them.

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use proto::http::{Headers, HeadersBuf};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Headers at most, of a call and of an answer.
pub(super) const MAX_HEADERS: usize = 256;
/// Bytes of names and values together, of a call and of an answer.
pub(super) const MAX_HEADER_BYTES: usize = 64 << 10;
/// Bytes of a file of secrets.
const MAX_FILE: u64 = 64 << 10;

/// Headers that nobody may read: neither logged nor shown.
#[derive(Clone, Default)]
pub struct SecretHeaders(Vec<(HeaderName, HeaderValue)>);

impl fmt::Debug for SecretHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretHeaders({})", self.0.len())
    }
}

impl SecretHeaders {
    /// Reads a file of lines `Name: value`, which only its owner may read. Empty lines and
    /// lines that begin with `#` say nothing.
    ///
    /// # Errors
    /// What is wrong and what to do; never what the file says.
    pub fn read(path: &Path) -> Result<SecretHeaders, String> {
        let failed = |e| format!("{}: cannot be read: {e}", path.display());
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(format!("{}: is no file", path.display()));
        }
        let mode = about.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(format!(
                "{}: has mode {mode:o}, so others may read or change it; run `chmod 600` on it, \
                 and have the secrets changed if others can have seen them",
                path.display()
            ));
        }
        let mut text = String::new();
        file.take(MAX_FILE + 1)
            .read_to_string(&mut text)
            .map_err(|_| format!("{}: is not UTF-8, or cannot be read", path.display()))?;
        if text.len() as u64 > MAX_FILE {
            return Err(format!("{}: is larger than {MAX_FILE} bytes", path.display()));
        }
        SecretHeaders::parse(&text).map_err(|(line, why)| {
            format!("{}: line {line}: {why}; write `Name: value`", path.display())
        })
    }

    fn parse(text: &str) -> Result<SecretHeaders, (usize, &'static str)> {
        let mut headers = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why| (number + 1, why);
            let (name, value) =
                line.split_once(':').ok_or_else(|| wrong("there is no colon in it"))?;
            let (name, mut value) = pair(name, value.trim()).map_err(wrong)?;
            value.set_sensitive(true);
            headers.push((name, value));
        }
        Ok(SecretHeaders(headers))
    }
}

/// A header the operator may set.
fn pair(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "the name is none of HTTP")?;
    if is_ours(&name) {
        return Err("a header of that name is the host's own to set");
    }
    let value = HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| "the value has a control character in it")?;
    Ok((name, value))
}

/// What the operator set for an upstream.
#[derive(Clone, Debug, Default)]
pub(super) struct Fixed(HeaderMap);

impl Fixed {
    /// From `headers` and a file of secrets.
    ///
    /// # Errors
    /// What is wrong, without a value.
    pub(super) fn new(plain: &[(String, String)], secret: &SecretHeaders) -> Result<Fixed, String> {
        let mut all = HeaderMap::new();
        let named = plain.iter().map(|(name, value)| {
            pair(name, value).map_err(|why| format!("headers: `{}`: {why}", name.escape_debug()))
        });
        for pair in named.chain(secret.0.iter().cloned().map(Ok)) {
            let (name, value) = pair?;
            if all.contains_key(&name) {
                return Err(format!("the header `{name}` is set twice: remove one of them"));
            }
            all.insert(name, value);
        }
        let bytes: usize = all.iter().map(|(n, v)| n.as_str().len() + v.len()).sum();
        if all.len() > MAX_HEADERS / 2 || bytes > MAX_HEADER_BYTES / 2 {
            return Err(format!(
                "its headers are too many or too long: at most {} of {} bytes in all",
                MAX_HEADERS / 2,
                MAX_HEADER_BYTES / 2
            ));
        }
        Ok(Fixed(all))
    }

    /// The headers of a call.
    ///
    /// # Errors
    /// Why it is not sent.
    pub(super) fn call(&self, host: &HeaderValue, guest: Headers<'_>) -> Result<HeaderMap, String> {
        let mut all = HeaderMap::with_capacity(guest.len().min(MAX_HEADERS) + self.0.len() + 2);
        let (mut count, mut bytes) = (0, 0);
        let mut named: Vec<HeaderName> = Vec::new();
        for (name, value) in guest.iter() {
            count += 1;
            bytes += name.len() + value.len();
            if count > MAX_HEADERS / 2 || bytes > MAX_HEADER_BYTES / 2 {
                return Err(format!(
                    "has more than {} headers, or more than {} bytes of them",
                    MAX_HEADERS / 2,
                    MAX_HEADER_BYTES / 2
                ));
            }
            let wrong = |what| {
                let shown: String = name.chars().take(64).collect();
                format!("has a header `{}` with {what}", shown.escape_debug())
            };
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| wrong("a name that is none of HTTP"))?;
            let value = HeaderValue::from_bytes(value)
                .map_err(|_| wrong("a line break or another control character in its value"))?;
            if name == CONNECTION {
                named.extend(names(&value));
            }
            if !is_ours(&name) && !self.0.contains_key(&name) {
                all.append(name, value);
            }
        }
        for name in named {
            all.remove(name);
        }
        for (name, value) in &self.0 {
            all.insert(name, value.clone());
        }
        all.entry(USER_AGENT).or_insert(HeaderValue::from_static("planck"));
        all.insert(HOST, host.clone());
        Ok(all)
    }

    /// The headers of an answer that the guest is given. `None`: they are more than fit.
    pub(super) fn answer(&self, given: &HeaderMap) -> Option<HeadersBuf> {
        let named: Vec<HeaderName> = given.get_all(CONNECTION).iter().flat_map(names).collect();
        let (mut out, mut bytes) = (HeadersBuf::new(), 0);
        for (count, (name, value)) in given.iter().enumerate() {
            bytes += name.as_str().len() + value.len();
            if count >= MAX_HEADERS || bytes > MAX_HEADER_BYTES {
                return None;
            }
            // How long the body is, the guest may know.
            let kept = *name == CONTENT_LENGTH
                || !(is_ours(name) || self.0.contains_key(name) || named.contains(name));
            if kept && !out.push(name.as_str(), value.as_bytes()) {
                return None;
            }
        }
        Some(out)
    }
}

/// The names that a header `connection` lists.
fn names(value: &HeaderValue) -> Vec<HeaderName> {
    let text = value.to_str().unwrap_or_default();
    text.split(',').filter_map(|name| name.trim().parse().ok()).collect()
}

/// Headers of one connection, or that say what only the host knows.
fn is_ours(name: &HeaderName) -> bool {
    const OURS: [HeaderName; 8] =
        [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    OURS.contains(name)
        || matches!(
            name.as_str(),
            "keep-alive"
                | "http2-settings"
                | "proxy-connection"
                | "proxy-authorization"
                | "proxy-authenticate"
        )
}

#[cfg(test)]
mod tests;
