//! PostgreSQL over TCP, with TLS and without. `scripts/peers` starts the server, and
//! says where it listens and which certificate it has.
//!
//! What must stay true: the table is this turn's alone, and gone behind it, so that the
//! server has nothing to tidy up while others take their turn.

use super::{Done, Peer, Server, Terms, Trouble, named, runtime, said, trusting, wrong};
use crate::cpu;
use crate::documents::{Documents, Found};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, pin_mut};
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Where the server's port and certificate are named.
const PORT: &str = "PEERS_POSTGRES_PORT";
const CERTIFICATE: &str = "PEERS_CERTIFICATE";

struct Postgres {
    runtime: Runtime,
    client: Client,
    version: String,
    process: u32,
    config: Config,
    tls: Option<rustls::ClientConfig>,
}

pub fn plain(_: &Terms<'_>) -> Done<Box<dyn Server>> {
    open("disable", None)
}

pub fn tls(_: &Terms<'_>) -> Done<Box<dyn Server>> {
    open("require", Some(trusting(Path::new(&named(CERTIFICATE)?))?))
}

fn open(mode: &str, tls: Option<rustls::ClientConfig>) -> Done<Box<dyn Server>> {
    let config = format!(
        "host=localhost hostaddr=127.0.0.1 port={} user=postgres dbname=postgres sslmode={mode}",
        named(PORT)?
    );
    let config: Config = config.parse().map_err(told)?;
    let runtime = runtime()?;
    let (client, version, backend) = runtime.block_on(async {
        let client = connect(&config, tls.as_ref()).await?;
        let table = "DROP TABLE IF EXISTS bench; \
                     CREATE TABLE bench (id bigint PRIMARY KEY, doc jsonb)";
        client.batch_execute(table).await.map_err(told)?;
        let about = "SELECT current_setting('server_version'), pg_backend_pid()";
        let about = client.query_one(about, &[]).await.map_err(told)?;
        Done::Ok((
            client,
            format!("PostgreSQL {}", about.get::<_, &str>(0)),
            about.get::<_, i32>(1),
        ))
    })?;
    // Each connection has a process, which the server's own has started.
    let process = cpu::parent(backend as u32)
        .ok_or_else(|| said("its processes are none of this machine: use scripts/peers"))?;
    Ok(Box::new(Postgres { runtime, client, version, process, config, tls }))
}

/// What the server says; a driver's error alone is only a kind.
fn told(error: tokio_postgres::Error) -> Trouble {
    said(error.as_db_error().map_or_else(|| error.to_string(), |e| e.message().to_owned()))
}

/// A connection, carried by a task of this runtime.
async fn connect(config: &Config, tls: Option<&rustls::ClientConfig>) -> Done<Client> {
    Ok(match tls {
        None => {
            let (client, connection) = config.connect(NoTls).await.map_err(told)?;
            tokio::spawn(connection);
            client
        }
        Some(tls) => {
            let tls = MakeRustlsConnect::new(tls.clone());
            let (client, connection) = config.connect(tls).await.map_err(told)?;
            tokio::spawn(connection);
            client
        }
    })
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.runtime.block_on(self.client.batch_execute("DROP TABLE bench")).ok();
    }
}

impl Server for Postgres {
    fn version(&self) -> &str {
        &self.version
    }

    fn process(&self) -> u32 {
        self.process
    }

    fn connect(&self, documents: &Arc<Documents>) -> Done<Box<dyn Peer>> {
        let runtime = runtime()?;
        let (client, get, put) = runtime.block_on(async {
            let client = connect(&self.config, self.tls.as_ref()).await?;
            let get = client.prepare("SELECT doc::text FROM bench WHERE id = $1");
            let get = get.await.map_err(told)?;
            let put = client.prepare("INSERT INTO bench VALUES ($1, $2::text::jsonb)");
            let put = put.await.map_err(told)?;
            Done::Ok((client, get, put))
        })?;
        Ok(Box::new(Connected { runtime, client, get, put, documents: Arc::clone(documents) }))
    }
}

struct Connected {
    runtime: Runtime,
    client: Client,
    get: Statement,
    put: Statement,
    documents: Arc<Documents>,
}

/// Keys are scattered, as those of the others are.
fn key(n: u64) -> i64 {
    shared::mix(n) as i64
}

impl Connected {
    async fn read(&self, n: u64) -> Done {
        let row = self.client.query_one(&self.get, &[&key(n)]).await.map_err(told)?;
        let document: &str = row.try_get(0).map_err(told)?;
        self.documents.check(n, document.as_bytes())
    }

    async fn write(&self, n: u64) -> Done {
        let document = self.documents.json(n);
        match self.client.execute(&self.put, &[&key(n), &document]).await.map_err(told)? {
            1 => Ok(()),
            rows => Err(wrong(format!("the insert of document {n} made {rows} rows"))),
        }
    }
}

impl Peer for Connected {
    fn get(&mut self, n: u64) -> Done {
        self.runtime.block_on(self.read(n))
    }

    fn get_many(&mut self, numbers: &[u64]) -> Done {
        self.runtime.block_on(try_join_all(numbers.iter().map(|n| self.read(*n)))).map(drop)
    }

    fn put(&mut self, n: u64) -> Done {
        self.runtime.block_on(self.write(n))
    }

    fn put_many(&mut self, numbers: &[u64]) -> Done {
        self.runtime.block_on(try_join_all(numbers.iter().map(|n| self.write(*n)))).map(drop)
    }

    fn scan(&mut self, found: &mut Found<'_>) -> Done {
        self.runtime.block_on(async {
            let none: [&(dyn ToSql + Sync); 0] = [];
            let rows = self.client.query_raw("SELECT doc::text FROM bench", none);
            let rows = rows.await.map_err(told)?;
            pin_mut!(rows);
            while let Some(row) = rows.next().await {
                let row = row.map_err(told)?;
                found.take_once(row.try_get::<_, &str>(0).map_err(told)?.as_bytes())?;
            }
            Ok(())
        })
    }

    fn settle(&mut self) -> Done {
        let settle = async {
            self.client.batch_execute("VACUUM ANALYZE bench").await?;
            self.client.batch_execute("CHECKPOINT").await
        };
        self.runtime.block_on(settle).map_err(told)
    }
}
