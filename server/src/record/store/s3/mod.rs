//! A store in a bucket of S3, or of a server that speaks its language.
//!
//! The SDK finds the credentials, signs the requests and reads the answers. It asks
//! once, over connections of weir's own (`http`), and has no deadlines: those that
//! are here are for whole requests, by the bytes that they move.

mod answer;
mod http;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use bytes::Bytes;
use flate2::Crc;
use tokio::time::timeout;

use super::{Endpoint, Entry, Facts, Fault, Got, Head, Key, LARGEST, Meta, Settings, told};
use answer::{Place, Request};
use http::Http;

/// The objects of a bucket whose keys begin with a prefix. Cheap to clone.
#[derive(Clone)]
pub(crate) struct S3 {
    client: Client,
    bucket: String,
    /// What is in front of every key: nothing, or something with a slash at its end.
    prefix: String,
    place: Place,
    patience: Patience,
}

/// How long a store may take.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For a connection, TLS included.
    connect: Duration,
    /// For nothing to move on a connection.
    still: Duration,
    /// Bytes a second that have to move in the end.
    rate: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            still: Duration::from_secs(60),
            // A quarter of the smallest rung's rate. A transfer that keeps up with
            // no stream but goes on is better than one that begins again and again.
            rate: 32 << 10,
        }
    }
}

impl S3 {
    /// The bucket and the prefix of `place`, by way of the settings.
    pub(super) async fn open(place: (&str, &str), settings: &Settings) -> Result<Self, Fault> {
        let loader = aws_config::defaults(BehaviorVersion::latest());
        Self::load(place, settings, loader, Patience::default()).await
    }

    async fn load(
        (bucket, prefix): (&str, &str),
        settings: &Settings,
        loader: ConfigLoader,
        patience: Patience,
    ) -> Result<Self, Fault> {
        let http = Http::new(patience).map_err(|error| Fault::refused(error.to_string()))?;
        let endpoint = settings.endpoint.as_ref().map(|endpoint| endpoint.as_str());
        let region = settings
            .region
            .as_ref()
            .map(|region| Region::new(region.as_str().to_owned()));
        let mut loader = loader.http_client(http);
        loader = match (&region, endpoint) {
            (Some(region), _) => loader.region(region.clone()),
            (None, None) => loader,
            // Not asking the metadata of Amazon's machines, where there may be none.
            (None, Some(_)) => loader.region(
                RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                    .or_else(ProfileFileRegionProvider::new())
                    .or_else(ANY_REGION),
            ),
        };
        let found = loader.load().await;
        // The SDK's own settings may name another server; it may be told if it is
        // one that the settings could have named.
        let others = std::env::var("AWS_ENDPOINT_URL_S3").ok();
        let others = others.or_else(|| found.endpoint_url().map(str::to_owned));
        let others: Option<Endpoint> = others.and_then(|url| url.parse().ok());
        let server = settings.endpoint.as_ref().or(others.as_ref());
        let region = match found.region() {
            Some(region) => region.clone(),
            None if server.is_some() => ANY_REGION,
            None => {
                return Err(Fault::refused(format!(
                    "s3://{bucket}: in which region it is stands neither in record.region nor in AWS_REGION, a profile or the machine's metadata; expected one like \"eu-central-1\""
                )));
            }
        };
        let place = Place {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: server.map(|server| server.as_str().to_owned()),
            region: region.to_string(),
            path_style: settings.path_style,
        };
        let mut config = aws_sdk_s3::config::Builder::from(&found)
            .region(region)
            .force_path_style(settings.path_style)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Ours is set by hand, for it is compared with the answer's.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenSupported);
        if let Some(endpoint) = endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok(Self {
            client: Client::from_conf(config.build()),
            bucket: bucket.to_owned(),
            prefix: match prefix {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            },
            place,
            patience,
        })
    }

    pub(super) async fn put(&self, key: &Key, body: Bytes, facts: &Facts) -> Result<(), Fault> {
        let request = Request::new("put", "s3:PutObject", key.as_str());
        let size = body.len() as u64;
        let mut crc = Crc::new();
        crc.update(&body);
        let ours = aws_smithy_types::base64::encode(crc.sum().to_be_bytes());
        let meta = facts.meta.iter();
        let meta = meta.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let put = self.client.put_object().bucket(&self.bucket);
        let put = put
            .key(self.name(key))
            .content_type(facts.content_type)
            .cache_control(facts.cache_control)
            .set_metadata(Some(meta))
            .checksum_crc32(&ours)
            .body(ByteStream::from(body));
        let answer = self.within(size, &request, put.send()).await?;
        let answer = answer.map_err(|error| self.place.fault(&request, &error))?;
        match answer.checksum_crc32() {
            Some(theirs) if theirs == ours => return Ok(()),
            Some(theirs) => {
                let why = format!("its CRC-32 is {theirs} there and {ours} here");
                return Err(self.place.damaged(&request, &why));
            }
            None => {}
        }
        // A server that knows no checksums. The signature has the body's SHA-256,
        // so what remains is whether it was kept, and as a whole.
        let head = self.head(key).await?;
        let same = |a: Option<&str>, b: Option<&str>| a.zip(b).is_none_or(|(a, b)| a == b);
        match head {
            Some(head) if head.size != size => {
                let why = format!("it has {} bytes there and {size} here", head.size);
                Err(self.place.damaged(&request, &why))
            }
            Some(head) if same(head.etag.as_deref(), answer.e_tag()) => Ok(()),
            Some(_) => Err(self.place.damaged(&request, "there is another object now")),
            None => Err(self
                .place
                .damaged(&request, "it was taken and is not there")),
        }
    }

    pub(super) async fn get(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<Option<Got>, Fault> {
        let request = Request::new("get", "s3:GetObject", key.as_str());
        // Larger numbers are none to some servers.
        let number = |at: u64| at.min(i64::MAX as u64);
        let header = range
            .as_ref()
            .map(|range| format!("bytes={}-{}", number(range.start), number(range.end - 1)));
        let get = self.client.get_object().bucket(&self.bucket);
        let get = get.key(self.name(key)).set_range(header);
        let answer = match self.within(0, &request, get.send()).await? {
            Ok(answer) => answer,
            Err(error) if answer::is(&error, 404, "NoSuchKey") => return Ok(None),
            // The object ends before the range begins.
            Err(error) if answer::status(&error) == Some(416) => {
                let head = self.head(key).await?;
                let bytes = Bytes::new();
                return Ok(head.map(|head| Got { head, bytes }));
            }
            Err(error) => return Err(self.place.fault(&request, &error)),
        };
        let length = answer
            .content_length()
            .and_then(|length| u64::try_from(length).ok());
        let length = length.ok_or_else(|| self.place.strange(&request, "no Content-Length"))?;
        if length > LARGEST {
            let why = super::file::too_large(length);
            return Err(self.place.strange(&request, &why));
        }
        // "bytes 0-9/100"
        let part = answer
            .content_range()
            .and_then(|range| range.rsplit_once('/'));
        let size = match part.map(|(_, size)| size.parse()) {
            None => length,
            Some(Ok(size)) => size,
            Some(Err(_)) => return Err(self.place.strange(&request, "a strange Content-Range")),
        };
        let head = Head {
            size,
            meta: Meta::of(answer.metadata().into_iter().flatten()),
            modified: answer.last_modified().and_then(time),
            etag: answer.e_tag().map(str::to_owned),
        };
        let partial = part.is_some();
        let body = self.within(length, &request, answer.body.collect()).await?;
        let body = body.map_err(|error| self.place.lost(&request, &error))?;
        let mut bytes = body.into_bytes();
        // A server that knows no ranges sends all there is.
        if let Some(range) = range.filter(|_| !partial) {
            let end = |at: u64| at.min(size) as usize;
            bytes = bytes.slice(end(range.start)..end(range.end));
        }
        Ok(Some(Got { head, bytes }))
    }

    pub(super) async fn head(&self, key: &Key) -> Result<Option<Head>, Fault> {
        let request = Request::new("head", "s3:GetObject", key.as_str());
        let head = self.client.head_object().bucket(&self.bucket);
        let answer = match self
            .within(0, &request, head.key(self.name(key)).send())
            .await?
        {
            Ok(answer) => answer,
            // This answer has no body that could say what is not there.
            Err(error) if answer::status(&error) == Some(404) => {
                return self.bucket_is_there(&request).await.map(|()| None);
            }
            Err(error) => return Err(self.place.fault(&request, &error)),
        };
        let size = answer
            .content_length()
            .and_then(|size| u64::try_from(size).ok());
        Ok(Some(Head {
            size: size.ok_or_else(|| self.place.strange(&request, "no Content-Length"))?,
            meta: Meta::of(answer.metadata().into_iter().flatten()),
            modified: answer.last_modified().and_then(time),
            etag: answer.e_tag().map(str::to_owned),
        }))
    }

    async fn bucket_is_there(&self, request: &Request<'_>) -> Result<(), Fault> {
        let head = self.client.head_bucket().bucket(&self.bucket).send();
        match self.within(0, request, head).await? {
            Err(error) if answer::status(&error) == Some(404) => Err(self.place.no_bucket(request)),
            // What it says of the bucket was not the question.
            _ => Ok(()),
        }
    }

    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        most: usize,
    ) -> Result<Vec<Entry>, Fault> {
        let request = Request::new("list", "s3:ListBucket", prefix);
        let mut found = Vec::new();
        let mut token = None;
        while found.len() < most {
            let list = self.client.list_objects_v2().bucket(&self.bucket);
            let list = list
                .prefix(format!("{}{prefix}", self.prefix))
                .set_start_after(after.map(|after| self.name(after)))
                .max_keys(page(most - found.len()))
                .set_continuation_token(token);
            let answer = self.within(PAGE, &request, list.send()).await?;
            let answer = answer.map_err(|error| self.place.fault(&request, &error))?;
            for object in answer.contents() {
                // Some servers read a prefix in their own way.
                let name = object.key().and_then(|key| key.strip_prefix(&self.prefix));
                let Some(Ok(key)) = name.map(Key::new) else {
                    continue;
                };
                if after.is_some_and(|after| key <= *after) || !key.as_str().starts_with(prefix) {
                    continue;
                }
                found.push(Entry {
                    key,
                    size: object
                        .size()
                        .and_then(|size| u64::try_from(size).ok())
                        .unwrap_or(0),
                    modified: object.last_modified().and_then(time),
                });
            }
            token = answer.next_continuation_token().map(str::to_owned);
            if token.is_none() || answer.is_truncated() != Some(true) {
                break;
            }
        }
        found.truncate(most);
        Ok(found)
    }

    pub(super) async fn list_folders(
        &self,
        folder: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<String>, Fault> {
        let request = Request::new("list", "s3:ListBucket", folder);
        let at = match folder {
            "" => self.prefix.clone(),
            folder => format!("{}{folder}/", self.prefix),
        };
        let mut found: Vec<String> = Vec::new();
        let mut token = None;
        while found.len() < most {
            let list = self.client.list_objects_v2().bucket(&self.bucket);
            let list = list
                .prefix(&at)
                .delimiter("/")
                // Behind everything in that folder: '0' comes after '/'.
                .set_start_after(after.map(|after| format!("{at}{after}0")))
                .max_keys(page(usize::MAX))
                .set_continuation_token(token);
            let answer = self.within(PAGE, &request, list.send()).await?;
            let answer = answer.map_err(|error| self.place.fault(&request, &error))?;
            for folders in answer.common_prefixes() {
                let name = folders.prefix().and_then(|name| name.strip_prefix(&at));
                let Some(name) = name.and_then(|name| name.strip_suffix('/')) else {
                    continue;
                };
                // In the order of what is in them.
                let later = |last: &str| format!("{name}/") > format!("{last}/");
                if after.is_none_or(later) && told(folder, name) {
                    found.push(name.to_owned());
                }
            }
            token = answer.next_continuation_token().map(str::to_owned);
            if token.is_none() || answer.is_truncated() != Some(true) {
                break;
            }
        }
        found.truncate(most);
        Ok(found)
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<(), Fault> {
        let request = Request::new("delete", "s3:DeleteObject", key.as_str());
        let delete = self.client.delete_object().bucket(&self.bucket);
        let delete = delete.key(self.name(key));
        match self.within(0, &request, delete.send()).await? {
            Ok(_) => Ok(()),
            Err(error) if answer::is(&error, 404, "NoSuchKey") => Ok(()),
            Err(error) => Err(self.place.fault(&request, &error)),
        }
    }

    fn name(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    /// What `call` comes to, which moves `bytes`: in the time that they may take.
    async fn within<T>(
        &self,
        bytes: u64,
        request: &Request<'_>,
        call: impl Future<Output = T>,
    ) -> Result<T, Fault> {
        let Patience {
            connect,
            still,
            rate,
        } = self.patience;
        let limit = connect + still + Duration::from_secs(bytes / rate);
        let in_time = timeout(limit, call).await;
        in_time.map_err(|_| self.place.late(request, limit))
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client would tell how it is made.
        f.debug_struct("S3")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

fn time(at: &DateTime) -> Option<SystemTime> {
    SystemTime::try_from(*at).ok()
}

/// Keys of one answer: S3 has no larger ones.
fn page(most: usize) -> i32 {
    i32::try_from(most.min(1000)).unwrap_or(1000)
}

/// Bytes of an answer with a thousand keys.
const PAGE: u64 = 1 << 20;

/// Servers that are not Amazon's take any region, if it is the one they were told
/// or none was.
const ANY_REGION: Region = Region::from_static("us-east-1");

#[cfg(test)]
pub(super) mod tests;
