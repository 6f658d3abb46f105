//! Brings questions and events to whoever is there.

use std::fmt;
use std::sync::Arc;

use super::event::{Client, Fact, Verdict};
use super::feed::{Feed, Subscription};
use super::verdict::{Denied, Grant, Publication, Viewing};
use super::{Event, Hooks};
use crate::clock;
use crate::name::StreamName;

/// Where a server asks and tells. Clones are the same one.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    feed: Arc<Feed>,
    embedder: Option<Arc<dyn Hooks>>,
}

impl Bus {
    /// A bus to `embedder`.
    pub fn new(embedder: Option<Arc<dyn Hooks>>) -> Self {
        Self(Arc::new(Inner {
            // Higher than any id of an earlier run that made less than a thousand
            // events a millisecond.
            feed: Arc::new(Feed::new(clock::unix_ms() * 1000)),
            embedder,
        }))
    }

    /// May `client` publish this, and what with? [`Grant::name`] is `Some` just where
    /// [`Publication::stream`] is `None`. A refusal is told by who has the last word,
    /// with [`Bus::refused`].
    pub(crate) async fn pre_publish(
        &self,
        client: &Client,
        publication: &Publication,
    ) -> Result<Grant, Denied> {
        let mut grant = Grant::default();
        if let Some(embedder) = &self.0.embedder {
            grant = grant.and(embedder.pre_publish(client, publication).await?);
        }
        match (&publication.stream, &grant.name) {
            // Its key has said which it is.
            (Some(_), _) => grant.name = None,
            (None, Some(_)) => {}
            // The key is a secret and no name for a stream.
            (None, None) => return Err(Denied::new("the application named no stream")),
        }
        self.emit(Fact::PrePublish {
            client: client.clone(),
            stream: publication.stream.as_ref().or(grant.name.as_ref()).cloned(),
            verdict: Verdict::allowed(),
        });
        Ok(grant)
    }

    /// `client` may not publish `stream`, as far as that is known, because of
    /// `reason`, which holds no key.
    pub(crate) fn refused(&self, client: &Client, stream: Option<&StreamName>, reason: &str) {
        self.emit(Fact::PrePublish {
            client: client.clone(),
            stream: stream.cloned(),
            verdict: Verdict::denied(reason),
        });
    }

    /// May `client` play this?
    pub(crate) async fn pre_play(&self, client: &Client, viewing: &Viewing) -> Result<(), Denied> {
        let judged = match &self.0.embedder {
            Some(embedder) => embedder.pre_play(client, viewing).await,
            None => Ok(()),
        };
        self.emit(Fact::PrePlay {
            client: client.clone(),
            stream: viewing.stream.clone(),
            verdict: verdict(&judged),
        });
        judged
    }

    /// This happens now. Waits for nobody.
    pub fn emit(&self, fact: Fact) {
        let event = self.0.feed.add(clock::unix_ms(), fact);
        self.tell(&event);
    }

    fn tell(&self, event: &Event) {
        if let Some(embedder) = &self.0.embedder {
            embedder.event(event);
        }
    }

    /// Listens to what comes behind the event `after`; `None`: to what comes from
    /// now on.
    pub fn subscribe(&self, after: Option<u64>) -> Subscription {
        self.0.feed.subscribe(after)
    }

    /// The last events, and who listens to them.
    pub fn feed(&self) -> &Arc<Feed> {
        &self.0.feed
    }

    /// Ends the subscriptions: nothing happens any more.
    pub(crate) fn close(&self) {
        self.0.feed.close();
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("embedder", &self.0.embedder.is_some())
            .finish_non_exhaustive()
    }
}

fn verdict<T>(judged: &Result<T, Denied>) -> Verdict {
    match judged {
        Ok(_) => Verdict::allowed(),
        Err(denied) => Verdict::denied(denied),
    }
}
