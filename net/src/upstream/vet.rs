//! Which addresses an upstream may have.
//!
//! What must stay true: an address is judged by where its packets would go, so one that
//! carries an IPv4 address inside is judged by that one, or refused. What is neither
//! known to be public nor known to be a private network is refused, whatever is set;
//! link-local addresses, where machines of clouds keep their credentials, are among these.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of place an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On the internet.
    Public,
    /// This machine or a private network: loopback, 10/8, 172.16/12, 192.168/16, the
    /// shared 100.64/10, fc00::/7.
    Private,
    /// Never to be called.
    Never,
}

/// Services of clouds that give credentials to whoever asks, outside link-local.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// What kind of place `address` is.
pub(super) fn place(address: IpAddr) -> Place {
    if METADATA.contains(&address) {
        return Place::Never;
    }
    match address {
        IpAddr::V4(address) => of_v4(address),
        IpAddr::V6(address) => of_v6(address),
    }
}

fn of_v4(address: Ipv4Addr) -> Place {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (10 | 127, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Place::Private,
        // This network; link-local; multicast, reserved and broadcast.
        (0 | 224.., ..) | (169, 254, _) => Place::Never,
        // Of protocols, of documents, the relay of 6to4, of benchmarks.
        (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (192, 88, 99) | (198, 18 | 19, _) => {
            Place::Never
        }
        _ => Place::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> Place {
    if let Some(inside) = address.to_ipv4_mapped() {
        return place(IpAddr::V4(inside));
    }
    let parts = address.segments();
    // NAT64: what it is translated to must be public. No network may put others there.
    if parts[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., a, b, c, d] = address.octets();
        return match place(IpAddr::V4(Ipv4Addr::new(a, b, c, d))) {
            Place::Public => Place::Public,
            Place::Private | Place::Never => Place::Never,
        };
    }
    match (parts[0], parts[1]) {
        _ if address == Ipv6Addr::LOCALHOST => Place::Private,
        (0xfc00..=0xfdff, _) => Place::Private,
        // Teredo, ORCHID, benchmarks and the like; documents; 6to4.
        (0x2001, 0..=0x1ff | 0xdb8) | (0x3fff, 0..=0xfff) | (0x2002, _) => Place::Never,
        (0x2000..=0x3fff, _) => Place::Public,
        // Unspecified, IPv4-compatible, NAT64 of one's own, discard, link- and site-local,
        // multicast, and what nobody has been given.
        _ => Place::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_has_its_kind_to_its_first_and_last_address() {
        for (kind, addresses) in [
            (
                Place::Public,
                &[
                    "1.0.0.0",
                    "9.255.255.255",
                    "11.0.0.0",
                    "100.63.255.255",
                    "100.128.0.0",
                    "126.255.255.255",
                    "128.0.0.0",
                    "169.253.255.255",
                    "169.255.0.0",
                    "172.15.255.255",
                    "172.32.0.0",
                    "192.0.1.0",
                    "192.0.3.0",
                    "192.167.255.255",
                    "192.169.0.0",
                    "192.88.98.255",
                    "192.88.100.0",
                    "198.17.255.255",
                    "198.20.0.0",
                    "198.51.99.255",
                    "198.51.101.0",
                    "203.0.112.255",
                    "203.0.114.0",
                    "223.255.255.255",
                    "8.8.8.8",
                    "::ffff:8.8.8.8",
                    "64:ff9b::8.8.8.8",
                    "2001:200::",
                    "2000::",
                    "2606:4700::1111",
                    "2003::1",
                    "3ffe:ffff::",
                    "3fff:1000::",
                ][..],
            ),
            (
                Place::Private,
                &[
                    "10.0.0.0",
                    "10.255.255.255",
                    "100.64.0.0",
                    "100.127.255.255",
                    "127.0.0.0",
                    "127.255.255.255",
                    "172.16.0.0",
                    "172.31.255.255",
                    "192.168.0.0",
                    "192.168.255.255",
                    "::1",
                    "::ffff:127.0.0.1",
                    "::ffff:10.0.0.1",
                    "fc00::",
                    "fdff:ffff::",
                ],
            ),
            (
                Place::Never,
                &[
                    "0.0.0.0",
                    "0.255.255.255",
                    "169.254.0.0",
                    "169.254.169.254",
                    "169.254.255.255",
                    "192.0.0.0",
                    "192.0.0.192",
                    "192.0.2.0",
                    "192.0.2.255",
                    "192.88.99.1",
                    "198.18.0.0",
                    "198.19.255.255",
                    "198.51.100.7",
                    "203.0.113.255",
                    "224.0.0.0",
                    "239.255.255.255",
                    "240.0.0.0",
                    "255.255.255.255",
                    "100.100.100.200",
                    "168.63.129.16",
                    "::",
                    "::2",
                    "::127.0.0.1",
                    "::8.8.8.8",
                    "::ffff:169.254.169.254",
                    "::ffff:0.0.0.0",
                    "::ffff:100.100.100.200",
                    "::ffff:0:8.8.8.8",
                    "64:ff9b::127.0.0.1",
                    "64:ff9b::10.0.0.1",
                    "64:ff9b::169.254.169.254",
                    "64:ff9b:1::8.8.8.8",
                    "100::1",
                    "2001::1",
                    "2001:2::1",
                    "2001:10::1",
                    "2001:1ff:ffff::",
                    "2001:db8::1",
                    "2002:808:808::1",
                    "2002:7f00:1::",
                    "3fff::1",
                    "3fff:fff::1",
                    "4000::1",
                    "5f00::1",
                    "fbff::1",
                    "fe00::1",
                    "fe80::1",
                    "febf::1",
                    "fec0::1",
                    "ff02::1",
                    "fd00:ec2::254",
                    "fd20:ce::254",
                    "1fff::1",
                ],
            ),
        ] {
            for address in addresses {
                assert_eq!(place(address.parse().unwrap()), kind, "{address}");
            }
        }
    }
}
