//! Who waits for commits: watchers of the wire, and event streams that follow stores.
//!
//! What must stay true: a commit pays one look at a number for all who wait, and wakes one
//! task ([`wake`]), which wakes them a moment later, all commits of that moment at once.
//! Who waits holds no thread and nothing of the engine. So many of the wire may wait
//! ([`Watchers::wait`]).

use engine::{Engine, Waits};
use net::wire::Wait;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

/// How long the first of them are waited for, and how much longer for each that waits: so
/// what they look at for nothing is bounded.
const MOMENT: Duration = Duration::from_millis(1);
const FOR_EACH: Duration = Duration::from_micros(10);
const LONGEST: Duration = Duration::from_millis(50);

/// What a commit tells.
#[derive(Default)]
struct News {
    newest: AtomicU64,
    waiting: AtomicUsize,
    wake: Notify,
}

/// See the module.
pub struct Watchers {
    news: Arc<News>,
    told: watch::Receiver<u64>,
    places: Arc<Semaphore>,
    most: usize,
    /// Ends the telling with this.
    _settled: Box<dyn std::any::Any + Send + Sync>,
}

/// One that waits.
struct Waiting(Arc<News>);

impl Waiting {
    fn new(news: &Arc<News>) -> Waiting {
        news.waiting.fetch_add(1, SeqCst);
        Waiting(Arc::clone(news))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

impl Watchers {
    /// Of an engine; `most` of the wire may wait at once. On a runtime.
    pub fn new(engine: &Engine, most: usize) -> Watchers {
        let news = Arc::new(News::default());
        let (tell, told) = watch::channel(0);
        let settled = engine.on_settled({
            let news = Arc::clone(&news);
            move |lsn| {
                news.newest.fetch_max(lsn, SeqCst);
                // Who begins to wait now looks at the number after it has said so.
                if news.waiting.load(SeqCst) > 0 {
                    news.wake.notify_one();
                }
            }
        });
        tokio::spawn(wake(Arc::downgrade(&news), tell));
        let most = most.min(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(most));
        Watchers { news, told, places, most, _settled: Box::new(settled) }
    }

    /// What a watcher of the wire waits for; `None`: as many wait as may.
    pub fn wait(&self, waits: Waits) -> Option<Wait> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(self.wait_with(waits, Some(place)))
    }

    /// What a replica waits for: their number is bounded by the engine.
    pub fn wait_of_replica(&self, waits: Waits) -> Wait {
        self.wait_with(waits, None)
    }

    fn wait_with(&self, waits: Waits, place: Option<OwnedSemaphorePermit>) -> Wait {
        Wait {
            news: Box::pin(self.behind(waits.behind, place)),
            time: Duration::from_millis(waits.millis.into()),
            place: waits.behind,
        }
    }

    /// Ends when there is a commit behind `lsn`, or a moment later.
    pub fn behind(
        &self,
        lsn: u64,
        place: Option<OwnedSemaphorePermit>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (news, mut told) = (Arc::clone(&self.news), self.told.clone());
        async move {
            let _waiting = (Waiting::new(&news), place);
            if news.newest.load(SeqCst) > lsn {
                news.wake.notify_one();
            }
            // An Err is the end of the service: whoever waits is answered.
            told.wait_for(|told| *told > lsn).await.ok();
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.news.waiting.load(SeqCst)
    }

    /// How many of the wire may.
    pub fn most(&self) -> usize {
        self.most
    }
}

/// Tells all who wait, a moment after the first commit for which there is somebody.
async fn wake(news: Weak<News>, tell: watch::Sender<u64>) {
    loop {
        let Some(now) = news.upgrade() else { return };
        let waiting = u32::try_from(now.waiting.load(SeqCst)).unwrap_or(u32::MAX);
        // Let go of now and then, so that this ends with the service.
        let woken = tokio::time::timeout(Duration::from_secs(1), now.wake.notified()).await;
        if woken.is_err() {
            continue;
        }
        tell.send_replace(now.newest.load(SeqCst));
        drop(now);
        tokio::time::sleep((MOMENT + FOR_EACH.saturating_mul(waiting)).min(LONGEST)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Options;
    use platform::sim::{SimClock, SimDisk, SimEntropy};
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(20);

    fn engine() -> Engine {
        let (disk, clock) = (SimDisk::new(1), Arc::new(SimClock::new(1)));
        Engine::open(disk, clock, Arc::new(SimEntropy::new(1)), Options::default()).unwrap()
    }

    fn commit(engine: &Engine, store: &str) -> u64 {
        let mut out = Vec::new();
        let who = engine::Principal::new("root", engine::Role::Admin);
        let create = proto::Request::CreateStore { store, if_not_exists: false };
        engine.dispatch(&who, 1, create, &mut out);
        engine.sync().unwrap()
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_a_commit_that_is_durable() {
        let engine = engine();
        let watchers = Watchers::new(&engine, 2);
        let behind = |lsn| timeout(SOON, watchers.behind(lsn, None));
        let lsn = commit(&engine, "a");
        behind(lsn - 1).await.unwrap();
        assert_eq!(watchers.waiting(), 0);
        let waiting: Vec<_> = (0..50).map(|_| tokio::spawn(watchers.behind(lsn, None))).collect();
        while watchers.waiting() < 50 {
            tokio::task::yield_now().await;
        }
        assert!(timeout(MOMENT * 20, watchers.behind(lsn, None)).await.is_err(), "nothing is new");
        commit(&engine, "b");
        for one in waiting {
            timeout(SOON, one).await.unwrap().unwrap();
        }
        assert_eq!(watchers.waiting(), 0);
        // However commits and waits fall: none is missed.
        for n in 0..200 {
            let wait = tokio::spawn(watchers.behind(engine_lsn(&engine), None));
            if n % 2 == 0 {
                tokio::task::yield_now().await;
            }
            commit(&engine, &format!("s{n}"));
            timeout(SOON, wait).await.unwrap().unwrap();
        }
    }

    fn engine_lsn(engine: &Engine) -> u64 {
        engine.sync().unwrap()
    }

    #[tokio::test]
    async fn so_many_of_the_wire_wait_and_no_more() {
        let engine = engine();
        let watchers = Watchers::new(&engine, 2);
        let waits = Waits { behind: engine_lsn(&engine), millis: 70 };
        let (one, two) = (watchers.wait(waits).unwrap(), watchers.wait(waits).unwrap());
        assert_eq!((one.time, one.place), (Duration::from_millis(70), waits.behind));
        assert!(watchers.wait(waits).is_none());
        drop(one);
        let three = watchers.wait(waits).unwrap();
        assert!(watchers.wait(waits).is_none());
        drop((two, three));
        // Those that are done have given back their place.
        let done = watchers.wait(waits).unwrap();
        commit(&engine, "a");
        timeout(SOON, done.news).await.unwrap();
        let _all = (watchers.wait(waits).unwrap(), watchers.wait(waits).unwrap());
        assert_eq!(watchers.most(), 2);
    }

    #[tokio::test]
    async fn it_ends_with_the_service() {
        let engine = engine();
        let watchers = Watchers::new(&engine, 2);
        let news = Arc::downgrade(&watchers.news);
        let waiting = tokio::spawn(watchers.behind(engine_lsn(&engine), None));
        tokio::task::yield_now().await;
        waiting.abort();
        drop(watchers);
        while news.upgrade().is_some() {
            tokio::time::sleep(MOMENT).await;
        }
    }
}
