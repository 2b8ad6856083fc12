//! `service.yaml`: identity, HTTP, the guest, the services it may call.

use super::db::Tls;
use super::kinds::{Address, FilePath, Name, Number, Size, Text, UrlPath};
use super::table::settings;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

type Port = Number<0, 65535>;
type Connections = Number<1, 1_000_000>;
type Live = Number<0, 1_000_000>;
type Header = Number<1024, 1_048_576>;
type Body = Size<KIB, { 64 * MIB }>;
type Idle = Number<100, 3_600_000>;
type Drain = Number<0, 600_000>;
type Cache = Size<0, { 1024 * MIB }>;
type Instances = Number<1, 1024>;
type Memory = Size<{ 64 * KIB }, { 2048 * MIB }>;
type Deadline = Number<1, 3_600_000>;
type Fuel = Number<1000, { u64::MAX }>;
type Queue = Number<1, 1_000_000>;
type Wait = Number<1, 600_000>;
type Url = Text<2048>;
type InFlight = Number<1, 1024>;
type Answer = Size<KIB, { 1024 * MIB }>;
type Failures = Number<1, 1_000_000>;
type Open = Number<1, 86_400_000>;
type Running = Number<1, 256>;
type Waiting = Number<1, 1_000_000_000>;
type PerCall = Number<1, 1_000_000>;
type Payload = Size<0, { 4 * MIB }>;
type Attempts = Number<1, 1000>;
type Pause = Number<1, 86_400_000>;
type Schedule = Text<256>;
type Zone = Text<64>;
type CronPayload = Text<65_536>;

settings! {
    /// Everything `service.yaml` may say.
    Service {
        name: Name = Name("service".to_owned()), "service", Name::allowed(), "what the service is called";
        description: Text<1000> = Text(String::new()), "(none)", Text::<1000>::allowed(), "what it is for; shown at start";
        @tls: Tls;
        @http: Http;
        @wasm: Wasm;
        @jobs: Jobs;
        []upstreams: Upstream;
        []cron: Cron;
    }
}

settings! {
    /// The HTTP listener.
    Http {
        host: Address = Address(IpAddr::V4(Ipv4Addr::LOCALHOST)), "127.0.0.1", Address::allowed(), "where HTTP listens";
        port: Port = Port::of(3010), 3010, Port::allowed(), "its port; 0 picks a free one and prints it";
        max_connections: Connections = Connections::of(10_000), 10000, Connections::allowed(), "connections at once; one address (of IPv6, a /64) may hold half of them, so behind a proxy set twice what the proxy opens";
        max_header_size: Header = Header::of(8192), 8192, Header::allowed(), "bytes of a request's head";
        max_body_size: Body = Body::of(MIB), "1MiB", Body::allowed(), "bytes of a request's body";
        idle_timeout_ms: Idle = Idle::of(30_000), 30000, Idle::allowed(), "how long a connection may say nothing, or take to send a head";
        drain_timeout_ms: Drain = Drain::of(5000), 5000, Drain::allowed(), "how long requests may take to end once the service stops";
        max_live: Live = Live::of(4096), 4096, Live::allowed(), "event streams whose guest is called again and WebSockets, at once; one more gets 503";
        static_dir: Option<FilePath> = None, "(none)", FilePath::allowed(), "files served as they are, before the guest is asked";
        compression: Compression = Compression::All, "all", "all, static or off", "what is compressed for clients that take it: files and whole bodies of the guest, files only, or nothing; files that lie there precompressed (`.br`, `.zst`, `.gz`) are served in any case";
        compression_cache: Cache = Cache::of(16 * MIB), "16MiB", Cache::allowed(), "bytes of compressed files kept in memory; 0: each is compressed anew for each request";
        http3: bool = false, "false", "true or false", "HTTP/3 is spoken too, on the same port by UDP, and clients are told so; needs TLS; as many connections again as max_connections may come this way";
        trust_request_id: bool = false, "false", "true or false", "whether a request keeps the `x-request-id` it came with: only behind a proxy that sets it; else each gets a new one";
    }
}

settings! {
    /// The guest.
    Wasm {
        enabled: bool = true, "true", "true or false", "whether requests go to a guest at all";
        module: Option<FilePath> = None, "wasm/planck.&lt;name&gt;.wasm", FilePath::allowed(), "the guest's module; read again, and served if it is another one, on SIGHUP and by `planctl service reload`";
        health_path: Option<UrlPath> = None, "(none)", UrlPath::allowed(), "a GET of it to a new module's first instance must answer 200 to 299 before that module serves, at start too";
        runtime: Runtime = Runtime::Wasmer, "wasmer", "wasmer or wasmi", "wasmer compiles to machine code; wasmi interprets, slowly and repeatably";
        min_instances: Instances = Instances::of(2), 2, Instances::allowed(), "instances kept ready";
        max_instances: Instances = Instances::of(8), 8, Instances::allowed(), "instances at most; at least min_instances";
        autoscale: bool = false, "false", "true or false", "whether instances above the minimum go again when idle";
        max_queue: Queue = Queue::of(1024), 1024, Queue::allowed(), "requests that may wait for an instance; one more gets 503";
        max_wait_in_ms: Wait = Wait::of(5000), 5000, Wait::allowed(), "how long one may wait; then it gets 503";
        memory: Memory = Memory::of(64 * MIB), "64MiB", Memory::allowed(), "memory one instance may grow to";
        deadline_in_ms: Deadline = Deadline::of(5000), 5000, Deadline::allowed(), "how long one call may take; a query that runs is not cut short";
        fuel: Fuel = Fuel::of(10_000_000_000), "10000000000", Fuel::allowed(), "metered work of one call: about one unit an instruction";
        transactions: Transactions = Transactions::PerCall, "per_call", "per_call or per_operation", "per_call: all that a call does with documents takes effect together when it has answered with a status below 500, or not at all, and it is run again if another commit disturbed it; per_operation: each operation takes effect at once";
    }
}

settings! {
    /// A service that the guest may call; it can call no other.
    Upstream {
        name: Name = Name(String::new()), "(must be set)", Name::allowed(), "what the guest calls it";
        url: Url = Text(String::new()), "(must be set)", "https://host, https://host:port/path, or http:// within a private network", "where it is; all paths of the guest are below its path";
        timeout_ms: Wait = Wait::of(5000), 5000, Wait::allowed(), "how long a call may take, to the last byte of the answer; never longer than the guest's own deadline";
        max_in_flight: InFlight = InFlight::of(16), 16, InFlight::allowed(), "calls of it at once; one more waits. Of all upstreams together: one less than wasm.max_instances, and one more is refused";
        max_response_size: Answer = Answer::of(16 * MIB), "16MiB", Answer::allowed(), "bytes of the body of an answer";
        allow_private: bool = false, "false", "true or false", "whether its name may lead to this machine or a private network; link-local addresses are refused in any case";
        ca_file: Option<FilePath> = None, "(the authorities this machine trusts)", FilePath::allowed(), "the only authorities, PEM, that may vouch for it";
        headers: BTreeMap<String, String> = BTreeMap::new(), "(none)", "names and values", "headers that every call has, whatever the guest gives";
        secret_headers_file: Option<FilePath> = None, "(none)", FilePath::allowed(), "more of them, a line `Name: value` each, in a file that only its owner may read (mode 600); the guest never sees them. Read at start";
        @breaker: Breaker;
    }
}

settings! {
    /// When an upstream is left alone.
    Breaker {
        failure_threshold: Failures = Failures::of(5), 5, Failures::allowed(), "so many failures in a row, and it is not called for a while";
        success_threshold: Failures = Failures::of(2), 2, Failures::allowed(), "so many successes after that, one call at a time, and it is called as before";
        open_duration_ms: Open = Open::of(30_000), 30000, Open::allowed(), "how long the while is";
    }
}

settings! {
    /// Jobs: calls of the guest's routes and of upstreams that are made later.
    Jobs {
        max_running: Running = Running::of(4), 4, Running::allowed(), "jobs at work at once; those of routes wait for an instance as requests do";
        max_waiting: Waiting = Waiting::of(1_000_000), 1_000_000, Waiting::allowed(), "jobs that may wait, due or not; one more is refused";
        max_per_call: PerCall = PerCall::of(1000), 1000, PerCall::allowed(), "jobs that one call or transaction may schedule";
        max_payload: Payload = Payload::of(256 * KIB), "256KiB", Payload::allowed(), "bytes of a job's payload";
        max_attempts: Attempts = Attempts::of(10), 10, Attempts::allowed(), "so many failures, and a job is given up; a job may say another number";
        retry_base_ms: Pause = Pause::of(1000), 1000, Pause::allowed(), "how long after its first failure a job is tried again, at most; twice as long after each further one";
        retry_max_ms: Pause = Pause::of(600_000), "600000 (10 minutes)", Pause::allowed(), "how long at most after any; what `Retry-After` asks for comes before it";
    }
}

settings! {
    /// A job that comes by a timetable.
    Cron {
        name: Name = Name(String::new()), "(must be set)", Name::allowed(), "by which it is known over restarts; each its own";
        schedule: Schedule = Text(String::new()), "(must be set)", "five fields of cron: minute, hour, day of the month, month, day of the week; or six, with seconds before them", "when it comes";
        timezone: Zone = Text("UTC".to_owned()), "UTC", "a name of the IANA database, such as Europe/Berlin", "whose clocks the schedule means";
        route: UrlPath = UrlPath(String::new()), "(must be set)", UrlPath::allowed(), "what of the guest is called, by POST";
        payload: Option<CronPayload> = None, "(none)", CronPayload::allowed(), "the body of the call";
        missed: Missed = Missed::Skip, "skip", "skip or once", "what becomes of times that passed more than a minute before they could be noticed, as while the service was down: nothing, or one job for all of them";
    }
}

/// What becomes of times that were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// Nothing.
    Skip,
    /// One job for all of them.
    Once,
}

/// What is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Files, and whole bodies of the guest.
    All,
    /// Files.
    Static,
    /// Nothing.
    Off,
}

/// What takes effect together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transactions {
    /// All that one call does.
    PerCall,
    /// Each operation is by itself.
    PerOperation,
}

/// What runs the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// JIT.
    Wasmer,
    /// Interpreter.
    Wasmi,
}
