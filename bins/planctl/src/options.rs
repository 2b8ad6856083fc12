//! The options every command takes, and small value parsers.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What carries the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    #[default]
    Tcp,
    Quic,
}

/// Where the service is, who asks, and how to answer.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Global {
    /// The directory of a service on this machine: address, certificate and key are
    /// found there
    #[arg(long, global = true, value_name = "DIR", help_heading = "Connection")]
    pub dir: Option<PathBuf>,

    /// The address planck printed for its wire when it started
    #[arg(long, global = true, value_name = "HOST:PORT", help_heading = "Connection")]
    pub server: Option<String>,

    /// The fingerprint planck printed: SHA-256 of its public key, 64 hex digits
    #[arg(long, global = true, value_name = "HEX", help_heading = "Connection")]
    pub fingerprint: Option<String>,

    /// The file that holds the user's key, such as DIR/admin.key
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub key_file: Option<PathBuf>,

    /// Whose key it is [default: admin]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    pub user: Option<String>,

    /// No TLS: for a server with tls.enabled: false. Everybody on the way can read
    /// the key
    #[arg(long, global = true, help_heading = "Connection")]
    pub plaintext: bool,

    /// What carries the packets: tcp, or quic, which is on the same port by UDP and needs
    /// TLS and quic.enabled
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "HOW",
        help_heading = "Connection"
    )]
    pub transport: Transport,

    /// Answers for programs: a JSON object, or one a line for rows
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
}

/// A size in bytes, such as `4194304`, `512KiB` or `4MiB`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err("write a size as bytes, or with KiB, MiB or GiB, such as 4MiB".to_owned()),
    };
    let number: usize =
        digits.parse().map_err(|_| "write a size as a whole number, such as 4MiB".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "this size is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("17", 17), ("17B", 17), ("2KiB", 2048), ("4mib", 4 << 20)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "4MB", "-1", "1.5MiB", "99999999999GiB", "4 MiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
