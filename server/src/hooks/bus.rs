//! Brings questions and events to whoever is there.

use std::fmt;
use std::sync::Arc;

use super::event::{Client, Fact, Kind, Verdict};
use super::feed::{Feed, Subscription};
use super::verdict::{Denied, Grant, Publication, Viewing};
use super::webhook::{Counts, Webhook};
use super::{Event, Hooks};
use crate::clock;
use crate::config;
use crate::name::StreamName;
use crate::tls::Connector;

/// Where a server asks and tells. Clones are the same one.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    feed: Arc<Feed>,
    embedder: Option<Arc<dyn Hooks>>,
    webhook: Option<Webhook>,
}

impl Bus {
    /// A bus to `embedder` and the webhook of the settings, which is reached with
    /// `tls`. Call it in a runtime.
    pub fn new(
        embedder: Option<Arc<dyn Hooks>>,
        webhook: Option<&config::Webhook>,
        tls: &Connector,
    ) -> Self {
        Self(Arc::new(Inner {
            // Higher than any id of an earlier run that made less than a thousand
            // events a millisecond.
            feed: Arc::new(Feed::new(clock::unix_ms() * 1000)),
            embedder,
            webhook: webhook.map(|webhook| Webhook::new(webhook, tls.clone())),
        }))
    }

    /// Whether anybody wants to be asked before a peer is welcomed. Where nobody does,
    /// [`Bus::welcomed`] stands for [`Bus::pre_connect`].
    pub(crate) fn judges_connects(&self) -> bool {
        let webhook = self.0.webhook.as_ref();
        self.0.embedder.is_some() || webhook.is_some_and(|hook| hook.wants(Kind::PreConnect))
    }

    /// `client` is connected, and nobody wanted to be asked.
    pub(crate) fn welcomed(&self, client: &Client) {
        self.emit(Fact::PreConnect {
            client: client.clone(),
            verdict: Verdict::allowed(),
        });
    }

    /// May `client` connect?
    pub(crate) async fn pre_connect(&self, client: &Client) -> Result<(), Denied> {
        let judged = async {
            if let Some(embedder) = &self.0.embedder {
                embedder.pre_connect(client).await?;
            }
            match &self.0.webhook {
                Some(webhook) => webhook.pre_connect(self.0.feed.next_id(), client).await,
                None => Ok(()),
            }
        };
        let judged = judged.await;
        self.emit(Fact::PreConnect {
            client: client.clone(),
            verdict: verdict(&judged),
        });
        judged
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
        if let Some(webhook) = &self.0.webhook {
            let asked = webhook.pre_publish(self.0.feed.next_id(), client, publication);
            grant = grant.and(asked.await?);
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
        let judged = async {
            if let Some(embedder) = &self.0.embedder {
                embedder.pre_play(client, viewing).await?;
            }
            match &self.0.webhook {
                Some(webhook) => {
                    webhook
                        .pre_play(self.0.feed.next_id(), client, viewing)
                        .await
                }
                None => Ok(()),
            }
        };
        let judged = judged.await;
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

    fn tell(&self, event: &Arc<Event>) {
        if let Some(webhook) = &self.0.webhook {
            webhook.tell(event);
        }
        if let Some(embedder) = &self.0.embedder {
            embedder.event(event);
        }
    }

    /// What the webhook has done, and the events that it is to be told.
    pub(crate) fn webhook(&self) -> Option<(&Counts, usize)> {
        let webhook = self.0.webhook.as_ref()?;
        Some((webhook.counts(), webhook.waiting()))
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

    /// Tells the webhook what there is left to tell, and ends the subscriptions:
    /// nothing happens any more.
    pub(crate) async fn drain(&self) {
        if let Some(webhook) = &self.0.webhook {
            webhook.drain().await;
        }
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
