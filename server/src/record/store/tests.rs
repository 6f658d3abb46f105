//! What holds of every store: a folder, and a bucket of s3s-fs over HTTP.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use tempfile::TempDir;

use super::s3::tests::Server;
use super::*;

/// An empty store of each kind.
struct Stores {
    all: Vec<Kind>,
    _folder: TempDir,
}

struct Kind {
    name: &'static str,
    store: Store,
    /// Where its objects are files, for what comes to be there by other ways.
    files: PathBuf,
    /// Keeps the other side alive.
    _server: Option<Server>,
}

async fn stores() -> Stores {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new/store");
    let mut all = vec![Kind {
        name: "file",
        store: Store::File(File::open(root.clone()).await.unwrap()),
        files: root,
        _server: None,
    }];
    for (name, prefix) in [("s3", ""), ("s3 with a prefix", "vods/of-2026")] {
        let server = Server::start().await;
        all.push(Kind {
            name,
            store: Store::S3(server.store(prefix).await.unwrap()),
            files: server.bucket().join(prefix),
            _server: Some(server),
        });
    }
    Stores {
        all,
        _folder: folder,
    }
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn facts(meta: &[(&str, &str)]) -> Facts {
    let mut facts = Facts {
        content_type: "video/MP2T",
        cache_control: "max-age=31536000",
        meta: Meta::default(),
    };
    for (name, value) in meta {
        facts.meta.set(name, *value).unwrap();
    }
    facts
}

impl Kind {
    async fn put(&self, name: &str, body: impl Into<Bytes>, meta: &[(&str, &str)]) {
        let (key, facts) = (key(name), facts(meta));
        self.store.put(&key, body.into(), &facts).await.unwrap();
    }

    async fn bytes(&self, name: &str) -> Option<Bytes> {
        let got = self.store.get(&key(name), None).await.unwrap();
        got.map(|got| got.bytes)
    }

    async fn names(&self, prefix: &str, after: Option<&str>, most: usize) -> Vec<String> {
        let after = after.map(key);
        let list = self.store.list(prefix, after.as_ref(), most).await.unwrap();
        list.iter().map(|entry| entry.key.to_string()).collect()
    }

    async fn folders(&self, folder: &str, after: Option<&str>, most: usize) -> Vec<String> {
        self.store.list_folders(folder, after, most).await.unwrap()
    }

    /// Objects of one byte that were not put, which is quicker.
    fn strew<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            let path = self.files.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_put_is_there_with_its_facts() {
    let stores = stores().await;
    let large: Vec<u8> = (0..3_000_000u64).map(|n| ((n * n) >> 7) as u8).collect();
    for kind in &stores.all {
        for (name, body) in [
            ("empty", Vec::new()),
            ("live/720p/1795441399200.ts", large.clone()),
            (".weir/open/live/1795441399200.json", b"{}".to_vec()),
        ] {
            let meta = [("duration", "6.006"), ("start", "2026-11-23T14:01:00.123Z")];
            kind.put(name, body.clone(), &meta).await;
            let got = kind.store.get(&key(name), None).await.unwrap().unwrap();
            assert_eq!(got.bytes, body, "{}: {name}", kind.name);
            assert_eq!(got.head.size, body.len() as u64);
            assert_eq!(got.head.meta, facts(&meta).meta, "{}", kind.name);
            assert!(got.head.modified.is_some(), "{}", kind.name);
            let head = kind.store.head(&key(name)).await.unwrap();
            assert_eq!(head, Some(got.head), "{}: {name}", kind.name);
        }
    }
}

#[tokio::test]
async fn what_was_never_put_is_not_there() {
    let stores = stores().await;
    for kind in &stores.all {
        kind.put("live/1.ts", "x", &[]).await;
        for name in ["live/2.ts", "other/1.ts", "live/1"] {
            assert_eq!(kind.bytes(name).await, None, "{}: {name}", kind.name);
            let head = kind.store.head(&key(name)).await.unwrap();
            assert_eq!(head, None, "{}: {name}", kind.name);
            let part = kind.store.get(&key(name), Some(0..0)).await.unwrap();
            assert_eq!(part, None, "{}: {name}", kind.name);
            // Gone is gone.
            kind.store.delete(&key(name)).await.unwrap();
            kind.store.forget(&key(name)).await.unwrap();
        }
        assert_eq!(kind.bytes("live/1.ts").await.unwrap(), "x");
    }
}

#[tokio::test]
async fn another_object_takes_the_place_of_the_first_with_all_it_had() {
    let stores = stores().await;
    for kind in &stores.all {
        let name = "live/vod-1795441399200.m3u8";
        kind.put(name, "the first one", &[("a", "1"), ("b", "2")])
            .await;
        kind.put(name, "shorter", &[("b", "3")]).await;
        let got = kind.store.get(&key(name), None).await.unwrap().unwrap();
        assert_eq!(got.bytes, "shorter");
        assert_eq!(got.head.size, 7);
        assert_eq!(got.head.meta, facts(&[("b", "3")]).meta, "{}", kind.name);
        kind.put(name, "without", &[]).await;
        let got = kind.store.get(&key(name), None).await.unwrap().unwrap();
        assert_eq!((&got.bytes[..], got.head.size), (&b"without"[..], 7));
        assert!(got.head.meta.is_empty(), "{}", kind.name);
    }
}

#[tokio::test]
async fn a_range_is_what_there_is_of_it() {
    let stores = stores().await;
    for kind in &stores.all {
        kind.put("live/1.ts", "0123456789", &[("a", "1")]).await;
        kind.put("live/0.ts", "", &[("a", "1")]).await;
        for (name, range, part) in [
            ("live/1.ts", 0..1, "0"),
            ("live/1.ts", 0..10, "0123456789"),
            ("live/1.ts", 3..7, "3456"),
            ("live/1.ts", 9..10, "9"),
            ("live/1.ts", 5..u64::MAX, "56789"),
            ("live/1.ts", 10..11, ""),
            ("live/1.ts", 4_000_000..5_000_000, ""),
            ("live/1.ts", 4..4, ""),
            ("live/0.ts", 0..1, ""),
        ] {
            let got = kind.store.get(&key(name), Some(range.clone())).await;
            let got = got.unwrap().unwrap();
            let size = if name == "live/0.ts" { 0 } else { 10 };
            assert_eq!(got.bytes, part, "{}: {range:?}", kind.name);
            assert_eq!(got.head.size, size, "{}: {range:?}", kind.name);
            assert_eq!(got.head.meta.value("a"), Some("1"), "{}", kind.name);
        }
    }
}

#[tokio::test]
async fn what_was_deleted_is_gone_with_its_facts() {
    let stores = stores().await;
    for kind in &stores.all {
        kind.put("live/720p/1.ts", "x", &[("a", "1")]).await;
        kind.put("live/720p/2.ts", "x", &[("a", "1")]).await;
        kind.store.delete(&key("live/720p/1.ts")).await.unwrap();
        assert_eq!(kind.bytes("live/720p/1.ts").await, None, "{}", kind.name);
        assert_eq!(
            kind.names("", None, 10).await,
            ["live/720p/2.ts"],
            "{}",
            kind.name
        );
        // What comes after does not inherit.
        kind.strew(["live/720p/1.ts"]);
        let head = kind.store.head(&key("live/720p/1.ts")).await.unwrap();
        if kind.name == "file" {
            assert!(head.unwrap().meta.is_empty());
        }
        for name in ["live/720p/1.ts", "live/720p/2.ts"] {
            kind.store.delete(&key(name)).await.unwrap();
        }
        assert!(kind.names("", None, 10).await.is_empty(), "{}", kind.name);
    }
}

#[tokio::test]
async fn what_is_forgotten_is_still_there() {
    let stores = stores().await;
    for kind in &stores.all {
        kind.put("live/720p/1.ts", "x", &[("a", "1")]).await;
        kind.store.forget(&key("live/720p/1.ts")).await.unwrap();
        assert_eq!(kind.bytes("live/720p/1.ts").await.unwrap(), "x");
        assert_eq!(kind.names("", None, 10).await, ["live/720p/1.ts"]);
    }
}

/// Where '-' and '.' come before '/', and digits, letters and '_' after.
const TRICKY: [&str; 14] = [
    "a", "a-b/1", "a.ts", "b-/1", "b.x/2", "b/1", "b/1-1", "b/10", "b/1x/z", "b/2/1/1", "b0/1",
    "bb/1", "b_/1", "c/1",
];

#[tokio::test]
async fn a_listing_is_in_the_order_of_keys_and_goes_on_after_any() {
    let stores = stores().await;
    let all: BTreeSet<&str> = TRICKY.into();
    let mut prefixes: BTreeSet<&str> = TRICKY.iter().copied().collect();
    for name in TRICKY {
        prefixes.extend((0..name.len()).map(|end| &name[..end]));
    }
    prefixes.extend(["c/1/", "x", "b//", "/", "b/../a", "..", "b/1x/z/"]);
    for kind in &stores.all {
        kind.strew(TRICKY);
        for prefix in &prefixes {
            for after in [
                None,
                Some("a"),
                Some("b.x/2"),
                Some("b/1x/a"),
                Some("b0/1"),
                Some("z"),
            ] {
                let expected: Vec<_> = all
                    .iter()
                    .filter(|name| name.starts_with(prefix))
                    .filter(|name| after.is_none_or(|after| **name > after))
                    .copied()
                    .collect();
                for most in [1, 3, 100] {
                    let expected = &expected[..expected.len().min(most)];
                    let listed = kind.names(prefix, after, most).await;
                    assert_eq!(
                        listed, expected,
                        "{}: {prefix:?} after {after:?}, {most}",
                        kind.name
                    );
                }
            }
        }
        let entry = &kind.store.list("a", None, 1).await.unwrap()[0];
        assert_eq!((entry.size, entry.modified.is_some()), (1, true));
        assert!(kind.names("", None, 0).await.is_empty());
    }
}

#[tokio::test]
async fn folders_are_told_by_name_and_once() {
    let stores = stores().await;
    for kind in &stores.all {
        kind.strew(TRICKY);
        kind.put(".weir/open/live/1.json", "{}", &[("a", "1")])
            .await;
        kind.put("c/2/x", "", &[("a", "1")]).await;
        let all = ["a-b", "b-", "b.x", "b", "b0", "b_", "bb", "c"];
        assert_eq!(kind.folders("", None, 100).await, all, "{}", kind.name);
        for (index, after) in all.iter().enumerate() {
            let rest = &all[index + 1..];
            let name = kind.name;
            assert_eq!(
                kind.folders("", Some(after), 100).await,
                rest,
                "{name}: {after}"
            );
            let two = &rest[..rest.len().min(2)];
            assert_eq!(
                kind.folders("", Some(after), 2).await,
                two,
                "{name}: {after}"
            );
        }
        // One that is not there has its place as well.
        assert_eq!(
            kind.folders("", Some("b5"), 1).await,
            ["b_"],
            "{}",
            kind.name
        );
        assert_eq!(
            kind.folders("b", None, 9).await,
            ["1x", "2"],
            "{}",
            kind.name
        );
        assert_eq!(kind.folders("b/2", None, 9).await, ["1"], "{}", kind.name);
        assert_eq!(
            kind.folders(".weir", None, 9).await,
            ["open"],
            "{}",
            kind.name
        );
        assert_eq!(kind.folders(".weir/open", None, 9).await, ["live"]);
        for none in ["a", "x", "c/2", "c/2/x", "a-b/1"] {
            let folders = kind.folders(none, None, 9).await;
            assert!(folders.is_empty(), "{}: {none}: {folders:?}", kind.name);
        }
    }
}

#[tokio::test]
async fn more_than_a_thousand_are_listed_in_parts() {
    let stores = stores().await;
    let names: Vec<_> = (0..2345).map(|n| format!("live/720p/{n:05}.ts")).collect();
    let folders: Vec<_> = (0..1234).map(|n| format!("s{n:04}")).collect();
    let inside: Vec<_> = folders
        .iter()
        .map(|name| format!("many/{name}/1.ts"))
        .collect();
    for kind in &stores.all {
        kind.strew(names.iter().map(String::as_str));
        kind.strew(inside.iter().map(String::as_str));
        let (mut found, mut after) = (Vec::new(), None::<String>);
        loop {
            let part = kind.names("live/", after.as_deref(), 1000).await;
            let last = part.len() < 1000;
            found.extend(part);
            if last {
                break;
            }
            after = found.last().cloned();
        }
        assert_eq!(found, names, "{}", kind.name);
        // Also more than a bucket tells at once.
        assert_eq!(
            kind.names("live/", None, 9999).await,
            names,
            "{}",
            kind.name
        );
        assert_eq!(
            kind.folders("many", None, 9999).await,
            folders,
            "{}",
            kind.name
        );
    }
}

#[tokio::test]
async fn what_is_under_no_key_is_left_out_and_takes_no_place() {
    let stores = stores().await;
    for kind in &stores.all {
        kind.strew(["live/a b.ts", "live/a~", "live/\u{e9}.ts", "x y/1.ts"]);
        kind.put("live/1.ts", "x", &[]).await;
        kind.put("live/z.ts", "x", &[]).await;
        let (first, both) = (["live/1.ts"], ["live/1.ts", "live/z.ts"]);
        assert_eq!(kind.names("live/", None, 1).await, first, "{}", kind.name);
        assert_eq!(kind.names("live/", None, 2).await, both, "{}", kind.name);
        assert_eq!(kind.names("", None, 10).await, both, "{}", kind.name);
        assert_eq!(kind.folders("", None, 10).await, ["live"], "{}", kind.name);
    }
}

#[tokio::test]
async fn a_store_is_told_without_its_secrets() {
    let stores = stores().await;
    for kind in &stores.all {
        let told = format!("{:?}", kind.store);
        assert!(
            !told.contains("ANOTREAL") && !told.contains("notreal"),
            "{told}"
        );
        assert!(told.len() < 300, "{told}");
    }
}
