//! Where a webhook is.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

/// An HTTP URL in its parts. `Debug` and `Display` leave out what follows the
/// authority: paths and queries of webhooks are secrets often enough.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    tls: bool,
    /// As the Host header wants it.
    authority: String,
    /// Without brackets.
    host: String,
    port: u16,
    /// With the query.
    path: String,
}

/// Why a text is no URL of a webhook. Says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAddress {
    /// Not a URL at all.
    #[error("this is no URL")]
    Syntax,
    /// Neither HTTP nor HTTPS.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// User or password in it.
    #[error("user and password are not supported, the signature says who asks")]
    User,
    /// Port 0.
    #[error("the port is 0")]
    Port,
}

impl Address {
    /// Whether it is reached with TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Host and port, as the Host header has them.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path and the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether what is sent there can be read on the way.
    pub(crate) fn is_exposed(&self) -> bool {
        let ip = self.host.parse::<std::net::IpAddr>();
        let local = self.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
        !self.tls && !local
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        // `Uri` drops a fragment, which is never sent.
        let uri: Uri = text.parse().map_err(|_| InvalidAddress::Syntax)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(InvalidAddress::Scheme),
            None => return Err(InvalidAddress::Syntax),
        };
        let authority = uri.authority().ok_or(InvalidAddress::Syntax)?;
        if authority.as_str().contains('@') {
            return Err(InvalidAddress::User);
        }
        let host = authority.host();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // `Uri` reads a port that is none as no port.
        let after = authority.as_str().rsplit(']').next().unwrap_or_default();
        let port = match after.rsplit_once(':') {
            Some((_, port)) => port.parse().map_err(|_| InvalidAddress::Syntax)?,
            None if tls => 443,
            None => 80,
        };
        if host.is_empty() {
            return Err(InvalidAddress::Syntax);
        }
        if port == 0 {
            return Err(InvalidAddress::Port);
        }
        Ok(Self {
            tls,
            authority: authority.to_string(),
            host: host.to_owned(),
            port,
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_url_are_found() {
        let read = |text: &str| {
            let address: Address = text.parse().unwrap();
            let (host, path) = (address.host().to_owned(), address.path().to_owned());
            (host, address.port(), address.is_tls(), path)
        };
        let parts =
            |host: &str, port, tls, path: &str| (host.to_owned(), port, tls, path.to_owned());
        assert_eq!(read("http://app"), parts("app", 80, false, "/"));
        assert_eq!(read("https://app/h?a=b"), parts("app", 443, true, "/h?a=b"));
        assert_eq!(read("https://[::1]/h"), parts("::1", 443, true, "/h"));
        assert_eq!(read("http://[::1]:81/h#x"), parts("::1", 81, false, "/h"));
        assert_eq!(
            read("http://127.0.0.1:8080/"),
            parts("127.0.0.1", 8080, false, "/")
        );
    }

    #[test]
    fn what_is_no_webhook_is_refused() {
        let wrong = |text: &str| text.parse::<Address>().unwrap_err();
        for text in [
            "",
            "app",
            "/hook",
            "http://",
            "http://a b/",
            "http://a:x/",
            "http://:80/",
        ] {
            assert_eq!(wrong(text), InvalidAddress::Syntax, "{text}");
        }
        assert_eq!(wrong("ftp://app/"), InvalidAddress::Scheme);
        assert_eq!(wrong("http://me:hush@app/"), InvalidAddress::User);
        assert_eq!(wrong("http://app:0/"), InvalidAddress::Port);
    }

    #[test]
    fn a_secret_path_is_not_shown() {
        let address: Address = "https://app:8443/hush?hush".parse().unwrap();
        assert_eq!(
            format!("{address} {address:?}"),
            "https://app:8443 https://app:8443"
        );
    }

    #[test]
    fn only_what_stays_on_this_machine_may_go_in_the_clear() {
        let exposed = |text: &str| text.parse::<Address>().unwrap().is_exposed();
        assert!(exposed("http://app/"));
        assert!(exposed("http://10.0.0.1/"));
        for text in [
            "https://app/",
            "http://localhost:1/",
            "http://127.0.0.1/",
            "http://[::1]/",
        ] {
            assert!(!exposed(text), "{text}");
        }
    }
}
