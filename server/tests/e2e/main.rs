//! The `weir` binary as its users meet it: publishers and players that were
//! written by others, hostile peers, signals, files.
//!
//! One test binary, for each links the whole server. A module is one behaviour.
//! Tests wait for conditions with generous deadlines and never for time to pass;
//! what is measured is media time.

mod harness;

mod any_source_gets_a_true_ladder;
mod bad_settings_stop_the_start;
mod broadcasts_end_and_are_forgotten;
mod built_as_configured;
mod encoders_that_are_not_ffmpeg;
mod hooks;
mod hostile_peers_hurt_nobody_else;
mod http_answers;
mod https_is_http;
mod keys_count_at_once;
mod offline_ladders;
mod players_read_the_source;
mod publishers_are_let_in_or_told_why_not;
mod recordings_are_looked_after;
mod recordings_are_whole;
mod recordings_survive;
mod recordings_watched;
mod relays_keep_to_their_targets;
mod relays_recover_by_themselves;
mod relays_send_what_came;
mod relays_wait_for_their_publisher;
mod rungs_that_no_playlist_has;
mod shutdown_is_orderly;
mod sound_stays_with_the_picture;
mod streams_change_on_the_way;
mod the_bundled_clip_plays;
mod the_source_as_the_top_rung;
mod tls_on_the_way_in;
mod tls_on_the_way_out;
mod watching_takes_a_token;
mod weir_publishes;
