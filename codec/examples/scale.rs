//! Scales raw 4:2:0 pictures from standard input to standard output, with a
//! kernel and a strength of one's choice: `scripts/kernels.sh` judges them so.
//!
//!     scale 1920x1080 640x360 Lanczos3 0.0 < in.yuv > out.yuv

use std::env;
use std::io::{self, BufWriter, ErrorKind, Read, Write};

use media::{Picture, Size, Timestamp};
use weir_codec::video::{Kernel, Scaler};

fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let Some((from, to, kernel, strength)) = parse(&words) else {
        eprintln!("usage: scale WxH WxH {:?} STRENGTH", Kernel::ALL);
        std::process::exit(2);
    };
    let mut scaler = Scaler::new(from, to)
        .with_kernel(kernel)
        .sharpened(strength);
    let mut source = Picture::black(from, Timestamp::ZERO);
    let mut out = Picture::black(to, Timestamp::ZERO);
    let mut input = io::stdin().lock();
    let mut output = BufWriter::new(io::stdout().lock());
    loop {
        for plane in &mut source.planes {
            match input.read_exact(&mut plane.data) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return output.flush(),
                other => other?,
            }
        }
        scaler.scale(&source, &mut out);
        for plane in &out.planes {
            output.write_all(&plane.data)?;
        }
    }
}

fn parse(words: &[String]) -> Option<(Size, Size, Kernel, f64)> {
    let [from, to, kernel, strength] = words else {
        return None;
    };
    let size = |word: &str| {
        let (width, height) = word.split_once('x')?;
        Some(Size::new(width.parse().ok()?, height.parse().ok()?))
    };
    let named = |other: &Kernel| format!("{other:?}") == *kernel;
    Some((
        size(from)?,
        size(to)?,
        Kernel::ALL.into_iter().find(named)?,
        strength.parse().ok()?,
    ))
}
