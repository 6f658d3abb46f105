//! Benches live in `benches/benches`, the side-by-side with ffmpeg in
//! `benches/compare`; docs/performance.md says how to read both.
