//! What only a folder can do wrong.

use std::os::unix::fs::symlink;
use std::thread;

use tempfile::TempDir;

use super::*;

struct Folder {
    dir: TempDir,
    tree: Tree,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree {
            root: dir.path().join("store"),
        };
        tree.open().unwrap();
        Self { dir, tree }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.tree.root.join(path)
    }

    fn put(&self, name: &str, meta: &[(&str, &str)]) -> io::Result<()> {
        let mut given = Meta::default();
        for (name, value) in meta {
            given.set(name, *value).unwrap();
        }
        self.tree.put(&key(name), b"body", &given)
    }

    /// All there is, folders and leftovers included.
    fn everything(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![self.tree.root.clone()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&self.tree.root).unwrap();
                found.push(name.to_str().unwrap().to_owned());
                if path.is_dir() && !path.is_symlink() {
                    open.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn told(error: &io::Error) -> Fault {
    fault(error, "written", Path::new("/store/live/1.ts"))
}

#[test]
fn a_link_inside_the_store_is_not_followed() {
    let folder = Folder::new();
    let outside = folder.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("1.ts"), "secret").unwrap();
    symlink(&outside, folder.path("live")).unwrap();
    symlink(outside.join("1.ts"), folder.path("1.ts")).unwrap();

    for name in ["live/1.ts", "1.ts"] {
        let error = folder.tree.get(&key(name), None).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert_eq!(told(&error).kind, FaultKind::Refused);
    }
    let error = folder.put("live/2.ts", &[]).unwrap_err();
    assert!(
        error.to_string().contains("live is a symbolic link"),
        "{error}"
    );
    assert!(folder.tree.remove("live/1.ts").is_err());
    assert_eq!(folder.tree.list("", "", 10).unwrap(), []);
    assert_eq!(folder.tree.list_folders("", None, 10).unwrap(), [""; 0]);
    // An object takes a link's place.
    folder.put("1.ts", &[]).unwrap();
    assert_eq!(fs::read(folder.path("1.ts")).unwrap(), b"body");
    symlink(&outside, folder.path(".weir/facts")).unwrap();
    assert!(folder.put("x/2.ts", &[("a", "1")]).is_err());
    let files: Vec<_> = fs::read_dir(&outside).unwrap().collect();
    assert_eq!(files.len(), 1);
    assert_eq!(fs::read(outside.join("1.ts")).unwrap(), b"secret");
}

#[test]
fn the_store_itself_may_be_a_link() {
    let folder = Folder::new();
    let link = folder.dir.path().join("link");
    symlink(&folder.tree.root, &link).unwrap();
    let tree = Tree { root: link };
    tree.open().unwrap();
    tree.put(&key("live/1.ts"), b"x", &Meta::default()).unwrap();
    assert!(folder.path("live/1.ts").is_file());
}

#[test]
fn what_is_not_finished_is_nowhere_and_does_not_stay() {
    let folder = Folder::new();
    {
        let _temporary = folder.tree.written(b"part").unwrap();
        assert_eq!(folder.everything().len(), 3);
        assert_eq!(folder.tree.list("", "", 10).unwrap(), []);
        assert_eq!(folder.tree.list(".weir/", "", 10).unwrap(), []);
        assert_eq!(folder.tree.list(".weir/tmp/", "", 10).unwrap(), []);
    }
    assert_eq!(folder.everything(), [".weir", ".weir/tmp"]);

    // Left by a run that was killed, and by another that goes on.
    for (name, age) in [("old~", 2), ("new~", 0)] {
        let file = fs::File::create(folder.path(".weir/tmp").join(name)).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        file.set_modified(written - LEFT_OVER * age).unwrap();
    }
    folder.tree.open().unwrap();
    assert_eq!(
        folder.everything(),
        [".weir", ".weir/tmp", ".weir/tmp/new~"]
    );
}

#[test]
fn a_put_that_fails_leaves_what_was_there() {
    let folder = Folder::new();
    folder.put("live/1.ts", &[]).unwrap();
    let before = folder.everything();
    // Below an object, and in place of a folder.
    for name in ["live/1.ts/x", "live"] {
        let error = folder.put(name, &[]).unwrap_err();
        assert_eq!(told(&error).kind, FaultKind::Refused, "{error}");
        assert_eq!(folder.everything(), before);
    }
}

#[test]
fn folders_go_with_the_last_that_was_in_them() {
    let folder = Folder::new();
    let empty = folder.everything();
    folder.put("live/720p/1.ts", &[("a", "1")]).unwrap();
    folder.put("live/720p/2.ts", &[("a", "1")]).unwrap();
    for name in ["live/720p/1.ts", "live/720p/2.ts"] {
        assert!(folder.path(name).is_file());
        folder.tree.remove(name).unwrap();
        folder.tree.remove(&facts_of(&key(name))).unwrap();
    }
    assert_eq!(folder.everything(), empty);
}

#[test]
fn folders_that_come_and_go_at_once_stand_in_nobodys_way() {
    let folder = Folder::new();
    thread::scope(|scope| {
        for n in 0..4 {
            let folder = &folder;
            scope.spawn(move || {
                let name = format!("live/720p/{n}.ts");
                for _ in 0..50 {
                    folder.put(&name, &[("a", "1")]).unwrap();
                    let got = folder.tree.get(&key(&name), None).unwrap().unwrap();
                    assert_eq!(got.bytes, "body");
                    assert_eq!(got.head.meta.value("a"), Some("1"));
                    folder.tree.list("", "", 10).unwrap();
                    folder.tree.remove(&name).unwrap();
                    folder.tree.remove(&facts_of(&key(&name))).unwrap();
                }
            });
        }
    });
    assert_eq!(folder.everything(), [".weir", ".weir/tmp"]);
}

#[test]
fn facts_of_another_object_are_none() {
    let folder = Folder::new();
    let meta = |name: &str| folder.tree.object(&key(name)).unwrap().1.meta;
    folder.put("live/1.ts", &[("a", "1")]).unwrap();
    assert_eq!(meta("live/1.ts").value("a"), Some("1"));
    // Somebody's copy in its place, and somebody's idea of facts.
    fs::write(folder.path("live/1.ts"), "another body").unwrap();
    assert!(meta("live/1.ts").is_empty());
    for facts in [
        "",
        "{",
        "[]",
        "{\"size\":12,\"meta\":{\"A B\":\"1\"}}",
        &"x".repeat(1 << 20),
    ] {
        fs::write(folder.path(".weir/facts/live/1.ts.json"), facts).unwrap();
        assert!(meta("live/1.ts").is_empty(), "{facts:.20}");
    }
}

#[test]
fn what_is_neither_file_nor_folder_is_nothing() {
    let folder = Folder::new();
    let socket = std::os::unix::net::UnixListener::bind(folder.path("s")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.path("pipe"),
        FileType::Fifo,
        Mode::from_raw_mode(0o666),
        0,
    )
    .unwrap();
    assert_eq!(folder.tree.list("", "", 10).unwrap(), []);
    // Nobody writes to the pipe: a reader would wait for ever.
    let error = folder.tree.object(&key("pipe")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    drop(socket);
}

#[test]
fn more_than_fits_is_not_read() {
    let folder = Folder::new();
    let file = fs::File::create(folder.path("large")).unwrap();
    file.set_len(LARGEST + 10).unwrap();
    let error = folder.tree.get(&key("large"), None).unwrap_err();
    assert!(error.to_string().contains("expected ranges"), "{error}");
    assert_eq!(told(&error).kind, FaultKind::Refused);
    let end = Some(LARGEST + 8..u64::MAX);
    let got = folder.tree.get(&key("large"), end).unwrap().unwrap();
    assert_eq!((&got.bytes[..], got.head.size), (&[0, 0][..], LARGEST + 10));
}

#[tokio::test]
async fn a_store_that_is_gone_is_not_an_empty_one() {
    let folder = Folder::new();
    let store = File::open(folder.tree.root.clone()).await.unwrap();
    fs::remove_dir_all(&folder.tree.root).unwrap();
    let gone = [
        store.get(&key("live/1.ts"), None).await.unwrap_err(),
        store.list("", None, 10).await.unwrap_err(),
        store.list_folders("", None, 10).await.unwrap_err(),
        store.delete(&key("live/1.ts")).await.unwrap_err(),
    ];
    for fault in gone {
        assert_eq!(fault.kind, FaultKind::Passing);
        assert!(
            fault.why.ends_with("the folder of the store is gone"),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    for root in [path.clone(), path.join("store")] {
        let fault = File::open(root.clone()).await.unwrap_err();
        let expected = format!("{} cannot be opened: ", root.display());
        assert!(fault.why.starts_with(&expected), "{fault}");
        assert_eq!(fault.kind, FaultKind::Refused, "{fault}");
    }
}

#[test]
fn a_fault_says_what_can_be_done() {
    for (errno, kind, words) in [
        (Errno::NOSPC, FaultKind::Full, "expected room"),
        (Errno::DQUOT, FaultKind::Full, "expected room"),
        (Errno::ACCESS, FaultKind::Refused, "weir's user"),
        (Errno::PERM, FaultKind::Refused, "weir's user"),
        (Errno::ROFS, FaultKind::Refused, "weir's user"),
        (Errno::XDEV, FaultKind::Refused, "one file system"),
        (Errno::IO, FaultKind::Passing, "os error 5"),
        (Errno::STALE, FaultKind::Passing, "os error 116"),
    ] {
        let fault = told(&errno.into());
        assert_eq!(fault.kind, kind, "{fault}");
        assert!(
            fault
                .why
                .starts_with("/store/live/1.ts cannot be written: "),
            "{fault}"
        );
        assert!(fault.why.contains(words), "{fault}");
    }
}
