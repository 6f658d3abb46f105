//! Readers of single values: text in, a checked value or "what is expected" out.
//!
//! Each function takes the bounds and returns a reader, so that a setting's
//! bounds stand in one place and its message always names them.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::layers::Raw;
use crate::auth::play::SHORTEST_SECRET;
use crate::auth::{PlaySecret, PublicKey};
use crate::name::StreamName;
use crate::network::Network;

/// A checked value, or what would have been accepted.
pub(super) type Read<T> = Result<T, String>;

/// The text of a string of the file, a flag or a variable.
fn text(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Text(text) => Some(text),
        _ => None,
    }
}

/// The digits of a number of the file, a flag or a variable. (A quoted number
/// of the file passes too: the same value passes as a flag.)
fn digits(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Text(text) | Raw::Number(text) => Some(text.trim()),
        _ => None,
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Raw) -> Read<T> {
    move |raw| {
        let found = words.iter().find(|(word, _)| text(raw) == Some(word));
        let Some(&(_, value)) = found else {
            let names: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            return Err(match names.split_last() {
                Some((last, rest)) if !rest.is_empty() => {
                    format!("{} or {last}", rest.join(", "))
                }
                _ => names.concat(),
            });
        };
        Ok(value)
    }
}

/// `true` or `false`.
pub(super) fn switch(raw: &Raw) -> Read<bool> {
    match raw {
        Raw::Switch(on) => Ok(*on),
        Raw::Text(text) if text == "true" => Ok(true),
        Raw::Text(text) if text == "false" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}

/// A whole number.
pub(super) fn count<T>(range: RangeInclusive<T>) -> impl Fn(&Raw) -> Read<T>
where
    T: FromStr + PartialOrd + Display,
{
    move |raw| {
        let number = digits(raw).and_then(|digits| digits.parse().ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                format!("a whole number from {least} to {most}")
            })
    }
}

/// A number that need not be whole.
pub(super) fn decimal(range: RangeInclusive<f64>) -> impl Fn(&Raw) -> Read<f64> {
    move |raw| {
        let number = digits(raw).and_then(|digits| digits.parse().ok());
        // NaN is in no range.
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("a number from {} to {}", range.start(), range.end()))
    }
}

/// A duration: a number and `ms`, `s`, `m`, `h` or `d`; plain numbers are
/// seconds, because `--segment 2` says so.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Raw) -> Read<Duration> {
    move |raw| {
        let value = digits(raw).and_then(parse_duration);
        value.filter(|value| range.contains(value)).ok_or_else(|| {
            let (least, most) = (show_duration(*range.start()), show_duration(*range.end()));
            format!("a duration from {least} to {most}")
        })
    }
}

/// Milliseconds are the finest step that any setting needs.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(unit_at.unwrap_or(text.len()));
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return None,
    };
    parse_scaled(number, unit_ms).map(Duration::from_millis)
}

/// "1.5" times `unit`, without rounding surprises: three decimals at most, and
/// the product must be whole.
fn parse_scaled(number: &str, unit: u64) -> Option<u64> {
    let number = number.trim_end();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || fraction.len() > 3 {
        return None;
    }
    let thousandths: u64 = format!("{fraction:0<3}").parse().ok()?;
    let scaled = thousandths.checked_mul(unit)?;
    if scaled % 1000 != 0 {
        return None;
    }
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(unit)?
        .checked_add(scaled / 1000)
}

/// A duration as a setting would say it.
pub(super) fn show_duration(value: Duration) -> String {
    let ms = value.as_millis();
    for (unit, unit_ms) in [("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms != 0 && ms.is_multiple_of(unit_ms) {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    if ms == 0 {
        "0s".to_owned()
    } else {
        format!("{ms}ms")
    }
}

/// A size in bytes: a number and `B`, `kB`, `MB`, `GB`, `TB` (powers of 1000)
/// or `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024).
pub(super) fn size(least: u64) -> impl Fn(&Raw) -> Read<u64> {
    move |raw| {
        let value = digits(raw).and_then(parse_size);
        value.filter(|&bytes| bytes >= least).ok_or_else(|| {
            format!(
                "a size of at least {} MiB, like \"500MiB\" or \"20GiB\"",
                least >> 20
            )
        })
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(unit_at.unwrap_or(text.len()));
    let unit = match unit {
        "" | "B" => 1,
        "kB" => 1000,
        "MB" => 1000_u64.pow(2),
        "GB" => 1000_u64.pow(3),
        "TB" => 1000_u64.pow(4),
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    parse_scaled(number, unit)
}

/// An address to listen on; port 0 means "pick one".
pub(super) fn listen(raw: &Raw) -> Read<SocketAddr> {
    let address = text(raw).and_then(|text| text.parse().ok());
    address.ok_or_else(|| {
        "an IP address and a port, like \"0.0.0.0:8000\" or \"[::]:8000\" (port 0 picks a free one)".to_owned()
    })
}

/// A path.
pub(super) fn path(raw: &Raw) -> Read<PathBuf> {
    let path = text(raw).filter(|text| !text.is_empty() && !text.contains('\0'));
    path.map(PathBuf::from).ok_or_else(|| "a path".to_owned())
}

/// Any text.
pub(super) fn any_text(raw: &Raw) -> Read<String> {
    text(raw)
        .map(str::to_owned)
        .ok_or_else(|| "a text in quotes".to_owned())
}

/// An element of a URL's path, under the rules of a stream name.
pub(super) fn path_element(raw: &Raw) -> Read<String> {
    let expected = |why: String| format!("a path element like a stream's name: {why}");
    let text = text(raw).ok_or_else(|| expected("a text in quotes".to_owned()))?;
    match StreamName::new(text) {
        Ok(name) => Ok(name.into()),
        Err(why) => Err(expected(why.to_string().replace("stream name", "this"))),
    }
}

/// A list; a flag or a variable separates its items with commas.
pub(super) fn list<T>(item: impl Fn(&Raw) -> Read<T>) -> impl Fn(&Raw) -> Read<Vec<T>> {
    move |raw| match raw {
        Raw::List(items) => items.iter().map(|entry| item(&entry.raw)).collect(),
        Raw::Text(text) => {
            let parts = text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            parts
                .map(|part| item(&Raw::Text(part.to_owned())))
                .collect()
        }
        other => Err(match item(other) {
            Ok(_) => "a list in brackets".to_owned(),
            Err(expected) => format!("a list in brackets of {expected}"),
        }),
    }
}

/// A web origin: `*`, or a scheme and host without a path, in lower case as
/// browsers send it.
pub(super) fn web_origin(raw: &Raw) -> Read<String> {
    let origin = text(raw).filter(|text| {
        *text == "*"
            || text.split_once("://").is_some_and(|(scheme, host)| {
                let letters = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
                matches!(scheme, "http" | "https") && !host.is_empty() && host.chars().all(letters)
            })
    });
    origin.map(str::to_ascii_lowercase).ok_or_else(|| {
        "\"*\" or origins like \"https://www.example.com\" (scheme, host, port; no path)".to_owned()
    })
}

/// An IP network, like `10.0.0.0/8`.
pub(super) fn network(raw: &Raw) -> Read<Network> {
    let network = text(raw).and_then(|text| text.parse().ok());
    network.ok_or_else(|| "networks like \"10.0.0.0/8\" or \"fd00::/8\"".to_owned())
}

/// What play tokens are signed with (HS256).
pub(super) fn play_secret(raw: &Raw) -> Read<PlaySecret> {
    text(raw).and_then(PlaySecret::new).ok_or_else(|| {
        format!(
            "a secret of {SHORTEST_SECRET} bytes or more that cannot be guessed, like what `openssl rand -base64 32` prints"
        )
    })
}

/// What play tokens are checked with (EdDSA).
pub(super) fn play_public_key(raw: &Raw) -> Read<PublicKey> {
    match path(raw) {
        Ok(_) => Ok(PublicKey::new(text(raw).unwrap_or_default())),
        Err(_) => Err("an Ed25519 public key in base64, or the path of its PEM file".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> Option<u64> {
        parse_duration(text).map(|value| value.as_millis() as u64)
    }

    #[test]
    fn a_crooked_duration_is_refused() {
        for text in [
            "",
            "s",
            "ms",
            "-1s",
            "+1s",
            "1e3s",
            "1 s s",
            "6 sec",
            "6S",
            "1m30s",
            "1..5s",
            ".5s",
            "5.s",
            "0.0001s",
            "0.5ms",
            "nan",
            "99999999999999999999s",
            "18446744073709551615h",
            "6\u{ff53}",
            "٦s",
        ] {
            assert_eq!(ms(text), None, "{text:?}");
        }
    }

    #[test]
    fn durations_read_as_they_are_written() {
        let known = [
            ("6s", 6000),
            ("2", 2000),
            ("2m", 120_000),
            ("100ms", 100),
            ("1h", 3_600_000),
            ("1.5s", 1500),
            ("2.002", 2002),
            ("0", 0),
            ("1d", 86_400_000),
            ("6 s", 6000),
        ];
        for (text, value) in known {
            assert_eq!(ms(text), Some(value), "{text:?}");
        }
    }

    #[test]
    fn a_shown_duration_reads_back() {
        for value in [0, 1, 999, 1000, 1500, 60_000, 90_000, 3_600_000, 86_400_000] {
            assert_eq!(
                ms(&show_duration(Duration::from_millis(value))),
                Some(value)
            );
        }
    }

    #[test]
    fn sizes_keep_apart_powers_of_1000_and_1024() {
        assert_eq!(parse_size("20GiB"), Some(20 << 30));
        assert_eq!(parse_size("20GB"), Some(20_000_000_000));
        assert_eq!(parse_size("1.5 MiB"), Some(3 << 19));
        for text in ["20G", "20gib", "-1B", "GiB", "16777216TiB", "0.3KiB"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_origin_has_no_path_and_no_wildcard_inside() {
        let read = |text: &str| web_origin(&Raw::Text(text.to_owned())).ok();
        for text in [
            "",
            "example.com",
            "https://",
            "https://a/",
            "https://*.a",
            "ftp://a",
            "https://a\r\nX: y",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(
            read("https://A.example:8443").as_deref(),
            Some("https://a.example:8443")
        );
        assert_eq!(read("http://[::1]:80").as_deref(), Some("http://[::1]:80"));
    }
}
