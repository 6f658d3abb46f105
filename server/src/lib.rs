//! The weir server: everything that opens a socket, reads a clock, starts a
//! thread or touches a disk.
//!
//! [`serve`] is the way in; [`ingest`] brings a publisher's units to a ring,
//! [`ladder`] makes segments of them, [`live`] keeps what viewers may ask for,
//! [`http`] answers them; `players` sends it as it came, `relay` sends it on to
//! other servers. [`hooks`] asks an application and tells it what happens. [`transcode`]
//! drives the same ladder from a file.

mod alarm;
pub mod app;
pub mod auth;
mod backoff;
pub mod cli;
mod clock;
pub mod config;
pub mod cpu;
pub mod database;
pub mod health;
pub mod hooks;
pub mod http;
mod ingest;
mod input;
pub mod ladder;
pub mod live;
pub mod logging;
pub mod name;
pub mod network;
pub mod play;
mod players;
pub mod publish;
mod rate;
mod record;
pub mod recordings;
mod relay;
pub mod secret;
pub mod serve;
mod thumbnail;
pub mod tls;
pub mod transcode;

pub use hooks::Hooks;
