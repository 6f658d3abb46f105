//! `[auth] webhook…`: the application that decides and hears.

use std::time::Duration;

use super::layers::Raw;
use super::problem::Problem;
use super::reader::Reader;
use super::value::{self, Read};
use super::{AuthMode, OnTimeout, Webhook};
use crate::hooks::{Address, Kind, Secret};

impl Reader<'_> {
    /// `None`: there is no webhook.
    pub(super) fn webhook(&mut self, mode: AuthMode) -> Option<Webhook> {
        let given = self.layers.find(URL);
        let url = given.as_ref().map(|given| self.check(URL, given, address));
        let secret = self.get(SECRET, value::any_text, String::new());
        let timeout = value::duration(Duration::from_millis(100)..=Duration::from_secs(10));
        let timeout = self.get("auth.webhook_timeout", timeout, Duration::from_secs(3));
        let on_timeout = value::word(ON_TIMEOUTS);
        let on_timeout = self.get("auth.on_timeout", on_timeout, OnTimeout::Deny);
        let events = self.get("auth.webhook_events", value::list(kinds), vec![all()]);
        let events: Vec<Kind> = Kind::ALL
            .into_iter()
            .map(|(_, kind)| kind)
            .filter(|kind| events.iter().any(|chosen| chosen.contains(kind)))
            .collect();

        // A bad one has been noted, and what is missing besides is no news.
        let url = match url {
            Some(None) => return None,
            Some(Some(url)) => url,
            None => None,
        };
        let Some(url) = url else {
            if mode == AuthMode::Webhook {
                self.problems.push(Problem::Contradiction(format!(
                    "auth.mode = \"webhook\" without {URL}: expected the URL of the application that decides"
                )));
            }
            if !secret.is_empty() {
                self.warnings.push(format!(
                    "{SECRET} is set, and there is no {URL} to sign for"
                ));
            }
            return None;
        };
        if secret.chars().count() < SHORTEST_SECRET {
            self.problems.push(Problem::Contradiction(format!(
                "{URL} without a good {SECRET}: expected a random text of at least {SHORTEST_SECRET} characters, with which weir signs"
            )));
            return None;
        }
        if mode == AuthMode::Webhook && !events.contains(&Kind::PrePublish) {
            self.problems.push(Problem::Contradiction(
                "auth.webhook_events leaves out \"prePublish\", which auth.mode = \"webhook\" asks"
                    .to_owned(),
            ));
        }
        if url.is_exposed() {
            self.warnings.push(format!(
                "{URL} is in the clear: what is asked there{} can be read on the way; choose https://",
                match mode {
                    AuthMode::Webhook => ", stream keys included,",
                    AuthMode::Keys | AuthMode::Open => "",
                }
            ));
        }
        Some(Webhook {
            url,
            secret: Secret::new(secret),
            timeout,
            on_timeout,
            events,
        })
    }
}

/// An empty text is no webhook.
fn address(raw: &Raw) -> Read<Option<Address>> {
    let expected = "\"\" or the URL that is posted to, like \"https://app.example.com/weir\"";
    let text = value::any_text(raw).map_err(|_| expected.to_owned())?;
    if text.is_empty() {
        return Ok(None);
    }
    let read = text.parse().map(Some);
    read.map_err(|why| format!("{expected}; here: {why}"))
}

/// The kinds that a word stands for.
fn kinds(raw: &Raw) -> Read<Vec<Kind>> {
    let word = value::any_text(raw).unwrap_or_default();
    if word == "all" {
        return Ok(all());
    }
    let named = Kind::ALL.into_iter().find(|(name, _)| *name == word);
    named.map(|(_, kind)| vec![kind]).ok_or_else(|| {
        let names: Vec<String> = Kind::ALL
            .iter()
            .map(|(name, _)| format!("{name:?}"))
            .collect();
        format!("a list of \"all\", {}", names.join(", "))
    })
}

fn all() -> Vec<Kind> {
    Kind::ALL.into_iter().map(|(_, kind)| kind).collect()
}

const URL: &str = "auth.webhook";
const SECRET: &str = "auth.webhook_secret";

const ON_TIMEOUTS: &[(&str, OnTimeout)] = &[("deny", OnTimeout::Deny), ("allow", OnTimeout::Allow)];

/// 96 bits where it is base64, and no word that somebody thought of.
const SHORTEST_SECRET: usize = 16;
