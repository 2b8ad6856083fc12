//! Bytes on their way from one tree to another: short ones in place.
//!
//! What must stay true: they are those given. A flush and a merge hand on millions of
//! keys and cells, most of them shorter than what an allocation costs.

/// Up to so many lie in place.
const HERE: usize = 46;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) enum Small {
    Here { len: u8, bytes: [u8; HERE] },
    There(Box<[u8]>),
}

impl From<&[u8]> for Small {
    #[inline]
    fn from(from: &[u8]) -> Self {
        let mut bytes = [0; HERE];
        match bytes.get_mut(..from.len()) {
            Some(here) => {
                here.copy_from_slice(from);
                Small::Here { len: from.len() as u8, bytes }
            }
            None => Small::There(from.into()),
        }
    }
}

impl AsRef<[u8]> for Small {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Small::Here { len, bytes } => &bytes[..usize::from(*len)],
            Small::There(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_given() {
        for len in 0..3 * HERE {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8 + 1).collect();
            assert_eq!(Small::from(&bytes[..]).as_ref(), &bytes[..]);
        }
    }
}
