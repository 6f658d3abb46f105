//! Exit code 2 and one line that names the setting, the value and what would do.

use std::process::Output;

use crate::harness::server::{Server, weir};

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let dir = tempfile::tempdir().expect("a directory");
    weir()
        .current_dir(dir.path())
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("weir starts")
}

#[track_caller]
fn complains(arguments: &[&str], environment: &[(&str, &str)], words: &[&str]) -> String {
    let output = run(arguments, environment);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} in {said}");
    }
    said
}

#[test]
fn a_flag_is_named_with_its_value_and_what_would_do() {
    complains(
        &["serve", "--rtmp", "nonsense"],
        &[],
        &["--rtmp", "nonsense", "0.0.0.0:"],
    );
    complains(&["serve", "--segment", "0"], &[], &["--segment", "0", "10"]);
    complains(
        &["serve", "--auth", "nobody"],
        &[],
        &["--auth", "nobody", "keys", "open"],
    );
    complains(
        &["serve", "--log", "xml"],
        &[],
        &["--log", "xml", "text", "json"],
    );
    complains(
        &["serve", "--registry", "ftp://x"],
        &[],
        &["--registry", "memory"],
    );
}

#[test]
fn a_variable_is_named_with_its_value() {
    complains(
        &["serve"],
        &[("WEIR_HLS_SEGMENT", "long")],
        &["WEIR_HLS_SEGMENT", "long"],
    );
}

#[test]
fn a_file_is_named_with_the_line_and_an_unknown_field_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("weir.toml");
    std::fs::write(&file, "[hls]\nsegmnet = \"2s\"\n").expect("a file");
    let file = file.to_string_lossy();
    complains(
        &["serve", "--config", &file],
        &[],
        &["weir.toml", "segmnet"],
    );
    complains(&["config", "check", &file], &[], &["weir.toml", "segmnet"]);
    complains(
        &["serve", "--config", "nowhere.toml"],
        &[],
        &["nowhere.toml"],
    );
}

#[test]
fn a_relay_target_is_named_without_its_key() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("weir.toml");
    let path = file.to_string_lossy();
    let cases = [
        ("url = \"http://host/app/hush\"", "relay.target[1].url"),
        (
            "url = \"rtmp://me:hush@host/app/hush\"",
            "relay.target[1].url",
        ),
        ("url = \"rtmp://host/hush\"", "relay.target[1].url"),
        ("url = \"rtmp:///app/hush\"", "relay.target[1].url"),
        ("key = \"hush\"", "relay.target[1]"),
        ("url = \"rtmp://host/app/hush\"\nrung = \"1p\"", "1p"),
        ("url = \"rtmp://host/app/hush\"\nkeys = \"hush\"", "keys"),
    ];
    for (settings, word) in cases {
        let target = format!("[[relay.target]]\nname = \"mine\"\n{settings}\n");
        std::fs::write(&file, target).expect("a file");
        for command in [
            &["serve", "--config", &path][..],
            &["config", "check", &path],
        ] {
            let said = complains(command, &[], &["relay.target", word]);
            assert!(!said.contains("hush"), "{said}");
        }
    }
}

#[test]
fn a_file_that_is_no_text_is_called_that() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("clip.mp4");
    std::fs::write(&file, [0, 0, 0, 32, 0xff, 0xfe]).expect("a file");
    complains(
        &["config", "check", &file.to_string_lossy()],
        &[],
        &["clip.mp4", "not a text file", "TOML"],
    );
}

#[test]
fn a_data_directory_that_is_a_file_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("data");
    std::fs::write(&file, "mine").expect("a file");
    let file = file.to_string_lossy();
    let output = run(&["serve", "--data", &file], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{file} is a file")), "{said}");
}

#[test]
fn an_unknown_flag_or_command_is_code_2_as_well() {
    for arguments in [&["serve", "--nonsense"][..], &["fly"], &["transcode"]] {
        assert_eq!(run(arguments, &[]).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn the_printed_default_file_is_a_good_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("weir.toml");
    let printed = run(&["config", "default"], &[]);
    std::fs::write(&file, &printed.stdout).expect("a file");
    let checked = run(&["config", "check", &file.to_string_lossy()], &[]);
    assert_eq!(
        checked.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

#[test]
fn a_port_in_use_is_a_failure_while_running_and_names_the_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = run(
        &[
            "serve",
            "--auth",
            "open",
            "--rtmp",
            "127.0.0.1:0",
            "--http",
            &address,
            "--data",
            "data",
        ],
        &[],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("http.listen") && said.contains(&address) && said.contains("--http ADDR"),
        "{said}"
    );
}

#[test]
fn a_second_server_on_a_data_directory_is_refused_and_the_first_goes_on() {
    let first = Server::configured("");
    let data = first.data();
    let ports = std::fs::read(first.ports_file()).expect("a ports file");
    let output = run(
        &[
            "serve",
            "--auth",
            "open",
            "--rtmp",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--data",
            &data.to_string_lossy(),
        ],
        &[],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&*data.to_string_lossy()), "{said}");
    assert_eq!(
        std::fs::read(first.ports_file()).expect("a ports file"),
        ports,
        "it is the first one's"
    );
    assert_eq!(first.get("/readyz").status, 200);
}
