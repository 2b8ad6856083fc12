//! What can be done to a service that does not run: verify, restore, salvage; and
//! the list of its backups, and its audit log, of one that may run.
//!
//! What must stay true: `verify`, `backups` and `audit verify` change nothing (what opening a service
//! writes stays in memory); `restore` and `salvage` write into a new directory only, so
//! that no mistake costs data.

use crate::config::Config;
use crate::service::{Stop, open, storage};
use crate::when::{instant, moment};
use clap::{Args, Subcommand};
use engine::{Engine, IndexReport};
use lsm::{Restore, Until};
use platform::real::{RealClock, RealDisk, RealEntropy};
use platform::{Disk, Overlay};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Ends a run that found faults: 65, bad data.
const FAULTS: u8 = 65;
/// Memory for what opening a service writes, to look at it.
const LOOKED_AT: u64 = 1 << 30;

/// The commands beside running the service.
#[derive(Subcommand)]
pub enum Tool {
    /// Read every page, record and frame of a stopped service, compare its indexes with
    /// its documents, and name each fault.
    Verify(Verify),
    /// List the backups of a service, and check them.
    Backups(Backups),
    /// Make a service's data anew from a backup, and from the archive of its log.
    Restore(RestoreArgs),
    /// Copy all that is provably good out of a damaged service into a new directory.
    Salvage(Salvage),
    /// Make a stopped primary a replica: before it is started again behind another one that
    /// was promoted in its place
    Demote(Demote),
    /// Look at the audit log of a service
    #[command(subcommand)]
    Audit(Audit),
}

/// What can be done with an audit log.
#[derive(Subcommand)]
pub enum Audit {
    /// Check that no line of the audit log was changed, taken out or put in, and name the
    /// first that was.
    Verify(AuditVerify),
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  planck audit verify --dir ./shop\n  planck audit verify --dir \
                        ./shop --line 41 --hash 5f3a..\n\nIt changes nothing, and the service may \
                        run. Each line carries the hash of the line before it. That lines are \
                        missing at the very end, or that somebody wrote all of it anew, shows only \
                        against a line's hash that was noted elsewhere: the service logs one at \
                        each start, and this command prints the last. Exit code 65: the chain is \
                        broken."
)]
pub struct AuditVerify {
    /// The service's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The number of a line whose hash was noted.
    #[arg(long, value_name = "N", requires = "hash")]
    line: Option<u64>,
    /// The hash it must have.
    #[arg(long, value_name = "HASH", requires = "line")]
    hash: Option<String>,
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  planck demote --dir ./shop\n\nFrom the next start on it takes \
                        no writes, and follows the primary that replica in its db.yaml names. If \
                        it has commits that the other never got, it will not: it says so, and \
                        changes nothing. `planctl demote` does the same to a service that runs."
)]
pub struct Demote {
    /// The service's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Args)]
#[command(after_help = "Example:\n  planck verify --dir ./shop\n\nIt changes nothing. First the \
                        storage is read, then, if that is sound, each index is compared with the \
                        documents of its store. Exit code 0: no fault; 65: faults, each named with \
                        its file and place, or its store, index and document.")]
pub struct Verify {
    /// The service's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  planck backups --dir ./shop\n  planck backups --dir ./shop \
                        --check\n\nBackups are taken with 'planctl backup' while the service runs. \
                        Exit code 65: one of them cannot be read, or is damaged.")]
pub struct Backups {
    /// The service's directory; its db.yaml says where backups go.
    #[arg(long, value_name = "DIR", required_unless_present = "from")]
    dir: Option<PathBuf>,
    /// Where the backups are, if not where db.yaml says.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Read every byte of each against its manifest.
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  planck restore --from /backups/shop --dir ./shop-again\n  \
                        planck restore --from ./shop/backups --archive ./shop/archive \\\n    \
                        --until '2026-11-22T18:30:00Z' --dir ./shop-again\n\nThe directory's data \
                        must not exist yet. Everything is verified before it becomes a store.")]
pub struct RestoreArgs {
    /// Where the backups are.
    #[arg(long, value_name = "PATH")]
    from: PathBuf,
    /// The directory of the new service: its `data` is made; its db.yaml, if there is
    /// one, is obeyed.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The archive of the log, to go on behind the backup.
    #[arg(long, value_name = "PATH")]
    archive: Option<PathBuf>,
    /// A backup's number; else the newest from which the goal can be reached.
    #[arg(long, value_name = "N")]
    backup: Option<u64>,
    /// Up to this commit, included.
    #[arg(long, value_name = "LSN", conflicts_with = "until")]
    until_lsn: Option<u64>,
    /// Up to this moment, such as 2026-11-22T18:30:00Z (UTC).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Args)]
#[command(after_help = "Example:\n  planck salvage --dir ./shop --to ./shop-saved\n\nThe damaged \
                        service is only read. Exit code 0: everything was saved; 65: something \
                        is lost or doubtful, and listed.")]
pub struct Salvage {
    /// The damaged service's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The directory of the new service; its `data` must not exist yet.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

impl Tool {
    /// Does it; gives the exit code.
    ///
    /// # Errors
    /// It could not be done.
    pub fn run(self) -> Result<u8, Stop> {
        match self {
            Tool::Verify(args) => args.run(),
            Tool::Backups(args) => args.run(),
            Tool::Restore(args) => args.run(),
            Tool::Salvage(args) => args.run(),
            Tool::Demote(args) => args.run(),
            Tool::Audit(Audit::Verify(args)) => args.run(),
        }
    }
}

impl Demote {
    fn run(self) -> Result<u8, Stop> {
        let config = Config::load(&self.dir).map_err(Stop::config)?;
        drop(existing(&self.dir.join("data"))?);
        let engine = open(&config, 0)?;
        let done = engine.demote_by_operator().map_err(|refusal| Stop::io(refusal.message))?;
        engine.close().map_err(|refusal| Stop::io(refusal.message))?;
        print(match done {
            true => "it is a replica from now on",
            false => "it is a replica already",
        });
        Ok(0)
    }
}

impl Verify {
    fn run(self) -> Result<u8, Stop> {
        let disk = existing(&self.dir.join("data"))?;
        let report = lsm::verify(&disk, &mut shown("verified")).map_err(Stop::io)?;
        print(&report.to_string());
        if !report.is_clean() {
            print("the indexes were not compared with the documents: the storage is not sound");
            return Ok(FAULTS);
        }
        let report = self.indexes(disk)?;
        print(&report.to_string());
        Ok(if report.is_clean() { 0 } else { FAULTS })
    }

    /// Opens what is there, with all that opening writes kept in memory: the replay of
    /// the log needs no more of it than the service itself would.
    fn indexes(&self, disk: Arc<dyn Disk>) -> Result<IndexReport, Stop> {
        let config = Config::load(&self.dir).map_err(Stop::config)?;
        let options =
            engine::Options { storage: storage(&config, None), ..engine::Options::default() };
        let disk = Arc::new(Overlay::new(disk, LOOKED_AT));
        let engine = Engine::open(disk, Arc::new(RealClock::new()), Arc::new(RealEntropy), options);
        let engine = engine.map_err(|error| {
            Stop::io(format!("the indexes cannot be compared with the documents: {error}"))
        })?;
        Ok(engine.verify_indexes(&mut shown("compared")))
    }
}

impl Backups {
    fn run(self) -> Result<u8, Stop> {
        let from = match (&self.from, &self.dir) {
            (Some(from), _) => from.clone(),
            (None, Some(dir)) => {
                let config = Config::load(dir).map_err(Stop::config)?;
                config.path(&config.db.backup.dest_path.0)
            }
            (None, None) => return Err(Stop::config("say --dir or --from")),
        };
        if !from.is_dir() {
            print(&format!("there are no backups in {}", from.display()));
            return Ok(0);
        }
        let disk = existing(&from)?;
        let found = lsm::backups(&*disk, "").map_err(Stop::io)?;
        if found == lsm::Backups::default() {
            print(&format!("there are no backups in {}", from.display()));
        }
        let mut code = 0;
        for backup in &found.unreadable {
            print(&format!(
                "{backup}; nothing is removed from the backups while it is there: to give it up, \
                 remove its manifest"
            ));
            code = FAULTS;
        }
        for backup in found.list {
            let taken = moment(backup.ended_micros);
            let mut line = format!("{backup}; taken {taken}");
            if self.check {
                let checked =
                    lsm::check_backup(&*disk, "", Some(backup.number), &mut shown("checked"));
                match checked {
                    Ok(_) => line += "; every byte checked",
                    Err(fault) => {
                        line += &format!("; DAMAGED: {fault}");
                        code = FAULTS;
                    }
                }
            }
            print(&line);
        }
        Ok(code)
    }
}

impl RestoreArgs {
    fn run(self) -> Result<u8, Stop> {
        let until = match (self.until_lsn, &self.until) {
            (Some(lsn), _) => Until::Lsn(lsn),
            (None, Some(time)) => Until::Wall(instant(time).map_err(Stop::config)?),
            (None, None) => Until::Latest,
        };
        let archive = match &self.archive {
            Some(path) => Some((existing(path)?, String::new())),
            None => None,
        };
        let what = Restore {
            disk: existing(&self.from)?,
            dir: String::new(),
            number: self.backup,
            archive,
            until,
        };
        let (target, config) = new_data(&self.dir)?;
        let options = lsm::Options { wal_salt: salt(), ..storage(&config, None) };
        let done =
            lsm::restore(&what, &target, &RealClock::new(), &options, &mut shown("restored"));
        let done = done.map_err(Stop::io)?;
        let at = done.wall_micros.map_or(String::new(), |at| format!(", made {}", moment(at)));
        print(&format!(
            "restored backup {} up to commit {}{at}: {} bytes of pages and values, {} commits from \
             the backup's log, {} from the archive",
            done.backup, done.lsn, done.bytes, done.from_backup, done.from_archive
        ));
        if let Some((lsn, at)) = done.left_out {
            print(&format!("the next commit, {lsn}, was made {} and is left out", moment(at)));
        }
        for backup in &done.unreadable {
            print(&format!("warning: passed over {backup}"));
        }
        start_it(&self.dir);
        Ok(0)
    }
}

impl Salvage {
    fn run(self) -> Result<u8, Stop> {
        let from = existing(&self.dir.join("data"))?;
        let (target, config) = new_data(&self.to)?;
        let options = lsm::Options { wal_salt: salt(), ..storage(&config, None) };
        let clock = Arc::new(RealClock::new());
        let report = lsm::salvage(&from, &target, clock, &options, &mut counted("read"));
        let report = report.map_err(Stop::io)?;
        print(&report.to_string());
        start_it(&self.to);
        Ok(if report.is_whole() { 0 } else { FAULTS })
    }
}

impl AuditVerify {
    fn run(self) -> Result<u8, Stop> {
        let disk = existing(&self.dir.join("data"))?;
        let noted = self.line.zip(self.hash.as_deref());
        let Some(report) = engine::verify_audit(&*disk, noted).map_err(Stop::io)? else {
            print(&format!("there is no audit log in {}", self.dir.join("data").display()));
            return Ok(if noted.is_some() { FAULTS } else { 0 });
        };
        print(&report.to_string());
        Ok(if report.fault.is_none() { 0 } else { FAULTS })
    }
}

/// The salt of a new store's log, which its identity is made of too.
fn salt() -> u64 {
    platform::Entropy::next_u64(&RealEntropy)
}

/// What to do with a service that was made anew.
fn start_it(dir: &Path) {
    print(&format!(
        "its users and their keys are those of the old service: copy the old admin.key to {}, \
         then start it with: planck --dir {}",
        dir.display(),
        dir.display()
    ));
}

/// A directory that must be there.
fn existing(path: &Path) -> Result<Arc<dyn Disk>, Stop> {
    if !path.is_dir() {
        return Err(Stop::config(format!(
            "{}: there is no such directory: give the path of one that is there",
            path.display()
        )));
    }
    let disk = RealDisk::new(path).map_err(|e| Stop::io(format!("{}: {e}", path.display())))?;
    Ok(Arc::new(disk))
}

/// The data directory of a new service, and its settings.
fn new_data(dir: &Path) -> Result<(Arc<dyn Disk>, Config), Stop> {
    let config = Config::load(dir).map_err(Stop::config)?;
    let data = dir.join("data");
    let disk = RealDisk::new(&data)
        .map_err(|e| Stop::io(format!("{}: cannot be made or used: {e}", data.display())))?;
    Ok((Arc::new(disk), config))
}

/// A line of the result, on stdout; nobody may be reading.
fn print(text: &str) {
    writeln!(std::io::stdout(), "{text}").ok();
}

/// As [`shown`], where the end is not known: once per 64 MiB.
fn counted(what: &'static str) -> impl FnMut(u64) {
    let watched = std::io::stderr().is_terminal();
    let mut last = 0;
    move |done| {
        if watched && done >> 26 != last {
            last = done >> 26;
            write!(std::io::stderr(), "\rplanck: {what}: {} MiB", done >> 20).ok();
        }
    }
}

/// Tells progress on stderr, if somebody watches, at most once per percent.
fn shown(what: &'static str) -> impl FnMut(u64, u64) {
    let watched = std::io::stderr().is_terminal();
    let mut last = None;
    move |done, of| {
        let percent = (done * 100).checked_div(of).unwrap_or(100).min(100);
        if watched && last != Some(percent) {
            last = Some(percent);
            let end = if percent == 100 { "\n" } else { "" };
            write!(std::io::stderr(), "\rplanck: {what}: {percent} %{end}").ok();
        }
    }
}
