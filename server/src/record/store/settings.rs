//! Where a store is, as the settings of `[record]` say it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hyper::Uri;

use super::key;

/// A store as it is configured. Credentials are not part of it: they come from
/// where AWS's own tools look for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `record.store`.
    pub(crate) url: Url,
    /// `record.endpoint`: a server that is not Amazon's.
    pub(crate) endpoint: Option<Endpoint>,
    /// `record.region`.
    pub(crate) region: Option<Region>,
    /// `record.path_style`: `https://endpoint/bucket` instead of
    /// `https://bucket.endpoint`.
    pub(crate) path_style: bool,
}

impl Settings {
    /// A setting that is given and means nothing for the kind of store it is
    /// given for.
    pub(crate) fn misplaced(&self) -> Option<&'static str> {
        match self.url {
            Url::S3 { .. } => None,
            Url::File(_) if self.endpoint.is_some() => Some("record.endpoint"),
            Url::File(_) if self.region.is_some() => Some("record.region"),
            Url::File(_) => self.path_style.then_some("record.path_style"),
        }
    }
}

/// Where objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Url {
    /// Below an absolute path.
    File(PathBuf),
    /// In a bucket.
    S3 {
        bucket: String,
        /// Stands in front of every key, with a slash between; may be empty.
        prefix: String,
    },
}

/// Where a server's S3 is: `http` or `https`, a host, perhaps a port and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(String);

/// A region's name: `eu-central-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region(String);

/// What a setting should have been. Does not repeat what it was: there may be a
/// password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expected}; here: {here}")]
pub(crate) struct InvalidSetting {
    expected: &'static str,
    here: &'static str,
}

impl InvalidSetting {
    /// What is wrong with what was given.
    pub(crate) fn here(&self) -> &'static str {
        self.here
    }
}

impl Url {
    /// The whole of a bucket, as `ASSETS_BUCKET` names one.
    pub(crate) fn of_bucket(name: &str) -> Result<Self, InvalidSetting> {
        let expected = "the name of a bucket";
        bucket(name).map_err(|here| InvalidSetting { expected, here })?;
        Ok(Self::S3 {
            bucket: name.to_owned(),
            prefix: String::new(),
        })
    }

    /// The folder, if it is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::S3 { .. } => None,
        }
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            bucket(name)?;
            if prefix.len() > key::LONGEST {
                return Err("the prefix is longer than 400 bytes");
            }
            if !prefix.is_empty() && !prefix.split('/').all(key::element) {
                return Err(
                    "the prefix is not made of elements of letters, digits, '-', '_' and '.'",
                );
            }
            return Ok(Self::S3 {
                bucket: name.to_owned(),
                prefix: prefix.to_owned(),
            });
        }
        let Some(path) = text.strip_prefix("file://") else {
            return Err("it begins neither with s3:// nor with file://");
        };
        if !path.starts_with('/') {
            return Err("the folder's path does not begin with '/', after the two of file://");
        }
        if path.bytes().all(|byte| byte == b'/') {
            return Err("the folder is the root of the file system");
        }
        if path.contains(['%', '?', '#', '\0']) {
            return Err("the folder's path has one of %, ? and #; nothing in it is escaped");
        }
        Ok(Self::File(PathBuf::from(path)))
    }
}

impl FromStr for Url {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let expected = "s3://BUCKET, s3://BUCKET/PREFIX or file:///FOLDER";
        Self::parse(text).map_err(|here| InvalidSetting { expected, here })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// Old buckets and other servers' have names that Amazon would not give any more.
fn bucket(name: &str) -> Result<(), &'static str> {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match name {
        "" => Err("the bucket has no name"),
        _ if !(3..=255).contains(&name.len()) => Err("a bucket's name has 3 to 63 letters"),
        _ if !name.bytes().all(fit) || name.starts_with('.') => {
            Err("a bucket's name is letters, digits, '-', '_' and '.'")
        }
        _ => Ok(()),
    }
}

impl Endpoint {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is no URL")?;
        let Some(authority) = uri.authority() else {
            return Err("it does not begin with http:// or https:// and a host");
        };
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("it does not begin with http:// or https://");
        }
        if authority.as_str().contains('@') {
            return Err(
                "there is a user's name in it; credentials come from the environment, a profile or a role",
            );
        }
        if authority.host().is_empty() {
            return Err("there is no host in it");
        }
        if uri.query().is_some() || text.contains('#') {
            return Err("there is a query or a fragment in it");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl FromStr for Endpoint {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let expected = "https://HOST, https://HOST:PORT or the same with http://";
        Self::parse(text).map_err(|here| InvalidSetting { expected, here })
    }
}

impl Region {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Region {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        // It becomes part of a host's name.
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=63).contains(&text.len()) && text.bytes().all(letter) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidSetting {
            expected: "the name of a region, like \"eu-central-1\"",
            here: "something else than 1 to 63 lower-case letters, digits and '-'",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(bucket: &str, prefix: &str) -> Url {
        Url::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    #[test]
    fn stores_are_named_by_url() {
        let good = [
            ("s3://vods", s3("vods", "")),
            ("s3://vods/", s3("vods", "")),
            ("s3://my.vods-1/a/b_2/", s3("my.vods-1", "a/b_2")),
            ("s3://Old_Bucket", s3("Old_Bucket", "")),
            (
                "file:///var/lib/weir/vod",
                Url::File("/var/lib/weir/vod".into()),
            ),
            ("file:///srv/my vods/", Url::File("/srv/my vods".into())),
        ];
        for (text, url) in good {
            assert_eq!(text.parse(), Ok(url), "{text}");
        }
        assert_eq!(Url::of_bucket("vods"), Ok(s3("vods", "")));
        assert!(Url::of_bucket("vods/live").is_err());
    }

    #[test]
    fn a_url_that_is_none_is_told_what_is_wrong() {
        let wrong = [
            ("vods", "neither with s3:// nor"),
            ("S3://vods", "neither with s3:// nor"),
            ("https://vods.s3.amazonaws.com", "neither with s3:// nor"),
            ("s3://", "no name"),
            ("s3:///vods", "no name"),
            ("s3://ab", "3 to 63"),
            ("s3://key:secret@vods", "letters, digits"),
            ("s3://vods/../x", "prefix"),
            ("s3://vods//x", "prefix"),
            ("s3://vods/a b", "prefix"),
            ("file://vods", "begin with '/'"),
            ("file://./vods", "begin with '/'"),
            ("file:///", "root"),
            ("file:///srv/my%20vods", "escaped"),
        ];
        for (text, why) in wrong {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(
                error.starts_with("s3://BUCKET, s3://BUCKET/PREFIX or file:///FOLDER; here: "),
                "{error}"
            );
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_endpoint_is_a_url_of_http_without_credentials() {
        for text in [
            "https://s3.example.com",
            "http://127.0.0.1:9000",
            "http://[::1]:9000",
            "https://x.example.com/storage/v1/s3",
        ] {
            let endpoint: Endpoint = format!("{text}/").parse().unwrap();
            assert_eq!(endpoint.as_str(), text);
        }
        for text in [
            "",
            "s3.example.com",
            "127.0.0.1:9000",
            "ftp://s3.example.com",
            "http://",
            "https://key:hunter2@s3.example.com",
            "https://s3.example.com/?hunter2",
            "https://s3.example.com/#hunter2",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!("eu-central-1".parse::<Region>().is_ok());
        for text in ["", "eu central", "EU", "x.evil.example"] {
            assert!(text.parse::<Region>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_only_buckets_have_is_misplaced_with_a_folder() {
        let mut settings = Settings {
            url: "file:///srv/vods".parse().unwrap(),
            endpoint: None,
            region: None,
            path_style: false,
        };
        assert_eq!(settings.misplaced(), None);
        settings.path_style = true;
        assert_eq!(settings.misplaced(), Some("record.path_style"));
        settings.region = Some("auto".parse().unwrap());
        assert_eq!(settings.misplaced(), Some("record.region"));
        settings.url = s3("vods", "");
        assert_eq!(settings.misplaced(), None);
    }
}
