//! IP networks, and whom a request comes from.

use std::net::IpAddr;
use std::str::FromStr;

use axum::http::HeaderMap;

/// An IP network, or one address. Addresses of IPv4 that are written in IPv6 are
/// taken for what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an IP address, nor a network like 10.0.0.0/8")]
pub struct InvalidNetwork;

impl Network {
    /// Whether `ip` is one of its addresses.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let apart = u32::from(net) ^ u32::from(ip);
                apart.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let apart = u128::from(net) ^ u128::from(ip);
                apart.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| InvalidNetwork)?;
        let most = |ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most(written),
            // "+8" is a number to Rust.
            Some(bits) if !bits.bytes().all(|b| b.is_ascii_digit()) => return Err(InvalidNetwork),
            Some(bits) => bits.parse().map_err(|_| InvalidNetwork)?,
        };
        if bits > most(written) {
            return Err(InvalidNetwork);
        }
        let address = written.to_canonical();
        // What is mapped has 96 bits in front.
        let mapped = most(written) - most(address);
        if bits < mapped {
            return Err(InvalidNetwork);
        }
        Ok(Self {
            address,
            bits: bits - mapped,
        })
    }
}

/// Whom a request of `peer` comes from: the peer itself, unless it is one of
/// `trusted`, whose word is taken for whom it speaks for (`X-Forwarded-For`).
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |ip| trusted.iter().any(|network| network.contains(ip));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    // Each proxy adds its own peer behind what it was told, which may be lies.
    let lists = headers.get_all("x-forwarded-for").iter().rev();
    let told = lists.flat_map(|list| list.to_str().unwrap_or_default().rsplit(','));
    for hop in told.take(MOST_PROXIES) {
        let Some(ip) = address(hop.trim()) else {
            return client;
        };
        client = ip;
        if !is_trusted(client) {
            return client;
        }
    }
    client
}

/// An address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let ip = text
        .parse()
        .or_else(|_| text.parse().map(|with: std::net::SocketAddr| with.ip()));
    ip.ok().map(|ip: IpAddr| ip.to_canonical())
}

/// Proxies in a row.
const MOST_PROXIES: usize = 16;

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/",
            "a",
            "10.0.0.0/33",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "::/129",
            "::ffff:10.0.0.0/95",
            "10.0.0.0/8/8",
            "10.0.0.1:80",
        ] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork), "{text:?}");
        }
    }

    #[test]
    fn an_address_is_in_its_network_alone() {
        let check = |net: &str, ip: &str, within: bool| {
            let ip = ip.parse().unwrap();
            assert_eq!(network(net).contains(ip), within, "{ip} in {net}");
        };
        check("10.1.2.3", "10.1.2.3", true);
        check("10.1.2.3", "10.1.2.2", false);
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("0.0.0.0/0", "1.2.3.4", true);
        check("0.0.0.0/0", "::1", false);
        check("10.0.0.0/31", "10.0.0.1", true);
        check("10.0.0.0/31", "10.0.0.2", false);
        check("fd00::/8", "fdff::1", true);
        check("fd00::/8", "fe00::1", false);
        check("::/0", "fe00::1", true);
        check("::1", "::2", false);
        // An address of IPv4 however it is written.
        check("10.0.0.0/8", "::ffff:10.1.1.1", true);
        check("::ffff:10.0.0.0/104", "10.1.1.1", true);
        check("::/0", "::ffff:10.1.1.1", false);
    }

    #[test]
    fn nobody_is_believed_but_a_trusted_proxy() {
        let trusted = [network("10.0.0.0/8"), network("::1")];
        let check = |peer: &str, lists: &[&'static str], expected: &str| {
            let mut headers = HeaderMap::new();
            for list in lists {
                headers.append("x-forwarded-for", HeaderValue::from_static(list));
            }
            let found = client(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(found.to_string(), expected, "{peer} {lists:?}");
        };
        check("203.0.113.1", &["198.51.100.1"], "203.0.113.1");
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &[], "10.0.0.1");
        // The client said the first one itself.
        check("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1");
        check(
            "10.0.0.1",
            &["1.1.1.1, 198.51.100.1, 10.0.0.2"],
            "198.51.100.1",
        );
        check("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1");
        check("::1", &["[2001:db8::1]:4711"], "2001:db8::1");
    }
}
