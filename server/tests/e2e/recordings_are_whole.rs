//! A broadcast becomes a recording that is what its viewers were given, byte for
//! byte, in a folder and in a bucket, and is played from there as from here.

use std::path::Path;

use crate::harness::bucket::{Gate, Moto, Way};
use crate::harness::http::Answer;
use crate::harness::playlist::multivariant;
use crate::harness::relays::publish;
use crate::harness::server::Server;
use crate::harness::show::Show;
use crate::harness::sources::{bundled_clip, small};
use crate::harness::tools::{decodes, ffmpeg, ffprobe, publish_for_ever, run};
use crate::harness::vods::{
    ANYBODY, Audit, BEST, Vod, kept_behind, recordings, state, state_in_metrics, until_closed,
};
use crate::harness::{SMALL_LADDER, until};

/// A server that keeps recordings in a folder beside its data.
fn with_folder(record: &str) -> Server {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("vods");
    let config = format!(
        "[record]\nstore = \"file://{}\"\n{record}\n{SMALL_LADDER}",
        store.display()
    );
    Server::start_in(dir, &config, &FLAGS)
}

fn folder(server: &Server) -> std::path::PathBuf {
    server.data().with_file_name("vods")
}

/// Of a server with segments of a second.
const FLAGS: [&str; 4] = ["--auth", "open", "--segment", "1"];

#[test]
fn a_bucket_has_what_viewers_were_given_byte_for_byte() {
    let moto = Moto::new();
    let gate = Gate::to(moto.address(), Way::Open);
    let audit = Audit::of(&moto.bucket);
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::launch(dir, &kept_behind(&gate, "merge = \"0s\""), &FLAGS, ANYBODY);
    let mut publisher = publish(&server, &small(), &[]);
    let show = Show::begin(&server, "demo").until_end(&server, "demo");
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    let id = until_closed(&server);
    for vod in [
        Vod::from_bucket(&moto.bucket, id),
        Vod::from_server(&server, id),
    ] {
        vod.is_finished();
        vod.is_what_was_live(&show);
        // 250 pictures at 25 a second.
        assert!((vod.duration() - 10.0).abs() <= 0.04, "{}", vod.duration());
    }
    let answer = server.get("/api/v1/recordings").text();
    for secret in ANYBODY {
        assert!(!answer.contains(secret.1) || secret.1 == "true", "{answer}");
        assert!(!server.log().contains("any secret"));
    }
    // As the system that weir replaces has put them.
    let header = |key: &str, name: &str| {
        let object = moto.bucket.object(&format!("live/demo/{key}"));
        let object = object.unwrap_or_else(|| panic!("no {key}"));
        object.header(name).map(str::to_owned)
    };
    let playlist = format!("vod-{id}.m3u8");
    let segment = format!("{BEST}/{id}.ts");
    for (key, kind, cache) in [
        (&playlist, "application/x-mpegURL", "max-age=3600"),
        (&segment, "video/MP2T", "max-age=31536000"),
    ] {
        assert_eq!(header(key, "content-type").as_deref(), Some(kind));
        assert_eq!(header(key, "cache-control").as_deref(), Some(cache));
    }
    assert_eq!(server.files_below("spool").len(), 0, "an empty spool");
    let open = moto.bucket.keys("live/.weir/");
    assert!(open.is_empty(), "{open:?}");
    audit.found_nothing();
}

#[test]
fn ffprobe_reads_the_recording_from_the_server_and_from_the_folder() {
    let server = with_folder("merge = \"0s\"");
    let mut publisher = publish(&server, &small(), &[]);
    let show = Show::begin(&server, "demo").until_end(&server, "demo");
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    let id = until_closed(&server);
    let vod = Vod::from_server(&server, id);
    vod.is_what_was_live(&show);
    let file = folder(&server).join("demo").join(format!("vod-{id}.m3u8"));
    let from = |path: &Path| {
        let wanted = ["-count_packets", "-show_streams", "-show_format"];
        let said = ffprobe(path, &wanted);
        let streams = said["streams"].as_array().expect("streams").clone();
        let of = |kind: &str| {
            let found = streams.iter().find(|stream| stream["codec_type"] == kind);
            found
                .unwrap_or_else(|| panic!("no {kind} in {}", path.display()))
                .clone()
        };
        let (video, audio) = (of("video"), of("audio"));
        assert_eq!(
            (video["width"].as_u64(), video["height"].as_u64()),
            (Some(320), Some(180))
        );
        assert_eq!(video["nb_read_packets"], "250", "{}", path.display());
        assert_eq!(audio["codec_name"], "aac");
        let duration: f64 = said["format"]["duration"]
            .as_str()
            .expect("a duration")
            .parse()
            .expect("a number");
        assert!(
            (duration - 10.0).abs() <= 0.04,
            "{duration} s of {}",
            path.display()
        );
    };
    let url = |file: &str| format!("http://{}/demo/{file}", server.http);
    from(&file);
    from(Path::new(&url(&format!("vod-{id}.m3u8"))));
    decodes(&file);
    decodes(Path::new(&url(&format!("vod-{id}-master.m3u8"))));
    // A player that seeks: the last three seconds are three seconds.
    let master = url(&format!("vod-{id}-master.m3u8"));
    let mut seek = ffmpeg();
    seek.args(["-ss", "7", "-i", &master, "-map", "0:v", "-c", "copy"]);
    let said = run(seek.args(["-f", "framehash", "-"])).stdout;
    let lines = said.split(|byte| *byte == b'\n');
    let packets = lines.filter(|line| line.starts_with(b"0,")).count();
    assert!(
        (75..=101).contains(&packets),
        "{packets} pictures behind second 7"
    );
}

#[test]
fn the_multivariant_playlist_says_what_is_in_it() {
    let server = with_folder("merge = \"0s\"");
    let mut publisher = publish(&server, &bundled_clip(), &[]);
    let show = Show::begin(&server, "demo").until_end(&server, "demo");
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    let id = until_closed(&server);
    let master = format!("vod-{id}-master.m3u8");
    let served = server.get(&format!("/demo/{master}"));
    let kept = std::fs::read(folder(&server).join("demo").join(&master)).expect("a file");
    assert!(served.body == kept, "{}", served.text());
    let variants = multivariant(&served.text()).variants;
    let [variant] = &variants[..] else {
        panic!("{variants:?}");
    };
    assert_eq!(variant.uri, format!("vod-{id}.m3u8"));
    let live = show.master.variants.iter().find(|one| one.rung() == BEST);
    let live = live.expect("the best rung");
    assert_eq!(variant.codecs, live.codecs);
    assert_eq!(variant.resolution, live.resolution);
    assert_eq!(variant.frame_rate, live.frame_rate);
    // By the letter of RFC 8216bis 4.4.6.2, from the segments themselves.
    let vod = Vod::from_server(&server, id);
    let target = vod.playlist.target as f64;
    let sizes: Vec<(f64, f64)> = vod
        .playlist
        .entries
        .iter()
        .map(|entry| (vod.segments[&entry.uri].len() as f64 * 8.0, entry.duration))
        .collect();
    let mut peak: f64 = 0.0;
    for from in 0..sizes.len() {
        for to in from..sizes.len() {
            let bits: f64 = sizes[from..=to].iter().map(|one| one.0).sum();
            let time: f64 = sizes[from..=to].iter().map(|one| one.1).sum();
            if (0.5 * target..=1.5 * target).contains(&time) {
                peak = peak.max(bits / time);
            }
        }
    }
    let average =
        sizes.iter().map(|one| one.0).sum::<f64>() / sizes.iter().map(|one| one.1).sum::<f64>();
    for (told, is) in [
        (variant.bandwidth, peak),
        (variant.average_bandwidth, average),
    ] {
        assert!(
            (told as f64 / is - 1.0).abs() < 0.01,
            "{told} for {is}: {variant:?}"
        );
    }
}

#[test]
fn while_it_is_live_the_recording_can_be_watched_from_its_start() {
    let server = with_folder("merge = \"0s\"\n[hls]\nwindow = 3");
    let publisher = publish_for_ever(&small(), &server.publish_url("demo"));
    let mut show = Show::begin(&server, "demo");
    show.until_segment(&server, "demo", 9);
    let id = show.rung(BEST).segments[0].number;
    assert_eq!(state(&server).as_deref(), Some("recording"));
    assert_eq!(state_in_metrics(&server).as_deref(), Some("recording"));
    let answer = server.get(&format!("/demo/vod-{id}.m3u8"));
    is(&answer, 200, PLAYLIST, "no-cache");
    let vod = Vod::from_server(&server, id);
    assert!(!vod.playlist.ended);
    assert_eq!(vod.playlist.kind.as_deref(), Some("EVENT"));
    assert_eq!(
        vod.missing(BEST, &show.rung(BEST).segments[..9]),
        [0_u64; 0]
    );
    assert!(
        show.rung(BEST).playlist.sequence > id,
        "the window has moved on"
    );
    let master = server.get(&format!("/demo/vod-{id}-master.m3u8"));
    is(&master, 200, PLAYLIST, "no-cache");
    assert_eq!(multivariant(&master.text()).variants.len(), 1);
    let list = server.get("/demo/recordings.json");
    let list: serde_json::Value = serde_json::from_slice(&list.body).expect("JSON");
    assert_eq!(list["recordings"][0]["id"], id);
    assert_eq!(list["recordings"][0]["closed"], false);
    drop(publisher);
    let show = show.until_end(&server, "demo");
    assert_eq!(until_closed(&server), id);
    // What was given before is not given for longer than a few seconds.
    until("the playlist that is closed", || {
        let answer = server.get(&format!("/demo/vod-{id}.m3u8"));
        (answer.header("cache-control") == Some("max-age=3600")).then_some(())
    });
    let after = Vod::from_server(&server, id);
    after.is_finished();
    after.is_what_was_live(&show);
    until("the list that says so", || {
        let list = server.get("/demo/recordings.json");
        let list: serde_json::Value = serde_json::from_slice(&list.body).expect("JSON");
        let listed = &list["recordings"][0];
        (listed["closed"] == true && listed["bytes"] == after.media().len()).then_some(())
    });
}

#[test]
fn a_recording_is_served_as_files_are() {
    let server = with_folder("merge = \"0s\"\n[hls]\nretain = \"1s\"");
    let mut publisher = publish(&server, &bundled_clip(), &[]);
    Show::begin(&server, "demo").until_end(&server, "demo");
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    let id = until_closed(&server);
    until("the broadcast to be forgotten", || {
        (server.get("/demo/live.m3u8").status == 404).then_some(())
    });
    for file in [format!("vod-{id}.m3u8"), format!("vod-{id}-master.m3u8")] {
        let path = format!("/demo/{file}");
        let whole = server.get(&path);
        is(&whole, 200, PLAYLIST, "max-age=3600");
        let tag = whole.header("etag").expect("an ETag");
        let same = server.ask("GET", &path, &[("If-None-Match", tag)]);
        assert_eq!((same.status, same.body.len()), (304, 0));
        let head = server.ask("HEAD", &path, &[]);
        is(&head, 200, PLAYLIST, "max-age=3600");
        assert_eq!(
            head.header("content-length"),
            whole.header("content-length")
        );
        let zipped = server.ask("GET", &path, &[("Accept-Encoding", "gzip")]);
        assert_eq!(zipped.gunzipped(), whole.text());
    }

    let path = format!("/demo/{BEST}/{id}.ts");
    let cache = "public, max-age=31536000, immutable";
    let whole = server.get(&path);
    is(&whole, 200, "video/mp2t", cache);
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let len = whole.body.len();
    let tag = whole.header("etag").expect("an ETag");
    let same = server.ask("GET", &path, &[("If-None-Match", tag)]);
    assert_eq!((same.status, same.body.len()), (304, 0));
    let head = server.ask("HEAD", &path, &[]);
    is(&head, 200, "video/mp2t", cache);
    assert_eq!(
        head.header("content-length"),
        Some(len.to_string().as_str())
    );
    for (range, from, to) in [
        ("bytes=0-187", 0, 187),
        ("bytes=188-", 188, len - 1),
        ("bytes=-188", len - 188, len - 1),
    ] {
        let part = server.ask("GET", &path, &[("Range", range)]);
        is(&part, 206, "video/mp2t", cache);
        assert_eq!(
            part.header("content-range"),
            Some(format!("bytes {from}-{to}/{len}").as_str())
        );
        assert_eq!(part.body, whole.body[from..=to]);
    }
    let beyond = server.ask("GET", &path, &[("Range", &format!("bytes={len}-"))]);
    assert_eq!(beyond.status, 416);

    for path in [
        format!("/demo/{BEST}/{}.ts", id - 1),
        format!("/demo/other/{id}.ts"),
        format!("/other/{BEST}/{id}.ts"),
        format!("/demo/vod-{}.m3u8", id + 1),
        format!("/demo/vod-{}-master.m3u8", id + 1),
        format!("/other/vod-{id}.m3u8"),
    ] {
        let answer = server.get(&path);
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(answer.header("location").is_none());
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("*"),
            "{path}"
        );
    }
}

#[test]
fn two_broadcasts_of_one_name_in_a_row_are_two_recordings() {
    let server = with_folder("merge = \"0s\"");
    let mut shows = Vec::new();
    for _ in 0..2 {
        let mut publisher = publish(&server, &bundled_clip(), &[]);
        let before = shows
            .last()
            .map(|show: &Show| show.rung(BEST).segments[0].number);
        until("the next broadcast", || {
            let answer = server.get(&format!("/demo/{BEST}/index.m3u8"));
            let playlist =
                (answer.status == 200).then(|| crate::harness::playlist::media(&answer.text()))?;
            (!playlist.ended && Some(playlist.sequence) > before).then_some(())
        });
        shows.push(Show::begin(&server, "demo").until_end(&server, "demo"));
        assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    }
    until("two closed recordings", || {
        let all = recordings(&server);
        (all.len() == 2 && all.iter().all(|one| one["state"] == "closed")).then_some(())
    });
    for show in &shows {
        let id = show.rung(BEST).segments[0].number;
        let vod = Vod::from_server(&server, id);
        vod.is_finished();
        vod.is_what_was_live(show);
    }
}

#[test]
fn a_publisher_that_takes_over_does_not_mix_its_pictures_in() {
    let server = with_folder("merge = \"0s\"\n[rtmp]\ntakeover = \"always\"");
    let first = publish_for_ever(&small(), &server.publish_url("demo"));
    let mut show = Show::begin(&server, "demo");
    show.until_segment(&server, "demo", 3);
    let second = publish_for_ever(&bundled_clip(), &server.publish_url("demo"));
    let ids = until("two recordings", || {
        let all = recordings(&server);
        let ids: Vec<u64> = all.iter().filter_map(|one| one["id"].as_u64()).collect();
        (ids.len() == 2).then_some(ids)
    });
    let mut next = Show::begin(&server, "demo");
    assert_eq!(next.rung(BEST).segments[0].number, ids[1]);
    next.until_segment(&server, "demo", 3);
    drop((first, second));
    let next = next.until_end(&server, "demo");
    until_closed(&server);
    let vod = Vod::from_server(&server, ids[1]);
    vod.is_finished();
    vod.is_what_was_live(&next);
    let before = Vod::from_server(&server, ids[0]);
    before.is_finished();
    assert_eq!(before.missing(BEST, &show.rung(BEST).segments), [0_u64; 0]);
    let numbers = |vod: &Vod| vod.segments.keys().cloned().collect::<Vec<_>>();
    assert!(
        numbers(&before)
            .iter()
            .all(|uri| !vod.segments.contains_key(uri))
    );
    for vod in [&before, &vod] {
        assert!(
            vod.playlist
                .entries
                .iter()
                .all(|entry| !entry.discontinuity)
        );
    }
}

#[test]
fn a_publisher_that_returns_in_time_continues_the_recording() {
    let server = with_folder("merge = \"20s\"");
    let mut shows = Vec::new();
    for _ in 0..2 {
        let mut publisher = publish(&server, &bundled_clip(), &[]);
        let before = shows
            .last()
            .map(|show: &Show| show.rung(BEST).segments[0].number);
        until("the next broadcast", || {
            let answer = server.get(&format!("/demo/{BEST}/index.m3u8"));
            let playlist =
                (answer.status == 200).then(|| crate::harness::playlist::media(&answer.text()))?;
            (!playlist.ended && Some(playlist.sequence) > before).then_some(())
        });
        shows.push(Show::begin(&server, "demo").until_end(&server, "demo"));
        assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    }
    assert_eq!(state(&server).as_deref(), Some("waiting"));
    let id = until_closed(&server);
    assert_eq!(recordings(&server).len(), 1);
    let vod = Vod::from_server(&server, id);
    vod.is_finished();
    let mut count = 0;
    for show in &shows {
        let live = &show.rung(BEST).segments;
        assert_eq!(vod.missing(BEST, live), [0_u64; 0]);
        count += live.len();
    }
    assert_eq!(vod.playlist.entries.len(), count);
    let cuts: Vec<bool> = vod
        .playlist
        .entries
        .iter()
        .map(|entry| entry.discontinuity)
        .collect();
    let at = shows[0].rung(BEST).segments.len();
    assert!(
        cuts.iter()
            .enumerate()
            .all(|(index, cut)| *cut == (index == at)),
        "{cuts:?}"
    );
    assert!(
        (vod.duration() - 2.0 * 5.28).abs() <= 0.08,
        "{}",
        vod.duration()
    );
}

#[test]
fn without_a_ladder_the_publishers_own_pictures_are_recorded_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("vods");
    let config = format!(
        "[record]\nstore = \"file://{}\"\nmerge = \"0s\"\n[hls]\nenabled = false\n",
        store.display()
    );
    let server = Server::start_in(dir, &config, &FLAGS);
    let mut publisher = publish(&server, &small(), &[]);
    let id = until("a recording", || recordings(&server).pop()?["id"].as_u64());
    let mut longest = 0;
    until("the recording to grow", || {
        let answer = server.get(&format!("/demo/vod-{id}.m3u8"));
        let playlist = crate::harness::playlist::media(&answer.text());
        if !playlist.ended {
            assert_eq!(playlist.kind.as_deref(), Some("EVENT"));
            assert_eq!(playlist.target, 30, "it must not change while it grows");
        }
        longest = longest.max(playlist.entries.len());
        (longest >= 3).then_some(())
    });
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    assert_eq!(until_closed(&server), id);
    let vod = Vod::from_server(&server, id);
    vod.is_finished();
    assert!((vod.duration() - 10.0).abs() <= 0.05, "{}", vod.duration());
    assert!(vod.segments.keys().all(|uri| uri.starts_with("source/")));
    let file = folder(&server).join("demo").join(format!("vod-{id}.m3u8"));
    decodes(&file);
    let said = ffprobe(&file, &["-count_packets", "-show_streams"]);
    let streams = said["streams"].as_array().expect("streams");
    let video = streams.iter().find(|one| one["codec_type"] == "video");
    assert_eq!(video.expect("pictures")["nb_read_packets"], "250");
}

#[test]
fn names_and_ids_do_not_leave_their_folder() {
    let server = with_folder("merge = \"0s\"");
    let mut publisher = publish(&server, &bundled_clip(), &[]);
    assert_eq!(publisher.ended().code(), Some(0), "{}", publisher.said());
    let id = until_closed(&server);
    let vods = folder(&server);
    let beside = vods.with_file_name("beside");
    std::fs::create_dir_all(beside.join("180p")).expect("a folder");
    for file in [
        format!("vod-{id}.m3u8"),
        format!("180p/{id}.ts"),
        format!("{id}.ts"),
    ] {
        std::fs::write(beside.join(file), "a secret").expect("a file");
    }
    std::fs::write(vods.join("demo").join("secret.ts"), "a secret").expect("a file");
    std::fs::write(vods.join("demo").join(BEST).join("secret.ts"), "a secret").expect("a file");
    let names = [
        "..",
        "../beside",
        "%2e%2e",
        "%2e%2e%2fbeside",
        "..%2fbeside",
        "..%5cbeside",
        "demo/../../beside",
        "demo%2f..%2f..%2fbeside",
        "demo%00",
        ".weir",
        "%2eweir",
        "",
        "%2f",
        "demo%2f180p",
        "..;",
        "%252e%252e%252fbeside",
    ];
    for name in names {
        for file in [
            format!("vod-{id}.m3u8"),
            format!("vod-{id}-master.m3u8"),
            format!("180p/{id}.ts"),
            format!("../beside/180p/{id}.ts"),
            "recordings.json".to_owned(),
        ] {
            let answer = server.get(&format!("/{name}/{file}"));
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!text.contains("a secret"), "/{name}/{file}");
            assert!(!text.contains("EXTINF"), "/{name}/{file}: {text}");
            assert!(
                matches!(answer.status, 400 | 404),
                "/{name}/{file}: {}",
                answer.status
            );
        }
    }
    for file in [
        "vod-../../beside/vod-1.m3u8",
        "vod-%2e%2e%2f1.m3u8",
        "vod--1.m3u8",
        "vod-1e3.m3u8",
        "vod-+1.m3u8",
        "vod-0x1.m3u8",
        "vod-99999999999999999999999.m3u8",
        "secret.ts",
        "180p/secret.ts",
        "180p/%2e%2e/180p/1.ts",
        "../180p/1.ts",
        "180p%2f1.ts",
    ] {
        let answer = server.get(&format!("/demo/{file}"));
        assert!(
            matches!(answer.status, 400 | 404),
            "{file}: {}",
            answer.status
        );
        assert!(
            !String::from_utf8_lossy(&answer.body).contains("a secret"),
            "{file}"
        );
    }
    // Nor does a publisher's.
    let before = crate::harness::tools::files(vods.parent().expect("a folder")).len();
    for key in [
        "..",
        "../beside",
        "a/../../beside",
        "%2e%2e%2fbeside",
        ".weir",
        "spool/../x",
    ] {
        let mut refused = crate::harness::tools::publish(&bundled_clip(), &server.publish_url(key));
        assert_ne!(refused.ended().code(), Some(0), "{key}");
    }
    let after = crate::harness::tools::files(vods.parent().expect("a folder")).len();
    assert_eq!(before, after, "files");
    assert_eq!(recordings(&server).len(), 1);
}

#[track_caller]
fn is(answer: &Answer, status: u16, kind: &str, cache: &str) {
    assert_eq!(answer.status, status);
    assert_eq!(answer.header("content-type"), Some(kind));
    assert_eq!(answer.header("cache-control"), Some(cache));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(answer.header("location").is_none());
}

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
