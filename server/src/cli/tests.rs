use std::path::Path;

use super::secrets::UtcTime;
use super::*;
use crate::database::Database;
use crate::secret::Digest;

fn parse(line: &str) -> Result<Cli, String> {
    Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())
}

fn refused(line: &str) -> String {
    parse(line).err().unwrap()
}

/// Runs `weir keys` or `weir config`: exit, standard output, standard error.
fn run(line: &str, environment: &Environment) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = match parse(line).unwrap().command {
        Command::Keys(command) => run_keys(&command, environment, &mut out, &mut err),
        Command::Token(command) => run_token(&command, environment, &mut out, &mut err),
        Command::Config(command) => run_config(&command, &mut out, &mut err),
        _ => panic!("not a command of this test"),
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (exit, text(out), text(err))
}

fn quietly(line: &str) -> (Exit, String, String) {
    run(line, &Environment::default())
}

#[test]
fn the_definition_is_sound() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn a_bad_stream_name_is_told_before_anything_is_done() {
    let told = refused("weir keys add ../x");
    assert!(told.contains("stream name has '.' at position 1"), "{told}");
    assert!(refused("weir keys add api").contains("reserved"));
    assert!(refused("weir publish a.flv rtmp://h/a/k --copies 0").contains("1..=10000"));
    assert!(refused("weir serve --rtmp").contains("a value is required"));
}

#[test]
fn every_flag_of_serve_reaches_its_setting() {
    let line = "weir serve --rtmp 127.0.0.1:0 --http [::1]:0 --data d --auth open --segment 2 \
                --record none --registry memory --advertise auto --log json";
    let line: Vec<&str> = line.split_whitespace().collect();
    let Command::Serve(serve) = Cli::try_parse_from(line).ok().unwrap().command else {
        panic!("not serve");
    };
    let config = serve.load(&Environment::default()).unwrap().config;
    assert_eq!(config.rtmp.listen.to_string(), "127.0.0.1:0");
    assert_eq!(config.http.listen.to_string(), "[::1]:0");
    assert_eq!(config.data, Path::new("d"));
    assert_eq!(config.auth, crate::config::AuthMode::Open);
    assert_eq!(config.hls.segment, media::Ticks::from_millis(2000));
    assert_eq!(config.log, crate::config::LogFormat::Json);
}

#[test]
fn every_bad_flag_is_named() {
    let bad = [
        "--rtmp",
        "--http",
        "--auth",
        "--segment",
        "--record",
        "--registry",
        "--advertise",
        "--log",
    ];
    for flag in bad {
        let Command::Serve(serve) = parse(&format!("weir serve {flag} wrong!")).unwrap().command
        else {
            panic!("not serve");
        };
        let told = serve.load(&Environment::default()).unwrap_err().to_string();
        assert!(
            told.contains(&format!("(flag {flag}): expected ")),
            "{told}"
        );
        assert!(!told.contains('\n'), "{told}");
    }
}

#[test]
fn no_flag_overrules_the_file_by_a_default() {
    let Command::Serve(serve) = parse("weir serve").unwrap().command else {
        panic!("not serve");
    };
    assert!(serve.flags().is_empty());
}

#[test]
fn a_damaged_key_file_is_a_run_time_failure() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keys.json"), "{").unwrap();
    let (exit, out, err) = quietly(&format!("weir keys list --data {}", dir.path().display()));
    assert_eq!((exit, out.as_str()), (Exit::Failure, ""));
    assert!(err.contains("keys.json is damaged"), "{err}");
}

#[test]
fn a_bad_setting_stops_the_keys_commands_too() {
    let environment = Environment::from_iter([("WEIR_DTAA", "d")]);
    let (exit, _, err) = run("weir keys list", &environment);
    assert_eq!(exit, Exit::Usage);
    assert_eq!(
        err,
        "environment WEIR_DTAA: there is no such setting; did you mean WEIR_DATA?\n"
    );
}

#[test]
fn add_prints_the_key_on_the_last_line() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().display().to_string();
    let (exit, out, err) = quietly(&format!("weir keys add demo --data {data}"));
    assert_eq!((exit, err.as_str()), (Exit::Success, ""));
    let key = out.lines().last().unwrap();
    assert_eq!(holder(dir.path(), key).unwrap(), "demo");
    assert!(out.contains("rtmp://HOST:1935/stream,"), "{out}");
}

#[test]
fn keys_live_their_life_through_commands() {
    let dir = tempfile::tempdir().unwrap();
    let environment = Environment::from_iter([("WEIR_DATA", dir.path().as_os_str())]);
    let run = |line: &str| run(line, &environment);
    assert!(run("weir keys list").1.starts_with("There are no keys in "));
    let old = run("weir keys add demo").1;
    let new = run("weir keys rotate demo").1;
    assert!(holder(dir.path(), old.lines().last().unwrap()).is_none());
    let new = new.lines().last().unwrap();
    assert!(holder(dir.path(), new).is_some());
    let list = run("weir keys list").1;
    assert!(
        list.contains(&new[..8]) && list.contains("  enabled\n"),
        "{list}"
    );
    assert!(!list.contains(&new[..9]), "{list}");
    let disable = format!("weir keys disable demo --key {}", &new[..8]);
    assert_eq!(run(&disable).1, "Disabled 1 key of stream demo.\n");
    assert!(run("weir keys list").1.contains("  disabled\n"));
    assert_eq!(
        run("weir keys remove demo").1,
        "Removed 1 key of stream demo.\n"
    );
    let (exit, _, err) = run("weir keys remove demo");
    assert_eq!(
        (exit, err.as_str()),
        (Exit::Failure, "stream demo has no key\n")
    );
}

/// The stream whose key `key` is.
fn holder(data: &Path, key: &str) -> Option<String> {
    let database = Database::open(data).unwrap();
    let record = database.find_key(&Digest::of(key).unwrap()).unwrap()?;
    Some(record.stream.to_string())
}

#[test]
fn an_old_key_may_stay_good_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let environment = Environment::from_iter([("WEIR_DATA", dir.path().as_os_str())]);
    let run = |line: &str| run(line, &environment);
    let old = run("weir keys add demo").1;
    let new = run("weir keys rotate demo --grace 10m").1;
    assert!(new.contains("the old ones are good until 20"), "{new}");
    assert!(holder(dir.path(), old.lines().last().unwrap()).is_some());
    let list = run("weir keys list").1;
    assert!(
        list.contains("  never      until 20") && list.contains("  enabled\n"),
        "{list}"
    );
    assert!(refused("weir keys rotate demo --grace 9000d").contains("a year at most"));
}

#[test]
fn tokens_live_their_life_through_commands() {
    let dir = tempfile::tempdir().unwrap();
    let environment = Environment::from_iter([("WEIR_DATA", dir.path().as_os_str())]);
    let run = |line: &str| run(line, &environment);
    let none = run("weir token list").1;
    assert!(
        none.contains("the API answers this machine alone"),
        "{none}"
    );
    let made = run("weir token add my-app").1;
    let token = made.lines().last().unwrap();
    assert!(token.starts_with("wt_") && token.len() == 35, "{made}");
    let list = run("weir token list").1;
    assert!(
        list.contains("my-app  wt_") && !list.contains(&token[..9]),
        "{list}"
    );
    assert_eq!(
        run("weir token remove my-app").1,
        "Removed API token \"my-app\".\n"
    );
    assert_eq!(run("weir token remove my-app").0, Exit::Failure);
    assert!(refused("weir token add a/b").contains("1 to 64 letters"));
}

#[test]
fn config_check_tells_all_at_once_and_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weir.toml");
    std::fs::write(&file, "[hls]\nsegmnt = 2\nwindow = 1\n").unwrap();
    let (exit, out, err) = quietly(&format!("weir config check {}", file.display()));
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    let path = file.display();
    assert_eq!(
        err,
        format!(
            "hls.window = 1 ({path}:3): expected a whole number from 3 to 900\n\
             hls.segmnt ({path}:2): there is no such setting; did you mean hls.segment?\n"
        )
    );
    let (exit, _, err) = quietly("weir config check /nowhere/weir.toml");
    assert_eq!(exit, Exit::Usage);
    assert!(err.starts_with("/nowhere/weir.toml: No such file"), "{err}");
}

#[test]
fn what_config_default_prints_passes_config_check() {
    let (exit, text, _) = quietly("weir config default");
    assert_eq!(exit, Exit::Success);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weir.toml");
    std::fs::write(&file, text).unwrap();
    let (exit, out, err) = quietly(&format!("weir config check {}", file.display()));
    assert_eq!((exit, err.as_str()), (Exit::Success, ""));
    assert_eq!(out, format!("{}: ok\n", file.display()));
}

#[test]
fn a_lost_key_is_no_success() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let exit = run_config(&ConfigCommand::Default, &mut Full, &mut Vec::new());
    assert_eq!(exit, Exit::Failure);
}

#[test]
fn dates_are_right_at_leap_days_and_year_ends() {
    let known = [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_704_067_199, "2023-12-31T23:59:59Z"),
        (1_709_251_200, "2024-03-01T00:00:00Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ];
    for (seconds, text) in known {
        assert_eq!(UtcTime(seconds).to_string(), text);
    }
}
