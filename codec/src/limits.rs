/// What a stream may ask of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most luma samples in one picture. Default 4096 x 2304: with the five
    /// reference frames that level 5.2 has room for, a decoder takes up to
    /// 250 MB (`docs/decoders.md`).
    pub max_picture_area: u64,
    /// Largest width or height, in samples. Default 4096.
    pub max_picture_side: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_picture_area: 4096 * 2304,
            max_picture_side: 4096,
        }
    }
}
