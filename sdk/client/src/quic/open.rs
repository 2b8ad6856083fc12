//! A connection of QUIC, up to the moment in which a key may be sent.
//!
//! What must stay true: what is trusted is what TCP trusts (`tls.rs`), and nothing of the
//! caller's is sent before it was shown. Where a name has many addresses, one that is
//! silent does not keep the others from being tried. The server opens no streams here,
//! and no datagram is kept: what it sends is bounded by what is asked.

use super::{NO_REASON, alert, ended, lost, refusal};
use crate::options::{ConnectOptions, Security, UNDER_TLS};
use crate::tls::Trust;
use crate::{Error, Fate, Result};
use proto::packet::ALPN;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, IdleTimeout, TransportConfig, VarInt,
};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// A server of which nothing is heard for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// It is made to say something so often.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Bytes of one stream, and of all streams of a connection, that are received before
/// they are taken; and sent before they are acknowledged.
const STREAM_WINDOW: u32 = 1 << 20;
const WINDOW: u32 = 8 << 20;
/// An address that is silent for so long is not waited for alone.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Why an address gives no connection.
enum Failure {
    Silent,
    System(io::Error),
    Quic(ConnectionError),
}

/// Opens one to `address`.
pub(super) async fn open(
    address: &str,
    security: Security,
    options: &ConnectOptions,
) -> Result<(Endpoint, Connection)> {
    let Security::Pinned(pin) = security else { return Err(Error::invalid(UNDER_TLS)) };
    let unreachable = |source| Error::Unreachable { address: address.to_owned(), source };
    let trust = Trust::new(pin, options.identity.as_ref())?;
    let config = config(&trust).map_err(unreachable)?;
    let found = lookup_host(address).await.map_err(unreachable)?;
    let (endpoint, connection) = match one_of(found, &config, options.connect_timeout).await {
        Ok(opened) => opened,
        Err(failure) => return Err(trust.mismatch().unwrap_or_else(|| failed(address, failure))),
    };
    if spoken(&connection).as_deref() != Some(ALPN) {
        connection.close(NO_REASON, b"");
        let source = io::Error::other("the server does not offer planck's protocol");
        return Err(Error::Handshake { address: address.to_owned(), source });
    }
    Ok((endpoint, connection))
}

fn config(trust: &Trust) -> io::Result<ClientConfig> {
    let crypto = QuicClientConfig::try_from(trust.config.clone()).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(WINDOW.into())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::try_from(SILENCE).map_err(io::Error::other)?));
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// A connection to one of the addresses: the first that is made.
async fn one_of(
    servers: impl Iterator<Item = SocketAddr>,
    config: &ClientConfig,
    limit: Duration,
) -> Result<(Endpoint, Connection), Failure> {
    let mut trying = JoinSet::new();
    for (nth, server) in (0..).zip(servers) {
        let config = config.clone();
        trying.spawn(async move {
            sleep(NEXT_ADDRESS.saturating_mul(nth)).await;
            one(server, config).await
        });
    }
    let mut failure = Failure::Silent;
    let first = async {
        while let Some(tried) = trying.join_next().await {
            match tried {
                Ok(Ok(opened)) => return Some(opened),
                // Whatever was said says more than silence.
                Ok(Err(other)) if matches!(failure, Failure::Silent) => failure = other,
                _ => {}
            }
        }
        None
    };
    // What is dropped half-way, or was opened second, is closed by that.
    timeout(limit, first).await.ok().flatten().ok_or(failure)
}

/// A connection to one address, on a socket of its own.
async fn one(server: SocketAddr, config: ClientConfig) -> Result<(Endpoint, Connection), Failure> {
    let any = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = Endpoint::client(any).map_err(Failure::System)?;
    // The name is not what is trusted; it is sent only so that there is one.
    let connecting = endpoint.connect_with(config, server, "localhost");
    let connecting = connecting.map_err(|error| Failure::System(io::Error::other(error)))?;
    match connecting.await {
        Ok(connection) => Ok((endpoint, connection)),
        Err(ConnectionError::TimedOut) => Err(Failure::Silent),
        Err(end) => Err(Failure::Quic(end)),
    }
}

/// The protocol that the handshake agreed on.
fn spoken(connection: &Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

/// Why there is no connection.
fn failed(address: &str, failure: Failure) -> Error {
    let unreachable = |source| Error::Unreachable { address: address.to_owned(), source };
    let end = match failure {
        Failure::System(error) => return unreachable(error),
        Failure::Silent => {
            let words = "nothing answers by UDP (has it quic.enabled, and does UDP get through?)";
            return unreachable(io::Error::new(io::ErrorKind::TimedOut, words));
        }
        Failure::Quic(end) => end,
    };
    let of_tls = match &end {
        ConnectionError::TransportError(error) => alert(error.code.into()).is_some(),
        ConnectionError::VersionMismatch => true,
        _ => false,
    };
    match refusal(&end) {
        Some(refused) => refused,
        None if of_tls => {
            Error::Handshake { address: address.to_owned(), source: io::Error::other(end) }
        }
        None => lost(ended(end), Fate::NotDone).before_a_session(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Fingerprint;

    #[tokio::test]
    async fn an_address_that_is_silent_does_not_keep_the_next_one_from_being_tried() {
        let silent = tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let silent = silent.local_addr().unwrap();
        // There is no port 0, which is found out as soon as it is tried.
        let none: SocketAddr = ([127, 0, 0, 1], 0).into();
        let config = config(&Trust::new(Fingerprint([0; 32]), None).unwrap()).unwrap();
        let tried = one_of([silent, none].into_iter(), &config, NEXT_ADDRESS * 4).await;
        assert!(matches!(tried, Err(Failure::System(_))));
        let tried = one_of([silent].into_iter(), &config, NEXT_ADDRESS).await;
        assert!(matches!(tried, Err(Failure::Silent)));
    }
}
