//! Adding entries to the sections of a module, byte by byte.
//!
//! What must stay true: the module is one [`crate::inspect`] has validated, so
//! sections are well formed; appending at the end of a section moves no index the
//! module's own code uses.
//!
//! ```text
//!  module  = 8 bytes of header, then sections
//!  section = id u8 | length LEB128 | content
//!  content = count LEB128 | entries          (all sections edited here)
//! ```

/// A section's number in the binary format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Section {
    /// Function types.
    Type = 1,
    /// Tables.
    Table = 4,
    /// Globals.
    Global = 6,
    /// Exports.
    Export = 7,
    /// The start function; cannot be appended to.
    Start = 8,
}

const HEADER: usize = 8;
const CUSTOM: u8 = 0;

/// A module in pieces.
#[derive(Clone, Debug)]
pub struct Edit {
    header: Vec<u8>,
    sections: Vec<(u8, Vec<u8>)>,
}

impl Edit {
    /// Takes a validated module apart. `None` if it is not one.
    pub fn new(wasm: &[u8]) -> Option<Self> {
        let (header, mut rest) = wasm.split_at_checked(HEADER)?;
        let mut sections = Vec::new();
        while let Some((id, after)) = rest.split_first() {
            let (len, bytes) = leb_read(after)?;
            let (content, next) = after.get(bytes..)?.split_at_checked(len as usize)?;
            sections.push((*id, content.to_vec()));
            rest = next;
        }
        Some(Self { header: header.to_vec(), sections })
    }

    /// Appends an entry; returns its index within the section. `None` if the
    /// section's count cannot be read or is full.
    pub fn append(&mut self, section: Section, entry: &[u8]) -> Option<u32> {
        let id = section as u8;
        let at = match self.sections.iter().position(|(have, _)| *have == id) {
            Some(at) => at,
            None => {
                let later = |(have, _): &(u8, Vec<u8>)| *have != CUSTOM && order(*have) > order(id);
                let at = self.sections.iter().position(later).unwrap_or(self.sections.len());
                self.sections.insert(at, (id, leb(0)));
                at
            }
        };
        let content = &mut self.sections[at].1;
        let (count, bytes) = leb_read(content)?;
        let mut grown = leb(count.checked_add(1)?);
        grown.extend_from_slice(content.get(bytes..)?);
        grown.extend_from_slice(entry);
        *content = grown;
        Some(count)
    }

    /// Appends an export. `kind`: 0 function, 1 table, 3 global.
    pub fn export(&mut self, name: &str, kind: u8, index: u32) -> Option<()> {
        let mut entry = leb(u32::try_from(name.len()).ok()?);
        entry.extend_from_slice(name.as_bytes());
        entry.push(kind);
        entry.extend_from_slice(&leb(index));
        self.append(Section::Export, &entry).map(|_| ())
    }

    /// Removes a section.
    pub fn remove(&mut self, section: Section) {
        self.sections.retain(|(id, _)| *id != section as u8);
    }

    /// The module in one piece.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.header.clone();
        for (id, content) in &self.sections {
            out.push(*id);
            out.extend_from_slice(&leb(content.len() as u32));
            out.extend_from_slice(content);
        }
        out
    }
}

/// Where a section stands among the others: by number but for two that were added
/// to the format late.
fn order(id: u8) -> u8 {
    match id {
        12 => 95, // data count, before code
        13 => 55, // tags, before globals
        id => id.saturating_mul(10),
    }
}

fn leb_read(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

fn leb(mut value: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(5);
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(text: &str) -> Vec<u8> {
        wat::parse_str(text).expect("text")
    }

    #[test]
    fn taking_apart_and_putting_together_changes_nothing() {
        let wasm = module(r#"(module (memory 1) (func (export "f")) (data (i32.const 0) "abc"))"#);
        assert_eq!(Edit::new(&wasm).unwrap().to_bytes(), wasm);
        assert!(Edit::new(b"\0asm").is_none());
        assert!(Edit::new(b"\0asm\x01\0\0\0\x01\x09\0").is_none(), "a section past the end");
    }

    #[test]
    fn an_entry_goes_behind_the_others_or_into_a_new_section_in_its_place() {
        // Given a module with one type and one export, no table, no global.
        let wasm = module(
            r#"(module (func $f (export "f") (result i32) i32.const 7) (memory 1) (data "x"))"#,
        );
        let mut edit = Edit::new(&wasm).unwrap();
        // When entries are added.
        assert_eq!(edit.append(Section::Type, &[0x60, 1, 0x7e, 0]), Some(1));
        assert_eq!(edit.append(Section::Table, &[0x70, 0, 1]), Some(0));
        assert_eq!(edit.append(Section::Global, &[0x7e, 1, 0x42, 0, 0x0b]), Some(0));
        assert_eq!(edit.append(Section::Global, &[0x7f, 1, 0x41, 0, 0x0b]), Some(1));
        edit.export("planck:fuel", 3, 1).unwrap();
        // Then it is the module one would have written by hand.
        let wanted = module(
            r#"(module (type (func (result i32))) (type (func (param i64)))
                 (table 1 funcref) (memory 1)
                 (global (mut i64) (i64.const 0)) (global (mut i32) (i32.const 0))
                 (export "f" (func 0)) (export "planck:fuel" (global 1))
                 (func (type 0) i32.const 7) (data "x"))"#,
        );
        let bare = |wasm: &[u8]| {
            let mut edit = Edit::new(wasm).unwrap();
            edit.sections.retain(|(id, _)| *id != CUSTOM);
            edit.to_bytes()
        };
        assert_eq!(bare(&edit.to_bytes()), bare(&wanted));
    }

    #[test]
    fn counts_over_127_grow_a_byte() {
        let wasm = module(&format!("(module {})", "(global i32 (i32.const 0))".repeat(127)));
        let mut edit = Edit::new(&wasm).unwrap();
        assert_eq!(edit.append(Section::Global, &[0x7f, 0, 0x41, 0, 0x0b]), Some(127));
        assert_eq!(edit.append(Section::Global, &[0x7f, 0, 0x41, 0, 0x0b]), Some(128));
        let wanted = module(&format!("(module {})", "(global i32 (i32.const 0))".repeat(129)));
        assert_eq!(edit.to_bytes(), wanted);
    }
}
