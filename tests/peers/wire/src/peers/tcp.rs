//! Our wire over TCP.
//!
//! What must stay true: not more is in flight than the server takes by default, so that
//! replies are read while requests are sent.

use super::planck::{self, Page};
use super::{Done, Peer, runtime, said};
use crate::documents::{Documents, Found};
use planck_client::{ConnectOptions, Connection, Security};
use proto::Request;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// `limits.max_in_flight`, as it is by default.
const IN_FLIGHT: usize = 64;

pub struct Tcp {
    runtime: Runtime,
    connection: Connection,
    documents: Arc<Documents>,
}

impl Tcp {
    pub fn connect(
        address: SocketAddr,
        security: Security,
        key: &str,
        documents: Arc<Documents>,
    ) -> Done<Tcp> {
        let (runtime, address) = (runtime()?, address.to_string());
        let options = ConnectOptions::default();
        let connecting = Connection::connect(&address, security, "admin", key, options);
        let connection = runtime.block_on(connecting).map_err(said)?;
        let mut tcp = Tcp { runtime, connection, documents };
        planck::created(&tcp.call(&planck::create())?)?;
        Ok(tcp)
    }

    fn call(&mut self, request: &Request<'_>) -> Done<Vec<u8>> {
        self.runtime.block_on(self.connection.call(request)).map_err(said)
    }

    /// Sends one request for each number, and looks at the replies in the same order.
    fn together<'d>(
        &mut self,
        numbers: &[u64],
        request: impl Fn(u64) -> Request<'d>,
        look: impl Fn(u64, &[u8]) -> Done,
    ) -> Done {
        let Tcp { runtime, connection, .. } = self;
        runtime.block_on(async {
            let mut due = numbers.iter();
            for n in numbers {
                if connection.in_flight() == IN_FLIGHT {
                    let oldest = due.next().expect("it was sent");
                    look(*oldest, &connection.receive().await.map_err(said)?)?;
                }
                connection.send(&request(*n)).await.map_err(said)?;
            }
            for n in due {
                look(*n, &connection.receive().await.map_err(said)?)?;
            }
            Ok(())
        })
    }
}

impl Peer for Tcp {
    fn get(&mut self, n: u64) -> Done {
        let reply = self.call(&planck::read(n))?;
        planck::gave(&self.documents, n, &reply)
    }

    fn get_many(&mut self, numbers: &[u64]) -> Done {
        let documents = Arc::clone(&self.documents);
        self.together(numbers, planck::read, |n, reply| planck::gave(&documents, n, reply))
    }

    fn put(&mut self, n: u64) -> Done {
        let documents = Arc::clone(&self.documents);
        planck::inserted(n, &self.call(&planck::insert(&documents, n))?)
    }

    fn put_many(&mut self, numbers: &[u64]) -> Done {
        let documents = Arc::clone(&self.documents);
        self.together(numbers, |n| planck::insert(&documents, n), planck::inserted)
    }

    fn scan(&mut self, found: &mut Found<'_>) -> Done {
        let Tcp { runtime, connection, .. } = self;
        runtime.block_on(async {
            let first = connection.call(&planck::scan()).await.map_err(said)?;
            let mut page = Page::new(first)?;
            while let Some(cursor) = page.cursor {
                connection.send(&Request::Fetch { cursor }).await.map_err(said)?;
                connection.flush().await.map_err(said)?;
                page.look(found)?;
                page = Page::new(connection.receive().await.map_err(said)?)?;
            }
            page.look(found)
        })
    }
}
