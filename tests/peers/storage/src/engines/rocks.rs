//! RocksDB: plain, and with values apart (BlobDB).

use super::{BUFFER_BYTES, CACHE_BYTES, Mode, Store};
use crate::work::Key;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Options, WaitForCompactOptions, WriteBatch,
    WriteOptions,
};
use std::path::Path;

struct Rocks {
    db: DB,
    write: WriteOptions,
}

pub fn plain(path: &Path, mode: Mode) -> Box<dyn Store> {
    open(path, mode, false)
}

pub fn blobs(path: &Path, mode: Mode) -> Box<dyn Store> {
    open(path, mode, true)
}

fn open(path: &Path, mode: Mode, blobs: bool) -> Box<dyn Store> {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
    table.set_bloom_filter(10.0, false);
    table.set_format_version(5);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(BUFFER_BYTES);
    options.set_compression_type(DBCompressionType::None);
    options.increase_parallelism(2);
    if blobs {
        options.set_enable_blob_files(true);
        options.set_min_blob_size(64);
        options.set_blob_file_size(64 << 20);
        options.set_blob_compression_type(DBCompressionType::None);
        options.set_enable_blob_gc(true);
        options.set_blob_gc_force_threshold(0.3);
    }
    let db = DB::open(&options, path).expect("rocksdb: open");
    let mut write = WriteOptions::default();
    write.set_sync(mode == Mode::Durable);
    Box::new(Rocks { db, write })
}

impl Store for Rocks {
    fn put(&self, key: &Key, value: &[u8]) {
        self.db.put_opt(key, value, &self.write).expect("rocksdb: put");
    }

    fn batch(&self, rows: &[(Key, &[u8])]) {
        let mut batch = WriteBatch::default();
        rows.iter().for_each(|(key, value)| batch.put(key, value));
        self.db.write_opt(batch, &self.write).expect("rocksdb: batch");
    }

    fn get(&self, key: &Key, see: &mut dyn FnMut(&[u8])) -> bool {
        let found = self.db.get_pinned(key).expect("rocksdb: get");
        found.is_some_and(|value| {
            see(&value);
            true
        })
    }

    fn scan(&self, from: &Key, count: usize, see: &mut dyn FnMut(&[u8])) -> usize {
        let mut cursor = self.db.raw_iterator();
        cursor.seek(from);
        let mut n = 0;
        while n < count
            && let Some(value) = cursor.value()
        {
            see(value);
            n += 1;
            cursor.next();
        }
        cursor.status().expect("rocksdb: scan");
        n
    }

    fn settle(&self) {
        let mut wait = WaitForCompactOptions::default();
        wait.set_flush(true);
        self.db.wait_for_compact(&wait).expect("rocksdb: settle");
    }
}
