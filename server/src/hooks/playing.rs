//! A player while it plays, as hooks see it.

use std::time::Instant;

use super::Bus;
use super::event::{Client, Done, Fact};
use crate::clock;
use crate::name::StreamName;

/// Tells that a player plays, and when it is gone how that went.
pub(crate) struct Playing {
    bus: Bus,
    client: Client,
    stream: StreamName,
    since: Instant,
    sent: u64,
    reason: String,
}

impl Playing {
    /// `count` bytes more were sent.
    pub(crate) fn sent(&mut self, count: u64) {
        self.sent += count;
    }

    /// It ends because of `reason`.
    pub(crate) fn over(&mut self, reason: &str) {
        reason.clone_into(&mut self.reason);
    }
}

impl Bus {
    /// `client` plays `stream` from now on, as long as what this gives is held.
    pub(crate) fn plays(&self, client: &Client, stream: &StreamName) -> Box<Playing> {
        self.emit(Fact::PostPlay {
            client: client.clone(),
            stream: stream.clone(),
        });
        Box::new(Playing {
            bus: self.clone(),
            client: client.clone(),
            stream: stream.clone(),
            since: clock::now(),
            sent: 0,
            reason: "the connection was closed".to_owned(),
        })
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.bus.emit(Fact::DonePlay {
            client: self.client.clone(),
            stream: self.stream.clone(),
            done: Done::new(self.since, clock::now(), self.sent, &self.reason),
        });
    }
}
