//! fjall: plain, and with values apart.

use super::{BUFFER_BYTES, CACHE_BYTES, Mode, Store};
use crate::work::Key;
use fjall::config::CompressionPolicy;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
};
use std::path::Path;
use std::time::Duration;

struct Fjall {
    db: Database,
    rows: Keyspace,
    mode: Mode,
}

pub fn plain(path: &Path, mode: Mode) -> Box<dyn Store> {
    open(path, mode, false)
}

pub fn separated(path: &Path, mode: Mode) -> Box<dyn Store> {
    open(path, mode, true)
}

fn open(path: &Path, mode: Mode, apart: bool) -> Box<dyn Store> {
    let db = Database::builder(path)
        .cache_size(CACHE_BYTES as u64)
        .journal_compression(CompressionType::None)
        .open()
        .expect("fjall: open");
    let options = || {
        let options = KeyspaceCreateOptions::default()
            .max_memtable_size(BUFFER_BYTES as u64)
            .data_block_compression_policy(CompressionPolicy::disabled());
        let values = KvSeparationOptions::default()
            .compression(CompressionType::None)
            .separation_threshold(64);
        if apart { options.with_kv_separation(Some(values)) } else { options }
    };
    let rows = db.keyspace("rows", options).expect("fjall: keyspace");
    Box::new(Fjall { db, rows, mode })
}

impl Fjall {
    fn acknowledge(&self) {
        if self.mode == Mode::Durable {
            self.db.persist(PersistMode::SyncData).expect("fjall: sync");
        }
    }
}

impl Store for Fjall {
    fn put(&self, key: &Key, value: &[u8]) {
        self.rows.insert(key, value).expect("fjall: put");
        self.acknowledge();
    }

    fn batch(&self, rows: &[(Key, &[u8])]) {
        let mut batch = self.db.batch();
        rows.iter().for_each(|(key, value)| batch.insert(&self.rows, key, *value));
        batch.commit().expect("fjall: batch");
        self.acknowledge();
    }

    fn get(&self, key: &Key, see: &mut dyn FnMut(&[u8])) -> bool {
        self.rows.get(key).expect("fjall: get").is_some_and(|value| {
            see(&value);
            true
        })
    }

    fn scan(&self, from: &Key, count: usize, see: &mut dyn FnMut(&[u8])) -> usize {
        let rows = self.rows.range(*from..).take(count);
        rows.map(|row| see(&row.value().expect("fjall: scan"))).count()
    }

    fn settle(&self) {
        self.rows.rotate_memtable_and_wait().expect("fjall: flush");
        while self.db.outstanding_flushes() > 0 || self.db.active_compactions() > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
