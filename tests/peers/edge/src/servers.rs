//! The servers: processes of their own, started here or by `scripts/peers`.

use crate::args::Args;
use crate::data::{Data, TABLES};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How long a server may take to say where it listens; Deno loads its data first.
const START: Duration = Duration::from_secs(300);

/// A server at work; it ends with this.
pub struct Server {
    child: Child,
    pub url: String,
    /// The name of its database's processes.
    pub also: Option<&'static str>,
    /// From exec to the line that says where it listens.
    pub started: Duration,
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[derive(Clone, Copy)]
pub struct Engine {
    pub name: &'static str,
    /// On which terms it takes part.
    pub terms: &'static str,
    /// Whether it answers nothing but the first case.
    pub is_floor: bool,
    /// Whether it speaks HTTP/2 in the clear.
    pub http2: bool,
    pub open: fn(&Args, &Place) -> Result<Server, String>,
}

pub const ALL: &[Engine] = &[
    Engine {
        name: "planck",
        terms: "the flights example, wasmer, TLS off, as it comes",
        is_floor: false,
        http2: true,
        open: |args, place| planck(args, place, "wasmer"),
    },
    Engine {
        name: "planck-wasmi",
        terms: "the same, interpreted",
        is_floor: false,
        http2: true,
        open: |args, place| planck(args, place, "wasmi"),
    },
    Engine {
        name: "hyper",
        terms: "the floor: hyper 1 on as many threads, three bytes to whatever is asked",
        is_floor: true,
        http2: true,
        open: |_, _| ourselves("bare", &[], None),
    },
    Engine {
        name: "axum",
        terms: "axum 0.8, eight pooled connections to PostgreSQL over its Unix socket, prepared \
                statements, one statement an answer; fsync=off, synchronous_commit=on",
        is_floor: false,
        http2: true,
        open: axum,
    },
    Engine {
        name: "express",
        terms: "Express 5 on Node, one process, the same PostgreSQL and statements (pg, pool of 8)",
        is_floor: false,
        http2: false,
        open: express,
    },
    Engine {
        name: "deno",
        terms: "Deno.serve and Deno KV (SQLite), one process",
        is_floor: false,
        http2: true,
        open: deno,
    },
];

/// What servers are given.
pub struct Place {
    /// For data of this server.
    pub dir: PathBuf,
    /// The static files.
    pub files: PathBuf,
    /// The tables as lines of JSON.
    pub rows: PathBuf,
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Starts a program; the first word of its output that begins with http:// is where it is.
fn start(mut command: Command, also: Option<&'static str>) -> Result<Server, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let begun = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{program} cannot be started: {e}"))?;
    let out = child.stdout.take().ok_or("a child without output")?;
    let (send, urls) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if let Some(url) = line.split(' ').find(|word| word.starts_with("http://")) {
                send.send((url.trim_end_matches('/').to_owned(), begun.elapsed())).ok();
            }
        }
    });
    let mut server = Server { child, url: String::new(), also, started: Duration::ZERO };
    (server.url, server.started) =
        urls.recv_timeout(START).map_err(|_| format!("{program} does not say where it listens"))?;
    Ok(server)
}

fn ourselves(
    mode: &str,
    env: &[(&str, &str)],
    also: Option<&'static str>,
) -> Result<Server, String> {
    let mut command = Command::new(std::env::current_exe().map_err(said)?);
    command.arg(mode).envs(env.iter().copied());
    start(command, also)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().map_err(said)?;
    if done.success() { Ok(()) } else { Err(format!("{} could not be copied", from.display())) }
}

fn planck(args: &Args, place: &Place, runtime: &str) -> Result<Server, String> {
    let dir = place.dir.join("flights");
    copy(&args.planck, &dir)?;
    for made in ["run", "cache"] {
        std::fs::remove_dir_all(dir.join(made)).ok();
    }
    let yaml = format!(
        "name: flights\ntls: {{enabled: false}}\nhttp:\n  port: 0\n  static_dir: {}\nwasm:\n  \
         runtime: {runtime}\n",
        place.files.display()
    );
    std::fs::write(dir.join("service.yaml"), yaml).map_err(said)?;
    std::fs::write(dir.join("db.yaml"), "port: 0\nlogging: {level: warn}\n").map_err(said)?;
    again(args, place)
}

/// Planck in the directory it has.
pub fn again(args: &Args, place: &Place) -> Result<Server, String> {
    let mut command = Command::new(&args.binary);
    command.arg("--dir").arg(place.dir.join("flights"));
    start(command, None)
}

fn postgres() -> Result<String, String> {
    let socket = std::env::var("PEERS_POSTGRES")
        .map_err(|_| "no PostgreSQL is running (PEERS_POSTGRES names none): use scripts/peers")?;
    Ok(format!("host={socket} user=postgres dbname=postgres"))
}

/// Fills the tables, once in a run.
pub fn fill_postgres(data: &Data) -> Result<(), String> {
    use tokio_postgres::NoTls;
    let address = postgres()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let said = |e: tokio_postgres::Error| {
        e.as_db_error().map_or_else(|| e.to_string(), |e| e.message().to_owned())
    };
    runtime.map_err(|e| e.to_string())?.block_on(async {
        let (client, connection) = tokio_postgres::connect(&address, NoTls).await.map_err(said)?;
        tokio::spawn(connection);
        for (table, rows) in TABLES.iter().zip(&data.0) {
            let name = table.name;
            let sql = format!(
                "DROP TABLE IF EXISTS {name}; CREATE TABLE {name} (id text PRIMARY KEY, doc jsonb)"
            );
            client.batch_execute(&sql).await.map_err(said)?;
            let sql =
                format!("INSERT INTO {name} SELECT * FROM unnest($1::text[], $2::text[]::jsonb[])");
            for part in rows.chunks(5000) {
                let keys: Vec<&str> = part.iter().map(|(key, _)| key.as_str()).collect();
                let text =
                    |row: &serde_json::Map<String, Value>| Value::Object(row.clone()).to_string();
                let documents: Vec<String> = part.iter().map(|(_, row)| text(row)).collect();
                client.execute(&sql, &[&keys, &documents]).await.map_err(said)?;
            }
        }
        let reports = "DROP TABLE IF EXISTS reports; CREATE TABLE reports (flight text, \
                       number int, doc jsonb, PRIMARY KEY (flight, number))";
        client.batch_execute(reports).await.map_err(said)?;
        client.batch_execute("VACUUM ANALYZE").await.map_err(said)?;
        client.batch_execute("CHECKPOINT").await.map_err(said)
    })
}

/// Writes the tables as lines of JSON: table, key, document.
pub fn write_rows(data: &Data, path: &Path) -> Result<(), String> {
    let file = std::fs::File::create(path).map_err(said)?;
    let mut out = std::io::BufWriter::new(file);
    for (table, rows) in TABLES.iter().zip(&data.0) {
        for (key, row) in rows {
            writeln!(out, "{}", serde_json::json!([table.name, key, row])).map_err(said)?;
        }
    }
    out.flush().map_err(said)
}

fn axum(_: &Args, place: &Place) -> Result<Server, String> {
    let (database, files) = (postgres()?, place.files.display().to_string());
    ourselves("axum", &[("EDGE_POSTGRES", &database), ("EDGE_STATIC", &files)], Some("postgres"))
}

/// Where `scripts/peers` put what npm fetched.
fn modules() -> Result<PathBuf, String> {
    let dir = std::env::var("PEERS_NODE")
        .map_err(|_| "no packages of npm are here (PEERS_NODE names none): use scripts/peers")?;
    Ok(PathBuf::from(dir))
}

fn express(_: &Args, place: &Place) -> Result<Server, String> {
    let mut command = Command::new("node");
    command
        .arg(modules()?.join("express.js"))
        .env("NODE_ENV", "production")
        .env("EDGE_SOCKET", std::env::var("PEERS_POSTGRES").map_err(said)?)
        .env("EDGE_JOINED", crate::axum_peer::JOINED)
        .env("EDGE_INSERT", crate::axum_peer::INSERT)
        .env("EDGE_STATIC", &place.files);
    start(command, Some("postgres"))
}

fn deno(_: &Args, place: &Place) -> Result<Server, String> {
    let dir = modules()?;
    let mut command = Command::new(dir.join("node_modules/.bin/deno"));
    command
        .args(["run", "--unstable-kv", "--allow-all", "--no-lock", "--node-modules-dir=manual"])
        .arg(dir.join("deno.js"))
        .current_dir(&place.dir)
        .env("NO_COLOR", "1")
        .env("DENO_NO_UPDATE_CHECK", "1")
        .env("EDGE_KV", place.dir.join("kv.sqlite"))
        .env("EDGE_ROWS", &place.rows)
        .env("EDGE_STATIC", &place.files);
    start(command, None)
}
