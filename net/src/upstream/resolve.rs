//! From a name to addresses.
//!
//! What must stay true: a name is resolved once for a connection, and what came of it is
//! what is vetted and connected to; nobody asks again behind the vetting. However many
//! lookups hang in the system's resolver, the threads they hold are bounded.

use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Lookups at once.
const LOOKUPS: usize = 16;
/// Addresses of a name that are looked at.
pub(super) const MAX_ADDRESSES: usize = 32;

/// Addresses, or why there are none.
pub type Resolved = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Finds the addresses of a name.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host`, the best first.
    fn resolve(&self, host: &str) -> Resolved;
}

/// The system's resolver.
#[derive(Debug)]
pub struct SystemResolver(Arc<Semaphore>);

impl Default for SystemResolver {
    fn default() -> Self {
        SystemResolver(Arc::new(Semaphore::new(LOOKUPS)))
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str) -> Resolved {
        let (host, lookups) = (host.to_owned(), Arc::clone(&self.0));
        Box::pin(async move {
            let place = lookups.acquire_owned().await.map_err(io::Error::other)?;
            let look = move || {
                // Given up by whoever asked, it holds its place until it has ended.
                let _place = place;
                let found = (host.as_str(), 0).to_socket_addrs()?;
                Ok(found.map(|address| address.ip()).take(MAX_ADDRESSES).collect())
            };
            tokio::task::spawn_blocking(look).await.map_err(io::Error::other)?
        })
    }
}
