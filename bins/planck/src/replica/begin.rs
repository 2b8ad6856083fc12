//! A replica's data, before it is opened.
//!
//! Invariant: who comes past [`begin`] finds a directory that is a store, or one in which a
//! primary makes one. While a replica is made, another process in the directory is refused.

use super::{Failure, Pauses, Primary, ask};
use crate::config::Config;
use crate::service::{Stop, say, storage};
use engine::{Bootstrap, Offered, Place, place};
use platform::Disk;
use platform::real::{RealClock, RealDisk};
use proto::{Request, Status};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Held while a snapshot is taken in.
const LOCK: &str = "replica/LOCK";
/// Between two looks at whether the snapshot is made.
const LOOK: Duration = Duration::from_millis(200);

/// Makes the data of a replica, where there is none, or none that can go on; whether it did.
///
/// # Errors
/// The settings and the data do not go together; the disk refuses; what came is damaged.
pub async fn begin(config: &Config, primary: Option<&Primary>) -> Result<bool, Stop> {
    let data = config.path("data");
    let disk = RealDisk::new(&data)
        .map_err(|e| Stop::io(format!("{}: cannot be made or used: {e}", data.display())))?;
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let found = place(&*disk).map_err(|e| Stop::io(format!("{}: {e}", data.display())))?;
    let wanted = || {
        let message = "db.yaml: primary is false, and there is no data to begin with: set \
                       replica.enabled, and the others of replica, to have it made from a primary";
        primary.ok_or_else(|| Stop::config(message))
    };
    match found {
        Place::Alone if !config.db.primary => Err(Stop::config(format!(
            "db.yaml: primary is false, yet {} is the data of a primary that was never told \
             otherwise: end its term with `planck demote --dir {}`, move it away, or set primary: \
             true",
            data.display(),
            config.dir.display()
        ))),
        Place::Alone | Place::Primary | Place::Replica => Ok(false),
        Place::Empty if config.db.primary => Ok(false),
        Place::Empty => make(config, &data, &disk, wanted()?).await,
        Place::Behind => match primary {
            Some(primary) => make(config, &data, &disk, primary).await,
            // It serves what it has.
            None => Ok(false),
        },
        Place::Ready => finish(config, &data, disk, None).await,
    }
}

async fn make(
    config: &Config,
    data: &Path,
    disk: &Arc<dyn Disk>,
    primary: &Primary,
) -> Result<bool, Stop> {
    let lock = disk.create_dir("replica").and_then(|()| disk.lock(LOCK));
    let _lock = lock.map_err(|e| Stop {
        code: 73,
        message: format!(
            "{}: a replica is being made there by another planck: {e}",
            data.display()
        ),
    })?;
    say(&format!("this replica begins with a snapshot of its primary, {}", primary.address));
    let (mut pauses, mut told) = (Pauses::new(), String::new());
    loop {
        match attempt(disk, primary, &mut pauses).await {
            Ok(incoming) => {
                tracing::info!("all of the snapshot has come");
                return finish(config, data, Arc::clone(disk), Some(incoming)).await;
            }
            Err(Ends::Stop(stop)) => return Err(stop),
            Err(Ends::Again(why)) => {
                if told != why {
                    tracing::warn!("the snapshot of the primary cannot be had yet: {why}");
                    told = why;
                }
                tokio::time::sleep(pauses.next()).await;
            }
        }
    }
}

enum Ends {
    /// It is tried again.
    Again(String),
    Stop(Stop),
}

impl From<Failure> for Ends {
    fn from(failure: Failure) -> Ends {
        match failure {
            // Another key would be needed, or another fingerprint: people must look.
            Failure::Refused(Status::BadCredentials | Status::Forbidden, why) => {
                Ends::Stop(Stop::config(format!("the primary refuses this replica: {why}")))
            }
            other => Ends::Again(other.to_string()),
        }
    }
}

async fn attempt(
    disk: &Arc<dyn Disk>,
    primary: &Primary,
    pauses: &mut Pauses,
) -> Result<Bootstrap, Ends> {
    let refused = |refusal: engine::Refusal| Ends::Again(refusal.to_string());
    let mut to = primary.connect().await?;
    let what = Bootstrap::ask(&primary.name);
    let mut incoming = loop {
        let told = ask(&mut to, &Request::Snapshot { what: &what }).await?;
        match Bootstrap::offered(disk, &told).map_err(refused)? {
            Offered::Making => tokio::time::sleep(LOOK).await,
            Offered::Failed(why) => return Err(Ends::Again(why)),
            Offered::Ready(incoming) => break incoming,
        }
    };
    let (there, of) = incoming.progress();
    tracing::info!(there, of, "the snapshot comes");
    while let Some(what) = incoming.next(primary.window) {
        let piece = ask(&mut to, &Request::Snapshot { what: &what }).await?;
        // Brief writes, and nothing else is served yet.
        incoming.take(&piece).map_err(refused)?;
        pauses.begin_anew();
    }
    Ok(incoming)
}

/// Makes the store of what has come; `None`: of what came before this start.
async fn finish(
    config: &Config,
    data: &Path,
    disk: Arc<dyn Disk>,
    incoming: Option<Bootstrap>,
) -> Result<bool, Stop> {
    let options = storage(config, None);
    let finish = move || match incoming {
        Some(incoming) => incoming.finish(&RealClock::new(), &options),
        None => Bootstrap::complete(&disk, &RealClock::new(), &options),
    };
    let done = tokio::task::spawn_blocking(finish).await;
    let done = done.map_err(|e| Stop::io(format!("{}: {e}", data.display())))?;
    done.map_err(|refusal| Stop::io(format!("{}: {}", data.display(), refusal.message)))?;
    tracing::info!("the replica's data is made");
    Ok(true)
}
