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

impl SystemResolver {
    /// Looks something up on a thread of its own, once there is a place for that.
    async fn look<I>(
        lookups: Arc<Semaphore>,
        look: impl FnOnce() -> io::Result<I> + Send + 'static,
    ) -> io::Result<Vec<IpAddr>>
    where
        I: Iterator<Item = IpAddr>,
    {
        let place = lookups.acquire_owned().await.map_err(io::Error::other)?;
        let look = move || {
            // Given up by whoever asked, it holds its place until it has ended.
            let _place = place;
            Ok(look()?.take(MAX_ADDRESSES).collect())
        };
        tokio::task::spawn_blocking(look).await.map_err(io::Error::other)?
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str) -> Resolved {
        let host = host.to_owned();
        Box::pin(SystemResolver::look(Arc::clone(&self.0), move || {
            Ok((host.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::{Mutex, mpsc};
    use std::time::Duration;
    use tokio::task::JoinHandle;

    /// Lookups that hang until they are let go, one by one.
    struct Hanging {
        resolver: SystemResolver,
        begun: Arc<AtomicUsize>,
        let_go: mpsc::Sender<()>,
        waits: Arc<Mutex<mpsc::Receiver<()>>>,
    }

    impl Hanging {
        fn new() -> Hanging {
            let (let_go, waits) = mpsc::channel();
            let (resolver, begun) = (SystemResolver::default(), Arc::default());
            Hanging { resolver, begun, let_go, waits: Arc::new(Mutex::new(waits)) }
        }

        fn ask(&self) -> JoinHandle<io::Result<Vec<IpAddr>>> {
            let (begun, waits) = (Arc::clone(&self.begun), Arc::clone(&self.waits));
            tokio::spawn(SystemResolver::look(Arc::clone(&self.resolver.0), move || {
                begun.fetch_add(1, SeqCst);
                // An Err is the end of the test.
                waits.lock().unwrap().recv().ok();
                Ok(std::iter::repeat_n(IpAddr::V4(Ipv4Addr::LOCALHOST), 2 * MAX_ADDRESSES))
            }))
        }

        /// Once so many have begun.
        async fn begun(&self, count: usize) {
            while self.begun.load(SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    #[tokio::test]
    async fn so_many_lookups_hang_and_no_more_begin_whoever_gives_up() {
        let hanging = Hanging::new();
        let mut asked: Vec<_> = (0..LOOKUPS).map(|_| hanging.ask()).collect();
        hanging.begun(LOOKUPS).await;
        let next = hanging.ask();
        // Those who asked go; what they asked for goes on, and so holds its thread.
        for one in asked.drain(..) {
            one.abort();
            assert!(one.await.unwrap_err().is_cancelled());
        }
        assert_eq!(hanging.resolver.0.available_permits(), 0);
        assert_eq!(hanging.begun.load(SeqCst), LOOKUPS);
        // One ends, and the next begins.
        hanging.let_go.send(()).unwrap();
        hanging.begun(LOOKUPS + 1).await;
        assert!(!next.is_finished());
        (0..LOOKUPS).for_each(|_| hanging.let_go.send(()).unwrap());
        assert_eq!(next.await.unwrap().unwrap().len(), MAX_ADDRESSES, "of twice as many");
    }
}
