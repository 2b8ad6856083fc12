//! redb.

use super::{CACHE_BYTES, Mode, Store};
use crate::work::Key;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use std::path::Path;

const ROWS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");

struct Redb {
    db: Database,
    durability: Durability,
}

pub fn open(path: &Path, mode: Mode) -> Box<dyn Store> {
    let db = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(path.join("rows.redb"))
        .expect("redb: open");
    let write = db.begin_write().expect("redb: begin");
    write.open_table(ROWS).expect("redb: table");
    write.commit().expect("redb: commit");
    let durability = if mode == Mode::Durable { Durability::Immediate } else { Durability::None };
    Box::new(Redb { db, durability })
}

impl Store for Redb {
    fn put(&self, key: &Key, value: &[u8]) {
        self.batch(&[(*key, value)]);
    }

    fn batch(&self, rows: &[(Key, &[u8])]) {
        let mut write = self.db.begin_write().expect("redb: begin");
        write.set_durability(self.durability).expect("redb: durability");
        {
            let mut table = write.open_table(ROWS).expect("redb: table");
            for (key, value) in rows {
                table.insert(&key[..], *value).expect("redb: put");
            }
        }
        write.commit().expect("redb: commit");
    }

    fn get(&self, key: &Key, see: &mut dyn FnMut(&[u8])) -> bool {
        let read = self.db.begin_read().expect("redb: begin");
        let table = read.open_table(ROWS).expect("redb: table");
        table.get(&key[..]).expect("redb: get").is_some_and(|value| {
            see(value.value());
            true
        })
    }

    fn scan(&self, from: &Key, count: usize, see: &mut dyn FnMut(&[u8])) -> usize {
        let read = self.db.begin_read().expect("redb: begin");
        let table = read.open_table(ROWS).expect("redb: table");
        let rows = table.range(&from[..]..).expect("redb: range").take(count);
        rows.map(|row| see(row.expect("redb: scan").1.value())).count()
    }

    fn settle(&self) {
        let mut write = self.db.begin_write().expect("redb: begin");
        write.set_durability(Durability::Immediate).expect("redb: durability");
        write.commit().expect("redb: commit");
    }
}
