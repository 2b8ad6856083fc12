//! Base64 with the standard alphabet and padding.

use super::write::Sink;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends `bytes` as base64.
pub(super) fn encode(bytes: &[u8], out: &mut impl Sink) {
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            // Three bytes are four digits; each byte less is a digit less.
            if place <= chunk.len() {
                let digit = (group >> (18 - 6 * place)) & 63;
                out.put_char(char::from(ALPHABET[digit as usize]));
            } else {
                out.put_char('=');
            }
        }
    }
}

/// Decodes base64; `None` unless it is padded and canonical.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() & 3 != 0 || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut bits) = (0u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        group = group << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((group >> bits) as u8);
            group &= (1 << bits) - 1;
        }
    }
    // What is left over must be zero, or two texts would mean the same bytes.
    (group == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn given_known_bytes_when_encoded_then_it_is_the_rfc_s_text() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            let mut out = String::new();
            encode(bytes.as_bytes(), &mut out);
            assert_eq!(out, text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn given_text_that_is_not_canonical_when_decoded_then_it_is_refused() {
        for text in ["Zg", "Zg=", "Zh==", "Z===", "====", "Zm9v\n", "Zm-v", "Z=9v"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn given_any_bytes_when_encoded_and_decoded_then_they_are_the_same(bytes: Vec<u8>) {
            let mut out = String::new();
            encode(&bytes, &mut out);
            prop_assert_eq!(decode(&out), Some(bytes));
        }
    }
}
