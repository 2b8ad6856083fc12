//! Any text as `db.yaml` or `service.yaml`, read as the process reads them.

use crate::config::{Config, ConfigError};
use crate::marks::reached;
use std::path::Path;

/// Where the corpus of `settings` comes to.
pub(crate) const PLACES: &[&str] = &[
    "db.yaml: accepted",
    "service.yaml: accepted",
    "db.yaml: all defaults",
    "is set, yet all is in its bounds",
    "unknown field",
    "a whole number from",
    "a size from",
    "an IP address",
    "is not an address or a range",
    "a boolean",
    "`warn`",
    "beginning with a letter",
    "a text of one line",
    "duplicate",
    "at most half of limits.max_message_size",
    "set both or none",
    "remove one of them",
    "the minimum may be at most the maximum",
    "two entries of cron",
    "there is no time zone",
    "never comes",
    "the base may be at most the maximum",
    "unknown anchor",
    "found unexpected end of stream",
];

/// Any text as one of the two files: it is accepted, and then all it says fits together,
/// or refused with a sentence that names the file. The first byte says which file.
pub fn settings(data: &[u8]) {
    let Some((which, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let dir = Path::new("dir");
    let (file, read) = match which % 2 {
        0 => ("db.yaml", Config::of(dir, Some(text), None)),
        _ => ("service.yaml", Config::of(dir, None, Some(text))),
    };
    let config = match read {
        Ok(config) => config,
        Err(ConfigError::Read { .. }) => unreachable!("no file is read"),
        Err(ConfigError::Invalid { path, message }) => {
            assert!(path == dir.join(file) && !message.trim().is_empty());
            return reached(format_args!("{file}: {message}"));
        }
    };
    reached(format_args!("{file}: accepted"));
    let default = Config::of(dir, None, None).expect("nothing is fine");
    if config.db == default.db && which % 2 == 0 {
        reached("db.yaml: all defaults");
    }
    if config.db != default.db || config.service.as_ref().is_some_and(|s| *s != Default::default())
    {
        reached(format_args!("{file}: something is set, yet all is in its bounds"));
    }
    let limits = &config.db.limits;
    assert!(limits.max_document_size.get() <= limits.max_message_size.get() / 2);
    let service = config.service.unwrap_or_default();
    assert!(service.wasm.min_instances.get() <= service.wasm.max_instances.get());
    for tls in [&config.db.tls, &service.tls] {
        assert_eq!(tls.cert_file.is_some(), tls.key_file.is_some());
        assert!(tls.enabled || tls.cert_file.is_none() && tls.client_ca_file.is_none());
    }
}
