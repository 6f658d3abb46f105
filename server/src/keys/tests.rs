use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::*;

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn keys_in(dir: &tempfile::TempDir) -> Keys {
    Keys::open(dir.path()).unwrap()
}

fn file_in(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("keys.json")
}

#[test]
fn a_damaged_file_is_an_error_and_stays_as_it_is() {
    let record = |name: &str, sha: &str| {
        format!(
            r#"{{"version":1,"keys":[{{"name":"{name}","sha256":"{sha}","prefix":"wk_aaaaa","created":1}}]}}"#
        )
    };
    let damaged = [
        (String::new(), "EOF"),
        ("{\"version\":1,\"keys\":[".to_owned(), "EOF"),
        ("[]".to_owned(), "expected struct Document"),
        (
            "{\"version\":1,\"keys\":[\"wk_secret\"]}".to_owned(),
            "a key in clear at line 1",
        ),
        (
            "{\"version\":2,\"keys\":[]}".to_owned(),
            "version 2 is not 1",
        ),
        (record("../x", &"0".repeat(64)), "stream name has '.'"),
        (record("live", "00ff"), "64 digits"),
        (record("live", &"G".repeat(64)), "64 digits"),
        ("\u{0}\u{0}".to_owned(), "line 1 column 1"),
    ];
    for (text, why) in damaged {
        let dir = tempfile::tempdir().unwrap();
        let keys = keys_in(&dir);
        fs::write(file_in(&dir), &text).unwrap();
        let errors = [
            Keys::open(dir.path()).err(),
            keys.add(&name("x")).err(),
            keys.ensure_first_key().err(),
            keys.rotate(&name("live")).err(),
        ];
        for error in errors {
            let told = error.unwrap().to_string();
            assert!(told.contains("keys.json is damaged: "), "{told}");
            assert!(told.contains(why), "{told}");
            assert!(!told.contains("wk_secret"), "{told}");
        }
        assert_eq!(fs::read_to_string(file_in(&dir)).unwrap(), text);
    }
}

#[test]
fn a_file_damaged_under_a_running_server_leaves_the_last_good_keys() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys_in(&dir);
    let key = keys.add(&name("live")).unwrap();
    assert_eq!(keys.lookup(key.reveal()), Some(name("live")));
    fs::write(file_in(&dir), "{").unwrap();
    assert_eq!(keys.lookup(key.reveal()), Some(name("live")));
    fs::remove_file(file_in(&dir)).unwrap();
    assert_eq!(keys.lookup(key.reveal()), None);
}

#[test]
fn nothing_near_a_key_is_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys_in(&dir);
    assert_eq!(keys.lookup(""), None);
    let key = keys.add(&name("live")).unwrap();
    let good = key.reveal();
    let digest: String = Sha256Hex::of(good).into();
    let wrong = [
        "",
        "live",
        Key::MARK,
        &good[..good.len() - 1],
        &format!("{good} "),
        &format!("{good}\0"),
        &good.to_lowercase().replace("wk_", "WK_"),
        &digest,
        &"a".repeat(10_000_000),
    ];
    for text in wrong {
        assert_eq!(keys.lookup(text), None);
    }
}

#[test]
fn no_key_is_in_the_file_or_in_debug_output() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys_in(&dir);
    let key = keys.add(&name("live")).unwrap();
    let rest = &key.reveal()[Key::PREFIX_CHARS..];
    let file = fs::read_to_string(file_in(&dir)).unwrap();
    assert!(!file.contains(rest));
    let shown = format!("{key:?} {keys:?} {:?}", keys.list().unwrap());
    assert!(!shown.contains(rest));
    assert_eq!(format!("{key:?}"), "Key(hidden)");
}

#[test]
fn a_key_has_its_mark_and_190_random_bits() {
    let keys: Vec<Key> = (0..50).map(|_| Key::random()).collect();
    for key in &keys {
        let random = key.reveal().strip_prefix("wk_").unwrap();
        assert_eq!(random.len(), 32);
        assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
    let mut texts: Vec<&str> = keys.iter().map(Key::reveal).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 50);
}

#[test]
fn files_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys_in(&dir);
    keys.add(&name("live")).unwrap();
    fs::set_permissions(file_in(&dir), fs::Permissions::from_mode(0o644)).unwrap();
    keys.add(&name("live")).unwrap();
    for file in ["keys.json", "keys.lock"] {
        let mode = fs::metadata(dir.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

/// Needs root, as the command does that could take a file away.
#[test]
fn roots_command_leaves_the_files_to_the_servers_user() {
    const SERVER: u32 = 12_345;
    let dir = tempfile::tempdir().unwrap();
    if std::os::unix::fs::chown(dir.path(), Some(SERVER), Some(SERVER)).is_err() {
        return;
    }
    let keys = keys_in(&dir);
    for _ in 0..2 {
        keys.add(&name("live")).unwrap();
        for file in ["keys.json", "keys.lock"] {
            let owner = fs::metadata(dir.path().join(file)).unwrap();
            assert_eq!((owner.uid(), owner.gid()), (SERVER, SERVER), "{file}");
        }
    }
}

#[test]
fn a_command_takes_effect_on_a_running_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = keys_in(&dir);
    let command = keys_in(&dir);
    let first = command.add(&name("live")).unwrap();
    assert_eq!(server.lookup(first.reveal()), Some(name("live")));
    // In quick succession: the clock of the file system may not tick between.
    for _ in 0..20 {
        let second = command.rotate(&name("live")).unwrap();
        assert_eq!(server.lookup(first.reveal()), None);
        assert_eq!(server.lookup(second.reveal()), Some(name("live")));
        assert_eq!(command.disable(&name("live"), None).unwrap(), 1);
        assert_eq!(server.lookup(second.reveal()), None);
    }
    let last = command.rotate(&name("live")).unwrap();
    assert_eq!(command.remove(&name("live"), None).unwrap(), 1);
    assert_eq!(server.lookup(last.reveal()), None);
}

#[test]
fn two_keys_of_a_name_are_told_apart_by_their_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys_in(&dir);
    let old = keys.add(&name("live")).unwrap();
    let new = keys.add(&name("live")).unwrap();
    let prefix = &old.reveal()[..Key::PREFIX_CHARS];
    assert_eq!(keys.remove(&name("live"), Some(prefix)).unwrap(), 1);
    assert_eq!(keys.lookup(old.reveal()), None);
    assert_eq!(keys.lookup(new.reveal()), Some(name("live")));
    let told = keys
        .remove(&name("live"), Some(prefix))
        .unwrap_err()
        .to_string();
    assert_eq!(
        told,
        format!("stream live has no key that begins with {prefix:?}")
    );
    let told = keys.disable(&name("other"), None).unwrap_err().to_string();
    assert_eq!(told, "stream other has no key");
}

#[test]
fn writers_at_once_lose_no_update() {
    let dir = tempfile::tempdir().unwrap();
    let path = Arc::new(dir.path().to_owned());
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let path = Arc::clone(&path);
            std::thread::spawn(move || {
                // Each opens its own, as a process of its own would.
                let keys = Keys::open(&path).unwrap();
                let add = |turn| keys.add(&name(&format!("s{writer}-{turn}"))).unwrap();
                (0..5).map(add).collect::<Vec<Key>>()
            })
        })
        .collect();
    let made: Vec<Key> = writers
        .into_iter()
        .flat_map(|w| w.join().unwrap())
        .collect();
    let keys = keys_in(&dir);
    assert_eq!(keys.list().unwrap().len(), 40);
    for key in made {
        assert!(keys.lookup(key.reveal()).is_some());
    }
}

#[test]
fn a_leftover_of_a_killed_writer_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys_in(&dir);
    fs::write(dir.path().join("keys.json.new"), "half").unwrap();
    keys.add(&name("live")).unwrap();
    assert_eq!(keys.list().unwrap().len(), 1);
    assert!(!dir.path().join("keys.json.new").exists());
}

#[test]
fn only_the_first_start_makes_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::open(&dir.path().join("new/data")).unwrap();
    let (first, key) = keys.ensure_first_key().unwrap().unwrap();
    assert_eq!(first, name("live"));
    assert_eq!(keys.lookup(key.reveal()), Some(first.clone()));
    assert!(keys.ensure_first_key().unwrap().is_none());
    keys.remove(&first, None).unwrap();
    assert!(keys.ensure_first_key().unwrap().is_none());
}

#[test]
fn reading_makes_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mistyped = dir.path().join("dtaa");
    assert!(Keys::open(&mistyped).unwrap().list().unwrap().is_empty());
    assert!(!mistyped.exists());
}

#[test]
fn keys_have_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let record = |index: usize| KeyRecord {
        name: name("live"),
        sha256: Sha256Hex::of(&index.to_string()),
        prefix: "wk_aaaaa".to_owned(),
        created: 1,
        disabled: false,
    };
    let keys = keys_in(&dir);
    let full: Vec<KeyRecord> = (0..MAX_KEYS).map(record).collect();
    keys.write(&full).unwrap();
    assert!(fs::metadata(file_in(&dir)).unwrap().len() < MAX_FILE / 4);
    let told = keys.add(&name("x")).unwrap_err().to_string();
    assert_eq!(told, "there are 10000 keys already; remove some");
    assert_eq!(keys.lookup("9999"), Some(name("live")));
}
