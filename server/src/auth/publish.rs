//! May somebody publish, and as what?

use std::sync::Arc;

use rtmp::PublishRequest;
use tracing::{error, warn};

use crate::app::App;
use crate::config::{AuthMode, StreamLimit};
use crate::database::{self, Database, KeyId, TargetRecord};
use crate::hooks::{self, Client, Publication, Secret};
use crate::name::{InvalidName, StreamName};
use crate::secret::Digest;

/// A publisher that may, and what is known of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    /// What viewers know the stream as.
    pub(crate) name: StreamName,
    /// What it showed; `None` where that is no key.
    pub(crate) key: Option<KeyId>,
    /// Whether the broadcast is recorded, if the server records at all.
    pub(crate) record: bool,
    /// The stream's own relay targets.
    pub(crate) targets: Vec<TargetRecord>,
    /// Those that the application gives it.
    pub(crate) granted: Vec<TargetRecord>,
    /// The highest rung that is made of it; `None`: all that there are.
    pub(crate) top_rung: Option<String>,
}

/// Why a publisher is turned away, in words for its screen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("the stream key is not known here")]
    Key,
    /// By hooks, in their words.
    #[error("{why}")]
    Asked {
        /// Where the server knew it.
        stream: Option<StreamName>,
        /// The reason.
        why: hooks::Denied,
    },
    #[error("not a stream name: {0}")]
    Name(String),
    #[error("this stream key is no longer good; the stream has a new one, or none")]
    Retired,
    #[error("this stream is disabled")]
    Disabled(StreamName),
    #[error("this server is shutting down")]
    Draining,
    #[error("this server carries all the {0} streams it is allowed")]
    Full(usize),
    #[error("the key could not be checked; try again later")]
    Unchecked,
}

impl Denied {
    /// Whether it tells that the peer has no business here: such attempts are
    /// counted.
    pub(crate) fn is_guess(&self) -> bool {
        // Where the server knew the stream, the key was good.
        matches!(
            self,
            Self::Key | Self::Name(_) | Self::Asked { stream: None, .. }
        )
    }

    /// The stream it is about, where that is known.
    pub(crate) fn stream(&self) -> Option<&StreamName> {
        match self {
            Self::Asked { stream, .. } => stream.as_ref(),
            Self::Disabled(stream) => Some(stream),
            _ => None,
        }
    }

    /// For metrics: one of a fixed set of words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Key | Self::Name(_) => "key",
            Self::Retired => "retired",
            Self::Asked { .. } => "application",
            Self::Disabled(_) => "disabled",
            Self::Draining => "draining",
            Self::Full(_) => "full",
            Self::Unchecked => "unchecked",
        }
    }
}

/// Judges the request of `client` to publish. The verdict comes before any welcome.
pub(crate) async fn admit(
    app: &Arc<App>,
    client: &Client,
    request: &PublishRequest,
) -> Result<Admission, Denied> {
    let key = request.key.clone();
    let mode = app.config.auth;
    let shown = reading(app, move |database| look_up(database, mode, &key)).await?;
    if app.draining() {
        return Err(Denied::Draining);
    }
    if let StreamLimit::AtMost(most) = app.config.limits.streams
        && app.directory.live().len() >= most
    {
        return Err(Denied::Full(most));
    }
    let (known, key) = shown.map_or((None, None), |(name, key)| (Some(name), key));
    let publication = Publication {
        key: known.is_none().then(|| Secret::new(&request.key)),
        stream: known,
        query: request.query.clone(),
    };
    let asked = app.hooks.pre_publish(client, &publication).await;
    let stream = publication.stream;
    let grant = match asked {
        Ok(grant) => grant,
        Err(why) => return Err(Denied::Asked { stream, why }),
    };
    let name = stream.or(grant.name).ok_or(Denied::Unchecked)?;
    let granted = grant.targets.iter().map(|target| TargetRecord {
        name: target.name().to_owned(),
        url: target.url().clone(),
        rung: target.rung().map(str::to_owned),
        disabled: false,
    });
    let admission = Admission {
        key,
        record: true,
        targets: Vec::new(),
        granted: granted.collect(),
        top_rung: grant.top_rung,
        name,
    };
    let record = grant.record;
    reading(app, move |database| settle(database, admission, record)).await
}

/// What `read` finds in the database, on a thread that may wait.
async fn reading<T: Send + 'static>(
    app: &Arc<App>,
    read: impl FnOnce(&Database) -> Result<T, Denied> + Send + 'static,
) -> Result<T, Denied> {
    let app = Arc::clone(app);
    let reading = tokio::task::spawn_blocking(move || read(&app.database));
    reading.await.unwrap_or(Err(Denied::Unchecked))
}

/// Keeps that `key` was used, whenever that can be written.
pub(crate) fn note_use(app: &Arc<App>, key: Option<KeyId>) {
    let Some(key) = key else { return };
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = app.database.key_used(key) {
            warn!(%error, "that a stream key was used could not be written down");
        }
    });
}

/// The stream that `key` is for, and which key that is; `None` where the application
/// has to say.
fn look_up(
    database: &Database,
    mode: AuthMode,
    key: &str,
) -> Result<Option<(StreamName, Option<KeyId>)>, Denied> {
    match mode {
        AuthMode::Open => {
            let name = key.parse();
            let bad = |error: InvalidName| Denied::Name(error.to_string());
            Ok(Some((name.map_err(bad)?, None)))
        }
        AuthMode::Keys => {
            let digest = Digest::of(key).ok_or(Denied::Key)?;
            let record = database.find_key(&digest).map_err(unreadable)?;
            let record = record.ok_or(Denied::Key)?;
            match record.refused(database::now()) {
                true => Err(Denied::Retired),
                false => Ok(Some((record.stream, Some(record.id)))),
            }
        }
        AuthMode::Webhook => Ok(None),
    }
}

/// Adds what is known of the stream; `record` is the application's word, which comes
/// before the stream's own setting.
fn settle(
    database: &Database,
    mut admission: Admission,
    record: Option<bool>,
) -> Result<Admission, Denied> {
    let name = &admission.name;
    let Some(stream) = database.stream(name).map_err(unreadable)? else {
        admission.record = record.unwrap_or(true);
        return Ok(admission);
    };
    if stream.disabled {
        return Err(Denied::Disabled(stream.name));
    }
    admission.record = record.or(stream.record).unwrap_or(true);
    admission.targets = database.targets(name).map_err(unreadable)?;
    Ok(admission)
}

fn unreadable(fault: database::Error) -> Denied {
    error!(error = %fault, "publishers cannot be checked");
    Denied::Unchecked
}
