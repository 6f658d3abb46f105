//! Puts the pages of `web/` into `OUT_DIR`, ready for `include_str!`.
//!
//! `hls.js` is npm's, copied from `web/node_modules` when `npm ci` has put it
//! there. A build without node gets an empty file instead, and the page then
//! plays with the browser's own HLS. `player.html` and `index.html` are copied
//! with `{{VERSION}}` filled in: a digest of the assets they load, which makes
//! those cacheable for ever.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let web = Path::new("web");
    println!("cargo::rerun-if-changed=build.rs");

    let hls = match player_library(web)? {
        Some(text) => text,
        None => {
            println!(
                "cargo::warning=hls.js is not in server/web/node_modules: the watch page will use \
                 the browser's own HLS (`npm ci --ignore-scripts` in server/web brings it)"
            );
            Vec::new()
        }
    };
    fs::write(out.join("hls.js"), &hls)?;

    let mut digest = Fnv::new();
    digest.update(&hls);
    for asset in [
        "player.js",
        "recordings.js",
        "live.js",
        "vod.js",
        "list.js",
        "style.css",
        "icon.svg",
    ] {
        digest.update(&source(web, asset)?);
    }
    let version = format!("{:016x}", digest.0);
    println!("cargo::rustc-env=WEIR_WEB_VERSION={version}");

    for page in ["player.html", "index.html"] {
        let text = String::from_utf8(source(web, page)?).map_err(io::Error::other)?;
        let text = without_note(&text).replace("{{VERSION}}", &version);
        fs::write(out.join(page), text)?;
    }
    Ok(())
}

/// hls.js with the notice its licence asks for, or `None` without node.
///
/// The "light" variant leaves out what weir's streams never have: separate
/// audio renditions, subtitles, DRM.
fn player_library(web: &Path) -> io::Result<Option<Vec<u8>>> {
    let package = web.join("node_modules/hls.js");
    watch(web, &package);
    let dist = package.join("dist");
    for file in ["hls.light.min.js", "hls.min.js"] {
        let path = dist.join(file);
        if !path.is_file() {
            continue;
        }
        println!("cargo::rerun-if-changed={}", path.display());
        let mut text = NOTICE.as_bytes().to_vec();
        text.extend_from_slice(without_source_map(&fs::read(&path)?));
        return Ok(Some(text));
    }
    Ok(None)
}

/// Cargo takes a watched path that does not exist for one that changed, and
/// would build anew every time. So an absent file is watched through its
/// nearest ancestor that is there.
fn watch(root: &Path, wanted: &Path) {
    let nearest = wanted.ancestors().find(|path| path.exists());
    println!(
        "cargo::rerun-if-changed={}",
        nearest.unwrap_or(root).display()
    );
}

fn source(web: &Path, name: &str) -> io::Result<Vec<u8>> {
    let path = web.join(name);
    println!("cargo::rerun-if-changed={}", path.display());
    fs::read(path)
}

/// The note on placeholders above `<html>` is for us, not for viewers.
fn without_note(page: &str) -> String {
    match (page.find("<!-- "), page.find("<html")) {
        (Some(note), Some(html)) if note < html => format!("{}{}", &page[..note], &page[html..]),
        _ => page.to_owned(),
    }
}

/// The map is not served, so a browser's tools would ask for it in vain.
fn without_source_map(script: &[u8]) -> &[u8] {
    const MARK: &[u8] = b"//# sourceMappingURL";
    let start = script
        .windows(MARK.len())
        .rposition(|window| window == MARK);
    &script[..start.unwrap_or(script.len())]
}

/// FNV-1a, 64 bit: a cache key that is the same on every machine, no secret.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

const NOTICE: &str = "/*! hls.js, https://github.com/video-dev/hls.js, Apache-2.0, \
    copyright 2017 Dailymotion; parts copyright 2013-2015 Brightcove */\n";
