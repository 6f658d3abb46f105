//! May somebody publish, and as what?

use std::sync::Arc;

use rtmp::PublishRequest;
use tracing::{error, warn};

use crate::app::App;
use crate::config::{AuthMode, StreamLimit};
use crate::database::{self, Database, KeyId, TargetRecord};
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
    /// The highest rung that is made of it; `None`: all that there are.
    pub(crate) top_rung: Option<String>,
}

/// Why a publisher is turned away, in words for its screen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("the stream key is not known here")]
    Key,
    #[error("not a stream name: {0}")]
    Name(String),
    #[error("this stream key is no longer good; the stream has a new one, or none")]
    Retired,
    #[error("this stream is disabled")]
    Disabled,
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
        matches!(self, Self::Key | Self::Name(_))
    }

    /// For metrics: one of a fixed set of words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Key | Self::Name(_) => "key",
            Self::Retired => "retired",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
            Self::Full(_) => "full",
            Self::Unchecked => "unchecked",
        }
    }
}

/// Judges a request to publish. The verdict comes before any welcome.
pub(crate) async fn admit(app: &Arc<App>, request: &PublishRequest) -> Result<Admission, Denied> {
    let server = Arc::clone(app);
    let key = request.key.clone();
    let looking = move || look_up(&server.database, server.config.auth, &key);
    let admission = tokio::task::spawn_blocking(looking).await;
    let admission = admission.unwrap_or(Err(Denied::Unchecked))?;
    if app.draining() {
        return Err(Denied::Draining);
    }
    if let StreamLimit::AtMost(most) = app.config.limits.streams
        && app.directory.live().len() >= most
    {
        return Err(Denied::Full(most));
    }
    Ok(admission)
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

/// Reads the database: not for an async worker.
fn look_up(database: &Database, mode: AuthMode, key: &str) -> Result<Admission, Denied> {
    let unreadable = |fault: database::Error| {
        error!(error = %fault, "publishers cannot be checked");
        Denied::Unchecked
    };
    let (name, key) = match mode {
        AuthMode::Open => {
            let name = key.parse();
            let bad = |error: InvalidName| Denied::Name(error.to_string());
            (name.map_err(bad)?, None)
        }
        AuthMode::Keys => {
            let digest = Digest::of(key).ok_or(Denied::Key)?;
            let record = database.find_key(&digest).map_err(unreadable)?;
            let record = record.ok_or(Denied::Key)?;
            if record.refused(database::now()) {
                return Err(Denied::Retired);
            }
            (record.stream, Some(record.id))
        }
    };
    let stream = database.stream(&name).map_err(unreadable)?;
    if stream.as_ref().is_some_and(|stream| stream.disabled) {
        return Err(Denied::Disabled);
    }
    let targets = match stream.is_some() {
        true => database.targets(&name).map_err(unreadable)?,
        false => Vec::new(),
    };
    Ok(Admission {
        name,
        key,
        record: stream.and_then(|stream| stream.record).unwrap_or(true),
        targets,
        top_rung: None,
    })
}
