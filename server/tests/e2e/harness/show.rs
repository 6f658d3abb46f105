//! A broadcast as a viewer with all rungs gathers it, and what must be true of
//! every one.

use std::path::{Path, PathBuf};

use testkit::tsprobe::{Probed, Prober};

use super::playlist::{self, Entry, Media, Multivariant, Variant};
use super::server::Server;
use super::tools::{decodes, ffprobe};
use super::until;

/// Everything that was seen of a broadcast.
pub(crate) struct Show {
    pub(crate) master: Multivariant,
    pub(crate) rungs: Vec<Rung>,
    files: tempfile::TempDir,
}

pub(crate) struct Rung {
    pub(crate) name: String,
    /// As it was last seen.
    pub(crate) playlist: Media,
    pub(crate) segments: Vec<Seen>,
    prober: Prober,
}

pub(crate) struct Seen {
    pub(crate) number: u64,
    pub(crate) entry: Entry,
    pub(crate) data: Vec<u8>,
    pub(crate) probed: Probed,
}

impl Show {
    /// Waits until `name` can be played and takes what is there.
    #[track_caller]
    pub(crate) fn begin(server: &Server, name: &str) -> Self {
        let text = until(&format!("{name}/live.m3u8"), || {
            let answer = server.get(&format!("/{name}/live.m3u8"));
            (answer.status == 200).then(|| answer.text())
        });
        let mut show = Self::new(playlist::multivariant(&text));
        show.poll(server, name);
        show
    }

    /// Watches until the end of the broadcast.
    #[track_caller]
    pub(crate) fn until_end(mut self, server: &Server, name: &str) -> Self {
        until(&format!("ENDLIST of {name}"), || {
            self.poll(server, name);
            self.rungs
                .iter()
                .all(|rung| rung.playlist.ended)
                .then_some(())
        });
        let text = server.get(&format!("/{name}/live.m3u8")).text();
        self.master = playlist::multivariant(&text);
        self
    }

    /// Watches until every rung has shown `count` segments.
    #[track_caller]
    pub(crate) fn until_segment(&mut self, server: &Server, name: &str, count: usize) {
        until(&format!("segment {count} of {name}"), || {
            self.poll(server, name);
            self.rungs
                .iter()
                .all(|rung| rung.segments.len() >= count)
                .then_some(())
        });
    }

    /// What `weir transcode` left in `dir`.
    #[track_caller]
    pub(crate) fn on_disk(dir: &Path) -> Self {
        let read = |path: PathBuf| {
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let text = |path| String::from_utf8(read(path)).expect("text");
        let mut show = Self::new(playlist::multivariant(&text(dir.join("master.m3u8"))));
        for rung in &mut show.rungs {
            let dir = dir.join(&rung.name);
            rung.update(playlist::media(&text(dir.join("index.m3u8"))), |uri| {
                read(dir.join(uri))
            });
        }
        show
    }

    fn new(master: Multivariant) -> Self {
        let rung = |variant: &Variant| Rung {
            name: variant.rung().to_owned(),
            playlist: Media::default(),
            segments: Vec::new(),
            prober: Prober::new(),
        };
        let rungs = master.variants.iter().map(rung).collect();
        Self {
            master,
            rungs,
            files: tempfile::tempdir().expect("a directory"),
        }
    }

    #[track_caller]
    fn poll(&mut self, server: &Server, name: &str) {
        for rung in &mut self.rungs {
            let base = format!("/{name}/{}", rung.name);
            let answer = server.get(&format!("{base}/index.m3u8"));
            assert_eq!(answer.status, 200, "{base}");
            rung.update(playlist::media(&answer.text()), |uri| {
                let answer = server.get(&format!("{base}/{uri}"));
                assert_eq!(answer.status, 200, "{base}/{uri} is listed");
                answer.body
            });
        }
    }

    #[track_caller]
    pub(crate) fn rung(&self, name: &str) -> &Rung {
        self.rungs
            .iter()
            .find(|rung| rung.name == name)
            .unwrap_or_else(|| panic!("no rung {name}"))
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.rungs.iter().map(|rung| rung.name.as_str()).collect()
    }

    /// All segments of a rung in one file.
    pub(crate) fn file(&self, rung: &Rung) -> PathBuf {
        let path = self.files.path().join(format!("{}.ts", rung.name));
        let data: Vec<u8> = rung
            .segments
            .iter()
            .flat_map(|seen| &seen.data)
            .copied()
            .collect();
        std::fs::write(&path, data).expect("a file");
        path
    }

    /// A run of segments in a file.
    pub(crate) fn run_file(&self, rung: &Rung, run: &[Seen]) -> PathBuf {
        let path = self
            .files
            .path()
            .join(format!("{}-from-{}.ts", rung.name, run[0].number));
        let data: Vec<u8> = run.iter().flat_map(|seen| seen.data.clone()).collect();
        std::fs::write(&path, data).expect("a file");
        path
    }

    /// One segment in a file.
    pub(crate) fn segment_file(&self, rung: &Rung, seen: &Seen) -> PathBuf {
        let path = self
            .files
            .path()
            .join(format!("{}-{}.ts", rung.name, seen.number));
        std::fs::write(&path, &seen.data).expect("a file");
        path
    }

    /// What holds for every broadcast: see the parts.
    #[track_caller]
    pub(crate) fn is_true(&self) {
        self.rungs_agree();
        if self.rungs[0].playlist.kind.is_none() {
            self.rungs.iter().for_each(Rung::dates_are_true);
        }
        for (rung, variant) in self.rungs.iter().zip(&self.master.variants) {
            rung.durations_are_true();
            self.variant_is_true(rung, variant);
            decodes(&self.file(rung));
        }
    }

    /// As [`Show::is_true`], for a broadcast with discontinuities: what is
    /// between two of them decodes in one go.
    #[track_caller]
    pub(crate) fn is_true_in_parts(&self) {
        self.rungs_agree();
        for (rung, variant) in self.rungs.iter().zip(&self.master.variants) {
            rung.durations_are_true();
            self.variant_is_true(rung, variant);
            for run in rung.parts() {
                decodes(&self.run_file(rung, run));
            }
        }
    }

    /// The same segments, starting at the same tick, with the same audio, on
    /// every rung.
    #[track_caller]
    pub(crate) fn rungs_agree(&self) {
        let first = &self.rungs[0];
        assert!(!first.segments.is_empty(), "{} has no segment", first.name);
        for rung in &self.rungs[1..] {
            assert_eq!(
                rung.starts(),
                first.starts(),
                "first pts on {} and {}",
                rung.name,
                first.name
            );
            assert_eq!(rung.playlist.target, first.playlist.target);
            let audio = |rung: &Rung| {
                rung.segments
                    .iter()
                    .flat_map(|seen| seen.probed.audio.clone())
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                audio(rung).len(),
                audio(first).len(),
                "audio frames on {} and {}",
                rung.name,
                first.name
            );
            let dates = |rung: &Rung| {
                rung.segments
                    .iter()
                    .map(|seen| seen.entry.date.clone())
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                dates(rung),
                dates(first),
                "the same picture has the same date"
            );
        }
    }

    /// RESOLUTION, CODECS and FRAME-RATE say what is in the segments.
    #[track_caller]
    fn variant_is_true(&self, rung: &Rung, variant: &Variant) {
        let seen = &rung.segments[0];
        let streams = ffprobe(&self.segment_file(rung, seen), &["-show_streams"]);
        let stream = |kind: &str| {
            streams["streams"]
                .as_array()?
                .iter()
                .find(|stream| stream["codec_type"] == kind)
        };
        let mut codecs = Vec::new();
        match (stream("video"), variant.resolution) {
            (Some(video), Some((width, height))) => {
                assert_eq!(
                    (video["width"].as_u64(), video["height"].as_u64()),
                    (Some(width), Some(height)),
                    "{}",
                    rung.name
                );
                assert_eq!(
                    video["sample_aspect_ratio"].as_str().unwrap_or("1:1"),
                    "1:1"
                );
                codecs.push(rung.most_demanding());
                rung.frame_rate_is_true(variant);
            }
            (None, None) => assert_eq!(variant.frame_rate, None),
            (video, resolution) => panic!("{}: RESOLUTION {resolution:?} for {video:?}", rung.name),
        }
        if let Some(audio) = stream("audio") {
            assert_eq!(
                (audio["codec_name"].as_str(), audio["profile"].as_str()),
                (Some("aac"), Some("LC"))
            );
            assert_eq!(audio["channels"], 2);
            codecs.push("mp4a.40.2".to_owned());
        }
        assert_eq!(variant.codecs, codecs.join(","), "{}", rung.name);
    }
}

impl Rung {
    /// Takes a newer state of the playlist and fetches what is new in it.
    #[track_caller]
    fn update(&mut self, playlist: Media, fetch: impl Fn(&str) -> Vec<u8>) {
        if self.playlist.target != 0 {
            assert_eq!(
                playlist.target, self.playlist.target,
                "TARGETDURATION never changes"
            );
            assert!(
                playlist.sequence >= self.playlist.sequence,
                "MEDIA-SEQUENCE never falls"
            );
            assert!(playlist.discontinuity_sequence >= self.playlist.discontinuity_sequence);
            assert!(!self.playlist.ended || playlist.ended, "ENDLIST stays");
        }
        for (number, entry) in (playlist.sequence..).zip(&playlist.entries) {
            assert_eq!(
                entry.uri,
                format!("{number}.ts"),
                "a name is its media sequence number"
            );
            assert!(
                entry.duration <= playlist.target as f64,
                "{entry:?} in TARGETDURATION {}",
                playlist.target
            );
            let first = self.segments.first().map_or(number, |seen| seen.number);
            if let Some(seen) = number
                .checked_sub(first)
                .and_then(|index| self.segments.get(index as usize))
            {
                assert_eq!(seen.entry, *entry, "what was published never changes");
                continue;
            }
            if let Some(last) = self.segments.last() {
                assert_eq!(
                    number,
                    last.number + 1,
                    "the viewer was too slow for this test"
                );
            }
            let data = fetch(&entry.uri);
            if entry.discontinuity {
                self.prober.discontinuity();
            }
            let probed = self
                .prober
                .segment(&data)
                .unwrap_or_else(|broken| panic!("{} {}: {broken}", self.name, entry.uri));
            self.segments.push(Seen {
                number,
                entry: entry.clone(),
                data,
                probed,
            });
        }
        self.playlist = playlist;
    }

    /// First pts of each segment.
    pub(crate) fn starts(&self) -> Vec<i64> {
        self.segments.iter().map(Seen::start).collect()
    }

    /// PROGRAM-DATE-TIME steps by EXTINF, within a picture or a millisecond.
    #[track_caller]
    fn dates_are_true(&self) {
        assert!(
            self.segments[0].entry.date.is_some(),
            "{}: no PROGRAM-DATE-TIME",
            self.name
        );
        for pair in self.segments.windows(2) {
            let (Some(from), Some(to)) = (&pair[0].entry.date, &pair[1].entry.date) else {
                continue;
            };
            let step = (second_of_day(to) - second_of_day(from)).rem_euclid(86_400.0);
            let told = pair[0].entry.duration;
            assert!(
                (step - told).abs() < 0.041,
                "{}: {from} and {to} are {told} s apart",
                self.name
            );
        }
    }

    /// Over any run of segments, EXTINF adds up to what their pictures last,
    /// within one picture (Apple HLS authoring 8.1).
    #[track_caller]
    pub(crate) fn durations_are_true(&self) {
        let frame = self
            .segments
            .iter()
            .flat_map(|seen| seen.frame_steps())
            .max()
            .unwrap_or(3000) as f64
            / 90_000.0;
        let starts = self.starts();
        for from in 0..starts.len() {
            for to in from + 1..starts.len() {
                let run = &self.segments[from + 1..=to];
                if run.iter().any(|seen| seen.entry.discontinuity) {
                    break;
                }
                let told: f64 = self.segments[from..to]
                    .iter()
                    .map(|seen| seen.entry.duration)
                    .sum();
                let is = (starts[to] - starts[from]) as f64 / 90_000.0;
                assert!(
                    (told - is).abs() < frame.min(0.04),
                    "{} segments {from} to {to} last {is}, not {told}",
                    self.name
                );
            }
        }
        if let Some(last) = self.segments.last() {
            let lasts = last.lasts();
            assert!(
                (last.entry.duration - lasts).abs() < 0.1,
                "{}: the last segment lasts {lasts}: {:?}",
                self.name,
                last.entry
            );
        }
    }

    /// FRAME-RATE, three decimals, is the greatest that a whole segment has
    /// (RFC 8216bis 4.4.6.2).
    #[track_caller]
    fn frame_rate_is_true(&self, variant: &Variant) {
        let text = variant.frame_rate.as_deref().expect("FRAME-RATE");
        assert_eq!(
            text.split_once('.').map(|(_, decimals)| decimals.len()),
            Some(3),
            "{text}"
        );
        let told: f64 = text.parse().expect("a rate");
        let whole = &self.segments[..self.segments.len().saturating_sub(1).max(1)];
        let rate = |seen: &Seen| seen.probed.video.len() as f64 / seen.entry.duration;
        let is = whole.iter().map(rate).fold(0.0, f64::max);
        // A second may hold a picture more or less than the next.
        let tolerance = 0.02 * is + 1.0 / whole[0].entry.duration;
        assert!(
            (told - is).abs() < tolerance,
            "{}: FRAME-RATE {told} for {is:.3}",
            self.name
        );
    }

    /// CODECS for the video of all segments: what a player must be able to
    /// decode.
    fn most_demanding(&self) -> String {
        let all = self.segments.iter().map(|seen| sps_codec(&seen.data));
        let demand = |codec: &String| (codec[5..7].to_owned(), codec[9..].to_owned());
        all.max_by_key(demand).expect("a segment")
    }

    /// The segments between discontinuities.
    pub(crate) fn parts(&self) -> Vec<&[Seen]> {
        self.segments
            .chunk_by(|_, next| !next.entry.discontinuity)
            .collect()
    }

    /// Sum of EXTINF.
    pub(crate) fn duration(&self) -> f64 {
        self.segments.iter().map(|seen| seen.entry.duration).sum()
    }

    /// Pictures of all segments.
    pub(crate) fn pictures(&self) -> usize {
        self.segments
            .iter()
            .map(|seen| seen.probed.video.len())
            .sum()
    }

    pub(crate) fn discontinuities(&self) -> usize {
        self.segments
            .iter()
            .filter(|seen| seen.entry.discontinuity)
            .count()
    }
}

impl Seen {
    fn start(&self) -> i64 {
        let video = self.probed.video.iter().map(|unit| unit.pts).min();
        video
            .or_else(|| self.probed.audio.first().map(|frame| frame.pts))
            .expect("a segment holds something")
    }

    /// When its pictures are shown, in that order.
    pub(crate) fn shown(&self) -> Vec<i64> {
        let mut shown: Vec<_> = self.probed.video.iter().map(|unit| unit.pts).collect();
        shown.sort_unstable();
        shown
    }

    fn frame_steps(&self) -> Vec<i64> {
        let steps = self.shown();
        steps.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    fn lasts(&self) -> f64 {
        let video = self.shown();
        let audio = self.probed.audio.iter().map(|frame| frame.pts).collect();
        let times: Vec<i64> = if video.is_empty() { audio } else { video };
        let span = times[times.len() - 1] - times[0];
        let steps = times.len().max(2) as i64 - 1;
        (span + span / steps) as f64 / 90_000.0
    }
}

/// Of `2026-11-22T13:45:01.250Z`.
fn second_of_day(date: &str) -> f64 {
    let (_, time) = date.split_once('T').expect("a date and a time");
    let zone = time.find(['Z', '+', '-']).expect("a time zone");
    time[..zone].split(':').fold(0.0, |sum, part| {
        sum * 60.0 + part.parse::<f64>().expect("a time")
    })
}

/// CODECS by RFC 6381 from the first SPS of an Annex B stream.
fn sps_codec(data: &[u8]) -> String {
    let at = data
        .windows(4)
        .position(|window| window[..3] == [0, 0, 1] && window[3] & 0x1f == 7)
        .expect("an SPS");
    let sps = &data[at + 4..at + 7];
    format!("avc1.{:02x}{:02x}{:02x}", sps[0], sps[1], sps[2])
}
