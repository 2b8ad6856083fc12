//! The threads on which strangers are worked for.
//!
//! What must stay true: what somebody costs who has not authenticated over TCP, the
//! handshake of TLS above all, is done on one thread, and checks of keys on threads of
//! their own, `max_concurrent_auth` at most; so sessions keep the others, and whoever
//! stands behind the wire can let these yield to them. What is not waited for any more
//! is dropped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// One thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Door {
    handle: Handle,
    _open: oneshot::Sender<()>,
}

impl Door {
    /// `first` is called on the thread before anything else.
    pub(super) fn open(first: impl FnOnce() + Send + 'static) -> io::Result<Door> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (open, closed) = oneshot::channel::<()>();
        std::thread::Builder::new().name("planck-door".to_owned()).spawn(move || {
            first();
            // An Err is a dropped Door: that is what is waited for.
            runtime.block_on(closed).ok();
        })?;
        Ok(Door { handle, _open: open })
    }

    /// What comes of `work`, done there; `None` if it panicked, or the door is closed.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Work<T> {
        Work(self.handle.spawn(work))
    }
}

/// Work at the door, given up on drop.
pub(super) struct Work<T>(JoinHandle<T>);

impl<T> Future for Work<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let done = ready!(Pin::new(&mut self.0).poll(cx));
        if let Err(error) = &done
            && error.is_panic()
        {
            tracing::error!(%error, "letting somebody in panicked; only that connection is lost");
        }
        Poll::Ready(done.ok())
    }
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread::current;
    use std::time::Duration;

    /// Says on drop that it was dropped.
    struct Tells(mpsc::Sender<()>);

    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.send(()).ok();
        }
    }

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn all_is_done_on_the_one_thread_that_was_prepared() {
        let (tell, told) = mpsc::channel();
        let door = Door::open(move || tell.send(current().id()).unwrap()).unwrap();
        let prepared = told.recv_timeout(SOON).unwrap();
        for _ in 0..3 {
            assert_eq!(door.run(async { current().id() }).await, Some(prepared));
        }
        assert_eq!(door.run(async { panic!("asked to") }).await, None::<()>);
        assert_eq!(door.run(async { 7 }).await, Some(7), "it goes on");
    }

    #[tokio::test]
    async fn what_is_given_up_is_dropped_and_so_is_all_when_the_door_closes() {
        let door = Door::open(|| {}).unwrap();
        let (tell, told) = mpsc::channel();
        let endless = |tells: Tells| async move {
            let _tells = tells;
            std::future::pending::<()>().await;
        };
        drop(door.run(endless(Tells(tell.clone()))));
        told.recv_timeout(SOON).unwrap();
        let work = door.run(endless(Tells(tell)));
        drop(door);
        assert_eq!(work.await, None);
        told.recv_timeout(SOON).unwrap();
    }
}
