//! The archived file's bytes: golden, and every one of them checked.

use super::super::Summary;
use super::super::format::*;
use super::*;
use proptest::prelude::*;

fn hex(bytes: &[u8]) -> String {
    bytes
        .chunks(16)
        .map(|c| c.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n")
        .collect()
}

fn summary() -> Summary {
    Summary {
        store: STORE,
        first_lsn: 5,
        last_lsn: 6,
        first_wall: 0x11,
        last_wall: 0x22,
        oldest_wall: 0x10,
        newest_wall: 0x23,
        first_epoch: 3,
        last_epoch: 4,
        raw_bytes: 99,
        blocks: 1,
        content: 0xabcd,
    }
}

#[test]
fn golden_bytes_of_version_1() {
    let header = encode_header(&summary());
    expect_test::expect![[r#"
        504c414e4b4152430100000080000000
        07070707070707070707070707070707
        05000000000000000600000000000000
        11000000000000002200000000000000
        10000000000000002300000000000000
        03000000000000000400000000000000
        63000000000000000100000000000000
        cdab000000000000df817093d8fcfcc1
    "#]]
    .assert_eq(&hex(&header));

    let mut raw = Vec::new();
    encode_frame(&mut raw, 0x11, 3, b"planck");
    encode_frame(&mut raw, 0x22, 4, &[9; 60]);
    let place = Place { store: STORE, file_first: 5, offset: 128 };
    let mut block = Vec::new();
    encode_block(&mut block, place, 5, 2, &raw);
    expect_test::expect![[r#"
        504c4b4201000000720000002c000000
        05000000000000000200000000000000
        6463f950b836c6a4882812fef1a57996
        00000000000000004cef917c51d0b0fe
        22110001001203070023000608007370
        6c616e636b220e0013040800133c0800
        1f0901002260090909090909
    "#]]
    .assert_eq(&hex(&block));

    let footer = encode_footer(&header, 500, 0x1234);
    expect_test::expect![[r#"
        504c414e4b454e44f401000000000000
        341200000000000005cb805a2a8b4c33
    "#]]
    .assert_eq(&hex(&footer));
    assert_eq!(decode_footer(&footer, &header, 500), Ok(0x1234));
    assert_eq!(decode_header(&header), Ok(summary()));
}

#[test]
fn names() {
    let name = name(17, 4_000_000_000);
    assert_eq!(name, "00000000000000000017-00000000004000000000.arc");
    assert_eq!(range_of(&name), Some((17, 4_000_000_000)));
    for other in [
        "17-18.arc",
        "00000000000000000017-00000000000000000016.arc",
        "00000000000000000000-00000000000000000016.arc",
        "00000000000000000017-00000000000000000018.arc.new",
        "+0000000000000000017-00000000000000000018.arc",
        "00000000000000000001-18446744073709551615.arc",
        "00000000000000000001-99999999999999999999.arc",
        "",
    ] {
        assert_eq!(range_of(other), None, "{other}");
    }
}

#[test]
fn a_block_checks_at_its_own_place_only() {
    let place = Place { store: STORE, file_first: 5, offset: 128 };
    let mut raw = Vec::new();
    encode_frame(&mut raw, 1, 1, b"planck");
    let mut block = Vec::new();
    encode_block(&mut block, place, 5, 1, &raw);
    assert!(decode_block(&block, place).is_ok());
    for other in [
        Place { store: StoreId([8; 16]), ..place },
        Place { file_first: 6, ..place },
        Place { offset: 136, ..place },
    ] {
        assert!(decode_block(&block, other).is_err());
    }
}

/// Writes a file by hand: header, one block of frames (wall, epoch), footer, all
/// checksums right, but what `spoil` does to the summary and the block's header.
fn craft(
    disk: &Arc<SimDisk>,
    first: Lsn,
    frames: &[(u64, u64)],
    spoil: impl Fn(&mut Summary, &mut [u8]),
) {
    let mut raw = Vec::new();
    for (wall, epoch) in frames {
        encode_frame(&mut raw, *wall, *epoch, b"planck planck planck planck");
    }
    let place = Place { store: STORE, file_first: first, offset: HEADER_LEN as u64 };
    let mut body = Vec::new();
    encode_block(&mut body, place, first, frames.len() as u32, &raw);
    let mut content = digest();
    content.update(&raw);
    let walls = || frames.iter().map(|f| f.0);
    let mut summary = Summary {
        store: STORE,
        first_lsn: first,
        last_lsn: first + frames.len() as u64 - 1,
        first_wall: frames[0].0,
        last_wall: walls().next_back().unwrap(),
        oldest_wall: walls().min().unwrap(),
        newest_wall: walls().max().unwrap(),
        first_epoch: frames[0].1,
        last_epoch: frames.last().unwrap().1,
        raw_bytes: raw.len() as u64,
        blocks: 1,
        content: content.finalize(),
    };
    spoil(&mut summary, &mut body[..BLOCK_LEN]);
    let check = block_check(place, &body);
    body[BLOCK_LEN - 8..BLOCK_LEN].copy_from_slice(&check.to_le_bytes());
    let mut whole = digest();
    whole.update(&body);
    let header = encode_header(&summary);
    let len = (HEADER_LEN + body.len() + FOOTER_LEN) as u64;
    let footer = encode_footer(&header, len, whole.finalize());
    disk.create_dir(DIR).unwrap();
    let path = format!("{DIR}/{}", name(summary.first_lsn, summary.last_lsn));
    put(disk, &path, &[&header[..], &body, &footer].concat());
}

fn read_all(disk: &Arc<SimDisk>) -> Result<(), Error> {
    let archive = archive(disk);
    let mut frames = archive.frames(archive.bounds().unwrap().0, Until::End, None)?;
    while frames.next()?.is_some() {}
    assert!(archive.verify(None, &mut |_, _, _| {}).is_empty());
    Ok(())
}

#[test]
fn what_a_file_says_of_itself_must_be_what_it_holds() {
    // Given a file made by hand, which is right,
    let disk = SimDisk::new(1);
    let frames = [(5, 1), (9, 1), (7, 2)];
    craft(&disk, 4, &frames, |_, _| {});
    read_all(&disk).unwrap();
    // when any figure of its header is another, all checksums right, then it is seen:
    let spoil: [fn(&mut Summary); 9] = [
        |s| s.first_wall += 1,
        |s| s.last_wall += 1,
        |s| s.oldest_wall -= 1,
        |s| s.newest_wall += 1,
        |s| s.first_epoch += 1,
        |s| s.last_epoch += 1,
        |s| s.raw_bytes += 1,
        |s| s.blocks += 1,
        |s| s.content ^= 1,
    ];
    for (i, spoil) in spoil.into_iter().enumerate() {
        craft(&disk, 4, &frames, |summary, _| spoil(summary));
        let error = read_all(&disk).unwrap_err();
        assert!(error.to_string().contains("header does not say"), "{i}: {error}");
    }
    // also when the file has more or fewer frames than its name and header say,
    for more in [-1, 1] {
        let disk = SimDisk::new(1);
        craft(&disk, 4, &frames, |s, _| s.last_lsn = s.last_lsn.wrapping_add_signed(more));
        assert!(matches!(read_all(&disk), Err(Error::Corrupt { .. })), "{more}");
    }
    // and when a block unpacks to something else than was packed, or claims more.
    for at in [8, 16, 24, 32, 40] {
        craft(&disk, 4, &frames, |_, block| block[at] ^= 1);
        assert!(matches!(read_all(&disk), Err(Error::Corrupt { .. })), "byte {at}");
    }
}

#[test]
fn blocks_that_are_not_those_the_file_was_made_of_are_seen() {
    // Given a file whose end is of other blocks, all checksums right,
    let disk = SimDisk::new(1);
    craft(&disk, 4, &[(5, 1)], |_, _| {});
    let path = disk.files().remove(0);
    let mut bytes = disk.file_bytes(&path).unwrap();
    let header: [u8; HEADER_LEN] = bytes[..HEADER_LEN].try_into().unwrap();
    let at = bytes.len() - FOOTER_LEN;
    let footer = encode_footer(&header, bytes.len() as u64, 77);
    bytes[at..].copy_from_slice(&footer);
    put(&disk, &path, &bytes);
    // then its end is where that is seen.
    let error = read_all(&disk).unwrap_err();
    assert!(matches!(error, Error::Corrupt { offset, .. } if offset == at as u64), "{error}");
}

#[test]
fn an_earlier_life_of_the_log_never_follows_a_later_one() {
    // Within a file:
    let disk = SimDisk::new(1);
    craft(&disk, 1, &[(1, 2), (2, 1)], |_, _| {});
    let error = read_all(&disk).unwrap_err();
    assert!(error.to_string().contains("earlier life"), "{error}");
    let faults = archive(&disk).verify(None, &mut |_, _, _| {});
    assert!(faults[0].to_string().contains("earlier life"), "{faults:?}");
    // from one file to the next:
    let disk = SimDisk::new(1);
    craft(&disk, 1, &[(1, 3)], |_, _| {});
    craft(&disk, 2, &[(1, 2)], |_, _| {});
    let error = read_all(&disk).unwrap_err();
    assert!(error.to_string().contains("earlier life"), "{error}");
    let faults = archive(&disk).verify(None, &mut |_, _, _| {});
    assert!(faults[0].to_string().contains("earlier life"), "{faults:?}");
}

/// A small archive of one file: its disk, its path, its length.
fn one_file() -> (Arc<SimDisk>, String, usize) {
    let (disk, _, archiver) = archived_60();
    let path = format!("{DIR}/{}", archiver.files()[0].name);
    for file in &archiver.files()[1..] {
        disk.remove(&format!("{DIR}/{}", file.name)).unwrap();
    }
    let len = disk.file_bytes(&path).unwrap().len();
    (disk, path, len)
}

#[test]
fn every_flipped_bit_is_seen_and_the_file_named() {
    let (disk, path, len) = one_file();
    for at in 0..len as u64 {
        for bit in [at % 8, (at + 3) % 8] {
            disk.corrupt(&path, at, 1 << bit).unwrap();
            let faults = archive(&disk).verify(None, &mut |_, _, _| {});
            assert_eq!(faults.len(), 1, "byte {at}");
            assert!(faults[0].to_string().contains(&path), "byte {at}: {}", faults[0]);
            assert!(read(&archive(&disk), 1, Until::End).is_err(), "byte {at}");
            disk.corrupt(&path, at, 1 << bit).unwrap();
        }
    }
    assert!(archive(&disk).verify(None, &mut |_, _, _| {}).is_empty());
}

#[test]
fn every_cut_and_every_longer_file_is_seen() {
    let (disk, path, len) = one_file();
    let good = disk.file_bytes(&path).unwrap();
    for cut in 0..len {
        put(&disk, &path, &good[..cut]);
        let error = read(&archive(&disk), 1, Until::End).unwrap_err();
        assert!(matches!(&error, Error::Corrupt { file, .. } if *file == path), "{cut}: {error}");
    }
    for more in [1, 8, 64, 128] {
        let mut longer = good.clone();
        longer.resize(len + more, 0);
        put(&disk, &path, &longer);
        assert!(read(&archive(&disk), 1, Until::End).is_err(), "{more} more");
    }
    // A hole of zeros, as a file system may leave one:
    for from in (0..len).step_by(16) {
        let mut torn = good.clone();
        torn[from..].fill(0);
        put(&disk, &path, &torn);
        assert!(read(&archive(&disk), 1, Until::End).is_err(), "zeros from {from}");
    }
}

proptest! {
    #[test]
    fn what_is_packed_is_unpacked(
        frames in proptest::collection::vec(
            (any::<u64>(), any::<u64>(), proptest::collection::vec(0_u8..4, 0..200)), 1..20),
        first in 1_u64..1 << 60,
        offset: u64,
    ) {
        let place = Place { store: STORE, file_first: first, offset };
        let mut raw = Vec::new();
        for (wall, epoch, payload) in &frames {
            encode_frame(&mut raw, *wall, *epoch, payload);
        }
        let mut out = Vec::new();
        encode_block(&mut out, place, first, frames.len() as u32, &raw);
        let block = decode_block(&out, place).unwrap();
        prop_assert_eq!((block.first_lsn, block.frames as usize), (first, frames.len()));
        let mut back = Vec::new();
        unpack(&block, &out[BLOCK_LEN..], &mut back).unwrap();
        let mut at = 0;
        for (wall, epoch, payload) in &frames {
            let (w, e, range) = decode_frame(&back, at).unwrap();
            at = range.end;
            prop_assert_eq!((w, e, &back[range]), (*wall, *epoch, &payload[..]));
        }
        prop_assert_eq!(at, back.len());
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..400) {
        let place = Place { store: STORE, file_first: 1, offset: 128 };
        prop_assert!(decode_header(&bytes).is_err());
        prop_assert!(decode_block(&bytes, place).is_err());
        prop_assert!(decode_footer(&bytes, &[0; HEADER_LEN], bytes.len() as u64).is_err());
        if let Some((_, _, range)) = decode_frame(&bytes, at) {
            prop_assert!(range.end <= bytes.len());
        }
    }

    /// A block whose checksums hold over a stream that lz4 did not write: refused,
    /// never a panic.
    #[test]
    fn random_streams_are_refused(stored in proptest::collection::vec(any::<u8>(), 1..100), raw_len in 24_usize..5000) {
        let mut out = vec![0; raw_len];
        if let Ok(len) = lz4_flex::block::decompress_into(&stored, &mut out) {
            prop_assert!(len <= raw_len);
        }
    }
}
