//! Ranges of addresses for `allowed_ips`: one address, or one with a prefix.
//!
//! What must stay true: an IPv4 address that arrives mapped into IPv6 is the
//! same address; an IPv4 range never matches other IPv6 addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an address or a range: write one like 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"
)]
pub struct BadAddressRange(String);

fn bits(address: IpAddr) -> (u8, u128) {
    match address {
        IpAddr::V4(v4) => (32, u128::from(u32::from(v4)) << 96),
        IpAddr::V6(v6) => (128, u128::from(v6)),
    }
}

impl AddressRange {
    /// Whether `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (width, ours) = bits(self.address);
        let (other_width, theirs) = bits(address.to_canonical());
        let differ = (ours ^ theirs).leading_zeros();
        width == other_width && differ >= u32::from(self.prefix)
    }

    /// Whether `address` may come in: it lies in one of `ranges`, or there is none.
    pub fn allows(ranges: &[AddressRange], address: IpAddr) -> bool {
        ranges.is_empty() || ranges.iter().any(|range| range.contains(address))
    }
}

impl FromStr for AddressRange {
    type Err = BadAddressRange;

    fn from_str(text: &str) -> Result<Self, BadAddressRange> {
        let bad = || BadAddressRange(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().map_err(|_| bad())?.to_canonical();
        let (width, _) = bits(address);
        let prefix = match prefix {
            Some(digits) => {
                digits.parse().ok().filter(|prefix| *prefix <= width).ok_or_else(bad)?
            }
            None => width,
        };
        Ok(AddressRange { address, prefix })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_shares_its_prefix() {
        for (range, address, inside) in [
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "10.0.0.1", false),
        ] {
            let parsed: AddressRange = range.parse().unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), inside, "{address} in {range}");
        }
    }

    #[test]
    fn no_range_allows_all_and_bad_texts_are_refused() {
        assert!(AddressRange::allows(&[], "10.0.0.1".parse().unwrap()));
        for text in ["", "host", "10.0.0.1/33", "::1/129", "10.0.0.1/", "10.0.0.1/-1", "10.0.0/8"] {
            assert!(text.parse::<AddressRange>().is_err(), "{text}");
        }
    }
}
