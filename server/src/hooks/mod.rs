//! What an application decides and hears.
//!
//! Three questions (may it connect, publish, play) are asked before anything is
//! welcomed, and wait for their answer; everything else is told after it happened
//! and waits for nobody. A [`Bus`] brings both to whoever is there: the webhook of
//! the settings, an embedder's [`Hooks`], and the feed of the API. Nothing here
//! knows keys or streams: it passes on what it is given.

mod bus;
mod event;
mod feed;
mod health;
mod playing;
#[cfg(test)]
mod tests;
mod verdict;
mod webhook;

pub use bus::Bus;
pub use event::{
    Client, ConnectionId, Done, Event, Fact, Finding, Kind, Protocol, Trouble, Verdict,
};
pub use feed::{Feed, Heard, Subscription};
pub use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, future::ready};
pub(crate) use health::{Sent, Watcher};
pub(crate) use playing::Playing;
pub use verdict::{Denied, Grant, InvalidTarget, Publication, Secret, Target, Viewing};
pub use webhook::{Address, InvalidAddress};

/// For programs that embed this crate: what they decide and hear.
///
/// Every method has a default: all is allowed and nothing is heard. The questions
/// may take their time, and their peers wait meanwhile, nobody else does; a server
/// asks no more of them than it has connections. They are asked beside the webhook
/// of the settings, before it, and both must agree.
pub trait Hooks: Send + Sync + 'static {
    /// May `client` connect?
    fn pre_connect<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<(), Denied>> {
        let _ = client;
        ready(Ok(())).boxed()
    }

    /// May `client` publish this, and what with?
    fn pre_publish<'a>(
        &'a self,
        client: &'a Client,
        publication: &'a Publication,
    ) -> BoxFuture<'a, Result<Grant, Denied>> {
        let _ = (client, publication);
        ready(Ok(Grant::default())).boxed()
    }

    /// May `client` play this?
    fn pre_play<'a>(
        &'a self,
        client: &'a Client,
        viewing: &'a Viewing,
    ) -> BoxFuture<'a, Result<(), Denied>> {
        let _ = (client, viewing);
        ready(Ok(())).boxed()
    }

    /// This has happened. Must not block: it is called where media flows, so hand
    /// over what takes time.
    fn event(&self, event: &Event) {
        let _ = event;
    }
}
