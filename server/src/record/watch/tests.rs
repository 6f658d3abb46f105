use super::*;
use crate::record::store::{Facts, Meta, Settings};

fn name() -> StreamName {
    "demo".parse().unwrap()
}

/// A store with recordings that began at these times.
async fn store(ids: impl IntoIterator<Item = u64>) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        url: format!("file://{}", folder.path().display())
            .parse()
            .unwrap(),
        endpoint: None,
        region: None,
        path_style: false,
    };
    let store = Store::open(&settings).await.unwrap();
    let streams = folder.path().join("demo");
    std::fs::create_dir(&streams).unwrap();
    for id in ids {
        for file in [format!("vod-{id}.m3u8"), format!("vod-{id}-master.m3u8")] {
            std::fs::write(streams.join(file), "#EXTM3U\n").unwrap();
        }
    }
    (folder, store)
}

async fn listed(store: &Store, now: u64) -> Vec<u64> {
    let list = list_anew(store, &name(), now).await.unwrap();
    list.iter().map(|one| one.id).collect()
}

const NOW: u64 = 1_795_441_399_200;
const HOUR: u64 = 3_600_000;

#[tokio::test]
async fn of_many_recordings_the_newest_are_listed() {
    for (count, apart) in [
        // In the first page, in the first window, in a later one, in several.
        (3, HOUR),
        (499, HOUR),
        (1500, 1000),
        (1500, HOUR / 6),
        (1500, 24 * HOUR),
        (600, 200 * HOUR),
    ] {
        let all = (0..count).map(|index| NOW - index * apart);
        let (_folder, store) = store(all.clone()).await;
        let newest: Vec<_> = all.take(SHOWN).collect();
        assert_eq!(listed(&store, NOW).await, newest, "{count}, {apart} apart");
        // Whatever the clock of this server says.
        let early = listed(&store, NOW - 100 * HOUR).await;
        assert_eq!(early, newest, "{count}, {apart} apart");
    }
}

#[tokio::test]
async fn a_few_new_ones_and_many_long_ago() {
    let new = (0..20).map(|index| NOW - index * 1000);
    let old = (0..2000).map(|index| NOW - 5000 * HOUR - index * 1000);
    let (_folder, store) = store(new.clone().chain(old.clone())).await;
    let newest: Vec<_> = new.chain(old.take(30)).collect();
    assert_eq!(listed(&store, NOW).await, newest);
}

#[tokio::test]
async fn a_range_is_read_from_a_folder_and_from_the_spool_alike() {
    let (folder, store) = store([]).await;
    let key: Key = "demo/720p/1.ts".parse().unwrap();
    let facts = Facts {
        content_type: "video/MP2T",
        cache_control: "no-store",
        meta: Meta::default(),
    };
    store.put(&key, "0123456789".into(), &facts).await.unwrap();
    let path = folder.path().join("demo/720p/1.ts");
    for range in [0..10, 0..1, 3..7, 9..10, 8..20, 10..11, 30..40] {
        let got = store.get(&key, Some(range.clone())).await.unwrap();
        let read = spool::read(&path, range.clone()).unwrap();
        assert_eq!(got.unwrap().bytes, read, "{range:?}");
    }
}
