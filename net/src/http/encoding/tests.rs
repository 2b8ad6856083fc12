//! What is negotiated, and what is coded.

use super::*;
use proptest::prelude::*;
use std::io::Read;

fn accepted(lists: &[&str]) -> String {
    let mut headers = HeaderMap::new();
    for list in lists {
        headers.append(ACCEPT_ENCODING, list.parse().unwrap());
    }
    Accepted::of(&headers).iter().map(Coding::token).collect::<Vec<_>>().join(" ")
}

#[test]
fn weights_are_honoured_and_ours_is_the_choice_among_equals() {
    for (lists, expected) in [
        (&[][..], ""),
        (&["gzip"], "gzip"),
        (&["gzip, deflate, br, zstd"], "br zstd gzip"),
        (&["gzip", "br"], "br gzip"),
        (&["gzip;q=1.0, br;q=0.5"], "gzip br"),
        (&["gzip;q=0.001,br;q=0"], "gzip"),
        (&["*"], "br zstd gzip"),
        (&["*;q=0.5, gzip"], "gzip br zstd"),
        (&["*, br;q=0"], "zstd gzip"),
        (&["identity, gzip;q=0.5"], ""),
        (&["identity;q=0.5, gzip;q=0.5"], "gzip"),
        (&["identity;q=0, gzip"], "gzip"),
        (&["X-GZIP ; Q=1"], "gzip"),
        (&["gzip;q=1.001", "br;q=2", "zstd;q=x"], ""),
        (&["gzip;q=0.0001"], ""),
        (&["gzip;level=3"], ""),
        (&["", ",,", "gzip,,"], "gzip"),
        (&["gzipx", "bro"], ""),
    ] {
        assert_eq!(accepted(lists), expected, "{lists:?}");
    }
}

#[test]
fn text_is_compressible_and_pictures_are_not() {
    for yes in [
        "text/html; charset=utf-8",
        "TEXT/CSS",
        "application/json",
        "application/problem+json",
        "image/svg+xml",
        "application/wasm",
    ] {
        assert!(is_compressible(yes), "{yes}");
    }
    for no in ["image/png", "text/event-stream", "application/zip", "font/woff2", "video/mp4", "x"]
    {
        assert!(!is_compressible(no), "{no}");
    }
    assert!(!is_of_size(1023) && is_of_size(1024) && is_of_size(8 << 20));
    assert!(!is_of_size((8 << 20) + 1));
}

#[test]
fn as_many_turns_as_there_are_and_nobody_waits_for_one() {
    let turns = Turns::new();
    let mut taken: Vec<_> = std::iter::from_fn(|| turns.take()).collect();
    let threads = std::thread::available_parallelism().unwrap().get();
    assert_eq!(taken.len(), threads.div_ceil(2));
    taken.pop();
    assert!(turns.take().is_some());
}

fn plain(coding: Coding, coded: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        Coding::Gzip => drop(flate2::read::GzDecoder::new(coded).read_to_end(&mut out).unwrap()),
        _ => brotli::BrotliDecompress(&mut &coded[..], &mut out).unwrap(),
    }
    out
}

#[test]
fn noise_is_left_as_it_is() {
    // Each byte a hash of its place: nothing repeats.
    let noise: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect();
    let mut state = 1u64;
    let noise: Vec<u8> = noise
        .iter()
        .map(|byte| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            byte ^ (state >> 56) as u8
        })
        .collect();
    for coding in [Coding::Brotli, Coding::Gzip] {
        assert_eq!(compress(coding, Effort::Kept, &noise).unwrap(), None);
    }
}

proptest! {
    #[test]
    fn what_is_coded_is_the_same_again(text in "[a-d ]{1024,4000}") {
        for coding in [Coding::Brotli, Coding::Gzip] {
            for effort in [Effort::Once, Effort::Kept] {
                let coded = compress(coding, effort, text.as_bytes()).unwrap().unwrap();
                prop_assert!(coded.len() < text.len());
                prop_assert_eq!(plain(coding, &coded), text.as_bytes());
            }
        }
    }
}
