//! Our wire over QUIC: a stream for each request.

use super::planck::{self, Page};
use super::{Done, Peer, runtime, said};
use crate::documents::{Documents, Found};
use futures_util::future::try_join_all;
use proto::Request;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// More than any reply has.
const MOST: usize = 64 << 20;

pub struct Quic {
    runtime: Runtime,
    connection: Connection,
    documents: Arc<Documents>,
}

impl Quic {
    pub fn connect(
        address: SocketAddr,
        tls: &rustls::ClientConfig,
        key: &str,
        documents: Arc<Documents>,
    ) -> Done<Quic> {
        let crypto = QuicClientConfig::try_from(tls.clone()).map_err(said)?;
        let runtime = runtime()?;
        let connection = runtime.block_on(async {
            let mut endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).map_err(said)?;
            endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
            endpoint.connect(address, "localhost").map_err(said)?.await.map_err(said)
        })?;
        let quic = Quic { runtime, connection, documents };
        planck::created(&quic.call(&Request::Auth { user: "admin", key })?)?;
        planck::created(&quic.call(&planck::create())?)?;
        Ok(quic)
    }

    fn call(&self, request: &Request<'_>) -> Done<Vec<u8>> {
        self.runtime.block_on(call(&self.connection, packet(request)))
    }

    /// Opens a stream for each number, and looks at the replies when all are there.
    fn together<'d>(
        &self,
        numbers: &[u64],
        request: impl Fn(u64) -> Request<'d>,
        look: impl Fn(u64, &[u8]) -> Done,
    ) -> Done {
        let calls = numbers.iter().map(|n| call(&self.connection, packet(&request(*n))));
        let replies = self.runtime.block_on(try_join_all(calls))?;
        numbers.iter().zip(&replies).try_for_each(|(n, reply)| look(*n, reply))
    }
}

fn packet(request: &Request<'_>) -> Vec<u8> {
    let mut packet = Vec::new();
    request.encode(1, &mut packet);
    packet
}

async fn call(connection: &Connection, packet: Vec<u8>) -> Done<Vec<u8>> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(said)?;
    send.write_all(&packet).await.map_err(said)?;
    send.finish().map_err(said)?;
    recv.read_to_end(MOST).await.map_err(said)
}

impl Peer for Quic {
    fn get(&mut self, n: u64) -> Done {
        planck::gave(&self.documents, n, &self.call(&planck::read(n))?)
    }

    fn get_many(&mut self, numbers: &[u64]) -> Done {
        self.together(numbers, planck::read, |n, reply| planck::gave(&self.documents, n, reply))
    }

    fn put(&mut self, n: u64) -> Done {
        planck::inserted(n, &self.call(&planck::insert(&self.documents, n))?)
    }

    fn put_many(&mut self, numbers: &[u64]) -> Done {
        self.together(numbers, |n| planck::insert(&self.documents, n), planck::inserted)
    }

    fn scan(&mut self, found: &mut Found<'_>) -> Done {
        self.runtime.block_on(async {
            let first = call(&self.connection, packet(&planck::scan())).await?;
            let mut page = Page::new(first)?;
            while let Some(cursor) = page.cursor {
                let connection = self.connection.clone();
                let fetch = packet(&Request::Fetch { cursor });
                let next = tokio::spawn(async move { call(&connection, fetch).await });
                // One turn of the others sends it; the server is at it while we look.
                tokio::task::yield_now().await;
                page.look(found)?;
                page = Page::new(next.await.map_err(said)??)?;
            }
            page.look(found)
        })
    }
}
