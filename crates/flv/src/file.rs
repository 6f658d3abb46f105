//! The FLV file around the tags (annex E.2 and E.3), read as bytes come and
//! written tag by tag.

use bytes::{Buf, Bytes, BytesMut};

use crate::Error;

/// What a tag carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagKind {
    /// Audio, type 8.
    Audio,
    /// Video, type 9.
    Video,
    /// Metadata and the like, type 18.
    Script,
}

/// One tag of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// What the body is.
    pub kind: TagKind,
    /// The sender's clock in milliseconds, its extended byte joined.
    pub timestamp_ms: u32,
    /// What RTMP would send as a message body.
    pub body: Bytes,
    /// Where the tag begins in the file, in bytes.
    pub offset: u64,
}

/// How much a [`Reader`] accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest tag body, in bytes. Default 8 MiB, twice the RTMP message bound:
    /// files may hold what encoders would not send live.
    pub max_tag: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_tag: 8 * 1024 * 1024,
        }
    }
}

/// Reads an FLV file without doing any IO.
///
/// Take tags with [`next_tag`](Self::next_tag) until there is none, then
/// [`push`](Self::push) more bytes: so no more than one tag and one push are
/// ever held. The length that follows each tag is not checked, for too many
/// writers get it wrong and nothing needs it.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    buffer: BytesMut,
    /// Where `buffer` begins in the file.
    offset: u64,
    /// Bytes to step over before the next tag; they may not have come yet.
    skip: usize,
    has_header: bool,
}

impl Reader {
    /// A reader at the start of a file.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: BytesMut::new(),
            offset: 0,
            skip: 0,
            has_header: false,
        }
    }

    /// Hands over the next bytes of the file.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next tag, or `None` until more bytes come. After an error there is
    /// no telling where the next tag begins: the file is at its end.
    pub fn next_tag(&mut self) -> Result<Option<Tag>, Error> {
        if !self.has_header && !self.read_header()? {
            return Ok(None);
        }
        let skipped = self.skip.min(self.buffer.len());
        self.advance(skipped);
        self.skip -= skipped;
        if self.skip > 0 {
            return Ok(None);
        }
        let Some(&[kind, s0, s1, s2, t0, t1, t2, t3, _, _, _]) = self.buffer.first_chunk() else {
            return Ok(None);
        };
        let kind = match kind {
            8 => TagKind::Audio,
            9 => TagKind::Video,
            18 => TagKind::Script,
            0x28 | 0x29 | 0x32 => return Err(self.malformed("encrypted FLV tag")),
            _ => return Err(self.malformed("FLV tag of a type other than 8, 9 and 18")),
        };
        let size = u32::from_be_bytes([0, s0, s1, s2]) as usize;
        if size > self.limits.max_tag {
            return Err(Error::Limit {
                what: "FLV tag length in bytes",
                found: size as u64,
                max: self.limits.max_tag as u64,
            });
        }
        if self.buffer.len() < TAG_HEADER + size {
            return Ok(None);
        }
        let offset = self.offset;
        self.advance(TAG_HEADER);
        let body = self.buffer.split_to(size).freeze();
        self.offset += size as u64;
        self.skip = TAG_TRAILER;
        Ok(Some(Tag {
            kind,
            timestamp_ms: u32::from_be_bytes([t3, t0, t1, t2]),
            body,
            offset,
        }))
    }

    /// Ends the file: an error if it stops inside its header or a tag. The
    /// length behind the last tag may be missing.
    pub fn finish(self) -> Result<(), Error> {
        if !self.has_header {
            return Err(self.malformed("file that ends inside the FLV header"));
        }
        if self.skip == 0 && !self.buffer.is_empty() {
            return Err(self.malformed("file that ends inside the FLV tag"));
        }
        Ok(())
    }

    /// `FLV`, version, flags, size of this header (32 bits, at least 9).
    fn read_header(&mut self) -> Result<bool, Error> {
        let signature = self.buffer.len().min(3);
        if self.buffer[..signature] != b"FLV"[..signature] {
            return Err(self.malformed("file that does not begin with \"FLV\""));
        }
        let Some(&[_, _, _, version, _, s0, s1, s2, s3]) = self.buffer.first_chunk() else {
            return Ok(false);
        };
        if version != 1 {
            return Err(self.malformed("FLV header of a version other than 1"));
        }
        let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
        if !(FILE_HEADER..=MAX_FILE_HEADER).contains(&size) {
            return Err(self.malformed("FLV header with a size outside 9 to 1024"));
        }
        self.skip = size + TAG_TRAILER;
        self.has_header = true;
        Ok(true)
    }

    fn advance(&mut self, count: usize) {
        self.buffer.advance(count);
        self.offset += count as u64;
    }

    fn malformed(&self, what: &'static str) -> Error {
        Error::Malformed {
            offset: self.offset,
            what,
        }
    }
}

/// What an FLV file begins with, up to its first tag.
pub fn header(audio: bool, video: bool) -> [u8; FILE_HEADER + TAG_TRAILER] {
    let flags = u8::from(audio) << 2 | u8::from(video);
    [b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]
}

/// Appends one tag to `out`. Bodies of 16 MiB and more do not fit a tag.
pub fn write_tag(
    out: &mut Vec<u8>,
    kind: TagKind,
    timestamp_ms: u32,
    body: &[u8],
) -> Result<(), Error> {
    let (front, back) = around(kind, timestamp_ms, body.len())?;
    out.reserve(front.len() + body.len() + back.len());
    for piece in [&front, body, &back] {
        out.extend_from_slice(piece);
    }
    Ok(())
}

/// What a tag has in front of a body of `length` bytes, and behind it. Bodies of 16
/// MiB and more do not fit a tag.
pub fn around(
    kind: TagKind,
    timestamp_ms: u32,
    length: usize,
) -> Result<([u8; TAG_HEADER], [u8; TAG_TRAILER]), Error> {
    if length > MAX_BODY {
        return Err(Error::Limit {
            what: "FLV tag length in bytes",
            found: length as u64,
            max: MAX_BODY as u64,
        });
    }
    let size = length as u32;
    let [_, s2, s1, s0] = size.to_be_bytes();
    let [t3, t2, t1, t0] = timestamp_ms.to_be_bytes();
    let kind = match kind {
        TagKind::Audio => 8,
        TagKind::Video => 9,
        TagKind::Script => 18,
    };
    let front = [kind, s2, s1, s0, t2, t1, t0, t3, 0, 0, 0];
    Ok((front, (size + TAG_HEADER as u32).to_be_bytes()))
}

const FILE_HEADER: usize = 9;
/// No writer is known to use more than 9 bytes.
const MAX_FILE_HEADER: usize = 1024;
const TAG_HEADER: usize = 11;
/// The length of the previous tag, behind each tag and behind the header.
const TAG_TRAILER: usize = 4;
/// What 24 bits hold.
const MAX_BODY: usize = 0xff_ffff;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reader(data: &[u8]) -> Reader {
        let mut reader = Reader::new(Limits::default());
        reader.push(data);
        reader
    }

    fn error(data: &[u8]) -> String {
        let mut reader = reader(data);
        loop {
            match reader.next_tag() {
                Ok(Some(_)) => {}
                Ok(None) => return reader.finish().unwrap_err().to_string(),
                Err(error) => return error.to_string(),
            }
        }
    }

    fn sample() -> Vec<u8> {
        let mut file = header(true, true).to_vec();
        write_tag(&mut file, TagKind::Script, 0, b"meta").unwrap();
        write_tag(&mut file, TagKind::Video, 0xfedc_ba98, &[7; 300]).unwrap();
        write_tag(&mut file, TagKind::Audio, 20, &[]).unwrap();
        file
    }

    #[test]
    fn what_is_not_flv_is_refused_at_its_byte() {
        assert_eq!(
            error(b"\x00\x00\x00\x18ftypmp42"),
            "file that does not begin with \"FLV\" at byte 0"
        );
        assert_eq!(
            error(b"FL"),
            "file that ends inside the FLV header at byte 0"
        );
        assert_eq!(
            error(b"FLV\x01\x05\xff\xff\xff\xff"),
            "FLV header with a size outside 9 to 1024 at byte 0"
        );
        let mut file = sample();
        file.extend_from_slice(&[99; 11]);
        assert_eq!(
            error(&file),
            format!(
                "FLV tag of a type other than 8, 9 and 18 at byte {}",
                file.len() - 11
            )
        );
        let at = file.len() - 11;
        file[at] = 0x29;
        assert!(error(&file).starts_with("encrypted FLV tag"));
    }

    #[test]
    fn a_tag_above_the_limit_is_refused_before_its_body_comes() {
        let mut file = header(true, true).to_vec();
        file.extend_from_slice(&[9, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            error(&file),
            "FLV tag length in bytes of 16777215 is above the limit of 8388608"
        );
    }

    #[test]
    fn a_file_cut_inside_a_tag_says_where_the_tag_begins() {
        let file = sample();
        assert_eq!(
            error(&file[..60]),
            "file that ends inside the FLV tag at byte 32"
        );
        // Without the length behind the last tag it is whole.
        let mut whole = reader(&file[..file.len() - 4]);
        while whole.next_tag().unwrap().is_some() {}
        assert_eq!(whole.finish(), Ok(()));
    }

    #[test]
    fn tags_come_with_joined_timestamps_and_offsets() {
        let mut reader = reader(&sample());
        let tag = reader.next_tag().unwrap().unwrap();
        assert_eq!((tag.kind, &tag.body[..]), (TagKind::Script, &b"meta"[..]));
        assert_eq!((tag.timestamp_ms, tag.offset), (0, 13));
        let tag = reader.next_tag().unwrap().unwrap();
        assert_eq!((tag.kind, tag.body.len()), (TagKind::Video, 300));
        assert_eq!((tag.timestamp_ms, tag.offset), (0xfedc_ba98, 32));
        let tag = reader.next_tag().unwrap().unwrap();
        assert_eq!((tag.kind, tag.body.len()), (TagKind::Audio, 0));
        assert_eq!(reader.next_tag(), Ok(None));
    }

    #[test]
    fn a_body_above_24_bits_is_not_written() {
        let mut out = Vec::new();
        let written = write_tag(&mut out, TagKind::Video, 0, &vec![0; MAX_BODY + 1]);
        assert!(matches!(written, Err(Error::Limit { .. })));
        assert!(out.is_empty());
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_tags(size in 1..50_usize) {
            let file = sample();
            let mut whole = reader(&file);
            let mut pieces = Reader::new(Limits::default());
            for piece in file.chunks(size) {
                pieces.push(piece);
                while let Some(tag) = pieces.next_tag().unwrap() {
                    prop_assert_eq!(Some(tag), whole.next_tag().unwrap());
                }
            }
            prop_assert_eq!(whole.next_tag(), Ok(None));
            prop_assert_eq!(pieces.finish(), Ok(()));
        }

        #[test]
        fn random_bytes_never_panic(data: Vec<u8>, at in 0..400_usize, with: u8) {
            let _ = error_or_end(&data);
            let mut file = sample();
            let at = at % file.len();
            file[at] = with;
            let _ = error_or_end(&file);
            let _ = error_or_end(&[&header(true, true)[..], &data].concat());
        }
    }

    fn error_or_end(data: &[u8]) -> Result<(), Error> {
        let mut reader = reader(data);
        while reader.next_tag()?.is_some() {}
        reader.finish()
    }
}
