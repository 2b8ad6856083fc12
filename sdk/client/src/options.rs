//! Where the server is, whom to trust, and every bound of a client.

use crate::tls::Identity;
use crate::{Error, Result};
use proto::Fingerprint;
use std::fmt;
use std::time::Duration;

/// Whom a client trusts. There is no default: leaving TLS out is somebody's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS 1.3, and the server whose certificate has this fingerprint.
    Pinned(Fingerprint),
    /// Nobody in between is kept out: for `tls.enabled: false`.
    Plaintext,
}

/// What carries the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// A connection for each call, kept for the next one.
    #[default]
    Tcp,
    /// A stream for each call: up to eight calls share a connection, none waits for
    /// another, and one that is given up costs no connection. Needs TLS, and a server
    /// with `quic.enabled` (it is by default). A server that vanishes without a word is
    /// noticed after 30 s; over TCP the system may say so at once.
    #[cfg(feature = "quic")]
    Quic,
}

#[cfg(feature = "quic")]
pub(crate) const UNDER_TLS: &str =
    "QUIC is always under TLS: pin the server's fingerprint, or use TCP";

impl Transport {
    #[cfg_attr(not(feature = "quic"), expect(unused_variables))]
    pub(crate) fn check(self, security: Security) -> Result<()> {
        match self {
            #[cfg(feature = "quic")]
            Transport::Quic if security == Security::Plaintext => Err(Error::invalid(UNDER_TLS)),
            _ => Ok(()),
        }
    }
}

/// Limits of one connection.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// For the connection, the handshake and Auth together.
    pub connect_timeout: Duration,
    /// For one reply to arrive.
    pub call_timeout: Duration,
    /// Bytes of one message, either way. What a server says of its own limit holds too.
    pub max_message_size: usize,
    /// Requests sent whose replies have not been received. One more is refused; over
    /// QUIC it waits, within its time.
    pub max_in_flight: usize,
    /// Bytes of replies that arrived and have not been received; over QUIC they are
    /// received as they come.
    pub max_unread: usize,
    /// A certificate of the client's own, for a server that asks for one (mutual TLS).
    pub identity: Option<Identity>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions {
            connect_timeout: Duration::from_secs(15),
            call_timeout: Duration::from_secs(120),
            max_message_size: 64 << 20,
            max_in_flight: 1024,
            max_unread: 128 << 20,
            identity: None,
        }
    }
}

/// Bounds of the connections a client holds.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Connections at once, in use and idle. Over QUIC this is how many calls, and rows
    /// that are being read, there are at once: up to eight of them share a connection.
    pub connections: usize,
    /// Calls that may wait for a connection; one more fails at once.
    pub waiting: usize,
    /// How long a call waits for a connection.
    pub wait_timeout: Duration,
    /// A connection that was idle for so long is closed.
    pub idle_timeout: Duration,
    /// A connection that was idle for so long is asked whether it lives before it is used.
    pub check_after: Duration,
    /// How long it may take to say so.
    pub check_timeout: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        PoolOptions {
            connections: 8,
            waiting: 256,
            wait_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            check_after: Duration::from_secs(10),
            check_timeout: Duration::from_secs(5),
        }
    }
}

/// How often, and how soon, what is safe to repeat is tried again.
#[derive(Clone, Copy, Debug)]
pub struct RetryOptions {
    /// Attempts in all; 1: nothing is tried again.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles with each. Half of it is left to
    /// chance, so that clients do not come back all at once.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
    /// No attempt begins so long after the first one began.
    pub within: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        RetryOptions {
            attempts: 8,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(2),
            within: Duration::from_secs(15),
        }
    }
}

/// A server, a user of it, and the bounds of a client.
#[derive(Clone)]
pub struct Config {
    /// `host:port`, as planck prints it when it starts.
    pub address: String,
    /// Whom to trust.
    pub security: Security,
    /// What carries the packets: TCP, unless something else is said.
    pub transport: Transport,
    /// Who asks.
    pub user: String,
    /// The user's key.
    pub key: String,
    /// Limits of each connection.
    pub connect: ConnectOptions,
    /// How many connections there are, and for how long.
    pub pool: PoolOptions,
    /// What is tried again.
    pub retry: RetryOptions,
}

impl Config {
    /// With the default bounds.
    pub fn new(
        address: impl Into<String>,
        security: Security,
        user: impl Into<String>,
        key: impl Into<String>,
    ) -> Config {
        Config {
            address: address.into(),
            security,
            transport: Transport::default(),
            user: user.into(),
            key: key.into(),
            connect: ConnectOptions::default(),
            pool: PoolOptions::default(),
            retry: RetryOptions::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let port = self.address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if port.is_none_or(|(_, port)| !port.parse::<u16>().is_ok_and(|port| port != 0)) {
            let message = format!(
                "`{}` is no address: write host:port, such as 127.0.0.1:24010",
                self.address
            );
            return Err(Error::Invalid(message));
        }
        for (bound, name) in [
            (self.pool.connections, "pool.connections"),
            (self.connect.max_in_flight, "connect.max_in_flight"),
            (self.retry.attempts as usize, "retry.attempts"),
        ] {
            if bound == 0 {
                return Err(Error::Invalid(format!("{name} is 0: give at least 1")));
            }
        }
        self.transport.check(self.security)?;
        self.connect.check(self.security)
    }
}

impl ConnectOptions {
    pub(crate) fn check(&self, security: Security) -> Result<()> {
        if self.identity.is_some() && security == Security::Plaintext {
            return Err(Error::invalid(
                "a certificate of the client goes with TLS: pin the server's fingerprint, or \
                 leave the certificate out",
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is nobody's to read.
        f.debug_struct("Config")
            .field("address", &self.address)
            .field("security", &self.security)
            .field("transport", &self.transport)
            .field("user", &self.user)
            .field("connect", &self.connect)
            .field("pool", &self.pool)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(address: &str) -> Config {
        Config::new(address, Security::Plaintext, "ann", "very secret")
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["127.0.0.1:1", "db.example:24010", "[::1]:65535"] {
            assert!(config(good).check().is_ok(), "{good}");
        }
        for bad in ["", "host", ":1", "host:0", "host:65536", "host:port"] {
            let error = config(bad).check().unwrap_err().to_string();
            assert!(error.contains("is no address"), "{error}");
        }
    }

    #[test]
    fn bounds_of_nothing_are_refused_by_name() {
        let mut none = config("h:1");
        none.pool.connections = 0;
        assert!(none.check().unwrap_err().to_string().starts_with("pool.connections is 0"));
        none.pool.connections = 1;
        none.retry.attempts = 0;
        assert!(none.check().unwrap_err().to_string().starts_with("retry.attempts is 0"));
        none.retry.attempts = 1;
        none.connect.max_in_flight = 0;
        assert!(none.check().unwrap_err().to_string().starts_with("connect.max_in_flight is 0"));
    }

    #[cfg(feature = "quic")]
    #[test]
    fn quic_goes_with_tls() {
        let mut plain = config("h:1");
        plain.transport = Transport::Quic;
        let error = plain.check().unwrap_err().to_string();
        assert!(error.starts_with("QUIC is always under TLS"), "{error}");
        plain.security = Security::Pinned(Fingerprint([0; 32]));
        assert!(plain.check().is_ok());
    }

    #[test]
    fn what_is_shown_for_debugging_has_no_key_in_it() {
        let shown = format!("{:?}", config("h:1"));
        assert!(shown.contains("ann") && !shown.contains("secret"), "{shown}");
    }
}
