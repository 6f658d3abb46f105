//! `[record]`: whether broadcasts are kept, and where.

use std::time::Duration;

use super::Record;
use super::layers::{Given, Origin, Raw};
use super::problem::{Problem, Shown};
use super::reader::Reader;
use super::value::{self, Read};
use crate::record::store::{Endpoint, InvalidSetting, Region, Settings, Url};

impl Reader<'_> {
    /// `None`: nothing is kept.
    pub(super) fn record(&mut self) -> Option<Record> {
        let store = self.store();
        let merge = value::duration(Duration::ZERO..=Duration::from_secs(24 * 3600));
        let merge = self.get("record.merge", merge, Duration::from_secs(120));
        let spool_limit = self.get("record.spool_limit", value::size(64 << 20), 20 << 30);
        let keep_days = self.get("record.keep_days", value::count(0..=36_500), 0);
        let endpoint = self.get("record.endpoint", unless_empty::<Endpoint>, None);
        let region = self.get("record.region", unless_empty::<Region>, None);
        let path_style = self.get("record.path_style", value::switch, false);
        let settings = Settings {
            url: store?,
            endpoint,
            region,
            path_style,
        };
        if let Some(setting) = settings.misplaced() {
            self.problems.push(Problem::Contradiction(format!(
                "{setting} is for a store in a bucket; record.store = \"{}\" is a folder",
                settings.url
            )));
        }
        Some(Record {
            store: settings,
            merge,
            spool_limit,
            keep_days,
        })
    }

    fn store(&mut self) -> Option<Url> {
        if let Some(given) = self.layers.find("record.store") {
            return self.check("record.store", &given, store).flatten();
        }
        // A bucket, in the words of the system that weir replaces.
        let bucket = self.layers.environment().value(BUCKET)?.into_owned();
        if bucket.is_empty() {
            return None;
        }
        match Url::of_bucket(&bucket) {
            Ok(url) => Some(url),
            Err(error) => {
                let given = Given {
                    raw: Raw::Text(bucket),
                    origin: Origin::Environment(BUCKET.to_owned()),
                };
                self.problems.push(Problem::Value {
                    setting: BUCKET.to_owned(),
                    value: Shown::of(BUCKET, &given),
                    origin: given.origin,
                    expected: error.to_string(),
                });
                None
            }
        }
    }
}

fn store(raw: &Raw) -> Read<Option<Url>> {
    let expected = "\"none\", \"file:///DIR\" or \"s3://BUCKET[/PREFIX]\"";
    let Raw::Text(text) = raw else {
        return Err(expected.to_owned());
    };
    if text == "none" {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|error: InvalidSetting| format!("{expected}; here: {}", error.here()))
}

fn unless_empty<T>(raw: &Raw) -> Read<Option<T>>
where
    T: std::str::FromStr<Err = InvalidSetting>,
{
    let text = value::any_text(raw)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|error: InvalidSetting| error.to_string())
}

const BUCKET: &str = "ASSETS_BUCKET";
