//! How bytes get to the server and back: TCP, with TLS in it or without.
//!
//! What must stay true: nothing of the caller's is sent before the server has shown
//! what is pinned. A [`Channel`] carries bytes both ways in their order; who carries
//! them otherwise makes another one here. A transport with a stream for each request
//! (QUIC) is no channel: it takes its place one floor up, where `Connection` pairs
//! requests with replies, which is all that the pool and the client know of.

use crate::options::{ConnectOptions, Security};
use crate::{Error, Result, tls};
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
    let connector = TlsConnector::from(tls::client_config(pin, options.identity.as_ref())?);
    let handshake = |source| Error::Handshake { address: address.to_owned(), source };
    match connector.connect(name, stream).await {
        Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(ALPN) => Ok(Box::new(stream)),
        Ok(_) => Err(handshake(io::Error::other("the server does not offer planck's protocol"))),
        Err(error) => Err(match tls::pin_mismatch(&error) {
            Some(found) => Error::WrongCertificate { expected: found.expected, found: found.found },
            None => handshake(error),
        }),
    }
}
