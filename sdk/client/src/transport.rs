//! How bytes get to the server and back: TCP, with TLS in it or without.
//!
//! What must stay true: nothing of the caller's is sent before the server has shown
//! what is pinned. A [`Channel`] carries bytes both ways in their order; who carries
//! them otherwise makes another one here. QUIC, with a stream for each request, is no
//! channel: `Session` stands beside `Connection`, and `line.rs` is where the pool takes
//! the one or the other.

use crate::options::{ConnectOptions, Security};
use crate::tls::Trust;
use crate::{Error, Result};
use proto::packet::ALPN;
use rustls::pki_types::ServerName;
use std::fmt::Debug;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Ordered bytes, both ways.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Debug + Send + Unpin> Bytes for T {}

/// An open way to a server.
pub(crate) type Channel = Box<dyn Bytes>;

/// Opens one to `address`.
pub(crate) async fn open(
    address: &str,
    security: Security,
    options: &ConnectOptions,
) -> Result<Channel> {
    options.check(security)?;
    let unreachable = |source| Error::Unreachable { address: address.to_owned(), source };
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let Security::Pinned(pin) = security else { return Ok(Box::new(stream)) };
    // The name is not what is trusted; it is sent only so that there is one.
    let name = ServerName::try_from("localhost").expect("localhost is a name");
    let trust = Trust::new(pin, options.identity.as_ref())?;
    let connector = TlsConnector::from(trust.config.clone());
    let handshake = |source| Error::Handshake { address: address.to_owned(), source };
    match connector.connect(name, stream).await {
        Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(ALPN) => Ok(Box::new(stream)),
        Ok(_) => Err(handshake(io::Error::other("the server does not offer planck's protocol"))),
        Err(error) => Err(trust.mismatch().unwrap_or_else(|| handshake(error))),
    }
}
