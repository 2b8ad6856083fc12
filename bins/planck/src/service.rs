//! From a directory to a running service, and back.
//!
//! The order of a start: configuration, log, admin address, data, admin key, guest,
//! listeners, address file, `ready`. The order of a stop: no new connections and jobs, requests
//! and jobs in flight, the pool, the admin address, the upkeep thread, a last sync, the address file.

use crate::certificates;
use crate::compile::Ahead;
use crate::config::FilePath;
use crate::config::{Config, Service, service};
use crate::files;
use crate::guests::{self, Guests};
use crate::http::{Followed, Pages};
use crate::jobs::Desk;
use crate::keyfile;
use crate::log::Log;
use crate::observe::{Admin, Observed, Phase};
use crate::replica;
use crate::trace::Tracer;
use crate::upkeep::Upkeep;
use crate::watchers::Watchers;
use crate::wire::Wire;
use engine::{AuditOptions, BackupTarget, Engine, OpenError, Principal, StorageOptions};
use lsm::LogArchive;
use net::tls::Certificates;
use net::{LockoutOptions, Security, Server, http, tls, wire};
use platform::Disk;
use platform::real::{RealClock, RealDisk, RealEntropy};
use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Why the process ends with a failure.
pub struct Stop {
    /// The exit code.
    pub code: u8,
    /// What happened and what to do.
    pub message: String,
}

impl Stop {
    /// Bad configuration or module.
    pub fn config(message: impl Display) -> Stop {
        Stop { code: 78, message: message.to_string() }
    }

    /// Input or output.
    pub fn io(message: impl Display) -> Stop {
        Stop { code: 74, message: message.to_string() }
    }
}

/// For the last traces to be sent.
const LAST_TRACES: Duration = Duration::from_secs(2);

/// For the threads of jobs that were cut short to end.
const LAST_JOBS: Duration = Duration::from_secs(2);

/// Where the address of the wire is published while the service runs.
const ADDRESS_FILE: &str = "run/wire.addr";

/// Runs the service in `dir` until it is told to stop.
///
/// # Errors
/// It could not start, or could not stop cleanly.
pub fn run(dir: &Path) -> Result<(), Stop> {
    let config = Config::load(dir).map_err(Stop::config)?;
    let log = Log::start(&config)?;
    tls::install_provider();
    files::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(net_threads())
        .thread_name("planck-net")
        // Instances are dropped by their threads: those of a module that serves no more, and
        // all of them before what they use is gone.
        .on_thread_park(runtime_api::pool::tidy)
        .on_thread_stop(runtime_api::pool::vacate)
        .build()
        .map_err(|e| Stop::io(format!("the network threads cannot be started: {e}")))?;
    let observed = Arc::new(Observed::new(Arc::clone(&log)));
    let service = config.service.as_ref().filter(|service| service.wasm.enabled);
    let ahead = service.map(|service| Ahead::begin(&config, service)).transpose()?;
    // Before the data, which may take a while to replay, or to come from a primary.
    let admin = runtime.block_on(Admin::serve(&config, &observed));
    let primary = replica::Primary::of(&config)?;
    let made = runtime.block_on(replica::begin(&config, primary.as_ref()))?;
    let engine = Arc::new(open(&config, u64::from(made))?);
    // Only now: that the data is in use by another is the better reason.
    let (admin, admin_identity) = admin?.unzip();
    observed.opened(&engine);
    engine.stand_beside(observed.clone());
    tell_audit(&engine);
    let key = config.path("admin.key");
    // A replica has the users of its primary.
    let made = engine.leads()
        && engine
            .ensure_admin_saved(|text| {
                let named = |e: std::io::Error| {
                    std::io::Error::new(e.kind(), format!("{}: {e}", key.display()))
                };
                keyfile::write(&key, text).map_err(named)
            })
            .map_err(|refusal| Stop::io(refusal.message))?;
    if made {
        let key = key.display();
        say(&format!("the admin's key is in {key}: keep a copy, there is no other"));
    }
    let upkeep = Upkeep::start(Arc::clone(&engine), interval(&config));
    let watched = admin_identity.flatten().map(|identity| ("admin", identity));
    let served = runtime.block_on(async {
        let primary = primary.as_ref();
        let served = serve(&config, &engine, &observed, &log, watched, ahead, primary).await;
        if let Some(admin) = admin {
            admin.drain().await;
        }
        served
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    let failed = upkeep.stop();
    std::fs::remove_file(config.path(ADDRESS_FILE)).ok();
    let ended = served?;
    close(engine)?;
    match (failed, ended) {
        (Some(why), _) => Err(Stop::io(format!("the storage refused writes: {why}"))),
        (None, Ended::Told) => Ok(()),
        (None, Ended::Anew) => Err(anew()),
    }
}

/// Why the service ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It was told to.
    Told,
    /// Its data is to be made anew, as a start does.
    Anew,
}

/// Becomes this program as it was started, in the same process: for whoever supervises it
/// nothing ends. It returns only if that failed.
fn anew() -> Stop {
    tracing::info!("this replica starts anew, to begin with a snapshot");
    let again = std::env::current_exe().map(|program| {
        std::process::Command::new(program).args(std::env::args_os().skip(1)).exec()
    });
    let (Ok(error) | Err(error)) = again;
    Stop::io(format!("this replica is to begin anew with a snapshot: start it again ({error})"))
}

/// A thread for each processor we may use.
fn net_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// One line on stdout, for whoever started us.
pub fn say(line: &str) {
    // Nobody may be reading any more: that is no reason to stop.
    writeln!(std::io::stdout(), "planck: {line}").ok();
}

fn interval(config: &Config) -> Option<Duration> {
    let millis = config.db.durability.flush_interval_in_ms.get();
    (millis > 0).then(|| Duration::from_millis(millis))
}

fn bytes(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// How long nothing must have been written before storage gives back the last of its
/// garbage and its spare files: a service that writes now and then must not pay for that
/// again and again.
const REST_AFTER: Duration = Duration::from_secs(10);

/// The storage's settings.
pub fn storage(config: &Config, archive: Option<LogArchive>) -> StorageOptions {
    let db = &config.db;
    StorageOptions {
        sync: match interval(config) {
            None => engine::SyncMode::Sync,
            Some(_) => engine::SyncMode::Async,
        },
        wal_segment_bytes: db.file_sizes.wal.get(),
        memtable_bytes: bytes(db.buffers.memtable.get()),
        vlog_segment_bytes: db.file_sizes.vlog.get(),
        vlog_buffer_bytes: bytes(db.buffers.vlog.get()),
        cache_bytes: bytes(db.index.primary.pool_size.get()),
        rest_after: REST_AFTER,
        gc_dead_ratio: u32::try_from(db.gc.dead_ratio.get()).unwrap_or(u32::MAX),
        max_backup_pinned_bytes: db.backup.max_pinned.get(),
        wal_keep_bytes: db.durability.log_keep.get(),
        wal_retain_bytes: db.durability.log_retain.get(),
        archive,
        ..StorageOptions::default()
    }
}

/// A directory of its own for copies, as a disk.
fn copies(config: &Config, setting: &str, path: &FilePath) -> Result<Arc<dyn Disk>, Stop> {
    let path = config.path(&path.0);
    let disk = RealDisk::new(&path).map_err(|e| {
        Stop::io(format!(
            "db.yaml: {setting} is {}, which cannot be made or used: {e}",
            path.display()
        ))
    })?;
    Ok(Arc::new(disk))
}

/// The archive of the log, if there is to be one.
fn archive(config: &Config) -> Result<Option<LogArchive>, Stop> {
    const DAY: u64 = 24 * 3600 * 1_000_000;
    let settings = &config.db.durability.log_archive;
    if !settings.enabled {
        return Ok(None);
    }
    let disk = copies(config, "durability.log_archive.dest_path", &settings.dest_path)?;
    let days = settings.retain_logs_days.get();
    let retain_micros = (days > 0).then(|| days * DAY);
    // What the oldest backup kept needs stays, however old it is.
    let backups = copies(config, "backup.dest_path", &config.db.backup.dest_path)?;
    let keep_from = keep_from(lsm::backups(&*backups, ""));
    Ok(Some(LogArchive { retain_micros, keep_from, ..LogArchive::new(disk, "") }))
}

/// The first frame of the archive that a backup may need. A backup that cannot be
/// read is no reason not to serve: all of the archive is kept then, and it is said.
fn keep_from(found: Result<lsm::Backups, lsm::BackupError>) -> Option<lsm::Lsn> {
    match found {
        Ok(found) => {
            for backup in &found.unreadable {
                tracing::warn!("all of the log's archive is kept, whatever its age: {backup}");
            }
            found.keep_from()
        }
        Err(error) => {
            tracing::warn!(
                "all of the log's archive is kept, whatever its age: the backups cannot be \
                 listed: {error}"
            );
            Some(1)
        }
    }
}

/// Where backups go.
fn backups(config: &Config) -> Result<BackupTarget, Stop> {
    let settings = &config.db.backup;
    Ok(BackupTarget {
        disk: copies(config, "backup.dest_path", &settings.dest_path)?,
        path: config.path(&settings.dest_path.0).display().to_string(),
        keep: bytes(settings.keep.get()),
    })
}

/// Opens the data of a service.
///
/// # Errors
/// It cannot be opened, or another process has.
pub fn open(config: &Config, bootstraps: u64) -> Result<Engine, Stop> {
    let data = config.path("data");
    let disk = RealDisk::new(&data)
        .map_err(|e| Stop::io(format!("{}: cannot be made or used: {e}", data.display())))?;
    let db = &config.db;
    let options = engine::Options {
        storage: storage(config, archive(config)?),
        backup: Some(backups(config)?),
        replica: replica::options(config, bootstraps),
        audit: Some(AuditOptions {
            file_bytes: db.audit.file_size.get(),
            keep: bytes(db.audit.keep.get()),
        }),
        limits: engine::Limits {
            max_batch_size: bytes(db.limits.max_batch_size.get()),
            max_message_size: bytes(db.limits.max_message_size.get()),
            max_document_size: bytes(db.limits.max_document_size.get()),
            query_memory: bytes(db.limits.query_memory.get()),
            query_spill: db.limits.query_spill.get(),
            query_micros: db.limits.query_time_ms.get().saturating_mul(1000),
            slow_query_micros: db.limits.slow_query_ms.get().saturating_mul(1000),
            max_cursors: bytes(db.limits.max_cursors.get()),
            max_session_cursors: bytes(db.limits.max_session_cursors.get()),
            cursor_idle_micros: db.limits.cursor_idle_ms.get().saturating_mul(1000),
            cursor_memory: db.limits.cursor_memory.get(),
            cursor_spill: db.limits.cursor_spill.get(),
            max_transactions: bytes(db.limits.max_transactions.get()),
            max_session_transactions: bytes(db.limits.max_session_transactions.get()),
            transaction_idle_micros: db.limits.transaction_idle_ms.get().saturating_mul(1000),
            transaction_micros: db.limits.transaction_time_ms.get().saturating_mul(1000),
            max_transaction_size: bytes(db.limits.max_transaction_size.get()),
            transaction_memory: db.limits.transaction_memory.get(),
        },
    };
    let engine =
        Engine::open(Arc::new(disk), Arc::new(RealClock::new()), Arc::new(RealEntropy), options);
    engine.map_err(|error| match error {
        OpenError::Option { .. } => Stop::config(format!("db.yaml: {error}")),
        other if other.is_locked() => Stop {
            code: 73,
            message: format!(
                "{} is in use by another planck: stop that one, or give --dir another directory",
                data.display()
            ),
        },
        other => Stop::io(format!("{}: {other}", data.display())),
    })
}

/// Says where the audit log goes on. Whoever keeps this log elsewhere can prove by it
/// what the audit log was.
fn tell_audit(engine: &Engine) {
    let Some(begun) = engine.audit_begin() else { return };
    tracing::info!(line = begun.line, hash = begun.hash, "the audit log goes on");
    if let Some(cut) = &begun.cut {
        tracing::warn!(
            file = cut.file,
            bytes = cut.bytes,
            kept_in = cut.kept_in,
            "what the machine left unfinished at the end of the audit log was cut"
        );
    }
}

/// Ends the engine with its last sync.
fn close(engine: Arc<Engine>) -> Result<(), Stop> {
    // First, in case a request still runs and holds the engine.
    engine.sync().map_err(|refusal| Stop::io(refusal.message))?;
    let Some(engine) = Arc::into_inner(engine) else {
        tracing::warn!("a request or a copy did not end in time; what was acknowledged is synced");
        return Ok(());
    };
    engine.close().map_err(|refusal| Stop::io(refusal.message))
}

async fn serve(
    config: &Config,
    engine: &Arc<Engine>,
    observed: &Arc<Observed>,
    log: &Log,
    admin: Option<(&'static str, Arc<Certificates>)>,
    ahead: Option<Ahead>,
    primary: Option<&replica::Primary>,
) -> Result<Ended, Stop> {
    // Before the first line is said, so that no signal is missed after it.
    let failed = |e| Stop::io(format!("signals cannot be handled: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let mut moved = signal(SignalKind::hangup()).map_err(failed)?;
    let replaced = signal(SignalKind::hangup()).map_err(failed)?;

    let (mut guests, mut jobs) = (None, None);
    if let Some((service, ahead)) = config.service.as_ref().zip(ahead) {
        // Before the guests, which may schedule some while they start.
        let desk = Desk::open(engine, service)?;
        let started = Guests::start(config, service, engine, net_threads(), ahead)?;
        observed.guests(&started);
        engine.reloads(started.asked());
        jobs = Some((desk.run(engine, &started)?, service.http.drain_timeout_ms.get()));
        guests = Some(started);
    }
    let identity = certificates::open(config, &config.db.tls)?;
    let mut watched = Vec::from_iter(admin);
    watched.extend(identity.clone().map(|all| ("wire", all)));
    let most = bytes(config.db.limits.max_watchers.get());
    let watchers = Arc::new(Watchers::new(engine, most));
    observed.watched(&watchers);
    let wire = serve_wire(config, engine, observed, &watchers, identity.as_deref()).await?;
    observed.listens("wire", wire.traffic());
    publish(config, wire.address())?;
    let mut sending = None;
    let http = match &config.service {
        Some(service) => {
            let identity = certificates::open(config, &service.tls)?;
            watched.extend(identity.clone().map(|all| ("http", all)));
            let figures = Arc::clone(&observed.traces);
            let tracer = Tracer::start(config, &service.name.0, figures);
            let (tracer, task) = tracer.unzip();
            sending = task;
            let followed = Followed {
                engine: Arc::downgrade(engine),
                watchers: Arc::clone(&watchers),
                who: Principal::service(service.name.0.clone()),
            };
            let pages = Pages::new(guests.clone(), Arc::clone(observed), tracer, followed);
            let http = serve_http(config, service, pages, identity.as_deref()).await?;
            observed.listens("http", http.traffic());
            Some(http)
        }
        None => None,
    };
    watched.iter().for_each(|(name, identity)| observed.serves(name, identity));
    observed.enter(Phase::Serving);
    say("ready");
    let reopening = async {
        while moved.recv().await.is_some() {
            log.reopen();
        }
    };

    let following = async {
        match primary {
            Some(primary) => replica::follow(engine, primary).await,
            None => std::future::pending().await,
        }
    };
    let mut ended = Ended::Told;

    tokio::select! {
        replica::Ended::Behind = following => ended = Ended::Anew,
        () = certificates::watch(watched, hangup) => {}
        () = guests::watch(guests.clone(), replaced) => {}
        () = reopening => {}
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
    }
    observed.enter(Phase::Draining);
    let drain_http = async {
        if let Some(server) = http {
            server.drain().await;
        }
    };
    // Joining blocks, so it is no work for an async thread.
    let drain_jobs = tokio::task::spawn_blocking(move || {
        jobs.map(|(mut jobs, millis)| {
            jobs.stop(Duration::from_millis(millis));
            jobs
        })
    });
    let (_, (), jobs) = tokio::join!(drain_http, wire.drain(), drain_jobs);
    if let Some(guests) = guests {
        guests.stop().await;
    }
    // Those that were cut short have been told by now.
    let last = jobs
        .map(|jobs| tokio::task::spawn_blocking(move || jobs.map(|mut jobs| jobs.stop(LAST_JOBS))));
    match last {
        Ok(last) => drop(last.await),
        Err(_) => tracing::error!("the threads of jobs could not be joined"),
    }
    if let Some(sending) = sending {
        // Nobody begins traces any more; the last ones may be on their way.
        tokio::time::timeout(LAST_TRACES, sending).await.ok();
    }
    Ok(ended)
}

async fn serve_wire(
    config: &Config,
    engine: &Arc<Engine>,
    observed: &Arc<Observed>,
    watchers: &Arc<Watchers>,
    identity: Option<&Certificates>,
) -> Result<Server, Stop> {
    let db = &config.db;
    let address = SocketAddr::new(db.address.0, port(db.port.get()));
    let security = match identity {
        Some(identity) => identity.wire().map_err(Stop::config)?,
        None => Security::Plaintext,
    };
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let options = wire::WireOptions {
        max_sessions: usize::try_from(db.max_sessions.get()).unwrap_or(usize::MAX),
        allowed_ips: db.allowed_ips.iter().map(|range| range.0).collect(),
        max_message_size: engine.limits().max_message_size,
        max_in_flight: bytes(db.limits.max_in_flight.get()),
        quic: db.quic.enabled,
        idle_timeout: Duration::from_millis(db.session.idle_timeout_ms.get()),
        lockout: LockoutOptions {
            max_failed_attempts: small(db.security.max_failed_attempts.get()),
            lockout_duration: Duration::from_millis(db.security.lockout_duration_ms.get()),
            lockout_multiplier: small(db.security.lockout_multiplier.get()),
        },
        ..wire::WireOptions::default()
    };
    let handler = Wire::new(Arc::clone(engine), Arc::clone(observed), Arc::clone(watchers));
    let server = wire::serve(address, security, options, handler).await.map_err(Stop::io)?;
    let how = certificates::describe(identity);
    say(&format!("wire listening on {} {how}", server.address()));
    if db.quic.enabled && identity.is_some() {
        say(&format!("quic listening on {} (the wire, by UDP)", server.address()));
    }
    Ok(server)
}

async fn serve_http(
    config: &Config,
    service: &Service,
    handler: Pages,
    identity: Option<&Certificates>,
) -> Result<Server, Stop> {
    let settings = &service.http;
    let address = SocketAddr::new(settings.host.0, port(settings.port.get()));
    let security = match identity {
        Some(identity) => identity.http().map_err(Stop::config)?,
        None => Security::Plaintext,
    };
    if let Some(path) = &settings.static_dir {
        files::check_static_dir(config, &config.path(&path.0))?;
    }
    let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let options = http::HttpOptions {
        max_connections: files::connections(bytes(settings.max_connections.get()), config),
        max_header_size: bytes(settings.max_header_size.get()),
        max_body_size: bytes(settings.max_body_size.get()),
        idle_timeout: Duration::from_millis(settings.idle_timeout_ms.get()),
        drain_timeout: Duration::from_millis(settings.drain_timeout_ms.get()),
        max_live: bytes(settings.max_live.get()),
        static_dir: settings.static_dir.as_ref().map(|path| config.path(&path.0)),
        compression: match settings.compression {
            service::Compression::All => http::Compression::All,
            service::Compression::Static => http::Compression::Static,
            service::Compression::Off => http::Compression::Off,
        },
        compression_cache: bytes(settings.compression_cache.get()),
        http3: settings.http3,
        trust_request_id: settings.trust_request_id,
        ..http::HttpOptions::default()
    };
    let server = http::serve(address, security, options, handler).await.map_err(Stop::config)?;
    let scheme = if identity.is_some() { "https" } else { "http" };
    let how = certificates::describe(identity);
    say(&format!("http listening on {scheme}://{} {how}", server.address()));
    if settings.http3 {
        say(&format!("http3 listening on {} (by UDP)", server.address()));
    }
    Ok(server)
}

/// A port, as the system takes it.
pub fn port(port: u64) -> u16 {
    u16::try_from(port).expect("a port is bounded by its setting")
}

/// Tells local programs where the wire listens: the port may be any.
fn publish(config: &Config, address: SocketAddr) -> Result<(), Stop> {
    let path = config.path(ADDRESS_FILE);
    let write = || {
        std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
        let draft = path.with_extension("new");
        std::fs::write(&draft, format!("{address}\n"))?;
        std::fs::rename(&draft, &path)
    };
    write().map_err(|e| Stop::io(format!("{}: cannot be written: {e}", path.display())))
}
