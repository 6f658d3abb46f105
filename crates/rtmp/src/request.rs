//! Who connects and what they want to publish or play, put together from the places
//! where encoders put it: the app, the tcUrl and the stream name can all carry a
//! query.

use std::fmt;

use amf0::Value;

/// What a peer said with `connect`.
///
/// `Debug` shows neither the values of the query nor the tcUrl: keys end up in
/// both when a streamer fills in the wrong field.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnectInfo {
    /// Application, without its query and outer slashes. May contain slashes.
    pub app: String,
    /// Name and value pairs of the app's and the tcUrl's query, as they came.
    pub query: Vec<(String, String)>,
    /// The URL that the peer believes it connects to.
    pub tc_url: String,
    /// The peer's name for itself, 128 characters at most and none of them
    /// control characters: it goes into logs.
    pub flash_ver: String,
}

/// What a peer said with `publish`.
///
/// `Debug` shows neither the key nor the values of the query.
#[derive(Clone, PartialEq, Eq)]
pub struct PublishRequest {
    /// Application, without its query and outer slashes.
    pub app: String,
    /// Stream name without its query: the key. May be empty.
    pub key: String,
    /// Name and value pairs of all queries, not URL-decoded. A name given in the
    /// stream name hides the same name in the app, which hides it in the tcUrl.
    pub query: Vec<(String, String)>,
    /// `live`, `record` or `append`; some encoders send something else.
    pub kind: String,
    /// The URL that the peer believes it connects to.
    pub tc_url: String,
    /// The peer's name for itself, such as `FMLE/3.0 (compatible; Lavf59.27.100)`.
    pub flash_ver: String,
}

/// What a peer said with `play`.
///
/// `Debug` shows neither the name, which may be a key by mistake, nor the values of
/// the query: they may be tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct PlayRequest {
    /// Application, without its query and outer slashes.
    pub app: String,
    /// Stream name without its query. May be empty.
    pub name: String,
    /// As in [`PublishRequest::query`].
    pub query: Vec<(String, String)>,
    /// The peer's name for itself.
    pub flash_ver: String,
}

impl ConnectInfo {
    /// Reads the command object of a `connect`.
    pub(crate) fn from_object(object: &Value) -> Self {
        let text = |name: &str| {
            let fields = object.fields().unwrap_or_default();
            let field = fields
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name));
            field.and_then(|(_, value)| value.as_str()).unwrap_or("")
        };
        // Neko sends its URL in quotes.
        let tc_url = text("tcUrl").trim_matches('"');
        let (mut app, mut query) = split_query(text("app").trim_matches('"'));
        let (path, tc_query) = split_query(tc_url);
        if app.is_empty() {
            app = path
                .split_once("://")
                .and_then(|(_, rest)| rest.split_once('/'))
                .map_or("", |(_, path)| path);
        }
        merge(&mut query, tc_query);
        Self {
            app: app.trim_matches('/').to_owned(),
            query,
            tc_url: tc_url.to_owned(),
            flash_ver: text("flashVer")
                .chars()
                .filter(|c| !c.is_control())
                .take(MAX_VERSION)
                .collect(),
        }
    }

    /// The request to publish `name` over this connection.
    pub(crate) fn publish(&self, name: &str, kind: &str) -> PublishRequest {
        let (key, mut query) = split_query(name);
        merge(&mut query, self.query.clone());
        PublishRequest {
            app: self.app.clone(),
            key: key.to_owned(),
            query,
            kind: kind.to_owned(),
            tc_url: self.tc_url.clone(),
            flash_ver: self.flash_ver.clone(),
        }
    }
}

impl ConnectInfo {
    /// The request to play `name` over this connection.
    pub(crate) fn play(&self, name: &str) -> PlayRequest {
        let PublishRequest {
            app,
            key,
            query,
            flash_ver,
            ..
        } = self.publish(name, "");
        PlayRequest {
            app,
            name: key,
            query,
            flash_ver,
        }
    }
}

impl fmt::Debug for ConnectInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectInfo")
            .field("app", &self.app)
            .field("query", &Names(&self.query))
            .field("flash_ver", &self.flash_ver)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PublishRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishRequest")
            .field("app", &self.app)
            .field("key", &format_args!("***"))
            .field("query", &Names(&self.query))
            .field("kind", &self.kind)
            .field("flash_ver", &self.flash_ver)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PlayRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlayRequest")
            .field("app", &self.app)
            .field("name", &format_args!("***"))
            .field("query", &Names(&self.query))
            .field("flash_ver", &self.flash_ver)
            .finish()
    }
}

/// Shows the names of a query.
struct Names<'a>(&'a [(String, String)]);

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

fn split_query(text: &str) -> (&str, Vec<(String, String)>) {
    let Some((path, query)) = text.split_once('?') else {
        return (text, Vec::new());
    };
    let pairs = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .take(MAX_PAIRS)
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        });
    (path, pairs.collect())
}

/// Adds the pairs of `more` whose names are new to `query`.
fn merge(query: &mut Vec<(String, String)>, more: Vec<(String, String)>) {
    let known = query.len();
    for pair in more {
        if !query[..known].iter().any(|(name, _)| *name == pair.0) {
            query.push(pair);
        }
    }
}

/// Characters kept of a peer's name for itself.
const MAX_VERSION: usize = 128;

/// Pairs read from one query; the rest is left out.
const MAX_PAIRS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::object;

    fn pairs(query: &[(String, String)]) -> String {
        let pairs: Vec<_> = query.iter().map(|(n, v)| format!("{n}={v}")).collect();
        pairs.join(" ")
    }

    #[test]
    fn no_secret_shows_in_debug() {
        let object = object([
            ("app", "stream?youtube=hush1".into()),
            ("tcUrl", "rtmp://h/stream/hush2?token=hush3".into()),
        ]);
        let info = ConnectInfo::from_object(&object);
        let request = info.publish("hush4?facebook=hush5", "live");
        let shown = format!("{info:?} {request:?}");
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("youtube") && shown.contains("facebook"));
    }

    #[test]
    fn a_query_is_found_wherever_it_is() {
        let object = object([
            ("app", "live/?a=1&b=2".into()),
            ("tcUrl", "rtmp://h:1935/live?a=9&c=3".into()),
        ]);
        let info = ConnectInfo::from_object(&object);
        assert_eq!(info.app, "live");
        assert_eq!(pairs(&info.query), "a=1 b=2 c=3");
        let request = info.publish("key?b=7&url=x?y=z", "live");
        assert_eq!(request.key, "key");
        assert_eq!(pairs(&request.query), "b=7 url=x?y=z a=1 c=3");
    }

    #[test]
    fn a_stream_name_may_be_nothing_but_a_query() {
        let request = ConnectInfo::default().publish("?key=val", "live");
        assert_eq!(request.key, "");
        assert_eq!(pairs(&request.query), "key=val");
    }

    #[test]
    fn odd_spellings_of_connect_are_read() {
        let fields = vec![
            ("tcurl".to_owned(), "\"rtmp://host/a/b?x=1\"".into()),
            ("flashver".to_owned(), "Neko".into()),
        ];
        let info = ConnectInfo::from_object(&Value::EcmaArray(fields));
        assert_eq!(info.app, "a/b");
        assert_eq!(info.tc_url, "rtmp://host/a/b?x=1");
        assert_eq!(pairs(&info.query), "x=1");
        assert_eq!(info.flash_ver, "Neko");
    }

    #[test]
    fn what_a_peer_calls_itself_can_be_logged() {
        let name = format!("OBS\r\n{}", "x".repeat(1000));
        let info = ConnectInfo::from_object(&object([("flashVer", name.into())]));
        assert_eq!(info.flash_ver, format!("OBS{}", "x".repeat(125)));
    }

    #[test]
    fn a_query_of_a_million_pairs_is_cut() {
        let name = format!("key?{}", "a&".repeat(1_000_000));
        let request = ConnectInfo::default().publish(&name, "live");
        assert_eq!(request.query.len(), MAX_PAIRS);
    }
}
