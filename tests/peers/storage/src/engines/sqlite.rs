//! SQLite: one table without row ids, WAL mode, a connection per thread.

use super::{CACHE_BYTES, Mode, Store};
use crate::work::Key;
use rusqlite::{Connection, ErrorCode};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

struct Sqlite {
    path: PathBuf,
    mode: Mode,
    /// Connections not in use.
    free: Mutex<Vec<Connection>>,
}

pub fn open(path: &Path, mode: Mode) -> Box<dyn Store> {
    let store = Sqlite { path: path.join("rows.sqlite"), mode, free: Mutex::default() };
    store.with(|db| {
        db.execute_batch(
            "CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID",
        )
        .expect("sqlite: table");
    });
    Box::new(store)
}

impl Sqlite {
    fn with<T>(&self, f: impl FnOnce(&Connection) -> T) -> T {
        let free = self.free.lock().expect("no one panics").pop();
        let db = free.unwrap_or_else(|| {
            let db = Connection::open(&self.path).expect("sqlite: open");
            let level = if self.mode == Mode::Durable { "FULL" } else { "NORMAL" };
            let kib = CACHE_BYTES / 1024;
            db.busy_timeout(std::time::Duration::from_secs(60)).expect("sqlite: timeout");
            db.execute_batch(&format!(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous={level}; PRAGMA cache_size=-{kib};"
            ))
            .expect("sqlite: pragmas");
            db
        });
        let out = f(&db);
        self.free.lock().expect("no one panics").push(db);
        out
    }
}

const PUT: &str = "INSERT OR REPLACE INTO rows VALUES (?1, ?2)";

impl Store for Sqlite {
    fn put(&self, key: &Key, value: &[u8]) {
        self.with(|db| {
            let mut put = db.prepare_cached(PUT).expect("sqlite: put");
            loop {
                match put.execute((&key[..], value)) {
                    Ok(_) => break,
                    Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {}
                    Err(e) => panic!("sqlite: put: {e}"),
                }
            }
        });
    }

    fn batch(&self, rows: &[(Key, &[u8])]) {
        self.with(|db| {
            db.execute_batch("BEGIN IMMEDIATE").expect("sqlite: begin");
            let mut put = db.prepare_cached(PUT).expect("sqlite: put");
            for (key, value) in rows {
                put.execute((&key[..], *value)).expect("sqlite: put");
            }
            db.execute_batch("COMMIT").expect("sqlite: commit");
        });
    }

    fn get(&self, key: &Key, see: &mut dyn FnMut(&[u8])) -> bool {
        self.with(|db| {
            let mut get =
                db.prepare_cached("SELECT value FROM rows WHERE key = ?1").expect("sqlite: get");
            let mut rows = get.query([&key[..]]).expect("sqlite: get");
            let Some(row) = rows.next().expect("sqlite: get") else { return false };
            see(row.get_ref(0).expect("sqlite: get").as_blob().expect("sqlite: a blob"));
            true
        })
    }

    fn scan(&self, from: &Key, count: usize, see: &mut dyn FnMut(&[u8])) -> usize {
        self.with(|db| {
            let sql = "SELECT value FROM rows WHERE key >= ?1 ORDER BY key LIMIT ?2";
            let mut scan = db.prepare_cached(sql).expect("sqlite: scan");
            let mut rows = scan.query((&from[..], count as i64)).expect("sqlite: scan");
            let mut n = 0;
            while let Some(row) = rows.next().expect("sqlite: scan") {
                see(row.get_ref(0).expect("sqlite: scan").as_blob().expect("sqlite: a blob"));
                n += 1;
            }
            n
        })
    }

    fn settle(&self) {
        self.with(|db| {
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            db.query_row(checkpoint, (), |_| Ok(())).expect("sqlite: checkpoint");
        });
    }
}
