//! Failed attempts, counted per address.
//!
//! A guess cannot succeed (190 bits), so the limit is not there to stop guessing: it
//! keeps somebody who tries all day from filling the log and from having polite
//! refusals written to. Whoever has a good key is let in whatever came from the
//! same address before; an office shares one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts failures. See the module.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    of: HashMap<IpAddr, Window>,
    /// When those whose time is over were last taken out.
    swept: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    count: u64,
}

/// What a failure is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// The reason, and a line in the log.
    Told,
    /// The reason, and a line in the log that this address is not mentioned again for
    /// a while.
    Last,
    /// As little as possible, and nothing in the log.
    Curt,
}

impl Limiter {
    /// Notes a failure of `peer`.
    pub(crate) fn failed(&self, peer: IpAddr, now: Instant) -> Manner {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = subscriber(peer);
        if !failures.of.contains_key(&peer) && !failures.make_room(now) {
            // So many at once are no mistakes: all of them are one.
            return Manner::Curt;
        }
        let new = Window {
            began: now,
            count: 0,
        };
        let window = failures.of.entry(peer).or_insert(new);
        if window.over(now) {
            *window = new;
        }
        window.count += 1;
        match window.count {
            ..ALLOWED => Manner::Told,
            ALLOWED => Manner::Last,
            _ => Manner::Curt,
        }
    }
}

impl Failures {
    /// Whether there is room for one more address.
    fn make_room(&mut self, now: Instant) -> bool {
        let since = |swept| now.saturating_duration_since(swept);
        if self.of.len() >= MOST && self.swept.is_none_or(|swept| since(swept) >= SWEEP) {
            self.swept = Some(now);
            self.of.retain(|_, window| !window.over(now));
        }
        self.of.len() < MOST
    }
}

impl Window {
    fn over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= SPAN
    }
}

/// The addresses that are one customer's: of IPv6 the first 64 bits.
fn subscriber(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// Failures of one address within [`SPAN`] that are told about: a streamer corrects
/// a key in fewer.
const ALLOWED: u64 = 10;

const SPAN: Duration = Duration::from_secs(60);

/// From one look for room among all addresses to the next.
const SWEEP: Duration = Duration::from_secs(1);

/// Addresses counted at once, in half a megabyte.
const MOST: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an arbitrary start")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn ten_failures_a_minute_are_told_about() {
        let (limiter, now) = (Limiter::default(), start());
        let peer = "192.0.2.1".parse().unwrap();
        for _ in 0..9 {
            assert_eq!(limiter.failed(peer, now), Manner::Told);
        }
        assert_eq!(limiter.failed(peer, now), Manner::Last);
        assert_eq!(limiter.failed(peer, now), Manner::Curt);
        let other = "192.0.2.2".parse().unwrap();
        assert_eq!(limiter.failed(other, now), Manner::Told);
        let later = now + SPAN;
        assert_eq!(limiter.failed(peer, later), Manner::Told);
    }

    #[test]
    fn addresses_of_one_customer_are_one() {
        let (limiter, now) = (Limiter::default(), start());
        for host in 0..20 {
            let peer = format!("2001:db8:1:2::{host:x}").parse().unwrap();
            limiter.failed(peer, now);
        }
        let failed = |peer: &str| limiter.failed(peer.parse().unwrap(), now);
        assert_eq!(failed("2001:db8:1:2:ffff::1"), Manner::Curt);
        assert_eq!(failed("2001:db8:1:3::1"), Manner::Told);
        for _ in 0..10 {
            failed("::ffff:192.0.2.9");
        }
        assert_eq!(failed("192.0.2.9"), Manner::Curt);
    }

    #[test]
    fn any_number_of_addresses_takes_bounded_room() {
        let (limiter, now) = (Limiter::default(), start());
        for host in 0..100_000_u32 {
            limiter.failed(IpAddr::V4(host.into()), now);
        }
        assert_eq!(limiter.failures.lock().unwrap().of.len(), MOST);
        assert_eq!(
            limiter.failed(IpAddr::V4(u32::MAX.into()), now),
            Manner::Curt
        );
        let later = now + SPAN;
        assert_eq!(
            limiter.failed(IpAddr::V4(u32::MAX.into()), later),
            Manner::Told
        );
        assert_eq!(limiter.failures.lock().unwrap().of.len(), 1);
    }
}
