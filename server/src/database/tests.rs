use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::secret::{Digest, Secret};

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn database_in(dir: &tempfile::TempDir) -> Database {
    Database::open(dir.path()).unwrap()
}

fn file_in(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join(Database::FILE)
}

/// The stream that `key` publishes now.
fn publishes(database: &Database, key: &str) -> Option<StreamName> {
    let record = database.find_key(&Digest::of(key)?).unwrap()?;
    (!record.refused(now())).then_some(record.stream)
}

fn add(database: &Database, stream: &str) -> Secret {
    database.add_key(&name(stream)).unwrap().1
}

#[test]
fn another_programs_file_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let text = "no database at all, but long enough to be taken for one".repeat(100);
    fs::write(file_in(&dir), &text).unwrap();
    let told = Database::open(dir.path()).unwrap_err().to_string();
    assert!(told.contains("weir.db: file is not a database"), "{told}");
    assert_eq!(fs::read_to_string(file_in(&dir)).unwrap(), text);

    fs::remove_file(file_in(&dir)).unwrap();
    let other = Connection::open(file_in(&dir)).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    let told = Database::open(dir.path()).unwrap_err().to_string();
    assert!(told.contains("weir.db is not weir's"), "{told}");
}

#[test]
fn a_newer_weirs_database_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    drop(database_in(&dir));
    let newer = Connection::open(file_in(&dir)).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    let told = Database::open(dir.path()).unwrap_err().to_string();
    assert!(
        told.contains("was written by a newer weir (version 99; this one knows 1)"),
        "{told}"
    );
}

#[test]
fn nothing_near_a_key_is_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let database = database_in(&dir);
    let key = add(&database, "live");
    let good = key.reveal();
    assert_eq!(publishes(&database, good), Some(name("live")));
    let wrong = [
        "",
        "live",
        "wk_",
        "' OR 1 --",
        &good[..good.len() - 1],
        &format!("{good} "),
        &format!("{good}\0"),
        &good.to_lowercase().replace("wk_", "WK_"),
        &"a".repeat(10_000_000),
    ];
    for text in wrong {
        assert_eq!(publishes(&database, text), None);
    }
}

#[test]
fn no_secret_is_in_the_files_or_in_debug_output() {
    let dir = tempfile::tempdir().unwrap();
    let database = database_in(&dir);
    let key = add(&database, "live");
    let (record, token) = database.add_token("app").unwrap();
    let mut shown = format!("{key:?} {:?} {record:?}", database.keys(None).unwrap());
    for file in fs::read_dir(dir.path()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        shown += &String::from_utf8_lossy(&bytes);
    }
    assert!(shown.contains(key.prefix()) && shown.contains(token.prefix()));
    for secret in [key, token] {
        assert!(!shown.contains(&secret.reveal()[Secret::PREFIX_CHARS..]));
    }
}

#[test]
fn files_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let database = database_in(&dir);
    add(&database, "live");
    fs::set_permissions(file_in(&dir), fs::Permissions::from_mode(0o644)).unwrap();
    let again = database_in(&dir);
    add(&again, "live");
    for file in fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777 & 0o033, 0, "{:?}", file.file_name());
    }
    let mode = fs::metadata(file_in(&dir)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Needs root, as the command does that could take a file away.
#[test]
fn roots_command_leaves_the_files_to_the_servers_user() {
    const SERVER: u32 = 12_345;
    let dir = tempfile::tempdir().unwrap();
    if std::os::unix::fs::chown(dir.path(), Some(SERVER), Some(SERVER)).is_err() {
        return;
    }
    let database = database_in(&dir);
    add(&database, "live");
    for file in fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        let owner = file.metadata().unwrap();
        assert_eq!(
            (owner.uid(), owner.gid()),
            (SERVER, SERVER),
            "{:?}",
            file.file_name()
        );
    }
}

#[test]
fn a_command_takes_effect_on_a_running_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = database_in(&dir);
    let command = database_in(&dir);
    let first = add(&command, "live");
    assert_eq!(publishes(&server, first.reveal()), Some(name("live")));
    for _ in 0..20 {
        let before = server.changes().unwrap();
        assert_eq!(server.changes().unwrap(), before);
        let second = command.rotate_key(&name("live"), Duration::ZERO).unwrap().1;
        assert_ne!(server.changes().unwrap(), before);
        assert_eq!(publishes(&server, first.reveal()), None);
        assert_eq!(publishes(&server, second.reveal()), Some(name("live")));
        assert_eq!(command.disable_keys(&name("live"), None).unwrap(), 1);
        assert_eq!(publishes(&server, second.reveal()), None);
    }
    let last = command.rotate_key(&name("live"), Duration::ZERO).unwrap().1;
    assert_eq!(command.remove_keys(&name("live"), None).unwrap(), 1);
    assert_eq!(publishes(&server, last.reveal()), None);
}

#[test]
fn a_server_sees_its_own_changes_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let server = database_in(&dir);
    let before = server.changes().unwrap();
    add(&server, "live");
    assert_ne!(server.changes().unwrap(), before);
}

#[test]
fn a_rotated_key_has_its_grace_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let database = database_in(&dir);
    let live = name("live");
    let old = add(&database, "live");
    let hour = Duration::from_secs(3600);
    let (record, new) = database.rotate_key(&live, hour).unwrap();
    assert_eq!(record.expires, None);
    for key in [&old, &new] {
        assert_eq!(publishes(&database, key.reveal()), Some(live.clone()));
    }
    let keys = database.keys(Some(&live)).unwrap();
    let expires = keys[0].expires.unwrap();
    assert!((now() + 3590..=now() + 3600).contains(&expires));
    assert!(!keys[0].refused(expires - 1) && keys[0].refused(expires));
    // A longer grace does not give an old key more time.
    database.rotate_key(&live, 2 * hour).unwrap();
    assert_eq!(
        database.keys(Some(&live)).unwrap()[0].expires,
        Some(expires)
    );
    database.rotate_key(&live, Duration::ZERO).unwrap();
    assert_eq!(publishes(&database, new.reveal()), None);
    assert_eq!(database.keys(Some(&live)).unwrap().len(), 1);
}

#[test]
fn two_keys_of_a_name_are_told_apart_by_their_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let database = database_in(&dir);
    let (old, new) = (add(&database, "live"), add(&database, "live"));
    let prefix = Some(old.prefix());
    assert_eq!(database.remove_keys(&name("live"), prefix).unwrap(), 1);
    assert_eq!(publishes(&database, old.reveal()), None);
    assert_eq!(publishes(&database, new.reveal()), Some(name("live")));
    let told = database.remove_keys(&name("live"), prefix).unwrap_err();
    assert_eq!(
        told.to_string(),
        format!("stream live has no key that begins with {:?}", old.prefix())
    );
    let told = database.disable_keys(&name("other"), None).unwrap_err();
    assert_eq!(told.to_string(), "stream other has no key");
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
                let database = Database::open(&path).unwrap();
                let add = |turn| add(&database, &format!("s{writer}-{turn}"));
                (0..5).map(add).collect::<Vec<Secret>>()
            })
        })
        .collect();
    let made = writers.into_iter().flat_map(|w| w.join().unwrap());
    let database = database_in(&dir);
    let made: Vec<Secret> = made.collect();
    assert_eq!(database.keys(None).unwrap().len(), 40);
    for key in made {
        assert!(publishes(&database, key.reveal()).is_some());
    }
}

#[test]
fn only_the_first_start_makes_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(&dir.path().join("new/data")).unwrap();
    let (first, key) = database.ensure_first_key().unwrap().unwrap();
    assert_eq!(first, name("live"));
    assert_eq!(publishes(&database, key.reveal()), Some(first.clone()));
    assert!(database.ensure_first_key().unwrap().is_none());
    database.remove_stream(&first).unwrap();
    assert!(database.keys(None).unwrap().is_empty());
    assert!(database.ensure_first_key().unwrap().is_none());
}

#[test]
fn reading_makes_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mistyped = dir.path().join("dtaa");
    assert!(Database::open_existing(&mistyped).unwrap().is_none());
    assert!(!mistyped.exists());
}

#[test]
fn keys_targets_and_tokens_have_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let database = database_in(&dir);
    (0..100).for_each(|_| drop(add(&database, "live")));
    let told = database.add_key(&name("live")).unwrap_err().to_string();
    assert_eq!(
        told,
        "there are 100 keys of this stream already; remove some"
    );
    let target = |index: usize| TargetRecord {
        name: format!("t{index}"),
        url: rtmp::Url::parse("rtmps://example.com/app/secret?x=1").unwrap(),
        rung: None,
        disabled: false,
    };
    for index in 0..32 {
        assert!(database.put_target(&name("live"), &target(index)).unwrap());
    }
    assert!(!database.put_target(&name("live"), &target(7)).unwrap());
    let told = database.put_target(&name("live"), &target(32)).unwrap_err();
    assert_eq!(
        told.to_string(),
        "there are 32 targets of this stream already; remove some"
    );
    assert_eq!(database.targets(&name("live")).unwrap()[1], target(1));
}

#[test]
fn a_stream_lives_its_life() {
    let dir = tempfile::tempdir().unwrap();
    let database = database_in(&dir);
    let show = name("show");
    let change = StreamChange {
        title: Some("The Show".to_owned()),
        ..StreamChange::default()
    };
    let made = database.create_stream(&show, &change).unwrap();
    assert_eq!((made.title.as_str(), made.record), ("The Show", None));
    let told = database.create_stream(&show, &change).unwrap_err();
    assert_eq!(told.to_string(), "there is a stream show already");
    let change = StreamChange {
        record: Some(Some(false)),
        disabled: Some(true),
        title: None,
    };
    let changed = database.change_stream(&show, &change).unwrap();
    assert_eq!(
        (changed.title.as_str(), changed.record, changed.disabled),
        ("The Show", Some(false), true)
    );
    add(&database, "a");
    let names: Vec<_> = database.streams(None, 10).unwrap();
    assert_eq!(names.len(), 2);
    assert_eq!(database.streams(Some(&name("a")), 10).unwrap()[0], changed);
    database.remove_stream(&show).unwrap();
    assert_eq!(database.stream(&show).unwrap(), None);
    for told in [
        database.remove_stream(&show).unwrap_err(),
        database.change_stream(&show, &change).unwrap_err(),
    ] {
        assert_eq!(told.to_string(), "there is no stream show");
    }
}

#[test]
fn tokens_live_their_life() {
    let dir = tempfile::tempdir().unwrap();
    let database = database_in(&dir);
    assert!(!database.has_tokens().unwrap());
    let (_, token) = database.add_token("app").unwrap();
    let told = database.add_token("app").unwrap_err().to_string();
    assert_eq!(told, "there is a token \"app\" already");
    let found = database.find_token(&token.digest()).unwrap();
    assert_eq!(found.as_deref(), Some("app"));
    assert!(database.tokens().unwrap()[0].used.is_some());
    let key = add(&database, "live");
    assert_eq!(database.find_token(&key.digest()).unwrap(), None);
    database.remove_token("app").unwrap();
    assert_eq!(database.find_token(&token.digest()).unwrap(), None);
    let told = database.remove_token("app").unwrap_err().to_string();
    assert_eq!(told, "there is no token \"app\"");
}

#[test]
fn seeds_are_there_while_they_are_given() {
    let dir = tempfile::tempdir().unwrap();
    let database = database_in(&dir);
    let own = add(&database, "own");
    let seed = |stream: &str, key: &str| (name(stream), key.to_owned());
    let (first, second) = ("first-of-the-keys-0001", "second-of-the-keys-002");
    database
        .seed(&[seed("a", first), seed("b", second)])
        .unwrap();
    assert_eq!(publishes(&database, first), Some(name("a")));
    assert!(database.ensure_first_key().unwrap().is_none());
    database.disable_keys(&name("a"), None).unwrap();
    database.seed(&[seed("a", first)]).unwrap();
    assert_eq!(publishes(&database, first), None);
    assert_eq!(publishes(&database, second), None);
    assert_eq!(publishes(&database, own.reveal()), Some(name("own")));
    assert_eq!(database.keys(None).unwrap().len(), 2);
    let told = database.seed(&[seed("c", own.reveal())]).unwrap_err();
    let told = told.to_string();
    assert!(
        told.contains("the key for c is the key of own already"),
        "{told}"
    );
    assert!(!told.contains(own.reveal()));
    let shown: Vec<_> = database.keys(Some(&name("a"))).unwrap();
    assert_eq!(shown[0].prefix, "fir");
}

#[test]
fn keys_of_the_file_there_was_before_are_taken_over_once() {
    let dir = tempfile::tempdir().unwrap();
    let key = Secret::random(crate::secret::Kind::StreamKey);
    let digest: String = key
        .digest()
        .bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let file = dir.path().join("keys.json");
    let text = format!(
        r#"{{"version":1,"keys":[{{"name":"live","sha256":"{digest}","prefix":"{}","created":7}}]}}"#,
        key.prefix()
    );
    fs::write(&file, text).unwrap();
    let database = database_in(&dir);
    assert_eq!(publishes(&database, key.reveal()), Some(name("live")));
    assert_eq!(database.keys(None).unwrap()[0].created, 7);
    assert!(database.ensure_first_key().unwrap().is_none());
    assert!(!file.exists() && dir.path().join("keys.json.imported").exists());
    database.remove_keys(&name("live"), None).unwrap();
    assert!(database_in(&dir).keys(None).unwrap().is_empty());
}

#[test]
fn an_emptied_file_is_no_first_start() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keys.json"), r#"{"version":1,"keys":[]}"#).unwrap();
    assert!(database_in(&dir).ensure_first_key().unwrap().is_none());
}

#[test]
fn a_damaged_file_of_keys_is_an_error_and_stays_as_it_is() {
    let record = |name: &str, sha: &str| {
        format!(
            r#"{{"version":1,"keys":[{{"name":"{name}","sha256":"{sha}","prefix":"wk_aaaaa","created":1}}]}}"#
        )
    };
    let damaged = [
        (String::new(), "EOF"),
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
    ];
    for (text, why) in damaged {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.json");
        fs::write(&file, &text).unwrap();
        // The second time the database is there.
        for _ in 0..2 {
            let told = Database::open(dir.path()).unwrap_err().to_string();
            assert!(told.contains("keys.json is damaged: "), "{told}");
            assert!(told.contains(why), "{told}");
            assert!(!told.contains("wk_secret"), "{told}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
}
