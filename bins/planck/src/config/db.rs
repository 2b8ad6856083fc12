//! `db.yaml`: storage, durability, the wire, limits.

use super::kinds::{Address, Addresses, Endpoint, FilePath, Name, Number, Pin, Size, Text};
use super::table::settings;
use std::net::{IpAddr, Ipv4Addr};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DAY: u64 = 86_400_000;

type Port = Number<0, 65535>;
type MaxSessions = Number<1, 65536>;
type Host = Text<253>;
type User = Text<128>;
type Window = Size<{ 4 * KIB }, { 16 * MIB }>;
type Interval = Number<0, 60_000>;
type Memtable = Size<{ 64 * KIB }, { 4 * GIB }>;
type VlogBuffer = Size<{ 64 * KIB }, { 256 * MIB }>;
type VlogSegment = Size<MIB, { 2 * GIB }>;
type WalSegment = Size<{ 64 * KIB }, { GIB }>;
type Pool = Size<{ 256 * KIB }, { 256 * GIB }>;
type Message = Size<{ 64 * KIB }, { 32 * MIB }>;
type Document = Size<{ KIB }, { 16 * MIB }>;
type QueryMemory = Size<{ MIB }, { 64 * GIB }>;
type QuerySpill = Size<0, { 1024 * GIB }>;
type QueryTime = Number<0, { 24 * 3_600_000 }>;
type Batch = Number<1, 1_000_000>;
type Cursors = Number<0, 65_536>;
type InFlight = Number<1, 1024>;
type SessionCursors = Number<1, 65_536>;
type CursorIdle = Number<100, { 24 * 3_600_000 }>;
type CursorMemory = Size<0, { 1024 * GIB }>;
type Transactions = Number<0, 65_536>;
type LogKeep = Size<0, { 1024 * GIB }>;
type Watchers = Number<0, 65_536>;
type SessionTransactions = Number<1, 65_536>;
type TransactionIdle = Number<100, { 24 * 3_600_000 }>;
type TransactionTime = Number<100, { 24 * 3_600_000 }>;
type TransactionSize = Size<{ 64 * KIB }, { 48 * MIB }>;
type Idle = Number<100, { 365 * DAY }>;
type Attempts = Number<1, 1000>;
type Lockout = Number<1000, { 30 * DAY }>;
type Multiplier = Number<1, 10>;
type AuditFile = Size<{ 64 * KIB }, { GIB }>;
type AuditKeep = Number<2, 10_000>;
type PerMille = Number<0, 1000>;
type LogSize = Number<1, 4096>;
type LogFiles = Number<1, 1000>;
type Ratio = Number<1, 100>;
type Keep = Number<1, 1000>;
type Pinned = Size<0, { 1024 * 1024 * GIB }>;
type Days = Number<0, 36_500>;

settings! {
    /// Everything `db.yaml` may say.
    Db {
        address: Address = Address(IpAddr::V4(Ipv4Addr::LOCALHOST)), "127.0.0.1", Address::allowed(), "where the wire listens";
        port: Port = Port::of(24010), 24010, Port::allowed(), "its port; 0 picks a free one and prints it";
        primary: bool = true, "true", "true or false", "whether data that is made here is a primary's, which takes writes; false: a replica's, made from its primary; what it is later says Promote and Demote";
        max_sessions: MaxSessions = MaxSessions::of(128), 128, MaxSessions::allowed(), "wire sessions at once; one more is refused";
        allowed_ips: Vec<Addresses> = Vec::new(), "[] (all)", "a list of addresses or ranges, such as 10.0.0.0/8", "who may open a wire session";
        @replica: Replica;
        @session: Session;
        @quic: Quic;
        @buffers: Buffers;
        @durability: Durability;
        @file_sizes: FileSizes;
        @index: Index;
        @gc: Gc;
        @backup: Backup;
        @limits: Limits;
        @security: Security;
        @audit: Audit;
        @tls: Tls;
        @logging: Logging;
        @admin: Admin;
        @tracing: Tracing;
    }
}

settings! {
    /// Following a primary, while this server is a replica.
    Replica {
        enabled: bool = false, "false", "true or false", "whether this server follows a primary while it is a replica";
        address: Host = Text("127.0.0.1".to_owned()), "127.0.0.1", Host::allowed(), "where the primary's wire listens: a name, or an IP address";
        port: Port = Port::of(24010), 24010, Port::allowed(), "its port";
        uid: User = Text("replica".to_owned()), "replica", User::allowed(), "the primary's user whose key it is, of the role replica";
        key_file: FilePath = FilePath("replica.key".to_owned()), "replica.key", FilePath::allowed(), "the file with that user's key, readable by its owner alone (0600)";
        fingerprint: Option<Pin> = None, "(none)", Pin::allowed(), "of the primary's certificate; without it the primary must speak without TLS, and plaintext be true";
        plaintext: bool = false, "false", "true or false", "true sends the key and all data in the clear: only over loopback or a private network, to a primary with tls.enabled: false";
        name: Name = Name("replica".to_owned()), "replica", Name::allowed(), "what this server is called in its primary's figures; another one for each replica";
        window: Window = Window::of(4 * MIB), "4MiB", Window::allowed(), "bytes of the log, or of a snapshot, that are asked for at once";
    }
}

settings! {
    /// Wire sessions.
    Session {
        idle_timeout_ms: Idle = Idle::of(7 * DAY), "604800000 (7 days)", Idle::allowed(), "a session without a request for so long is closed";
    }
}

settings! {
    /// The wire over QUIC.
    Quic {
        enabled: bool = true, "true", "true or false", "the wire is spoken over QUIC too, on the same port by UDP; without TLS it is not";
    }
}

settings! {
    /// Memory for writes.
    Buffers {
        memtable: Memtable = Memtable::of(16 * MIB), "16MiB", Memtable::allowed(), "writes kept in memory before a flush; up to three times as much while flushes are due";
        vlog: VlogBuffer = VlogBuffer::of(4 * MIB), "4MiB", VlogBuffer::allowed(), "bytes the flush gathers for one write to the value log";
    }
}

settings! {
    /// What an acknowledged write survives.
    Durability {
        flush_interval_in_ms: Interval = Interval::of(1000), 1000, Interval::allowed(), "0: a write is acknowledged after fdatasync; else the log is synced this often, and a power cut loses at most the last interval (a killed process loses nothing)";
        log_keep: LogKeep = LogKeep::of(64 * MIB), "64MiB", LogKeep::allowed(), "bytes of the newest log that are always kept, so that who watches changes finds its place again, after a restart too";
        log_retain: LogKeep = LogKeep::of(GIB), "1GiB", LogKeep::allowed(), "bytes of the log that who watches changes may hold back; who is further behind is told that there is a gap";
        @log_archive: LogArchive;
    }
}

settings! {
    /// Copies of the log that outlive it.
    LogArchive {
        enabled: bool = false, "false", "true or false", "every segment of the log is compressed, copied and verified before it is removed; with a backup, the service can be restored to any second";
        dest_path: FilePath = FilePath("archive".to_owned()), "archive", FilePath::allowed(), "where to; another disk than that of the data is better";
        retain_logs_days: Days = Days::of(15), 15, Days::allowed(), "archived files older than this are removed, but never those behind the oldest backup kept; 0 keeps all";
    }
}

settings! {
    /// Collection of values that were overwritten or deleted, while the service runs.
    Gc {
        dead_ratio: Ratio = Ratio::of(30), 30, Ratio::allowed(), "percent of a value-log segment that must be dead before it is collected";
    }
}

settings! {
    /// Backups, taken by `planctl backup` while the service runs.
    Backup {
        dest_path: FilePath = FilePath("backups".to_owned()), "backups", FilePath::allowed(), "where to; another disk than that of the data is better";
        keep: Keep = Keep::of(7), 7, Keep::allowed(), "how many are kept; older ones are removed after each new one";
        max_pinned: Pinned = Pinned::of(16 * GIB), "16GiB", Pinned::allowed(), "bytes of overwritten data the store keeps for a backup being taken; beyond, as when the disk of backups hangs, that backup fails and they are freed";
    }
}

settings! {
    /// Sizes of segment files.
    FileSizes {
        vlog: VlogSegment = VlogSegment::of(GIB), "1GiB", VlogSegment::allowed(), "a segment of the value log";
        wal: WalSegment = WalSegment::of(16 * MIB), "16MiB", WalSegment::allowed(), "a segment of the write-ahead log";
    }
}

settings! {
    /// Trees.
    Index {
        @primary: Primary;
    }
}

settings! {
    /// The primary index.
    Primary {
        pool_size: Pool = Pool::of(64 * MIB), "64MiB", Pool::allowed(), "memory for pages of the tree file";
    }
}

settings! {
    /// What one request may ask for.
    Limits {
        max_batch_size: Batch = Batch::of(10_000), 10000, Batch::allowed(), "documents in one batch";
        max_message_size: Message = Message::of(16 * MIB), "16MiB", Message::allowed(), "bytes of one request or reply";
        max_in_flight: InFlight = InFlight::of(64), 64, InFlight::allowed(), "requests of a session that are received and not answered; beyond, it is not read from";
        max_document_size: Document = Document::of(4 * MIB), "4MiB", Document::allowed(), "bytes of one document; at most half of max_message_size";
        query_memory: QueryMemory = QueryMemory::of(64 * MIB), "64MiB", QueryMemory::allowed(), "bytes one query may sort or group in";
        query_spill: QuerySpill = QuerySpill::of(GIB), "1GiB", QuerySpill::allowed(), "bytes one query may write to disk, in `spill/`, to sort and group beyond its memory; 0: none";
        query_time_ms: QueryTime = QueryTime::of(60_000), "60000 (a minute)", QueryTime::allowed(), "how long one query may take, or each page of one that is fetched page by page, a page of a scan, a check of indexes; 0: as long as it takes";
        slow_query_ms: QueryTime = QueryTime::of(100), 100, QueryTime::allowed(), "queries that take this long are logged, counted and kept in the stats; 0: none";
        max_cursors: Cursors = Cursors::of(256), 256, Cursors::allowed(), "queries whose next page may wait to be fetched, at once; one user may have half of them; 0: none, a result must fit a reply";
        max_session_cursors: SessionCursors = SessionCursors::of(16), 16, SessionCursors::allowed(), "those of one session";
        cursor_idle_ms: CursorIdle = CursorIdle::of(300_000), "300000 (5 minutes)", CursorIdle::allowed(), "a cursor that nobody fetches from for so long expires";
        cursor_memory: CursorMemory = CursorMemory::of(256 * MIB), "256MiB", CursorMemory::allowed(), "bytes of memory all cursors may hold together: sorted rows and such";
        cursor_spill: CursorMemory = CursorMemory::of(4 * GIB), "4GiB", CursorMemory::allowed(), "bytes they may hold on disk together, in `spill/`";
        max_transactions: Transactions = Transactions::of(256), 256, Transactions::allowed(), "transactions of the wire that may be open at once; 0: none";
        max_session_transactions: SessionTransactions = SessionTransactions::of(16), 16, SessionTransactions::allowed(), "those of one session";
        transaction_idle_ms: TransactionIdle = TransactionIdle::of(10_000), "10000 (10 seconds)", TransactionIdle::allowed(), "a transaction that nobody uses for so long is let go of";
        transaction_time_ms: TransactionTime = TransactionTime::of(60_000), "60000 (a minute)", TransactionTime::allowed(), "how long a transaction may last, whoever uses it";
        max_transaction_size: TransactionSize = TransactionSize::of(16 * MIB), "16MiB", TransactionSize::allowed(), "bytes one transaction may write, with what that changes in indexes";
        transaction_memory: CursorMemory = CursorMemory::of(256 * MIB), "256MiB", CursorMemory::allowed(), "bytes of memory that what transactions have written and read may take together";
        max_watchers: Watchers = Watchers::of(1024), 1024, Watchers::allowed(), "requests of the wire that may wait for changes at once; 0: none";
    }
}

settings! {
    /// Failed log-ins.
    Security {
        max_failed_attempts: Attempts = Attempts::of(5), 5, Attempts::allowed(), "failed log-ins from one address before it is locked out; four times as many at one account, from wherever, and addresses that have not logged in to it lately must wait between attempts, at most a minute";
        lockout_duration_ms: Lockout = Lockout::of(900_000), "900000 (15 minutes)", Lockout::allowed(), "how long, the first time";
        lockout_multiplier: Multiplier = Multiplier::of(2), 2, Multiplier::allowed(), "how many times longer each further time";
    }
}

settings! {
    /// The audit log, in `data/audit/`.
    Audit {
        file_size: AuditFile = AuditFile::of(16 * MIB), "16MiB", AuditFile::allowed(), "a file of the audit log; `planck audit verify` checks it";
        keep: AuditKeep = AuditKeep::of(64), 64, AuditKeep::allowed(), "how many files are kept; the oldest is removed when there is one more";
    }
}

settings! {
    /// TLS 1.3.
    Tls {
        enabled: bool = true, "true", "true or false", "false sends everything, keys too, in the clear: only behind a proxy or on loopback";
        cert_file: Option<FilePath> = None, "(self-signed, in tls/)", FilePath::allowed(), "your own certificate chain, PEM";
        key_file: Option<FilePath> = None, "(self-signed, in tls/)", FilePath::allowed(), "its private key, PEM";
        client_ca_file: Option<FilePath> = None, "(none)", FilePath::allowed(), "authorities, PEM: then every client must show a certificate that one of them signed and that is valid; all three files are looked at every minute and on SIGHUP, and served anew once they changed";
    }
}

settings! {
    /// The log.
    Logging {
        level: Level = Level::Info, "info", "error, warn, info, debug or trace", "how much is logged; of libraries never more than warnings";
        format: Format = Format::Text, "text", "text or json", "a line for people, or an object for programs";
        path: Option<FilePath> = None, "(standard error)", FilePath::allowed(), "the file it is written to; opened anew on SIGHUP";
        max_size_mb: LogSize = LogSize::of(10), 10, LogSize::allowed(), "MiB of a file; then it is renamed, and the next begins";
        max_files: LogFiles = LogFiles::of(5), 5, LogFiles::allowed(), "files that are kept, the one being written included";
    }
}

settings! {
    /// Health and figures, for operators.
    Admin {
        enabled: bool = false, "false", "true or false", "whether /metrics, /healthz and /readyz are answered, at an address of their own; who reaches it may read them";
        address: Address = Address(IpAddr::V4(Ipv4Addr::LOCALHOST)), "127.0.0.1", Address::allowed(), "where; if not on this machine alone, by TLS as `tls` says, client_ca_file included";
        port: Port = Port::of(24011), 24011, Port::allowed(), "its port; 0 picks a free one and prints it";
    }
}

settings! {
    /// Traces of HTTP requests, in OpenTelemetry's protocol.
    Tracing {
        otlp_endpoint: Option<Endpoint> = None, "(none: nothing is traced)", Endpoint::allowed(), "the collector that traces are sent to, by OTLP over HTTP";
        sample_per_mille: PerMille = PerMille::of(100), 100, PerMille::allowed(), "of a thousand HTTP requests to the guest, so many are traced";
        trust_parent: bool = false, "false", "true or false", "whether a request's `traceparent` says if it is traced; its trace goes on either way";
    }
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Only what failed.
    Error,
    /// And what looks wrong.
    Warn,
    /// And what an operator wants to know.
    Info,
    /// And what a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}
