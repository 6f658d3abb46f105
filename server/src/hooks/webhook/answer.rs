//! Questions as JSON, and what the application says to them.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::post::Reply;
use crate::hooks::event::Client;
use crate::hooks::verdict::{Denied, Grant, Target, is_label};
use crate::name::StreamName;

/// A question. Seen by the application alone: neither queued nor sent twice, for it
/// may hold a key.
#[derive(Serialize)]
pub(super) struct Question<'a> {
    pub(super) r#type: &'static str,
    pub(super) id: u64,
    pub(super) time: u64,
    #[serde(flatten)]
    pub(super) client: &'a Client,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stream: Option<&'a StreamName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) query: Option<BTreeMap<&'a str, &'a str>>,
}

impl Question<'_> {
    pub(super) fn body(&self) -> Bytes {
        // Plain data with text for keys always has JSON.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// The first value of each name.
pub(super) fn query(pairs: &[(String, String)]) -> BTreeMap<&str, &str> {
    let mut query = BTreeMap::new();
    for (name, value) in pairs {
        query.entry(name.as_str()).or_insert(value.as_str());
    }
    query
}

/// Why an answer is none, in words for the log: nothing of the answer is in them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("it answers {0}")]
    Status(u16),
    #[error("its answer is not the JSON that is expected, at line {line} column {column}")]
    Json { line: usize, column: usize },
    #[error("it names a stream with a name that none can have")]
    Name,
    #[error("it names {0} targets, more than {most}", most = Grant::MOST_TARGETS)]
    Targets(usize),
    #[error("it names a target that is none: {0}")]
    Target(#[from] crate::hooks::InvalidTarget),
    #[error("it names a top rung with a name that none can have")]
    Rung,
}

#[derive(Deserialize)]
struct Said {
    allow: bool,
    reason: Option<String>,
    name: Option<String>,
    #[serde(default)]
    targets: Vec<SaidTarget>,
    record: Option<bool>,
    top_rung: Option<String>,
}

#[derive(Deserialize)]
struct SaidTarget {
    name: String,
    url: String,
    rung: Option<String>,
}

/// What a refusal by status may say.
#[derive(Deserialize)]
struct Why {
    reason: String,
}

/// What `reply` says. `key` is blotted out of its reason.
pub(super) fn read(reply: &Reply, key: Option<&str>) -> Result<Result<Grant, Denied>, NoAnswer> {
    let deny = |reason: &str| {
        let reason = match key.filter(|key| !key.is_empty()) {
            Some(key) => reason.replace(key, "***"),
            None => reason.to_owned(),
        };
        Ok(Err(Denied::new(&reason)))
    };
    if reply.status.is_client_error() {
        return match serde_json::from_slice::<Why>(&reply.body) {
            Ok(why) => deny(&why.reason),
            // These two mean no, whatever comes with them.
            Err(_)
                if matches!(
                    reply.status,
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
                ) =>
            {
                deny("")
            }
            Err(_) => Err(NoAnswer::Status(reply.status.as_u16())),
        };
    }
    if !reply.status.is_success() {
        return Err(NoAnswer::Status(reply.status.as_u16()));
    }
    // What serde says of it may quote it.
    let said: Said = serde_json::from_slice(&reply.body).map_err(|error| NoAnswer::Json {
        line: error.line(),
        column: error.column(),
    })?;
    if !said.allow {
        return deny(&said.reason.unwrap_or_default());
    }
    let name = said.name.map(|name| name.parse()).transpose();
    if said.targets.len() > Grant::MOST_TARGETS {
        return Err(NoAnswer::Targets(said.targets.len()));
    }
    let targets = said
        .targets
        .iter()
        .map(|said| Target::new(&said.name, &said.url, said.rung.as_deref()))
        .collect::<Result<_, _>>()?;
    if said.top_rung.as_deref().is_some_and(|rung| !is_label(rung)) {
        return Err(NoAnswer::Rung);
    }
    Ok(Ok(Grant {
        name: name.map_err(|_| NoAnswer::Name)?,
        targets,
        record: said.record,
        top_rung: said.top_rung,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> Result<Result<Grant, Denied>, NoAnswer> {
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        read(&reply, Some("wk_hush"))
    }

    fn denied(status: u16, body: &str) -> String {
        said(status, body).unwrap().unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_answer_is_told_without_quoting_it() {
        for (body, why) in [
            (
                "",
                "its answer is not the JSON that is expected, at line 1 column 0",
            ),
            (
                "{}",
                "its answer is not the JSON that is expected, at line 1 column 2",
            ),
            (
                "{\"allow\":\"hush\"}",
                "its answer is not the JSON that is expected, at line 1 column 15",
            ),
            (
                "{\"allow\":tru",
                "its answer is not the JSON that is expected, at line 1 column 12",
            ),
            (
                "{\"allow\":true,\"name\":\"../hush\"}",
                "it names a stream with a name that none can have",
            ),
            (
                "{\"allow\":true,\"top_rung\":\"../hush\"}",
                "it names a top rung with a name that none can have",
            ),
            (
                "{\"allow\":true,\"targets\":[{\"name\":\"a\",\"url\":\"hush\"}]}",
                "it names a target that is none: the URL of a target: RTMP URL: no scheme, it begins with rtmp:// or rtmps://",
            ),
        ] {
            assert_eq!(said(200, body).unwrap_err().to_string(), why);
        }
        for status in [204, 301, 302, 307, 404, 418, 500, 503] {
            let why = said(status, "").unwrap_err();
            assert!(!why.to_string().is_empty());
        }
        let target = "{\"name\":\"a\",\"url\":\"rtmp://a/b/c\"}";
        let many = vec![target; 17].join(",");
        let many = said(200, &format!("{{\"allow\":true,\"targets\":[{many}]}}"));
        assert_eq!(many.unwrap_err(), NoAnswer::Targets(17));
    }

    #[test]
    fn no_is_no_with_its_reason() {
        assert_eq!(denied(200, "{\"allow\":false}"), "not allowed");
        let full = "{\"allow\":false,\"reason\":\"the plan of Ann is used up\"}";
        assert_eq!(denied(200, full), "the plan of Ann is used up");
        assert_eq!(denied(422, "{\"reason\":\"banned\"}"), "banned");
        assert_eq!(denied(403, "<html>"), "not allowed");
        assert_eq!(denied(401, ""), "not allowed");
    }

    #[test]
    fn a_reason_that_repeats_the_key_does_not_show_it() {
        let echo = "{\"allow\":false,\"reason\":\"wk_hush is unknown\"}";
        assert_eq!(denied(200, echo), "*** is unknown");
        assert_eq!(
            denied(404, "{\"reason\":\"no wk_hush here\"}"),
            "no *** here"
        );
    }

    #[test]
    fn yes_comes_with_all_that_is_granted() {
        let full = "{\"allow\":true,\"name\":\"ann\",\"record\":false,\"top_rung\":\"480p\",\"more\":1,\
            \"targets\":[{\"name\":\"mine\",\"url\":\"rtmps://a/b/c\",\"rung\":\"480p\"}]}";
        let grant = said(200, full).unwrap().unwrap();
        assert_eq!(grant.name.as_ref().map(StreamName::as_str), Some("ann"));
        assert_eq!(
            (grant.record, grant.top_rung.as_deref()),
            (Some(false), Some("480p"))
        );
        let target = &grant.targets[0];
        assert_eq!((target.name(), target.rung()), ("mine", Some("480p")));
        assert_eq!(target.url().key(), "c");
        let bare = said(201, "{\"allow\":true}").unwrap().unwrap();
        assert_eq!(bare, Grant::default());
    }
}
