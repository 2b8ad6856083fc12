//! The table behind the pages of a part: which pages are there, and with what
//! checksum.
//!
//! What must stay true: a table is believed only under its own checksum, since on
//! its word pages are left out of later backups.

use std::sync::Arc;

use btree::PAGE_BYTES;
use platform::{Disk, File, Open};

use super::error::Error;
use super::format::{self, Kind, Manifest, PART_HEAD, Part, TABLE_LINE};
use super::part::{is_there, join};

/// All pages are taken anew when the parts hold this many times what is needed.
const MOST_PAGES: u64 = 2;

/// The pages that the parent's parts have; these parts go into the manifest. `live`:
/// pages in use now.
pub(crate) fn known_pages(
    disk: &dyn Disk,
    dir: &str,
    parent: Option<&Manifest>,
    live: u64,
    manifest: &mut Manifest,
) -> Result<Vec<u32>, Error> {
    let Some(parent) = parent else { return Ok(Vec::new()) };
    let held: u64 = parent.of(Kind::Pages).map(|part| part.units).sum();
    if held >= MOST_PAGES * live {
        return Ok(Vec::new());
    }
    let mut known = vec![0; manifest.pages as usize];
    for part in parent.of(Kind::Pages) {
        for (page, check) in read_table(disk, dir, part)? {
            if let Some(known) = known.get_mut(page as usize) {
                *known = check;
            }
        }
        manifest.parts.push(*part);
    }
    Ok(known)
}

/// The lines of a part's table: number and half checksum of each.
pub(crate) fn read_table(
    disk: &dyn Disk,
    dir: &str,
    part: &Part,
) -> Result<Vec<(u32, u32)>, Error> {
    let path = join(dir, &part.name());
    let file: Arc<dyn File> = disk.open(&path, Open::Read).map_err(Error::io("open", &path))?;
    // Before memory is taken for what the manifest says.
    if !is_there(disk, dir, part) {
        return Err(Error::damaged(&path, "it is not as long as its manifest says"));
    }
    let (pages, table) = (part.units * PAGE_BYTES as u64, part.units * TABLE_LINE + 8);
    let mut bytes = vec![0; table as usize];
    let got = file.read_at(&mut bytes, PART_HEAD + pages).map_err(Error::io("read", &path))?;
    match bytes[..got].split_last_chunk::<8>() {
        Some((lines, sum)) if format::checksum(lines) == u64::from_le_bytes(*sum) => {
            Ok(table_lines(lines).collect())
        }
        _ => Err(Error::damaged(&path, "the table of its pages does not match its checksum")),
    }
}

fn table_lines(lines: &[u8]) -> impl Iterator<Item = (u32, u32)> + '_ {
    lines.chunks_exact(TABLE_LINE as usize).filter_map(|line| {
        let (page, check) = line.split_first_chunk::<4>()?;
        Some((u32::from_le_bytes(*page), u32::from_le_bytes(check.try_into().ok()?)))
    })
}

/// Adds a line.
pub(crate) fn put_line(table: &mut Vec<u8>, page: u32, check: u32) {
    table.extend_from_slice(&page.to_le_bytes());
    table.extend_from_slice(&check.to_le_bytes());
}
