//! What a bucket's refusals mean, in words for whoever configured it.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::record::store::{Fault, FaultKind};

/// A bucket and the way there, as it is told.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) bucket: String,
    pub(super) prefix: String,
    /// `None`: Amazon's.
    pub(super) endpoint: Option<String>,
    pub(super) region: String,
    pub(super) path_style: bool,
}

/// What was asked for.
pub(super) struct Request<'a> {
    verb: &'static str,
    /// What a policy has to allow for it.
    action: &'static str,
    key: &'a str,
}

impl<'a> Request<'a> {
    pub(super) fn new(verb: &'static str, action: &'static str, key: &'a str) -> Self {
        Self { verb, action, key }
    }
}

impl Place {
    /// What `error` comes to.
    pub(super) fn fault<E>(&self, request: &Request<'_>, error: &SdkError<E, HttpResponse>) -> Fault
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let (kind, why) = match error {
            SdkError::ServiceError(refusal) if !refusal.raw().status().is_success() => {
                self.refusal(request, refusal.err(), refusal.raw())
            }
            // An answer that could not be read.
            SdkError::ServiceError(_) | SdkError::ResponseError(_) => match io_error(error) {
                Some(lost) => (FaultKind::Passing, lost.to_string()),
                None => {
                    let expected = self.expected_endpoint();
                    let why = format!("the answer is not what S3 says; expected {expected}");
                    (FaultKind::Refused, why)
                }
            },
            _ => self.unsent(error),
        };
        self.told(kind, request, &why)
    }

    /// What a server says.
    fn refusal(
        &self,
        request: &Request<'_>,
        error: &impl ProvideErrorMetadata,
        answer: &HttpResponse,
    ) -> (FaultKind, String) {
        use FaultKind::{Full, Passing, Refused};

        let status = answer.status().as_u16();
        let code = error.code().unwrap_or_default();
        let mut said = match code {
            "" => format!("HTTP {status}"),
            code => format!("{} (HTTP {status})", shown(code)),
        };
        let message = error.message().map(shown).unwrap_or_default();
        if !message.is_empty() {
            said = format!("{said}: {}", message.trim_end_matches('.'));
        }
        let region = answer.headers().get("x-amz-bucket-region").map(shown);
        let region = region.filter(|region| *region != self.region && status < 500);
        let (kind, expected) = match (status, code) {
            _ if region.is_some() => {
                let region = region.unwrap_or_default();
                let here = &self.region;
                let expected = format!("record.region = \"{region}\" for this bucket, here {here}");
                (Refused, expected)
            }
            _ if FULL.contains(&code) || status == 507 => (Full, "room in the store".to_owned()),
            (_, "NoSuchBucket") => (Refused, self.expected_bucket()),
            (_, "RequestTimeTooSkewed") => {
                (Refused, "the right time on this machine's clock".to_owned())
            }
            _ if OTHER_CREDENTIALS.contains(&code) || status == 401 => {
                (Refused, format!("other credentials: {CREDENTIALS}"))
            }
            _ if OTHER_REGION.contains(&code) || matches!(status, 301 | 307 | 308) => {
                let here = &self.region;
                (
                    Refused,
                    format!("the bucket's own region in record.region, here {here}"),
                )
            }
            _ if PASSES.contains(&code) || matches!(status, 408 | 409 | 425 | 429) => {
                return (Passing, said);
            }
            (403, _) => {
                let action = request.action;
                let hidden = match action {
                    "s3:GetObject" => ", and s3:ListBucket to be told what is not there",
                    _ => "",
                };
                // A request by HEAD is not told which.
                let known = match code {
                    "" => "known to the store and ",
                    _ => "",
                };
                (
                    Refused,
                    format!("credentials {known}allowed {action}{hidden}"),
                )
            }
            (404, "") | (405 | 501, _) => (Refused, self.expected_endpoint()),
            (300..=499, _) => return (Refused, said),
            _ => return (Passing, said),
        };
        (kind, format!("{said}; expected {expected}"))
    }

    /// Why a request was not made, or not answered.
    fn unsent<E: Error + 'static>(&self, error: &SdkError<E, HttpResponse>) -> (FaultKind, String) {
        if let Some(error) = cause::<CredentialsError>(error) {
            return match error {
                CredentialsError::CredentialsNotLoaded(_) => (
                    FaultKind::Refused,
                    format!("there are no credentials; expected {CREDENTIALS}"),
                ),
                CredentialsError::InvalidConfiguration(_) => (
                    FaultKind::Refused,
                    format!(
                        "the credentials are of no use: {}; expected {CREDENTIALS}",
                        causes(error)
                    ),
                ),
                // The service that gives them may do better the next time.
                _ => (
                    FaultKind::Passing,
                    format!(
                        "the credentials cannot be had: {}; expected {CREDENTIALS}",
                        causes(error)
                    ),
                ),
            };
        }
        let Some(lost) = io_error(error) else {
            let kind = match error {
                SdkError::ConstructionFailure(_) => FaultKind::Refused,
                _ => FaultKind::Passing,
            };
            // A connection that ended in the middle is no error of the system's.
            let lost = cause::<hyper::Error>(error).map(ToString::to_string);
            return (kind, lost.unwrap_or_else(|| causes(error)));
        };
        // As `tls` says it: nothing that passes.
        let kind = match lost.kind() {
            io::ErrorKind::InvalidData => FaultKind::Refused,
            _ => FaultKind::Passing,
        };
        let why = lost.to_string();
        // Where the bucket's name is part of the host's, it may be part of the reason.
        let named = self.endpoint.is_some() && !self.path_style && why.contains(&self.bucket);
        match named {
            true => (
                kind,
                format!("{why}; does the server want record.path_style = true?"),
            ),
            false => (kind, why),
        }
    }

    /// Bytes that did not come to their end.
    pub(super) fn lost(&self, request: &Request<'_>, error: &(dyn Error + 'static)) -> Fault {
        let why = io_error(error).map_or_else(|| causes(error), io::Error::to_string);
        self.told(FaultKind::Passing, request, &why)
    }

    pub(super) fn late(&self, request: &Request<'_>, limit: Duration) -> Fault {
        let why = format!("not over within {} s", limit.as_secs());
        self.told(FaultKind::Passing, request, &why)
    }

    /// An object that was put and is not the one that was meant.
    pub(super) fn damaged(&self, request: &Request<'_>, why: &str) -> Fault {
        let why = format!("what was stored is something else: {why}");
        self.told(FaultKind::Passing, request, &why)
    }

    /// An answer that would come again.
    pub(super) fn strange(&self, request: &Request<'_>, what: &str) -> Fault {
        self.told(
            FaultKind::Refused,
            request,
            &format!("the answer has {what}"),
        )
    }

    pub(super) fn no_bucket(&self, request: &Request<'_>) -> Fault {
        let why = format!(
            "there is no such bucket; expected {}",
            self.expected_bucket()
        );
        self.told(FaultKind::Refused, request, &why)
    }

    fn expected_bucket(&self) -> String {
        format!(
            "a bucket {} there, or the name of another in record.store",
            self.bucket
        )
    }

    fn expected_endpoint(&self) -> String {
        match self.endpoint {
            Some(_) => "the S3 of a server at record.endpoint".to_owned(),
            None => "S3".to_owned(),
        }
    }

    fn told(&self, kind: FaultKind, request: &Request<'_>, why: &str) -> Fault {
        let Request { verb, key, .. } = request;
        let at = self.endpoint.as_ref().map_or_else(
            || format!("in {}", self.region),
            |endpoint| format!("at {endpoint}"),
        );
        Fault::new(kind, format!("{verb} {self}/{key} {at}: {why}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

/// The status of an answer.
pub(super) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

/// Whether a server refused with this status and code.
pub(super) fn is<E: ProvideErrorMetadata>(
    error: &SdkError<E, HttpResponse>,
    with: u16,
    code: &str,
) -> bool {
    let refusal = error.as_service_error();
    status(error) == Some(with) && refusal.and_then(ProvideErrorMetadata::code) == Some(code)
}

fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The IO error that `error` goes back to.
fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    cause(error)
}

/// `error`, what it comes from, and so on.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// An error and what it goes back to, on one line.
fn causes(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<_> = chain(error).map(ToString::to_string).collect();
    shown(&causes.join(": "))
}

/// Words of somebody else's, fit for a line of a log.
fn shown(words: &str) -> String {
    let fit = |c: char| match c.is_control() {
        true => ' ',
        false => c,
    };
    let words = words.trim();
    words.chars().take(MOST_WORDS).map(fit).collect()
}

/// Where credentials are looked for.
const CREDENTIALS: &str =
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role of the task or the machine";

/// Codes of a store without room: Ceph's, and MinIO's.
const FULL: [&str; 3] = [
    "QuotaExceeded",
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
];

/// Codes for credentials that are not known, not right or not valid any more.
const OTHER_CREDENTIALS: [&str; 6] = [
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "NotSignedUp",
];

/// Codes for a request that was signed for, or sent to, another region.
const OTHER_REGION: [&str; 3] = [
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "IllegalLocationConstraintException",
];

/// Codes with a status that says something else: damaged on the way, too slow for
/// the server, two at once.
const PASSES: [&str; 7] = [
    "BadDigest",
    "InvalidDigest",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
    "IncompleteBody",
    "RequestTimeout",
    "SlowDown",
];

/// Letters of what others say that are told.
const MOST_WORDS: usize = 300;
