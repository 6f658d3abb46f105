use std::fmt;

use crate::Error;

/// Where to publish: `rtmp://host[:port]/app/key`, or `rtmps://`.
///
/// The app may have several elements and a query; the key is the last element of
/// the path with its query, as ffmpeg has it: in `/live/key?token=a/b` it is
/// `key?token=a/b`, in `/live?x=1/key` it is `key`.
///
/// `Display` and `Debug` hide the key and the app's query.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    tls: bool,
    host: String,
    port: u16,
    app: String,
    key: String,
}

impl Url {
    /// Reads a URL that ends in a key.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (server, path) = Self::server(text)?;
        let before_query = path.find('?').unwrap_or(path.len());
        let Some(cut) = path[..before_query].rfind('/').or_else(|| path.rfind('/')) else {
            return Err(Error::Url(
                "no key after the app, the form is rtmp://host/app/key",
            ));
        };
        server.with_path(&path[..cut], &path[cut + 1..])
    }

    /// Reads the URL of a server, which ends in its app, and takes the key apart
    /// from it: the two fields of most encoders. The key is left as it is.
    pub fn join(server: &str, key: &str) -> Result<Self, Error> {
        let (url, app) = Self::server(server)?;
        url.with_path(app, key)
    }

    /// Whether the connection starts with TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Name or address of the host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port: 1935, or 443 with TLS, unless the URL says another.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The application, with its query.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The stream name, with its query. A secret.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The URL without the key, as `connect` sends it. The app's query, which it
    /// contains, may be a secret.
    pub fn tc_url(&self) -> String {
        format!("{}/{}", self.origin(), self.app)
    }

    /// Scheme, host and, when it is not the usual one, port.
    fn origin(&self) -> String {
        let (scheme, usual) = match self.tls {
            true => ("rtmps", TLS_PORT),
            false => ("rtmp", PORT),
        };
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port == usual {
            true => format!("{scheme}://{host}"),
            false => format!("{scheme}://{host}:{}", self.port),
        }
    }

    /// Everything up to the path, and the path without its first slash.
    fn server(text: &str) -> Result<(Self, &str), Error> {
        if text.chars().any(|c| c.is_control() || c == ' ') {
            return Err(Error::Url("a space or control character in it"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(Error::Url("no scheme, it begins with rtmp:// or rtmps://"));
        };
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "rtmp" => false,
            "rtmps" => true,
            _ => return Err(Error::Url("the scheme is neither rtmp nor rtmps")),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(Error::Url("user and password are not supported"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let Some((host, rest)) = v6.split_once(']') else {
                    return Err(Error::Url("no ] after the IPv6 address"));
                };
                match rest.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if rest.is_empty() => (host, None),
                    None => return Err(Error::Url("no : between ] and the port")),
                }
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() {
            return Err(Error::Url("no host"));
        }
        let port = match port {
            None if tls => TLS_PORT,
            None => PORT,
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(Error::Url("the port is not a number from 1 to 65535")),
            },
        };
        let url = Self {
            tls,
            host: host.to_owned(),
            port,
            app: String::new(),
            key: String::new(),
        };
        Ok((url, path))
    }

    fn with_path(mut self, app: &str, key: &str) -> Result<Self, Error> {
        let app = app.trim_matches('/');
        if app.is_empty() {
            return Err(Error::Url("no app, the form is rtmp://host/app/key"));
        }
        if key.is_empty() {
            return Err(Error::Url("the key is empty"));
        }
        if key.chars().any(char::is_control) {
            return Err(Error::Url("a control character in the key"));
        }
        self.app = app.to_owned();
        self.key = key.to_owned();
        Ok(self)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (app, secret) = match self.app.split_once('?') {
            Some((app, _)) => (app, "?***"),
            None => (self.app.as_str(), ""),
        };
        write!(f, "{}/{app}{secret}/***", self.origin())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

impl std::str::FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

/// IANA's port for RTMP.
const PORT: u16 = 1935;
/// RTMPS has no port of its own; all destinations use that of HTTPS.
const TLS_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        let cases = [
            (
                "host/app/hush",
                "no scheme, it begins with rtmp:// or rtmps://",
            ),
            (
                "http://host/app/hush",
                "the scheme is neither rtmp nor rtmps",
            ),
            ("rtmp:///app/hush", "no host"),
            (
                "rtmp://u:p@h/app/hush",
                "user and password are not supported",
            ),
            (
                "rtmp://h:0/app/hush",
                "the port is not a number from 1 to 65535",
            ),
            (
                "rtmp://h:x/app/hush",
                "the port is not a number from 1 to 65535",
            ),
            ("rtmp://[::1/app/hush", "no ] after the IPv6 address"),
            ("rtmp://[::1]1/app/hush", "no : between ] and the port"),
            (
                "rtmp://h/hush",
                "no key after the app, the form is rtmp://host/app/key",
            ),
            ("rtmp://h//hush", "no app, the form is rtmp://host/app/key"),
            ("rtmp://h/app/", "the key is empty"),
            ("rtmp://h/app/hu sh", "a space or control character in it"),
            ("rtmp://h/app/hu\nsh", "a space or control character in it"),
        ];
        for (text, what) in cases {
            let error = Url::parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("RTMP URL: {what}"), "{text}");
        }
    }

    #[test]
    fn neither_display_nor_debug_show_secrets() {
        let url = Url::parse("rtmps://h/live2?backup=hush/hush?token=hush").unwrap();
        assert_eq!(url.to_string(), "rtmps://h/live2?***/***");
        assert_eq!(format!("{url:?}"), "Url(rtmps://h/live2?***/***)");
    }

    #[test]
    fn paths_split_as_ffmpeg_splits_them() {
        let cases = [
            ("/live/key", "live", "key"),
            ("/live/key?token=a&b=c", "live", "key?token=a&b=c"),
            ("/live/key?token=a/b", "live", "key?token=a/b"),
            ("/live?x=1/key", "live?x=1", "key"),
            ("/a/b/c?q=1", "a/b", "c?q=1"),
        ];
        for (path, app, key) in cases {
            let url = Url::parse(&format!("rtmp://host{path}")).unwrap();
            assert_eq!((url.app(), url.key()), (app, key), "{path}");
        }
    }

    #[test]
    fn server_and_key_join_untouched() {
        let url = Url::join("rtmps://rtmp-api.facebook.com:443/rtmp/", "FB-1?s_a=b&c=/d").unwrap();
        assert_eq!(url.app(), "rtmp");
        assert_eq!(url.key(), "FB-1?s_a=b&c=/d");
        assert_eq!(url.tc_url(), "rtmps://rtmp-api.facebook.com/rtmp");
        let backup = Url::join("rtmp://b.rtmp.youtube.com/live2?backup=1", "k").unwrap();
        assert_eq!(backup.app(), "live2?backup=1");
    }

    #[test]
    fn hosts_and_ports_are_read() {
        let url: Url = "RTMP://[::1]:1936/a/k".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.is_tls()), ("::1", 1936, false));
        assert_eq!(url.tc_url(), "rtmp://[::1]:1936/a");
        assert_eq!(Url::parse("rtmps://h/a/k").unwrap().port(), 443);
        assert_eq!(Url::parse("rtmp://h/a/k").unwrap().port(), 1935);
    }
}
