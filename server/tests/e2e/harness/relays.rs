//! What relays were told to send, what they say of it, and what came of it.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use flv::file::{Limits, Reader, TagKind};

use super::messages::{AUDIO, DATA, Message, VIDEO};
use super::server::{Server, weir};
use super::tools::Running;
use super::until;
use super::witness::Session;

/// Settings of relays to places on this machine.
pub(crate) const ALLOWED: &str = "[relay]\nallow_private = true\n";

/// No rungs, for what needs none.
pub(crate) const NO_LADDER: &str = "[hls]\nenabled = false\n";

/// A target in the configuration's words.
pub(crate) fn target(name: &str, url: &str, key: &str) -> String {
    format!("[[relay.target]]\nname = {name:?}\nurl = {url:?}\nkey = {key:?}\n")
}

/// `weir publish`ing a file as the stream `demo`.
pub(crate) fn publish(server: &Server, file: &Path, flags: &[&str]) -> Running {
    let mut command = weir();
    command.arg("publish").arg(file);
    Running::start(command.arg(server.publish_url("demo")).args(flags))
}

/// A figure of a target of `demo`.
pub(crate) fn figure(server: &Server, name: &str, target: &str) -> Option<f64> {
    server.metric(&format!("{name}{{stream=\"demo\",target=\"{target}\"}}"))
}

/// The present state of a target of `demo`; there is never more than one.
pub(crate) fn state(server: &Server, target: &str) -> Option<String> {
    let page = server.get("/metrics").text();
    let head = format!("weir_relay_state{{stream=\"demo\",target=\"{target}\",state=\"");
    let states: Vec<(&str, &str)> = page
        .lines()
        .filter_map(|line| line.strip_prefix(&head)?.split_once("\"} "))
        .collect();
    let present: Vec<_> = states.iter().filter(|(_, is)| *is == "1").collect();
    assert!(
        states.is_empty() || present.len() == 1,
        "{target}: {states:?}"
    );
    let (state, _) = present.first()?;
    let up = figure(server, "weir_relay_up", target);
    assert!(up == Some(0.0) || up == Some(1.0), "{target}: {up:?}");
    Some((*state).to_owned())
}

/// Waits until a target of `demo` is in `wanted`.
#[track_caller]
pub(crate) fn until_state(server: &Server, target: &str, wanted: &str) {
    until(&format!("{target} to be {wanted}"), || {
        (state(server, target)? == wanted).then_some(())
    });
}

/// A file's access units, as often as a publisher may repeat them.
pub(crate) struct Source {
    units: Vec<Message>,
    headers: Vec<Message>,
    /// Where key pictures are, by their bytes.
    keys: BTreeMap<Bytes, usize>,
}

impl Source {
    pub(crate) fn of(file: &Path) -> Self {
        let mut reader = Reader::new(Limits::default());
        reader.push(&std::fs::read(file).expect("a clip"));
        let tags = std::iter::from_fn(|| reader.next_tag().expect("a good clip"));
        let messages: Vec<_> = tags
            .map(|tag| Message {
                kind: match tag.kind {
                    TagKind::Audio => AUDIO,
                    TagKind::Video => VIDEO,
                    TagKind::Script => DATA,
                },
                timestamp: tag.timestamp_ms,
                body: tag.body,
            })
            .collect();
        let of = |is: fn(&Message) -> bool| -> Vec<Message> {
            let found = messages.iter().filter(|message| is(message));
            found.cloned().collect()
        };
        let units = of(Message::is_unit);
        let keys = units.iter().enumerate().filter(|(_, unit)| unit.is_key());
        Self {
            keys: keys.map(|(at, unit)| (unit.body.clone(), at)).collect(),
            headers: of(Message::is_header),
            units,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.units.len()
    }

    /// Units of one kind, in order.
    pub(crate) fn of_kind(&self, kind: u8) -> impl Iterator<Item = &Message> {
        self.units.iter().filter(move |unit| unit.kind == kind)
    }

    /// What every session is: metadata, one header a track, all of it at 0; then
    /// runs of the source, each begun by a key picture, with its bytes and its
    /// times. Gives back the lengths of the runs.
    #[track_caller]
    pub(crate) fn runs(&self, session: &Session) -> Vec<usize> {
        let messages = &session.messages;
        let begin: Vec<_> = messages
            .iter()
            .take_while(|message| !message.is_unit())
            .collect();
        let kinds: Vec<_> = begin.iter().map(|message| message.kind).collect();
        assert_eq!(kinds, [DATA, VIDEO, AUDIO], "what a session begins with");
        assert!(begin.iter().all(|message| message.timestamp == 0));
        let set = b"\x02\x00\x0d@setDataFrame\x02\x00\x0aonMetaData";
        assert!(begin[0].body.starts_with(set), "{:?}", begin[0].body);
        assert_eq!(begin[1].body, self.header(VIDEO));
        assert_eq!(begin[2].body, self.header(AUDIO));
        let headers = messages.iter().filter(|message| message.is_header());
        assert_eq!(headers.count(), 2, "headers that did not change");

        let units: Vec<_> = session.units().collect();
        let Some(first) = units.first() else {
            return Vec::new();
        };
        assert_eq!(first.timestamp, 0);
        let picture = units.iter().find(|unit| unit.kind == VIDEO);
        assert!(
            picture.is_none_or(|picture| picture.is_key()),
            "the first picture"
        );
        assert!(
            messages.is_sorted_by_key(|message| message.timestamp),
            "times that fall"
        );
        let mut runs = Vec::new();
        let mut next = None;
        // How far sender's and destination's times are apart, since a key picture.
        let mut apart = (0, 0);
        for (index, unit) in units.iter().enumerate() {
            let follows = next.filter(|at| same(&self.units[*at], unit));
            let at = match follows {
                Some(at) => {
                    *runs.last_mut().expect("a run") += 1;
                    at
                }
                None => {
                    runs.push(1);
                    self.begin(&units[index..]).unwrap_or_else(|| {
                        let (kind, at) = (unit.kind, unit.timestamp);
                        panic!("unit {index}, of type {kind} at {at} ms, follows on nothing")
                    })
                }
            };
            let is = i64::from(unit.timestamp) - i64::from(self.units[at].timestamp);
            if follows.is_none() || at == 0 {
                apart = (is, is);
            }
            apart = (apart.0.min(is), apart.1.max(is));
            assert!(
                apart.1 - apart.0 <= 2,
                "unit {index} of kind {} is at {}, which is {} ms off",
                unit.kind,
                unit.timestamp,
                apart.1 - apart.0
            );
            next = Some((at + 1) % self.units.len());
        }
        runs
    }

    /// Where a run begins: at a key picture, or sound right before one.
    fn begin(&self, units: &[&Message]) -> Option<usize> {
        let sounds = units.iter().take_while(|unit| unit.kind == AUDIO).count();
        let key = self.keys.get(&units.get(sounds)?.body)?;
        let at = (key + self.units.len() - sounds) % self.units.len();
        same(&self.units[at], units[0]).then_some(at)
    }

    /// [`Source::runs`] of a session that missed nothing: how many units it got.
    #[track_caller]
    pub(crate) fn whole(&self, session: &Session) -> usize {
        let runs = self.runs(session);
        assert_eq!(runs.len(), 1, "units were left out: {runs:?}");
        runs[0]
    }

    pub(crate) fn header(&self, kind: u8) -> &Bytes {
        let found = self.headers.iter().find(|header| header.kind == kind);
        &found.expect("a header").body
    }
}

fn same(one: &Message, other: &Message) -> bool {
    one.kind == other.kind && one.body == other.body
}
