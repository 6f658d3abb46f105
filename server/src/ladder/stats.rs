//! What a ladder counts, shared with the metrics page.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use codec::video::Backend;
use media::{Ticks, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// Counters of one ladder. Written by its threads, read by the metrics page.
#[derive(Debug, Default)]
pub struct Stats {
    cpu: [AtomicU64; STAGES.len()],
    /// Access units that could not be decoded.
    pub damaged: AtomicU64,
    /// Jumps of the publisher's clock.
    pub jumps: AtomicU64,
    /// Newest instant taken from the source, in ticks.
    taken: AtomicI64,
    /// Newest instant that every rung has coded, in ticks.
    coded: AtomicI64,
    rungs: Mutex<Vec<RungCount>>,
    decoder: Mutex<Option<Backend>>,
}

/// Pictures of one rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RungCount {
    /// The rung's name.
    pub rung: String,
    /// Pictures coded.
    pub encoded: u64,
    /// Pictures left out because the rung has a lower frame rate, or no room for it
    /// at its bit rate.
    pub skipped: u64,
    /// Those of them that had no room.
    pub crowded_out: u64,
    /// Pictures that the encoder refused.
    pub failed: u64,
}

/// Where a ladder's CPU time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// H.264 decoding, and the look at what it gives.
    Decode,
    /// Scaling, all rungs.
    Scale,
    /// H.264 encoding, all rungs.
    Encode,
    /// AAC decoding, resampling and encoding.
    Audio,
    /// Writing transport streams.
    Mux,
}

/// All stages with the names that metrics give them.
pub const STAGES: [(Stage, &str); 5] = [
    (Stage::Decode, "decode"),
    (Stage::Scale, "scale"),
    (Stage::Encode, "encode"),
    (Stage::Audio, "audio"),
    (Stage::Mux, "mux"),
];

impl Stats {
    /// Runs `work` and books the CPU time of this thread under `stage`.
    pub(super) fn timed<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let before = thread_cpu();
        let result = work();
        let spent = thread_cpu().saturating_sub(before);
        self.cpu[stage as usize].fetch_add(spent.as_nanos() as u64, Ordering::Relaxed);
        result
    }

    /// CPU time booked under `stage`.
    pub fn cpu(&self, stage: Stage) -> Duration {
        Duration::from_nanos(self.cpu[stage as usize].load(Ordering::Relaxed))
    }

    /// Media time between the newest unit taken from the source and the newest
    /// picture coded. Includes the reordering of B-frames and the one picture
    /// that is held back.
    pub fn lag(&self) -> Ticks {
        let coded = self.coded.load(Ordering::Relaxed);
        let span = self.taken.load(Ordering::Relaxed).saturating_sub(coded);
        Ticks::new(if coded == RESTING { 0 } else { span.max(0) })
    }

    /// Nothing is to be coded until [`Stats::note_coded`] says so: nothing lags.
    pub(crate) fn rest(&self) {
        self.coded.store(RESTING, Ordering::Relaxed);
    }

    /// Notes the newest instant that came in. Called by whoever feeds the ring,
    /// so that the lag includes what still waits there.
    pub fn note_taken(&self, at: Timestamp) {
        self.taken.fetch_max(at.ticks(), Ordering::Relaxed);
    }

    pub(super) fn note_coded(&self, at: Timestamp) {
        self.coded.fetch_max(at.ticks(), Ordering::Relaxed);
    }

    /// Which library decodes, once something was decoded.
    pub fn decoder(&self) -> Option<Backend> {
        *self.decoder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_decoder(&self, backend: Backend) {
        *self.decoder.lock().unwrap_or_else(PoisonError::into_inner) = Some(backend);
    }

    pub(super) fn count(&self, rung: &str, add: impl FnOnce(&mut RungCount)) {
        let mut rungs = self.rungs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = rungs.iter_mut().find(|count| count.rung == rung) {
            add(count);
            return;
        }
        let mut count = RungCount {
            rung: rung.to_owned(),
            encoded: 0,
            skipped: 0,
            crowded_out: 0,
            failed: 0,
        };
        add(&mut count);
        rungs.push(count);
    }

    /// The counts of each rung.
    pub fn rungs(&self) -> Vec<RungCount> {
        self.rungs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Earlier than any instant.
const RESTING: i64 = i64::MIN;

fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_indexed_by_their_own_position() {
        for (index, (stage, _)) in STAGES.iter().enumerate() {
            assert_eq!(*stage as usize, index);
        }
    }

    #[test]
    fn lag_is_never_negative() {
        let stats = Stats::default();
        stats.note_coded(Timestamp::from_millis(50));
        assert_eq!(stats.lag(), Ticks::ZERO);
        stats.note_taken(Timestamp::from_millis(80));
        assert_eq!(stats.lag(), Ticks::from_millis(30));
        stats.rest();
        assert_eq!(stats.lag(), Ticks::ZERO);
        stats.note_coded(Timestamp::from_millis(70));
        assert_eq!(stats.lag(), Ticks::from_millis(10));
    }
}
