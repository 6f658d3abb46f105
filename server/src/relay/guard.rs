//! Which addresses a target may have.
//!
//! Streamers choose targets, and a server in a private network can reach what
//! they cannot: databases, the credentials of its task (169.254.170.2 on AWS).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of address `ip` is, unless anybody on the internet could reach it.
/// Addresses of IPv4 that are written in IPv6 are taken for what they are, and
/// those that a translator or a tunnel would turn into one as well.
pub(super) fn private(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => private_v4(ip),
        IpAddr::V6(ip) => private_v6(ip),
    }
}

/// By IANA's registry of special-purpose addresses (RFC 6890).
fn private_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = ip.octets();
    Some(match (a, b, c) {
        (127, ..) => "a loopback address",
        (169, 254, _) => "a link-local address",
        _ if ip.is_private() => "a private address",
        // What Azure's machines reach their host by.
        (168, 63, 129) if ip.octets()[3] == 16 => "an address of the machine's host",
        (100, 64..=127, _) => "an address inside a provider's network",
        (0, ..) => "an address of this host",
        (192, 0, 0) => "an address for protocols",
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => "an address for documentation",
        (198, 18..=19, _) => "an address for benchmarks",
        (192, 88, 99) => "an address of a tunnel",
        (224..=239, ..) => "a multicast address",
        (240..=255, ..) => "a reserved address",
        _ => return None,
    })
}

fn private_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let embedded = |at: usize| {
        let octets = ip.octets();
        Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3])
    };
    Some(match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "an address of this host",
        [0, 0, 0, 0, 0, 0, 0, 1] => "a loopback address",
        // Mapped, and the older compatible form.
        [0, 0, 0, 0, 0, 0xffff | 0, ..] => return private_v4(embedded(12)),
        // Translated: RFC 2765, RFC 6052, RFC 8215.
        [0, 0, 0, 0, 0xffff, 0, ..] => return private_v4(embedded(12)),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => return private_v4(embedded(12)),
        [0x64, 0xff9b, 1, ..] => "an address of a local translator",
        // 6to4.
        [0x2002, ..] => return private_v4(embedded(2)),
        // Teredo hides the address that it leads to.
        [0x2001, 0, ..] => "an address of a tunnel",
        [0x2001, 0x1..=0x1ff, ..] => "an address for protocols",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "an address for documentation",
        [0x100, 0, 0, 0 | 1, ..] => "an address that leads nowhere",
        [0x5f00, ..] => "an address of a provider's segments",
        [0xfc00..=0xfdff, ..] => "a private address",
        [0xfe80..=0xfebf, ..] => "a link-local address",
        [0xfec0..=0xfeff, ..] => "a private address",
        [0xff00..=0xffff, ..] => "a multicast address",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_pass() {
        for inside in [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.170.2",
            "169.254.169.254",
            "168.63.129.16",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.170.2",
            "::ffff:10.1.2.3",
            "::127.0.0.1",
            "::10.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::169.254.170.2",
            "64:ff9b:1::1",
            "2002:a00:1::",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            let ip = inside.parse().unwrap();
            assert!(private(ip).is_some(), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "142.250.74.238",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "169.253.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::",
            "2001:4860:4860::8888",
        ] {
            let ip = outside.parse().unwrap();
            assert_eq!(private(ip), None, "{outside}");
        }
    }
}
