//! Reads bits, most significant first, with or without the emulation
//! prevention bytes of a NAL unit.

use crate::Error;

/// A cursor over bits. Every read is checked; nothing is copied.
#[derive(Clone, Debug)]
pub(crate) struct Bits<'a> {
    data: &'a [u8],
    /// The byte the next bit is in.
    at: usize,
    /// Bits of that byte already read, 0 to 7.
    used: u8,
    /// Zero bytes directly before `at`; tracked only in a NAL unit.
    zeros: u8,
    nal: bool,
    /// What the reader of an error should look at.
    what: &'static str,
}

impl<'a> Bits<'a> {
    /// Reads `data` as it is. `what` completes "… ends early at byte 7".
    pub(crate) fn plain(data: &'a [u8], what: &'static str) -> Self {
        Self {
            data,
            at: 0,
            used: 0,
            zeros: 0,
            nal: false,
            what,
        }
    }

    /// Reads a NAL unit: a 3 after two zero bytes is left out (7.3.1).
    pub(crate) fn nal(data: &'a [u8], what: &'static str) -> Self {
        Self {
            nal: true,
            ..Self::plain(data, what)
        }
    }

    /// Bits not read yet; emulation prevention bytes count as if they were data.
    pub(crate) fn left(&self) -> usize {
        (self.data.len() - self.at) * 8 - usize::from(self.used)
    }

    pub(crate) fn malformed(&self, what: &'static str) -> Error {
        Error::Malformed {
            offset: self.at,
            what,
        }
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Error> {
        if self.nal && self.used == 0 && self.zeros >= 2 && self.data.get(self.at) == Some(&3) {
            self.at += 1;
            self.zeros = 0;
        }
        let Some(&byte) = self.data.get(self.at) else {
            return Err(self.malformed(self.what));
        };
        let bit = byte >> (7 - self.used) & 1;
        self.used += 1;
        if self.used == 8 {
            self.used = 0;
            self.at += 1;
            self.zeros = if byte == 0 {
                self.zeros.saturating_add(1)
            } else {
                0
            };
        }
        Ok(bit == 1)
    }

    /// An unsigned number of `count` bits, at most 32.
    pub(crate) fn u(&mut self, count: u32) -> Result<u32, Error> {
        debug_assert!(count <= 32);
        let mut value = 0_u32;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Ok(value)
    }

    /// A number of at most 8 bits.
    pub(crate) fn u8(&mut self, count: u32) -> Result<u8, Error> {
        debug_assert!(count <= 8);
        Ok(self.u(count)? as u8)
    }

    pub(crate) fn skip(&mut self, count: u32) -> Result<(), Error> {
        for _ in 0..count {
            self.flag()?;
        }
        Ok(())
    }

    /// An unsigned Exp-Golomb number (9.1), at most 2^32 - 2.
    pub(crate) fn ue(&mut self) -> Result<u32, Error> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros == 32 {
                return Err(self.malformed("Exp-Golomb number longer than 32 bits"));
            }
        }
        // At most 2^31 - 1 twice: it fits.
        Ok((1_u32 << zeros) - 1 + self.u(zeros)?)
    }

    /// [`Self::ue`], refused with `what` above `max`.
    pub(crate) fn ue_max(&mut self, max: u32, what: &'static str) -> Result<u32, Error> {
        let value = self.ue()?;
        if value > max {
            return Err(self.malformed(what));
        }
        Ok(value)
    }

    /// A signed Exp-Golomb number (9.1.1).
    pub(crate) fn se(&mut self) -> Result<i32, Error> {
        let code = i64::from(self.ue()?);
        let value = if code & 1 == 1 {
            (code + 1) / 2
        } else {
            -(code / 2)
        };
        // Within ±(2^31 - 1), as `code` is at most 2^32 - 2.
        Ok(value as i32)
    }
}

/// Writes bits for the tests of the readers.
#[cfg(test)]
pub(crate) mod write {
    #[derive(Default)]
    pub(crate) struct Writer {
        bits: Vec<bool>,
    }

    impl Writer {
        pub(crate) fn u(mut self, count: u32, value: u32) -> Self {
            for bit in (0..count).rev() {
                self.bits.push(value >> bit & 1 == 1);
            }
            self
        }

        pub(crate) fn ue(self, value: u32) -> Self {
            let code = u64::from(value) + 1;
            let length = 64 - code.leading_zeros();
            let zeros = self.u(length - 1, 0);
            zeros.u(1, 1).u(length - 1, code as u32)
        }

        pub(crate) fn se(self, value: i32) -> Self {
            let magnitude = value.unsigned_abs() * 2;
            self.ue(if value > 0 { magnitude - 1 } else { magnitude })
        }

        /// The bits padded with zeros to whole bytes.
        pub(crate) fn bytes(self) -> Vec<u8> {
            let byte = |bits: &[bool]| {
                let value = bits
                    .iter()
                    .fold(0_u8, |value, &bit| value << 1 | u8::from(bit));
                value << (8 - bits.len())
            };
            self.bits.chunks(8).map(byte).collect()
        }

        /// A NAL unit: the stop bit, then emulation prevention.
        pub(crate) fn nal(self) -> Vec<u8> {
            let mut out = Vec::new();
            for byte in self.u(1, 1).bytes() {
                if out.ends_with(&[0, 0]) && byte <= 3 {
                    out.push(3);
                }
                out.push(byte);
            }
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::write::Writer;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn thirty_two_leading_zeros_are_refused() {
        let mut bits = Bits::plain(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff], "number");
        assert!(matches!(bits.ue(), Err(Error::Malformed { .. })));
    }

    #[test]
    fn the_largest_exp_golomb_number_fits() {
        let data = Writer::default().ue(u32::MAX - 1).bytes();
        assert_eq!(Bits::plain(&data, "").ue(), Ok(u32::MAX - 1));
    }

    #[test]
    fn emulation_prevention_is_left_out_in_nal_units_only() {
        let data = [0, 0, 3, 1, 0, 0, 3, 0, 0, 3];
        let mut bits = Bits::nal(&data, "NAL unit ends early");
        let mut read = Vec::new();
        while let Ok(byte) = bits.u(8) {
            read.push(byte);
        }
        assert_eq!(read, [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(Bits::plain(&data, "").u(32), Ok(0x0000_0301));
    }

    #[test]
    fn reading_past_the_end_names_the_byte() {
        let mut bits = Bits::plain(&[0xff], "record ends early");
        bits.skip(8).unwrap();
        assert_eq!(
            bits.flag().unwrap_err().to_string(),
            "record ends early at byte 1"
        );
    }

    proptest! {
        #[test]
        fn numbers_survive_a_nal_unit(
            unsigned in proptest::collection::vec(0..u32::MAX, 0..20),
            signed in proptest::collection::vec(-i32::MAX..=i32::MAX, 0..20),
        ) {
            let mut writer = Writer::default();
            for &value in &unsigned {
                writer = writer.ue(value);
            }
            for &value in &signed {
                writer = writer.se(value);
            }
            let data = writer.nal();
            let mut bits = Bits::nal(&data, "");
            for value in unsigned {
                prop_assert_eq!(bits.ue(), Ok(value));
            }
            for value in signed {
                prop_assert_eq!(bits.se(), Ok(value));
            }
        }
    }
}
