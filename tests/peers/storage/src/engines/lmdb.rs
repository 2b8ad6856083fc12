//! LMDB, through heed.

use super::{Mode, Store};
use crate::work::Key;
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};
use std::ops::Bound;
use std::path::Path;

struct Lmdb {
    env: Option<Env>,
    rows: Database<Bytes, Bytes>,
}

pub fn open(path: &Path, mode: Mode) -> Box<dyn Store> {
    let mut options = EnvOpenOptions::new();
    options.map_size(64 << 30).max_readers(64);
    // SAFETY: nobody else has the file, and the flags keep it whole for a killed process.
    let env = unsafe {
        if mode == Mode::Fast {
            options.flags(EnvFlags::NO_SYNC);
        }
        options.open(path).expect("lmdb: open")
    };
    let mut write = env.write_txn().expect("lmdb: begin");
    let rows = env.create_database(&mut write, None).expect("lmdb: database");
    write.commit().expect("lmdb: commit");
    Box::new(Lmdb { env: Some(env), rows })
}

impl Lmdb {
    fn env(&self) -> &Env {
        self.env.as_ref().expect("open until it is dropped")
    }
}

impl Drop for Lmdb {
    fn drop(&mut self) {
        if let Some(env) = self.env.take() {
            env.prepare_for_closing().wait();
        }
    }
}

impl Store for Lmdb {
    fn put(&self, key: &Key, value: &[u8]) {
        self.batch(&[(*key, value)]);
    }

    fn batch(&self, rows: &[(Key, &[u8])]) {
        let mut write = self.env().write_txn().expect("lmdb: begin");
        for (key, value) in rows {
            self.rows.put(&mut write, key, value).expect("lmdb: put");
        }
        write.commit().expect("lmdb: commit");
    }

    fn get(&self, key: &Key, see: &mut dyn FnMut(&[u8])) -> bool {
        let read = self.env().read_txn().expect("lmdb: begin");
        self.rows.get(&read, key).expect("lmdb: get").is_some_and(|value| {
            see(value);
            true
        })
    }

    fn scan(&self, from: &Key, count: usize, see: &mut dyn FnMut(&[u8])) -> usize {
        let read = self.env().read_txn().expect("lmdb: begin");
        let from = (Bound::Included(&from[..]), Bound::Unbounded);
        let rows = self.rows.range(&read, &from).expect("lmdb: range").take(count);
        rows.map(|row| see(row.expect("lmdb: scan").1)).count()
    }

    fn settle(&self) {
        self.env().force_sync().expect("lmdb: sync");
    }
}
