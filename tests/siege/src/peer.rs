//! One connection to the wire, raw: what is sent is whatever the attack likes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use proto::packet::HEADER_BYTES;
use proto::{Header, Reply, Request, Status};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How often, a second apart, somebody with the right key tries to come in.
const TURNS: u32 = 30;
/// For one thing to happen: only a server that hangs reaches it.
const PATIENCE: Duration = Duration::from_secs(60);
/// A longer reply than any that is asked for.
const MAX_REPLY: usize = 64 << 20;

/// Where the server is, and how it is spoken to.
#[derive(Clone)]
pub struct Way {
    pub address: SocketAddr,
    pub tls: Arc<rustls::ClientConfig>,
}

/// An address of loopback: 127.`group`.x.y, each `n` another, of 50,000.
pub fn from(group: u8, n: usize) -> IpAddr {
    let n = n % 50_000;
    IpAddr::V4(Ipv4Addr::new(127, group, (n / 250) as u8, (n % 250 + 1) as u8))
}

impl Way {
    /// A bare socket that comes from that address.
    pub async fn socket(&self, from: IpAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        let stream = patient(socket.connect(self.address)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A connection that has shaken hands.
    pub async fn open(&self, from: IpAddr) -> io::Result<Peer> {
        let stream = self.socket(from).await?;
        let name = ServerName::try_from("localhost").expect("localhost is a name");
        let connecting = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream);
        Ok(Peer { stream: patient(connecting).await?, inbox: Vec::new() })
    }

    /// A session.
    pub async fn session(&self, from: IpAddr, user: &str, key: &str) -> io::Result<Peer> {
        let mut turns = 0;
        loop {
            let mut peer = self.open(from).await?;
            match peer.ask(&encoded(0, &Request::Auth { user, key })).await? {
                (Status::Ok, _) => return Ok(peer),
                // All of this machine are one party: what an attacker did with wrong keys
                // locks it for a while, and who is known waits for a turn.
                (Status::LockedOut, _) if turns < TURNS => {
                    turns += 1;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                (status, message) => return Err(io::Error::other(format!("{status}: {message}"))),
            }
        }
    }
}

async fn patient<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(PATIENCE, what).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing happened for a minute")),
    }
}

/// A request as a packet.
pub fn encoded(id: u64, request: &Request<'_>) -> Vec<u8> {
    let mut packet = Vec::new();
    request.encode(id, &mut packet);
    packet
}

/// A connection.
pub struct Peer {
    stream: TlsStream<TcpStream>,
    inbox: Vec<u8>,
}

impl Peer {
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        patient(async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await
    }

    /// The next whole reply packet.
    pub async fn reply(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(total) = self.whole()? {
                let rest = self.inbox.split_off(total);
                return Ok(std::mem::replace(&mut self.inbox, rest));
            }
            let mut part = [0; 16 << 10];
            let read = patient(self.stream.read(&mut part)).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.inbox.extend_from_slice(&part[..read]);
        }
    }

    fn whole(&self) -> io::Result<Option<usize>> {
        let Some(bytes) = self.inbox.get(..HEADER_BYTES) else { return Ok(None) };
        let header = Header::parse(bytes).map_err(|e| io::Error::other(e.to_string()))?;
        let total = HEADER_BYTES + header.body as usize;
        if total > MAX_REPLY {
            return Err(io::Error::other(format!("a reply says that it has {total} bytes")));
        }
        Ok((self.inbox.len() >= total).then_some(total))
    }

    /// Sends one packet; the status of its reply, and what it says if that is no success.
    pub async fn ask(&mut self, packet: &[u8]) -> io::Result<(Status, String)> {
        self.send(packet).await?;
        let reply = self.reply().await?;
        match Reply::decode(&reply) {
            Ok((_, Reply::Error { status, message })) => Ok((status, message.to_owned())),
            Ok(_) => Ok((Status::Ok, String::new())),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }
}
