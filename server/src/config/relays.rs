//! `[relay]`: where streams are sent on to.

use std::time::Duration;

use super::layers::Raw;
use super::problem::{Problem, Shown};
use super::reader::{Item, Noted, Reader};
use super::value::{self, Read};
use super::{Config, Relay, RelayPreset, RelayTarget};
use crate::name::StreamName;

impl Reader<'_> {
    pub(super) fn relay(&mut self) -> Relay {
        let hold = value::duration(Duration::ZERO..=Duration::from_secs(3600));
        let mut relay = Relay {
            allow_private: self.get("relay.allow_private", value::switch, false),
            hold: self.get("relay.hold", hold, Duration::from_secs(30)),
            ca: self.optional("relay.ca", value::path),
            presets: presets(),
            targets: Vec::new(),
        };
        let items = self.items("relay.target").unwrap_or_default();
        if items.len() > MOST_TARGETS {
            self.problems.push(Problem::Contradiction(format!(
                "relay.target: there are {} targets; expected at most {MOST_TARGETS}",
                items.len()
            )));
        }
        for mut item in items {
            // What is wrong with a target has been noted; the others are read on.
            let _ = self.target(&mut item, &mut relay);
            item.finish(self);
        }
        relay
    }

    /// Reads one `[[relay.target]]`: a target of its own, or what a preset is
    /// from now on.
    fn target(&mut self, item: &mut Item, relay: &mut Relay) -> Result<(), Noted> {
        let name = item.need(self, "name", target_name);
        let url = item.get(self, "url", value::any_text);
        let key = item.get(self, "key", value::any_text);
        let stream = item.get(self, "stream", stream_name);
        let rung = item.get(self, "rung", value::any_text);
        let (name, url, key, stream, rung) = (name?, url?, key?, stream?, rung?);
        let rung = rung.filter(|rung| rung != SOURCE);
        let preset = relay
            .presets
            .iter_mut()
            .find(|preset| preset.name.eq_ignore_ascii_case(&name));

        let read = match (&url, &key, preset) {
            (Some(server), Some(key), _) => rtmp::Url::join(server, key),
            (None, Some(key), Some(preset)) => rtmp::Url::join(&preset.server, key),
            (Some(url), None, Some(preset)) => match rtmp::Url::parse(url) {
                // It ends in a key.
                Ok(url) => Ok(url),
                Err(_) => {
                    // A server without a key is the preset's from now on.
                    if let Err(error) = rtmp::Url::join(url, "key") {
                        return Err(self.bad_url(item, "url", &error));
                    }
                    preset.server.clone_from(url);
                    preset.rung = rung.or_else(|| preset.rung.take());
                    return self.no_stream(item, stream.as_ref());
                }
            },
            (None, None, Some(preset)) => {
                if rung.is_none() {
                    self.problems.push(Problem::Contradiction(format!(
                        "{} ({}): this says nothing about the preset {name:?}; expected url, key or rung",
                        item.setting, item.origin,
                    )));
                }
                preset.rung = rung;
                return self.no_stream(item, stream.as_ref());
            }
            (Some(url), None, None) => rtmp::Url::parse(url),
            (None, _, None) => {
                self.problems.push(Problem::Missing {
                    setting: item.setting.clone(),
                    key: "url",
                    origin: item.origin.clone(),
                    expected: EXPECTED_URL.to_owned(),
                });
                return Err(Noted);
            }
        };
        let url = match read {
            Ok(url) => url,
            Err(error) => {
                let server = url.as_ref().map(|url| rtmp::Url::join(url, "key"));
                let server_is_good = !matches!(server, Some(Err(_)));
                let at_fault = match key.is_some() && server_is_good {
                    true => "key",
                    false => "url",
                };
                return Err(self.bad_url(item, at_fault, &error));
            }
        };
        let twin = |other: &RelayTarget| {
            let same_streams = other.stream.is_none() || stream.is_none() || other.stream == stream;
            other.name.eq_ignore_ascii_case(&name) && same_streams
        };
        if relay.targets.iter().any(twin) {
            self.problems.push(Problem::Contradiction(format!(
                "{} ({}): another target is named {name:?} for the same streams already",
                item.setting, item.origin,
            )));
        }
        relay.targets.push(RelayTarget {
            name,
            url,
            stream,
            rung,
        });
        Ok(())
    }

    fn bad_url(&mut self, item: &mut Item, key: &'static str, error: &rtmp::Error) -> Noted {
        let why = match error {
            rtmp::Error::Url(why) => *why,
            _ => "no RTMP URL",
        };
        if let Some(given) = item.find(key) {
            let setting = item.name(key);
            self.problems.push(Problem::Value {
                value: Shown::of(&setting, &given),
                setting,
                origin: given.origin,
                expected: format!("{EXPECTED_URL}; here: {why}"),
            });
        }
        Noted
    }

    /// A preset is there for all who publish.
    fn no_stream(&mut self, item: &Item, stream: Option<&StreamName>) -> Result<(), Noted> {
        if stream.is_none() {
            return Ok(());
        }
        self.problems.push(Problem::Contradiction(format!(
            "{} ({}): stream is for targets with a key, and there is none",
            item.setting, item.origin,
        )));
        Err(Noted)
    }

    /// What targets ask for has to be there.
    pub(super) fn rungs_of_relays(&mut self, config: &Config) {
        let hls = &config.hls;
        let named = |name: &str| {
            let mut rungs = hls.rungs.iter().chain(&hls.unlisted);
            rungs.any(|rung| rung.name() == name)
        };
        let presets = config.relay.presets.iter();
        let presets = presets.map(|preset| (preset.name.as_str(), &preset.rung));
        let targets = config.relay.targets.iter();
        let targets = targets.map(|target| (target.name.as_str(), &target.rung));
        for (target, rung) in presets.chain(targets) {
            if let Some(rung) = rung.as_ref().filter(|rung| !named(rung)) {
                self.problems.push(Problem::Contradiction(format!(
                    "relay.target {target:?}: rung = {rung:?} is no [[hls.rung]]; expected the name of one, or \"source\""
                )));
            }
        }
    }
}

/// Where streamers send to most, as of November 2026: the services' own help
/// pages and OBS Studio's list (`plugins/rtmp-services/data/services.json`).
fn presets() -> Vec<RelayPreset> {
    [
        ("youtube", "rtmps://a.rtmps.youtube.com:443/live2"),
        ("facebook", "rtmps://rtmp-api.facebook.com:443/rtmp"),
        (
            "twitch",
            "rtmps://ingest.global-contribute.live-video.net:443/app",
        ),
        ("x", "rtmps://va.pscp.tv:443/x"),
        (
            "kick",
            "rtmps://fa723fc1b171.global-contribute.live-video.net:443/app",
        ),
    ]
    .map(|(name, server)| RelayPreset {
        name: name.to_owned(),
        server: server.to_owned(),
        rung: None,
    })
    .into()
}

/// The name becomes a label of metrics.
fn target_name(raw: &Raw) -> Read<String> {
    let name = value::any_text(raw).ok().filter(|name| {
        let letters = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        (1..=32).contains(&name.len()) && name.chars().all(letters)
    });
    name.ok_or_else(|| "a name of 1 to 32 letters, digits, '-' or '_'".to_owned())
}

fn stream_name(raw: &Raw) -> Read<StreamName> {
    let name = value::any_text(raw).ok().and_then(|name| name.parse().ok());
    name.ok_or_else(|| "the name of a stream".to_owned())
}

const EXPECTED_URL: &str =
    "rtmp://HOST/APP/KEY or rtmps://HOST/APP/KEY, or the URL without a key and key beside it";

/// What a target calls the publisher's own units.
const SOURCE: &str = "source";

/// Targets of all streams together: each stream may have a few of its own.
const MOST_TARGETS: usize = 1000;
