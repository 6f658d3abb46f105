//! The .flv files that commands are given.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// Opens an FLV file. One that is none is told from its first bytes, with what
/// would make it one: most who come here hold an .mp4.
pub(crate) fn open_flv(path: &Path) -> Result<File> {
    let cannot = || format!("{} cannot be read", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let kind = file.metadata().with_context(cannot)?.file_type();
    if kind.is_dir() {
        bail!(
            "{} is a directory; an .flv file is expected",
            path.display()
        );
    }
    // From a pipe nothing is taken ahead; the reader tells soon enough.
    if !kind.is_file() {
        return Ok(file);
    }
    let mut head = Vec::new();
    (&file)
        .take(3)
        .read_to_end(&mut head)
        .with_context(cannot)?;
    if head.is_empty() {
        bail!("{} is empty; an .flv file is expected", path.display());
    }
    if !b"FLV".starts_with(&head) {
        bail!(
            "{} is not an FLV file: it does not begin with \"FLV\". Of a video with H.264 and AAC, \
             `ffmpeg -i INPUT -c copy OUTPUT.flv` makes one",
            path.display()
        );
    }
    file.rewind().with_context(cannot)?;
    Ok(file)
}
