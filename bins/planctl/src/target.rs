//! From options to a server: its address, whom to trust, who asks.
//!
//! What must stay true: nothing is guessed. Either `--dir` names a service of this
//! machine, whose own files say the rest, or every part is given by name; what is
//! missing or does not fit together is a sentence and exit code 2. Without a
//! fingerprint nothing is sent, unless `--plaintext` or the service's own db.yaml
//! says that it speaks without TLS.

use crate::failure::{Exit, Failure};
use crate::options::{Global, Transport};
use planck_client::{Fingerprint, Security, fingerprint_of_pem};
use serde::Deserialize;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The user made at first start.
const ADMIN: &str = "admin";
/// Their key, in the directory of a service.
const ADMIN_KEY: &str = "admin.key";
/// Where a running service says which address its wire has, in one line.
const PUBLISHED: &str = "run/wire.addr";
/// No file read here is longer.
const MAX_FILE: u64 = 1 << 20;

/// Whom to call, and as whom.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) security: Security,
    pub(crate) transport: Transport,
    pub(crate) user: String,
    pub(crate) key: String,
}

impl Target {
    /// What tells this service from another: its certificate, or else its address.
    pub(crate) fn identity(&self) -> String {
        match &self.security {
            Security::Pinned(fingerprint) => fingerprint.to_string(),
            Security::Plaintext => self.address.clone(),
        }
    }

    /// The server the options name.
    pub(crate) fn find(global: &Global) -> Result<Target, Failure> {
        let target = match (&global.dir, &global.server) {
            (Some(_), Some(_)) => Err(Failure::usage(
                "--dir and --server both say where the service is; give one of them",
            )),
            (Some(dir), None) => local(global, dir),
            (None, Some(server)) => remote(global, server),
            (None, None) => Err(Failure::usage(
                "no service is named: give --dir DIR for one on this machine, or --server \
                 HOST:PORT --key-file FILE --fingerprint HEX",
            )),
        }?;
        if (target.transport, target.security) == (Transport::Quic, Security::Plaintext) {
            return Err(Failure::usage(
                "--transport quic is always under TLS, and this service speaks without: use \
                 --transport tcp, or set tls.enabled: true in its db.yaml",
            ));
        }
        Ok(target)
    }
}

fn remote(global: &Global, server: &str) -> Result<Target, Failure> {
    if server.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || bad_port(port)) {
        return Err(Failure::usage(format!(
            "--server {server} is no address: write HOST:PORT, such as 127.0.0.1:24010"
        )));
    }
    let security = match (&global.fingerprint, global.plaintext) {
        (Some(_), true) => {
            return Err(Failure::usage(
                "--fingerprint asks for TLS and --plaintext for none; give one of them",
            ));
        }
        (Some(text), false) => {
            Security::Pinned(text.parse().map_err(|e| Failure::usage(format!("{e}")))?)
        }
        (None, true) => Security::Plaintext,
        (None, false) => {
            return Err(Failure::usage(
                "--server needs --fingerprint HEX, as planck printed it when it started (or \
                 --plaintext, for a server with tls.enabled: false)",
            ));
        }
    };
    let Some(key_file) = &global.key_file else {
        return Err(Failure::usage(
            "--server needs --key-file FILE: the file with the user's key; planck makes \
             that of admin, DIR/admin.key, at the first start",
        ));
    };
    let user = global.user.clone().unwrap_or_else(|| ADMIN.to_owned());
    let (address, transport) = (server.to_owned(), global.transport);
    Ok(Target { address, security, transport, user, key: key(key_file, "--key-file")? })
}

fn bad_port(port: &str) -> bool {
    port.parse::<u16>().is_ok_and(|port| port == 0) || port.parse::<u16>().is_err()
}

fn local(global: &Global, dir: &Path) -> Result<Target, Failure> {
    for (given, name) in
        [(global.fingerprint.is_some(), "--fingerprint"), (global.plaintext, "--plaintext")]
    {
        if given {
            return Err(Failure::usage(format!(
                "--dir and {name} do not go together: the service's directory says how to \
                 speak to it"
            )));
        }
    }
    let (user, key_file) = match (&global.user, &global.key_file) {
        (None, None) => (ADMIN.to_owned(), dir.join(ADMIN_KEY)),
        (user, Some(file)) => (user.clone().unwrap_or_else(|| ADMIN.to_owned()), file.clone()),
        (Some(user), None) if user == ADMIN => (user.clone(), dir.join(ADMIN_KEY)),
        (Some(user), None) => {
            return Err(Failure::usage(format!(
                "--user {user} needs --key-file FILE: the directory holds only the key of admin"
            )));
        }
    };
    if !dir.is_dir() {
        let message = format!("{} is no directory; give the one planck runs in", dir.display());
        return Err(Failure::new(Exit::NotFound, message));
    }
    let settings = Settings::of(dir)?;
    let address = match read(&dir.join(PUBLISHED))? {
        Some(text) => published(dir, &text)?,
        None => settings.address(dir)?,
    };
    let security = match settings.tls.enabled {
        false => Security::Plaintext,
        true => Security::Pinned(settings.fingerprint(dir)?),
    };
    let (address, transport) = (address.to_string(), global.transport);
    Ok(Target { address, security, transport, user, key: key(&key_file, "--key-file")? })
}

/// What the file of a running service says.
fn published(dir: &Path, text: &str) -> Result<SocketAddr, Failure> {
    let address: SocketAddr = text.trim().parse().map_err(|_| {
        let path = dir.join(PUBLISHED);
        Failure::new(
            Exit::Failure,
            format!("{} holds no address; start planck again", path.display()),
        )
    })?;
    Ok(reachable(address))
}

/// Who listens on all addresses is called at loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// The few settings of db.yaml that a client needs; planck checks them all.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Settings {
    address: IpAddr,
    port: u16,
    tls: Tls,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Tls {
    enabled: bool,
    cert_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { address: Ipv4Addr::LOCALHOST.into(), port: 24010, tls: Tls::default() }
    }
}

impl Default for Tls {
    fn default() -> Tls {
        Tls { enabled: true, cert_file: None }
    }
}

impl Settings {
    fn of(dir: &Path) -> Result<Settings, Failure> {
        let path = dir.join("db.yaml");
        let Some(text) = read(&path)? else { return Ok(Settings::default()) };
        // A file of comments alone is null, which is no mapping.
        serde_yaml::from_str::<Option<Settings>>(&text)
            .map(Option::unwrap_or_default)
            .map_err(|e| Failure::invalid(format!("{}: {e}", path.display())))
    }

    /// Where planck would listen by its settings.
    fn address(&self, dir: &Path) -> Result<SocketAddr, Failure> {
        if self.port == 0 {
            let message = format!(
                "the service in {} does not run: its port is chosen at start, and it has \
                 published none; start planck --dir {0}",
                dir.display()
            );
            return Err(Failure::new(Exit::Unreachable, message));
        }
        Ok(reachable(SocketAddr::new(self.address, self.port)))
    }

    fn fingerprint(&self, dir: &Path) -> Result<Fingerprint, Failure> {
        // An absolute cert_file replaces the directory.
        let path = dir.join(self.tls.cert_file.as_deref().unwrap_or(Path::new("tls/cert.pem")));
        let Some(text) = read(&path)? else {
            let message = format!(
                "{} is not there; planck makes it at its first start: has it been started with \
                 --dir {}?",
                path.display(),
                dir.display()
            );
            return Err(Failure::new(Exit::NotFound, message));
        };
        fingerprint_of_pem(text.as_bytes())
            .map_err(|_| Failure::invalid(format!("{} holds no PEM certificate", path.display())))
    }
}

/// The key in a file, which another one may be named instead of by `option`.
pub(crate) fn key(path: &Path, option: &str) -> Result<String, Failure> {
    let file = path.display();
    let Some(text) = read(path)? else {
        let made = match path.file_name() {
            Some(name) if name == ADMIN_KEY => {
                "planck makes it at the first start of a new service, and into one that was \
                 restored the old admin.key must be copied; or "
            }
            _ => "",
        };
        let message =
            format!("the key file {file} is not there: {made}give {option} the file with the key");
        return Err(Failure::new(Exit::NotFound, message));
    };
    let key = text.trim();
    if key.is_empty() || key.contains(char::is_whitespace) {
        let message = format!(
            "{file} should hold one key and nothing else: put the key into it, or give {option} \
             the file with the key"
        );
        return Err(Failure::invalid(message));
    }
    Ok(key.to_owned())
}

/// A small file, or `None` if there is none.
fn read(path: &Path) -> Result<Option<String>, Failure> {
    let mut text = String::new();
    let reading = std::fs::File::open(path).and_then(|file| {
        file.take(MAX_FILE).read_to_string(&mut text)?;
        Ok(())
    });
    match reading {
        Ok(()) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file("read", path, &error)),
    }
}

#[cfg(test)]
mod tests;
