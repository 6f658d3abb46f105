//! What a stream is sent on to: the operator's targets and the publisher's wishes.

use rtmp::Url;

use super::Wishes;
use crate::config::{self, RelayPreset};
use crate::name::StreamName;

/// A place that a stream is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// What it is called in metrics, in the API and in the log.
    pub(crate) name: String,
    /// Where it is, or why it is nowhere.
    pub(super) aim: Result<Url, String>,
    /// The rung it gets; `None`: the publisher's own units.
    pub(crate) rung: Option<String>,
}

impl Target {
    /// Its URL with the key masked.
    pub(crate) fn shown(&self) -> String {
        match &self.aim {
            Ok(url) => url.to_string(),
            Err(_) => String::new(),
        }
    }
}

/// The targets of the stream `name`: the operator's, then the stream's own and those
/// that an application gave its publisher, then the presets that the publisher's query has keys for.
pub(super) fn targets(relay: &config::Relay, name: &StreamName, wishes: &Wishes) -> Vec<Target> {
    let query = &wishes.query;
    let operators = relay
        .targets
        .iter()
        .filter(|target| target.stream.as_ref().is_none_or(|stream| stream == name))
        .map(|target| Target {
            name: target.name.clone(),
            aim: Ok(target.url.clone()),
            rung: target.rung.clone(),
        });
    let mut targets: Vec<Target> = operators.collect();
    let beside = wishes.own.iter().chain(&wishes.granted);
    for own in beside.filter(|own| !own.disabled) {
        targets.push(Target {
            name: free(&targets, &own.name),
            aim: Ok(own.url.clone()),
            rung: own.rung.clone(),
        });
    }
    for preset in &relay.presets {
        let named = |arg: &String| arg.eq_ignore_ascii_case(&preset.name);
        let Some((_, key)) = query.iter().find(|(arg, _)| named(arg)) else {
            continue;
        };
        targets.push(Target {
            name: free(&targets, &preset.name),
            aim: aim(preset, key, query),
            rung: preset.rung.clone(),
        });
    }
    targets
}

/// `name`, or what is left when others have it.
fn free(others: &[Target], name: &str) -> String {
    let mut name = name.to_owned();
    while others
        .iter()
        .any(|other| other.name.eq_ignore_ascii_case(&name))
    {
        name.push_str("-own");
    }
    name
}

/// The preset's URL with the key and those arguments that are meant for it, as
/// the original system puts them together: `facebook_s_bl=1` becomes `?s_bl=1`.
fn aim(preset: &RelayPreset, key: &str, query: &[(String, String)]) -> Result<Url, String> {
    // A blank comes along when a key is pasted.
    let key = decoded(key).trim().to_owned();
    if key.is_empty() {
        return Err(format!(
            "no stream key: {0} has no value in the publish URL; expected {0}=KEY",
            preset.name
        ));
    }
    let prefix = format!("{}_", preset.name);
    let mut full = key;
    // A key may bring a query of its own.
    let mut joint = if full.contains('?') { '&' } else { '?' };
    for (arg, value) in query {
        if let Some(param) = arg.strip_prefix(&prefix).filter(|param| !param.is_empty()) {
            full.push(joint);
            joint = '&';
            encode(&decoded(param), &mut full);
            full.push('=');
            encode(&decoded(value), &mut full);
        }
    }
    Url::join(&preset.server, &full).map_err(|error| error.to_string())
}

/// Percent-decoded, with `+` for a space, as queries are. What is no escape
/// stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.first_chunk::<2>();
        let escaped = digits
            .filter(|digits| first == b'%' && digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Adds `text` with all escaped that Node's `querystring.stringify` escapes,
/// which is what the original system used.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::database::TargetRecord;

    fn of(query: &str) -> Vec<Target> {
        let pairs: Vec<_> = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let wishes = Wishes {
            query: pairs,
            ..Wishes::default()
        };
        targets(&Config::default().relay, &"demo".parse().unwrap(), &wishes)
    }

    fn url(target: &Target) -> (String, String) {
        let url = target.aim.as_ref().unwrap();
        (url.tc_url(), url.key().to_owned())
    }

    #[test]
    fn arguments_with_a_services_name_follow_its_key() {
        // Measured on the original system.
        let targets = of(
            "facebook=FK&facebook_s_bl=1&facebook_s_sc=a%2Bb&facebook_s_sw=0&facebook_s_vt=api-s&facebook_a=Abc+d",
        );
        assert_eq!(targets.len(), 1);
        let (server, key) = url(&targets[0]);
        assert_eq!(server, "rtmps://rtmp-api.facebook.com/rtmp");
        assert_eq!(key, "FK?s_bl=1&s_sc=a%2Bb&s_sw=0&s_vt=api-s&a=Abc%20d");
    }

    #[test]
    fn a_key_is_decoded_and_stays_so() {
        let targets = of("youtube=a%2Db%3Fc%3D1&twitch=live_1&youtube_x=1&other=1&twitch_=2");
        let keys: Vec<_> = targets
            .iter()
            .map(|target| (target.name.as_str(), url(target).1))
            .collect();
        assert_eq!(
            keys,
            [
                ("youtube", "a-b?c=1&x=1".to_owned()),
                ("twitch", "live_1".to_owned())
            ]
        );
        assert_eq!(url(&of("x=50%25%zz%")[0]).1, "50%%zz%");
    }

    #[test]
    fn a_service_without_a_key_is_told_and_not_left_out() {
        let targets = of("youtube=&kick");
        let why: Vec<_> = targets
            .iter()
            .map(|target| target.aim.as_ref().unwrap_err().as_str())
            .collect();
        assert_eq!(
            why,
            [
                "no stream key: youtube has no value in the publish URL; expected youtube=KEY",
                "no stream key: kick has no value in the publish URL; expected kick=KEY"
            ]
        );
        assert_eq!(targets[0].shown(), "");
    }

    #[test]
    fn a_key_that_no_url_can_hold_is_refused_without_being_told() {
        let targets = of("youtube=hunter2%00");
        let why = targets[0].aim.as_ref().unwrap_err();
        assert_eq!(why, "RTMP URL: a control character in the key");
    }

    #[test]
    fn the_operators_targets_come_first_and_keep_their_names() {
        let mut relay = Config::default().relay;
        for (name, stream) in [
            ("youtube", None),
            ("other", Some("else")),
            ("mine", Some("demo")),
        ] {
            relay.targets.push(config::RelayTarget {
                name: name.to_owned(),
                url: Url::parse("rtmp://host/app/key").unwrap(),
                stream: stream.map(|stream| stream.parse().unwrap()),
                rung: None,
            });
        }
        let own = |name: &str, disabled| TargetRecord {
            name: name.to_owned(),
            url: Url::parse("rtmp://host/app/key").unwrap(),
            rung: None,
            disabled,
        };
        let wishes = Wishes {
            query: vec![("youtube".to_owned(), "secret".to_owned())],
            own: vec![own("mine", false), own("off", true), own("ours", false)],
            granted: Vec::new(),
        };
        let names: Vec<_> = targets(&relay, &"demo".parse().unwrap(), &wishes)
            .into_iter()
            .map(|target| target.name)
            .collect();
        assert_eq!(
            names,
            ["youtube", "mine", "mine-own", "ours", "youtube-own"]
        );
    }
}
