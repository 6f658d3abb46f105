use super::*;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().copied().collect()
}

fn load(
    text: &str,
    pairs: &[(&str, &str)],
    flags: &[(&'static str, &'static str, &str)],
) -> Result<Loaded, Invalid> {
    let flags: Vec<Flag> = flags
        .iter()
        .map(|&(setting, flag, value)| Flag {
            setting,
            flag,
            value: value.to_owned(),
        })
        .collect();
    Config::from_text(&flags, &environment(pairs), Path::new("weir.toml"), text)
}

fn file(text: &str) -> Config {
    load(text, &[], &[]).unwrap().config
}

/// What is told about a file: one line each.
#[track_caller]
fn told(text: &str, lines: &[&str]) {
    let told = load(text, &[], &[])
        .err()
        .map(|invalid| invalid.to_string());
    assert_eq!(told.unwrap_or_default().lines().collect::<Vec<_>>(), lines);
}

#[track_caller]
fn told_of_environment(name: &str, value: &str, line: &str) {
    let told = load("", &[(name, value)], &[])
        .err()
        .map(|invalid| invalid.to_string());
    assert_eq!(told.as_deref(), Some(line));
}

#[test]
fn a_bad_value_is_told_with_its_place_in_each_layer() {
    let duration = "expected a duration from 1s to 10s";
    let flag = load("", &[], &[("hls.segment", "--segment", "0")]).unwrap_err();
    assert_eq!(
        flag.to_string(),
        format!("hls.segment = \"0\" (flag --segment): {duration}")
    );
    told_of_environment(
        "WEIR_HLS_SEGMENT",
        "6 bananas",
        &format!("hls.segment = \"6 bananas\" (environment WEIR_HLS_SEGMENT): {duration}"),
    );
    told(
        "\n[hls]\n\nsegment = \"11s\"\n",
        &[&format!("hls.segment = \"11s\" (weir.toml:4): {duration}")],
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    told(
        "log = \"xml\"\ncolour = 1\n[rtmp]\nlisten = \"localhost\"\napp = \"api\"\n[audio]\nkbps = 9000\nsample_rate = 45000\n",
        &[
            "log = \"xml\" (weir.toml:1): expected \"text\" or \"json\"",
            "rtmp.listen = \"localhost\" (weir.toml:4): expected an IP address and a port, like \"0.0.0.0:8000\" or \"[::]:8000\" (port 0 picks a free one)",
            "rtmp.app = \"api\" (weir.toml:5): expected a path element like a stream's name: this \"api\" is reserved for the server's own pages",
            "audio.kbps = 9000 (weir.toml:7): expected a whole number from 32 to 320",
            "audio.sample_rate = 45000 (weir.toml:8): expected 44100 or 48000",
            "colour (weir.toml:2): there is no such setting; `weir config default` prints all there are",
        ],
    );
}

#[test]
fn values_of_the_wrong_type_are_told() {
    for value in [
        "3.5",
        "true",
        "-3",
        "[10]",
        "{ a = 1 }",
        "2024-01-01",
        "0x7fffffffffffffffffffffff",
    ] {
        let told = load(&format!("hls.window = {value}"), &[], &[])
            .unwrap_err()
            .to_string();
        assert!(told.starts_with("hls.window = "), "{value}: {told}");
        assert!(
            told.ends_with("(weir.toml:1): expected a whole number from 3 to 900"),
            "{told}"
        );
    }
    for value in ["1", "\"yes\"", "[]"] {
        let told = load(&format!("hls.enabled = {value}"), &[], &[])
            .unwrap_err()
            .to_string();
        assert!(told.ends_with("expected true or false"), "{told}");
    }
}

#[test]
fn a_hostile_value_stays_on_one_short_line() {
    let value = format!("\\u001b[2J\\n{}", "x".repeat(100_000));
    let told = load(&format!("log = \"{value}\""), &[], &[])
        .unwrap_err()
        .to_string();
    assert_eq!(told.lines().count(), 1);
    assert!(told.len() < 200 && !told.contains('\u{1b}'), "{told}");
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    let told = load("[hls]\nwindow = \n", &[], &[])
        .unwrap_err()
        .to_string();
    assert!(told.starts_with("weir.toml:2: "), "{told}");
    let told = load("[hls]\nwindow = 3\nwindow = 4\n", &[], &[])
        .unwrap_err()
        .to_string();
    assert!(told.starts_with("weir.toml:3: duplicate key"), "{told}");
    let deep = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let told = load(&deep, &[], &[]).unwrap_err().to_string();
    assert!(told.starts_with("weir.toml:1: "), "{}", &told[..200]);
}

#[test]
fn a_name_that_is_no_setting_is_refused_with_the_one_meant() {
    told(
        "[hsl]\nsegment = \"2s\"\n",
        &["hsl.segment (weir.toml:2): there is no such setting; did you mean hls.segment?"],
    );
    told(
        "hls = 3\n",
        &["hls (weir.toml:1): expected a section, written [hls] on a line of its own"],
    );
    told(
        "[rtmp.listen]\nhost = 1\n",
        &[
            "rtmp.listen = (a section) (weir.toml:1): expected an IP address and a port, like \"0.0.0.0:8000\" or \"[::]:8000\" (port 0 picks a free one)",
        ],
    );
    told(
        "[hls]\n[empty]\n",
        &[
            "empty (weir.toml:2): there is no such setting; `weir config default` prints all there are",
        ],
    );
    told_of_environment(
        "WEIR_HLS_SEGMNT",
        "2",
        "environment WEIR_HLS_SEGMNT: there is no such setting; did you mean WEIR_HLS_SEGMENT?",
    );
    told_of_environment(
        "WEIR_RTMP__LISTEN",
        "x",
        "environment WEIR_RTMP__LISTEN: there is no such setting; did you mean WEIR_RTMP_LISTEN?",
    );
    told_of_environment(
        "WEIR_QQQQQQQ",
        "x",
        "environment WEIR_QQQQQQQ: there is no such setting; `weir config default` prints all there are",
    );
    told_of_environment(
        "WEIR_HLS_RUNG",
        "360p",
        "hls.rung = \"360p\" (environment WEIR_HLS_RUNG): expected sections [[hls.rung]] in a configuration file",
    );
}

#[test]
fn a_setting_that_cannot_be_honoured_stops_the_start() {
    let later = [
        ("rtmp.grace", "\"20s\"", "leave it at \"0s\""),
        (
            "rtmp.proxy_protocol_from",
            "[\"10.0.0.0/8\"]",
            "leave it at []",
        ),
        (
            "registry.url",
            "\"redis://:secret@cache:6379/0\"",
            "leave it at \"memory\"",
        ),
        ("registry.advertise", "\"10.0.0.7:8000\"", "leave it out"),
        ("registry.lease", "\"30s\"", "leave it out"),
        ("registry.on_outage", "\"refuse\"", "leave it out"),
        ("drain.max", "\"60s\"", "leave it out"),
    ];
    for (setting, value, instead) in later {
        let told = load(&format!("{setting} = {value}"), &[], &[])
            .unwrap_err()
            .to_string();
        assert!(told.starts_with(&format!("{setting} = ")), "{told}");
        let end = format!("(weir.toml:1): this build does not support it yet; {instead}");
        assert!(told.ends_with(&end), "{told}");
        let value_shown = told.split(" = ").nth(1).unwrap_or_default();
        assert!(!value_shown.contains("secret"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn bad_values_of_later_settings_are_told_as_bad() {
    told(
        "registry.url = \"redis:/:hunter2@x\"",
        &[
            "registry.url = (hidden) (weir.toml:1): expected \"memory\", \"redis://HOST[:PORT][/DB]\" or \"rediss://…\"",
        ],
    );
    told(
        "registry.advertise = \":8000\"",
        &["registry.advertise = \":8000\" (weir.toml:1): expected \"auto\" or HOST:PORT"],
    );
}

#[test]
fn a_webhook_is_signed_or_refused() {
    let secret = "webhook_secret = \"0123456789abcdef\"";
    let url = "webhook = \"http://localhost:9000/hush\"";
    let unsigned = "auth.webhook without a good auth.webhook_secret: expected a random text of at least 16 characters, with which weir signs";
    told(&format!("[auth]\n{url}"), &[unsigned]);
    told(
        &format!("[auth]\n{url}\nwebhook_secret = \"hush\""),
        &[unsigned],
    );
    told(
        "[auth]\nmode = \"webhook\"",
        &[
            "auth.mode = \"webhook\" without auth.webhook: expected the URL of the application that decides",
        ],
    );
    told(
        &format!("[auth]\nmode = \"webhook\"\n{secret}\nwebhook = \"http://me:hush@app/\""),
        &[
            "auth.webhook = (hidden) (weir.toml:4): expected \"\" or the URL that is posted to, like \"https://app.example.com/weir\"; here: user and password are not supported, the signature says who asks",
        ],
    );
    told(
        &format!("[auth]\n{url}\n{secret}\nmode = \"webhook\"\nwebhook_events = [\"postPublish\"]"),
        &["auth.webhook_events leaves out \"prePublish\", which auth.mode = \"webhook\" asks"],
    );
    told(
        &format!(
            "[auth]\n{url}\n{secret}\nwebhook_timeout = \"1m\"\nwebhook_events = [\"publish\"]\non_timeout = \"ask\""
        ),
        &[
            "auth.webhook_timeout = \"1m\" (weir.toml:4): expected a duration from 100ms to 10s",
            "auth.on_timeout = \"ask\" (weir.toml:6): expected \"deny\" or \"allow\"",
            "auth.webhook_events = (a list of 1) (weir.toml:5): expected a list of \"all\", \"preConnect\", \"postConnect\", \"doneConnect\", \"prePublish\", \"postPublish\", \"donePublish\", \"prePlay\", \"postPlay\", \"donePlay\", \"streamHealth\", \"relayState\", \"recordingClosed\"",
        ],
    );
}

#[test]
fn a_webhook_has_its_defaults_and_its_warnings() {
    let webhook = |text: &str| {
        let loaded = load(
            &format!("[auth]\nwebhook_secret = \"hush-hush-hush-hush\"\n{text}"),
            &[],
            &[],
        );
        let loaded = loaded.unwrap();
        assert!(!format!("{:?}", loaded.config).contains("hush"));
        (loaded.config.webhook, loaded.warnings)
    };
    let (none, warnings) = webhook("");
    assert!(none.is_none());
    let idle = "auth.webhook_secret is set, and there is no auth.webhook to sign for";
    assert_eq!(warnings, [idle]);
    let (quiet, warnings) = webhook("webhook = \"https://app/hush\"");
    let quiet = quiet.unwrap();
    assert_eq!(
        (quiet.timeout, quiet.on_timeout),
        (Duration::from_secs(3), OnTimeout::Deny)
    );
    assert_eq!(quiet.events.len(), Kind::ALL.len());
    assert_eq!(warnings, [""; 0]);
    let (chosen, warnings) = webhook(
        "webhook = \"http://app/hush\"\nmode = \"webhook\"\nwebhook_events = [\"postPublish\", \"prePublish\"]",
    );
    assert_eq!(
        chosen.unwrap().events,
        [Kind::PrePublish, Kind::PostPublish]
    );
    let exposed = "auth.webhook is in the clear: what is asked there, stream keys included, can be read on the way; choose https://";
    assert_eq!(warnings, [exposed]);
}

#[test]
fn where_recordings_go_is_checked() {
    told(
        "record.store = \"s3://\"",
        &[
            "record.store = \"s3://\" (weir.toml:1): expected \"none\", \"file:///DIR\" or \"s3://BUCKET[/PREFIX]\"; here: the bucket has no name",
        ],
    );
    told(
        "record.store = \"file://vod\"",
        &[
            "record.store = \"file://vod\" (weir.toml:1): expected \"none\", \"file:///DIR\" or \"s3://BUCKET[/PREFIX]\"; here: the folder's path does not begin with '/', after the two of file://",
        ],
    );
    told(
        "record.spool_limit = \"20G\"",
        &[
            "record.spool_limit = \"20G\" (weir.toml:1): expected a size of at least 64 MiB, like \"500MiB\" or \"20GiB\"",
        ],
    );
    told(
        "[record]\nstore = \"file:///srv/vod\"\nregion = \"eu-north-1\"",
        &[
            "record.region is for a store in a bucket; record.store = \"file:///srv/vod\" is a folder",
        ],
    );
    let text = "[record]\nstore = \"s3://vods/tv\"\nendpoint = \"http://minio:9000\"\nmerge = \"30s\"\nkeep_days = 7";
    let record = load(text, &[], &[]).unwrap().config.record.unwrap();
    assert_eq!(record.store.url.to_string(), "s3://vods/tv");
    assert!(record.store.endpoint.is_some());
    assert_eq!(record.merge, Duration::from_secs(30));
    assert_eq!((record.keep_days, record.spool_limit), (7, 20 << 30));
}

#[test]
fn a_bad_relay_target_is_refused_without_telling_its_key() {
    let expected =
        "rtmp://HOST/APP/KEY or rtmps://HOST/APP/KEY, or the URL without a key and key beside it";
    for (url, why) in [
        (
            "http://a/live2/hunter2",
            "the scheme is neither rtmp nor rtmps",
        ),
        (
            "a/live2/hunter2",
            "no scheme, it begins with rtmp:// or rtmps://",
        ),
        (
            "rtmp://me:hunter2@a/live2/k",
            "user and password are not supported",
        ),
        (
            "rtmp://a/live2",
            "no key after the app, the form is rtmp://host/app/key",
        ),
        ("rtmp://a/live2/", "the key is empty"),
        ("rtmp:///live2/hunter2", "no host"),
    ] {
        let target = format!("[[relay.target]]\nname = \"mine\"\nurl = \"{url}\"\n");
        let line = format!(
            "relay.target[1].url = (hidden) (weir.toml:3): expected {expected}; here: {why}"
        );
        told(&target, &[&line]);
    }
    told(
        "[[relay.target]]\nkey = [\"hunter2\"]\nurll = \"rtmp://a/hunter2\"\n",
        &[
            "relay.target[1] (weir.toml:1): name is missing; expected a name of 1 to 32 letters, digits, '-' or '_'",
            "relay.target[1].key = (hidden) (weir.toml:2): expected a text in quotes",
            "relay.target[1].urll (weir.toml:3): there is no such setting; did you mean url?",
        ],
    );
    told(
        "[[relay.target]]\nname = \"mine\"\nurl = \"rtmp://a/b\"\nkey = \"hunter2\\u0001\"\n",
        &[&format!(
            "relay.target[1].key = (hidden) (weir.toml:4): expected {expected}; here: a control character in the key"
        )],
    );
    told(
        "[[relay.target]]\nname = \"youtube\"\n",
        &[
            "relay.target[1] (weir.toml:1): this says nothing about the preset \"youtube\"; expected url, key or rung",
        ],
    );
    told(
        "[[relay.target]]\nname = \"mine\"\nkey = \"hunter2\"\n",
        &[&format!(
            "relay.target[1] (weir.toml:1): url is missing; expected {expected}"
        )],
    );
    let twice = "[[relay.target]]\nname = \"a\"\nurl = \"rtmp://a/b/hunter2\"\n";
    told(
        &(twice.to_owned() + twice),
        &[
            "relay.target[2] (weir.toml:4): another target is named \"a\" for the same streams already",
        ],
    );
    told(
        &(twice.to_owned() + "rung = \"1080p\"\n"),
        &[
            "relay.target \"a\": rung = \"1080p\" is no [[hls.rung]]; expected the name of one, or \"source\"",
        ],
    );
}

#[test]
fn a_relay_target_is_a_preset_with_another_url_or_one_of_its_own() {
    let text = r#"
        relay.allow_private = true
        relay.hold = "5s"
        [[relay.target]]
        name = "youtube"
        url = "rtmp://proxy/live2"
        [[relay.target]]
        name = "twitch"
        rung = "720p"
        [[relay.target]]
        name = "facebook"
        key = "FB-1?s=a"
        stream = "demo"
        [[relay.target]]
        name = "youtube"
        url = "rtmps://b.rtmps.youtube.com/live2/ends-in-a-key"
        [[relay.target]]
        name = "mine"
        url = "rtmp://10.0.0.7:1936/a/b/k?x=y"
        rung = "source"
    "#;
    let relay = load(text, &[], &[]).unwrap().config.relay;
    assert!(relay.allow_private);
    assert_eq!(relay.hold, Duration::from_secs(5));
    let preset = |name: &str| {
        let found = relay.presets.iter().find(|preset| preset.name == name);
        let found = found.unwrap();
        (found.server.as_str(), found.rung.as_deref())
    };
    assert_eq!(preset("youtube"), ("rtmp://proxy/live2", None));
    assert_eq!(preset("twitch").1, Some("720p"));
    let targets: Vec<_> = relay
        .targets
        .iter()
        .map(|target| (target.name.as_str(), target.url.app(), target.url.key()))
        .collect();
    assert_eq!(
        targets,
        [
            ("facebook", "rtmp", "FB-1?s=a"),
            ("youtube", "live2", "ends-in-a-key"),
            ("mine", "a/b", "k?x=y"),
        ]
    );
    assert_eq!(relay.targets[0].stream.as_ref().unwrap().as_str(), "demo");
    assert_eq!(relay.targets[2].rung, None);
    assert!(!format!("{relay:?}").contains("ends-in-a-key"));
}

#[test]
fn a_bad_rung_is_told_with_its_number_and_line() {
    let rung = |name: &str, rest: &str| {
        format!(
            "[[hls.rung]]\nname = \"{name}\"\nwidth = 640\nheight = 360\nvideo_kbps = 800\n{rest}\n"
        )
    };
    told(
        &(rung("a", "") + &rung("b", "max_kbps = 700")),
        &[
            "hls.rung[2] (weir.toml:7): rates must hold 0 < video_kbps <= max_kbps <= 100000 and buffer_kbits > 0",
        ],
    );
    told(
        &(rung("a", "") + &rung("A", "")),
        &["hls.rung[2] (weir.toml:7): another rung is named \"A\" already"],
    );
    told(
        &rung("../a", ""),
        &["hls.rung[1] (weir.toml:1): name \"../a\" is not 1 to 32 letters, digits, '-' or '_'"],
    );
    told(
        &rung("source", ""),
        &["hls.rung[1] (weir.toml:1): name \"source\" is reserved"],
    );
    told(
        &rung("a", "preset = \"slow\""),
        &[
            "hls.rung[1].preset = \"slow\" (weir.toml:6): expected \"fast\", \"balanced\" or \"quality\"",
        ],
    );
    told(
        &rung("a", "listed = false"),
        &["hls.rung: no rung is listed; expected at least one, or hls.enabled = false"],
    );
    told(
        &rung("a", "fps = nan"),
        &["hls.rung[1].fps = nan (weir.toml:6): expected a number from 1 to 120"],
    );
    told(
        &rung("a", "widht = 3"),
        &["hls.rung[1].widht (weir.toml:6): there is no such setting; did you mean width?"],
    );
    told(
        "[[hls.rung]]\nname = \"a\"\nwidth = 8\n",
        &[
            "hls.rung[1].width = 8 (weir.toml:3): expected a whole number from 16 to 4096",
            "hls.rung[1] (weir.toml:1): height is missing; expected a whole number from 16 to 4096",
            "hls.rung[1] (weir.toml:1): video_kbps is missing; expected a whole number from 1 to 100000",
        ],
    );
    let nine: String = (0..9).map(|i| rung(&format!("r{i}"), "")).collect();
    told(
        &nine,
        &["hls.rung: there are 9 rungs; expected 1 to 8, or hls.enabled = false"],
    );
    told(
        "hls.rung = []",
        &["hls.rung: there are 0 rungs; expected 1 to 8, or hls.enabled = false"],
    );
    told(
        "hls.rung = 3",
        &["hls.rung = 3 (weir.toml:1): expected sections [[hls.rung]] in a configuration file"],
    );
}

#[test]
fn two_listeners_cannot_share_a_port() {
    told(
        "rtmp.listen = \"127.0.0.1:9000\"\nhttp.listen = \"0.0.0.0:9000\"\n",
        &["rtmp.listen and http.listen both take port 9000: each needs its own"],
    );
    file("rtmp.listen = \"127.0.0.1:0\"\nhttp.listen = \"127.0.0.1:0\"\n");
    file("rtmp.listen = \"127.0.0.1:9000\"\nhttp.listen = \"127.0.0.2:9000\"\n");
}

#[test]
fn flags_beat_environment_beats_file_beats_defaults() {
    let text = "[hls]\nsegment = \"3s\"\nwindow = 7\nretain = \"5m\"\n[rtmp]\napp = \"live\"\n";
    let pairs = [("WEIR_HLS_SEGMENT", "4s"), ("WEIR_HLS_WINDOW", "8")];
    let flags = [("hls.segment", "--segment", "5")];
    let config = load(text, &pairs, &flags).unwrap().config;
    assert_eq!(config.hls.segment, Ticks::from_millis(5000));
    assert_eq!(config.hls.window, 8);
    assert_eq!(config.hls.retain, Duration::from_secs(300));
    assert_eq!(config.rtmp.app, "live");
    assert_eq!(config.http, Config::default().http);
}

#[test]
fn a_bad_value_below_a_good_one_does_not_stop_the_start() {
    let pairs = [("WEIR_HLS_SEGMENT", "never")];
    let flags = [("hls.segment", "--segment", "2")];
    let config = load("hls.segment = 99", &pairs, &flags).unwrap().config;
    assert_eq!(config.hls.segment, Ticks::from_millis(2000));
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let pairs = [
        ("WEIR_HLS_SEGMENT", ""),
        ("WEIR_NOTHING", ""),
        ("MEDIA_ROOT", ""),
        ("ASSETS_BUCKET", ""),
    ];
    let loaded = load("", &pairs, &[]).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.warnings.is_empty());
}

#[test]
fn the_names_of_the_system_before_weir_still_work() {
    let pairs = [
        ("MEDIA_ROOT", "/usr/src/app/media"),
        ("ASSETS_BUCKET", "vods"),
        ("CACHE_DOMAIN", "cache.local"),
        ("ECS_CONTAINER_METADATA_URI", "http://169.254.170.2/v3"),
        ("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4"),
        ("AWS_REGION", "eu-north-1"),
        ("NODE_ENV", "production"),
    ];
    let loaded = load("", &pairs, &[]).unwrap();
    assert_eq!(loaded.config.data, Path::new("/usr/src/app/media"));
    assert_eq!(
        loaded.warnings,
        [
            "environment CACHE_DOMAIN is set: a shared registry is not built yet, this server works alone",
        ]
    );
    let store = |loaded: &Loaded| {
        let record = loaded.config.record.as_ref();
        record.map(|record| record.store.url.to_string())
    };
    assert_eq!(store(&loaded).as_deref(), Some("s3://vods"));
    let own = [("MEDIA_ROOT", "a"), ("WEIR_DATA", "b")];
    assert_eq!(
        load("data = \"c\"", &own, &[]).unwrap().config.data,
        Path::new("b")
    );
    assert_eq!(
        load("data = \"c\"", &own[..1], &[]).unwrap().config.data,
        Path::new("a")
    );
    // Who says "none" knows.
    let said = "record.store = \"none\"\nregistry.url = \"memory\"";
    let loaded = load(said, &pairs, &[]).unwrap();
    assert!(loaded.warnings.is_empty());
    assert_eq!(store(&loaded), None);
    told_in(&[("ASSETS_BUCKET", "a/b")], "ASSETS_BUCKET = \"a/b\"");
}

fn told_in(pairs: &[(&str, &str)], beginning: &str) {
    let told = load("", pairs, &[]).unwrap_err().to_string();
    assert!(told.starts_with(beginning), "{told}");
}

#[test]
fn a_service_named_weir_in_kubernetes_does_not_stop_the_start() {
    let pairs = [
        ("WEIR_SERVICE_HOST", "10.0.0.1"),
        ("WEIR_SERVICE_PORT", "8000"),
        ("WEIR_SERVICE_PORT_HTTP", "8000"),
        ("WEIR_PORT", "tcp://10.0.0.1:8000"),
        ("WEIR_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ("WEIR_PORT_8000_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(load("", &pairs, &[]).is_ok());
}

#[test]
fn a_value_in_another_encoding_is_told_and_not_panicked_over() {
    use std::os::unix::ffi::OsStringExt;
    let latin1 = std::ffi::OsString::from_vec(b"\xe9".to_vec());
    let environment = Environment::from_iter([("WEIR_LOG", latin1)]);
    let told = Config::load(&[], None, &environment)
        .unwrap_err()
        .to_string();
    assert!(
        told.starts_with("log = \"\u{fffd}\" (environment WEIR_LOG): expected"),
        "{told}"
    );
}

#[test]
fn a_variable_may_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weir.toml");
    std::fs::write(&path, "\u{feff}[hls]\r\nwindow = 20\r\n").unwrap();
    let environment = Environment::from_iter([("WEIR_CONFIG", path.as_os_str())]);
    let config = Config::load(&[], None, &environment).unwrap().config;
    assert_eq!(config.hls.window, 20);
    let other = dir.path().join("other.toml");
    std::fs::write(&other, "").unwrap();
    let config = Config::load(&[], Some(&other), &environment)
        .unwrap()
        .config;
    assert_eq!(config.hls.window, 10);
}

#[test]
fn lists_come_from_files_with_brackets_and_from_variables_with_commas() {
    let only = |origins: &[&str]| {
        CorsOrigins::Only(origins.iter().map(|&origin| origin.to_owned()).collect())
    };
    let config = file("http.cors_origins = [\"https://A.example\", \"http://b:8080\"]");
    assert_eq!(
        config.http.cors_origins,
        only(&["https://a.example", "http://b:8080"])
    );
    let pairs = [("WEIR_HTTP_CORS_ORIGINS", "https://a.example, http://b:8080")];
    let config = load("", &pairs, &[]).unwrap().config;
    assert_eq!(
        config.http.cors_origins,
        only(&["https://a.example", "http://b:8080"])
    );
    assert_eq!(file("http.cors_origins = []").http.cors_origins, only(&[]));
    assert_eq!(
        file("http.cors_origins = [\"*\"]").http.cors_origins,
        CorsOrigins::Any
    );
}

#[test]
fn a_ladder_of_the_file_replaces_the_default_one() {
    let config = file(
        "[[hls.rung]]\nname = \"1080p\"\nwidth = 1_920\nheight = 0x438\nvideo_kbps = 5000\nfps = 29.97\npreset = \"fast\"\nsharpen = 0.4\n",
    );
    let mut rung = Rung::new("1080p", media::Size::new(1920, 1080), 5000, 5350, 7500).unwrap();
    rung.max_fps = Some(29.97);
    rung.preset = media::Preset::Fast;
    rung.sharpen = 0.4;
    assert_eq!(config.hls.rungs, [rung]);
    let config = file("hls = { enabled = false, rung = [] }");
    assert!(!config.hls.enabled && config.hls.rungs.is_empty());
}

#[test]
fn a_choice_worth_a_second_look_is_warned_about() {
    let warnings = |text: &str| load(text, &[], &[]).unwrap().warnings;
    assert_eq!(
        warnings("hls.window = 3"),
        ["hls.window = 3: Apple's players ask for at least 6 segments in a live playlist"]
    );
    assert_eq!(
        warnings("hls.retain = \"10s\""),
        [
            "hls.retain = \"10s\" is shorter than the playlist (\"1m\"): the last viewers of an ended stream lose its end"
        ]
    );
    assert_eq!(
        warnings("rtmp.grace = \"30s\""),
        [
            "rtmp.grace = \"30s\" is taken as \"0s\": this build ends a broadcast when its publisher is lost"
        ]
    );
    let rung = "[[hls.rung]]\nname = \"a\"\nwidth = 640\nheight = 360\nvideo_kbps = 900\n";
    assert_eq!(
        warnings(&format!("{rung}buffer_kbits = 299")),
        [
            "hls.rung[1].buffer_kbits = 299: under a third of a second of video_kbps, key pictures are coarse and the average is not reached"
        ]
    );
    assert!(warnings(&format!("{rung}buffer_kbits = 300")).is_empty());
    assert!(warnings("").is_empty());
}

#[test]
fn the_default_file_says_what_the_defaults_are() {
    let loaded = load(DEFAULT_FILE, &[], &[]).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.warnings.is_empty());
}

/// The settings of a text: `key = value` lines under `[section]` lines,
/// commented or not.
fn settings_of(text: &str) -> Vec<String> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim_start_matches("# ");
        if let Some(name) = line
            .strip_prefix("[[")
            .and_then(|rest| rest.split("]]").next())
        {
            found.push(name.to_owned());
        } else if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next())
        {
            section = format!("{name}.");
        } else if let Some((key, _)) = line.split_once(" = ") {
            found.push(format!("{section}{key}"));
        }
    }
    found
}

fn every_setting() -> Vec<&'static str> {
    let environment = Environment::default();
    let mut reader = reader::Reader::new(layers::Layers::new(&[], &environment, None));
    reader.config();
    reader.layers.asked().to_vec()
}

#[test]
fn the_default_file_names_every_setting() {
    let named = settings_of(DEFAULT_FILE);
    for setting in every_setting() {
        assert!(named.iter().any(|name| name == setting), "{setting}");
    }
}

#[test]
fn the_reference_names_every_setting() {
    let reference = include_str!("../../../docs/configuration.md");
    for setting in every_setting() {
        assert!(reference.contains(&format!("`{setting}`")), "{setting}");
    }
}

#[test]
fn tls_takes_all_three_settings_or_none() {
    let told = |file: &str| load(file, &[], &[]).unwrap_err().to_string();
    assert_eq!(
        told("[rtmp]\ntls_cert = \"c.pem\""),
        "rtmp.tls_cert without rtmp.tls_listen and rtmp.tls_key: RTMPS takes all of rtmp.tls_listen, rtmp.tls_cert, rtmp.tls_key"
    );
    let listen_and_key = "[rtmp]\ntls_listen = \"[::]:1936\"\ntls_key = \"k.pem\"";
    assert!(
        told(listen_and_key).starts_with("rtmp.tls_listen and rtmp.tls_key without rtmp.tls_cert:")
    );
    let bad = "[rtmp]\ntls_listen = \"1936\"\ntls_cert = \"c.pem\"\ntls_key = \"k.pem\"";
    let bad = told(bad);
    assert!(
        bad.starts_with("rtmp.tls_listen = \"1936\" (weir.toml:2): expected "),
        "{bad}"
    );
    assert_eq!(bad.lines().count(), 1, "{bad}");

    let whole = |listen: &str| {
        format!("[rtmp]\ntls_listen = \"{listen}\"\ntls_cert = \"c.pem\"\ntls_key = \"k.pem\"")
    };
    let tls = load(&whole("127.0.0.1:1936"), &[], &[])
        .unwrap()
        .config
        .rtmp
        .tls
        .unwrap();
    assert_eq!(tls.listen, "127.0.0.1:1936".parse().unwrap());
    assert_eq!(tls.files.cert, PathBuf::from("c.pem"));
    assert_eq!(tls.files.key, PathBuf::from("k.pem"));
    for (port, other) in [
        (
            "1935",
            "rtmp.listen and rtmp.tls_listen both take port 1935",
        ),
        (
            "8000",
            "rtmp.tls_listen and http.listen both take port 8000",
        ),
    ] {
        let told = told(&whole(&format!("127.0.0.1:{port}")));
        assert_eq!(told, format!("{other}: each needs its own"));
    }
    let http = "[http]\ntls_listen = \"127.0.0.1:1935\"\ntls_cert = \"c.pem\"";
    assert_eq!(
        told(http),
        "http.tls_listen and http.tls_cert without http.tls_key: HTTPS takes all of http.tls_listen, http.tls_cert, http.tls_key"
    );
    let http = format!("{http}\ntls_key = \"k.pem\"");
    assert_eq!(
        told(&http),
        "rtmp.listen and http.tls_listen both take port 1935: each needs its own"
    );
    let nothing = load("", &[], &[]).unwrap().config;
    assert_eq!((nothing.rtmp.tls, nothing.http.tls), (None, None));
}

#[test]
fn a_rung_for_relays_alone_counts_as_one_and_is_kept_apart() {
    let rung = |name: &str, listed: bool| {
        format!(
            "[[hls.rung]]\nname = \"{name}\"\nwidth = 640\nheight = 360\nvideo_kbps = 800\nlisted = {listed}\n"
        )
    };
    let names = |rungs: &[Rung]| -> Vec<String> {
        rungs.iter().map(|rung| rung.name().to_owned()).collect()
    };
    let hls = file(&(rung("relay", false) + &rung("360p", true))).hls;
    assert_eq!(
        (names(&hls.rungs), names(&hls.unlisted)),
        (vec!["360p".to_owned()], vec!["relay".to_owned()])
    );
    told(
        &(rung("a", true) + &rung("A", false)),
        &["hls.rung[2] (weir.toml:7): another rung is named \"A\" already"],
    );
    let alone = file(&format!("[hls]\nenabled = false\n{}", rung("relay", false)));
    assert_eq!(names(&alone.hls.unlisted), ["relay"]);
    let many: String = (0..9).map(|at| rung(&format!("r{at}"), at == 0)).collect();
    told(
        &many,
        &["hls.rung: there are 9 rungs; expected 1 to 8, or hls.enabled = false"],
    );
}

#[test]
fn play_tokens_take_a_key_that_cannot_be_guessed_and_is_never_shown() {
    told(
        "[auth]\nplay = \"token\"",
        &[
            "auth.play = \"token\" without a key: it takes auth.play_secret, auth.play_public_key or both",
        ],
    );
    let short = load(
        "[auth]\nplay = \"token\"\nplay_secret = \"hunter2\"",
        &[],
        &[],
    );
    let short = short.unwrap_err().to_string();
    assert!(
        short.starts_with(
            "auth.play_secret = (hidden) (weir.toml:3): expected a secret of 32 bytes"
        ),
        "{short}"
    );
    assert!(!short.contains("hunter2"), "{short}");
    let secret = "0123456789abcdef0123456789abcdef";
    let given = format!("[auth]\nplay = \"token\"\nplay_secret = \"{secret}\"");
    let keys = file(&given).play.unwrap();
    assert_eq!((keys.secret.is_some(), keys.public_key), (true, None));
    assert!(!format!("{keys:?}", keys = keys.secret).contains("0123"));
    let path = file("[auth]\nplay = \"token\"\nplay_public_key = \"/etc/weir/play.pem\"");
    let key = path.play.unwrap().public_key.unwrap();
    assert_eq!(key, PublicKey::File("/etc/weir/play.pem".into()));
    let open = load(&given.replace("token", "open"), &[], &[]).unwrap();
    assert!(open.config.play.is_none());
    assert!(
        open.warnings
            .iter()
            .any(|line| line.contains("everybody may watch"))
    );
}
