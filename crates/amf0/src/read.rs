use crate::{Error, Value, marker};

/// How much one input may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Objects and arrays inside each other. Default 32: encoders nest three
    /// deep, and 32 frames of the reader are a few KiB of stack.
    pub depth: usize,
    /// Values in the whole input, nested ones included. Default 4096; the
    /// richest metadata seen has under 100.
    pub values: usize,
    /// Bytes of all strings and field names together. Default 256 KiB, room for
    /// the XMP documents that editors put into metadata.
    pub string_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 32,
            values: 4096,
            string_bytes: 256 * 1024,
        }
    }
}

/// Every value of `data`, up to its last byte.
pub fn read_all(data: &[u8], limits: &Limits) -> Result<Vec<Value>, Error> {
    Reader::new(data, limits).collect()
}

/// Reads the values of an input one after another.
///
/// As an iterator it ends after the last value or the first error, so a caller
/// can use what stands before something unreadable.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    data: &'a [u8],
    offset: usize,
    limits: Limits,
    values: usize,
    string_bytes: usize,
    over: bool,
}

impl<'a> Reader<'a> {
    /// A reader of `data` from its first byte.
    pub fn new(data: &'a [u8], limits: &Limits) -> Self {
        Self {
            data,
            offset: 0,
            limits: limits.clone(),
            values: 0,
            string_bytes: 0,
            over: false,
        }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> usize {
        self.offset
    }

    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        if self.values == self.limits.values {
            return Err(Error::Limit {
                what: "values",
                max: self.limits.values,
            });
        }
        self.values += 1;
        let at = self.offset;
        let [kind] = self.array("type marker")?;
        let unsupported = |what| Error::Unsupported {
            offset: at,
            marker: kind,
            what,
        };
        Ok(match kind {
            marker::NUMBER => Value::Number(f64::from_be_bytes(self.array("number")?)),
            marker::BOOLEAN => Value::Boolean(self.array::<1>("boolean")? != [0]),
            marker::STRING => Value::String(self.short_string()?),
            marker::OBJECT => Value::Object(self.fields(depth)?),
            marker::NULL => Value::Null,
            marker::UNDEFINED => Value::Undefined,
            marker::REFERENCE => Value::Reference(u16::from_be_bytes(self.array("reference")?)),
            marker::ECMA_ARRAY => {
                // Encoders write 0 here, or a guess; the end marker decides.
                let _count = self.array::<4>("array count")?;
                Value::EcmaArray(self.fields(depth)?)
            }
            marker::STRICT_ARRAY => Value::StrictArray(self.elements(depth)?),
            marker::DATE => Value::Date {
                millis: f64::from_be_bytes(self.array("date")?),
                zone: i16::from_be_bytes(self.array("date zone")?),
            },
            marker::LONG_STRING => Value::String(self.long_string()?),
            marker::UNSUPPORTED => Value::Unsupported,
            marker::XML => Value::Xml(self.long_string()?),
            marker::TYPED_OBJECT => Value::TypedObject {
                class: self.short_string()?,
                fields: self.fields(depth)?,
            },
            marker::MOVIE_CLIP => return Err(unsupported("a movie clip")),
            marker::RECORD_SET => return Err(unsupported("a record set")),
            marker::AVM_PLUS => return Err(unsupported("an AMF3 value")),
            marker::OBJECT_END => {
                return Err(Error::Malformed {
                    offset: at,
                    what: "an object end outside an object",
                });
            }
            _ => {
                return Err(Error::Malformed {
                    offset: at,
                    what: "an unknown type marker",
                });
            }
        })
    }

    /// Name and value pairs up to `00 00 09`.
    fn fields(&mut self, depth: usize) -> Result<Vec<(String, Value)>, Error> {
        let depth = self.deeper(depth)?;
        let mut fields = Vec::new();
        // Some senders leave out the end marker of the last array of a message:
        // the end of the input between two fields ends it as well.
        while self.offset < self.data.len() {
            let name = self.short_string()?;
            if name.is_empty() && self.data.get(self.offset) == Some(&marker::OBJECT_END) {
                self.offset += 1;
                break;
            }
            fields.push((name, self.value(depth)?));
        }
        Ok(fields)
    }

    fn elements(&mut self, depth: usize) -> Result<Vec<Value>, Error> {
        let depth = self.deeper(depth)?;
        let at = self.offset;
        let count = u32::from_be_bytes(self.array("array count")?);
        // Every element takes a byte at least, so a count beyond the input is a
        // lie, told before anything is stored.
        if count as usize > self.data.len() - self.offset {
            return Err(Error::Malformed {
                offset: at,
                what: "an array with more elements than there are bytes",
            });
        }
        let mut elements = Vec::new();
        for _ in 0..count {
            elements.push(self.value(depth)?);
        }
        Ok(elements)
    }

    fn deeper(&self, depth: usize) -> Result<usize, Error> {
        if depth == self.limits.depth {
            return Err(Error::Limit {
                what: "levels of objects inside each other",
                max: self.limits.depth,
            });
        }
        Ok(depth + 1)
    }

    fn short_string(&mut self) -> Result<String, Error> {
        let length = u16::from_be_bytes(self.array("string length")?);
        self.text(usize::from(length))
    }

    fn long_string(&mut self) -> Result<String, Error> {
        let length = u32::from_be_bytes(self.array("string length")?);
        self.text(length as usize)
    }

    fn text(&mut self, length: usize) -> Result<String, Error> {
        let bytes = self.take(length, "string")?;
        self.string_bytes += length;
        if self.string_bytes > self.limits.string_bytes {
            return Err(Error::Limit {
                what: "bytes of strings",
                max: self.limits.string_bytes,
            });
        }
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], Error> {
        let rest = &self.data[self.offset..];
        let Some(bytes) = rest.get(..length) else {
            return Err(Error::Malformed {
                offset: self.offset,
                what: ends_within(what),
            });
        };
        self.offset += length;
        Ok(bytes)
    }
}

impl Iterator for Reader<'_> {
    type Item = Result<Value, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over || self.offset >= self.data.len() {
            return None;
        }
        let value = self.value(0);
        self.over = value.is_err();
        Some(value)
    }
}

fn ends_within(what: &'static str) -> &'static str {
    match what {
        "type marker" => "the input ends where a value must begin",
        "number" => "the input ends within a number",
        "boolean" => "the input ends within a boolean",
        "string length" => "the input ends within a string length",
        "string" => "the input ends within a string",
        "array count" => "the input ends within an array count",
        _ => "the input ends within a value",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::write;

    fn read(data: &[u8]) -> Result<Vec<Value>, Error> {
        read_all(data, &Limits::default())
    }

    fn malformed(data: &[u8]) -> String {
        read(data).unwrap_err().to_string()
    }

    #[test]
    fn a_hundred_kilobytes_of_nested_arrays_stop_at_the_depth_limit() {
        let strict = [0x0a, 0, 0, 0, 1].repeat(20_000);
        let objects = [0x03, 0, 1, b'a'].repeat(25_000);
        let ecma = [0x08, 0, 0, 0, 0, 0, 1, b'a'].repeat(12_500);
        let typed = [0x10, 0, 0, 0, 1, b'a'].repeat(20_000);
        for bomb in [strict, objects, ecma, typed] {
            assert_eq!(
                malformed(&bomb),
                "AMF0 has more than 32 levels of objects inside each other"
            );
        }
    }

    #[test]
    fn a_count_is_not_believed() {
        assert_eq!(
            malformed(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x05]),
            "AMF0 at byte 1: an array with more elements than there are bytes"
        );
        let ecma = [0x08, 0xff, 0xff, 0xff, 0xff, 0, 0, 9];
        assert_eq!(read(&ecma).unwrap(), [Value::EcmaArray(vec![])]);
        let uncounted = [0x08, 0, 0, 0, 0, 0, 1, b'a', 0x05, 0, 0, 9];
        let fields = vec![("a".to_owned(), Value::Null)];
        assert_eq!(read(&uncounted).unwrap(), [Value::EcmaArray(fields)]);
    }

    #[test]
    fn too_many_values_and_too_much_text_are_refused() {
        assert_eq!(malformed(&[0x05; 5000]), "AMF0 has more than 4096 values");
        let mut inside = vec![0x0a, 0, 0, 0x13, 0x88];
        inside.extend([0x05; 5000]);
        assert_eq!(malformed(&inside), "AMF0 has more than 4096 values");
        let mut text = Vec::new();
        for _ in 0..5 {
            write(&mut text, &Value::String("x".repeat(60_000)));
        }
        assert_eq!(
            malformed(&text),
            "AMF0 has more than 262144 bytes of strings"
        );
    }

    #[test]
    fn an_input_cut_anywhere_gives_its_whole_values_and_then_an_error() {
        let mut data = Vec::new();
        let object = Value::Object(vec![("app".to_owned(), "live".into())]);
        for value in ["connect".into(), 1.0.into(), object] {
            write(&mut data, &value);
        }
        for length in 0..data.len() {
            let mut reader = Reader::new(&data[..length], &Limits::default());
            let values = reader.by_ref().filter(Result::is_ok).count();
            let expected = match length {
                0..10 => 0,
                10..=18 => 1,
                // Within the object; between two of its fields it ends early.
                20 | 32 => 3,
                _ => 2,
            };
            assert_eq!(values, expected, "{length} bytes");
            assert!(reader.next().is_none());
        }
    }

    #[test]
    fn a_missing_end_marker_at_the_end_is_forgiven() {
        let data = [0x08, 0, 0, 0, 1, 0, 1, b'w', 0x01, 1];
        let fields = vec![("w".to_owned(), Value::Boolean(true))];
        assert_eq!(read(&data).unwrap(), [Value::EcmaArray(fields)]);
    }

    #[test]
    fn amf3_is_unsupported_and_what_stands_before_it_is_kept() {
        let data = [0x05, 0x11, 0x04, 0x01];
        assert_eq!(
            malformed(&data),
            "AMF0 at byte 1: an AMF3 value (marker 0x11) is not supported"
        );
        let first = Reader::new(&data, &Limits::default()).next();
        assert_eq!(first, Some(Ok(Value::Null)));
    }

    #[test]
    fn markers_that_are_no_values_are_malformed() {
        assert_eq!(
            malformed(&[0x09]),
            "AMF0 at byte 0: an object end outside an object"
        );
        assert_eq!(malformed(&[0x7f]), "AMF0 at byte 0: an unknown type marker");
        assert_eq!(
            malformed(&[0x03, 0, 1]),
            "AMF0 at byte 3: the input ends within a string"
        );
    }

    #[test]
    fn text_that_is_not_utf8_is_replaced() {
        let values = read(&[0x02, 0, 3, b'a', 0xff, b'b']).unwrap();
        assert_eq!(values, [Value::String("a\u{fffd}b".to_owned())]);
    }

    #[test]
    fn rare_types_are_read() {
        let mut data = vec![0x0b];
        data.extend(1.5_f64.to_be_bytes());
        data.extend([0xff, 0xc4]);
        data.extend([
            0x0c, 0, 0, 0, 1, b'l', 0x0f, 0, 0, 0, 1, b'x', 0x07, 0, 2, 0x0d,
        ]);
        data.extend([0x10, 0, 1, b'C', 0, 1, b'f', 0x06, 0, 0, 9]);
        let typed = Value::TypedObject {
            class: "C".to_owned(),
            fields: vec![("f".to_owned(), Value::Undefined)],
        };
        assert_eq!(
            read(&data).unwrap(),
            [
                Value::Date {
                    millis: 1.5,
                    zone: -60
                },
                "l".into(),
                Value::Xml("x".to_owned()),
                Value::Reference(2),
                Value::Unsupported,
                typed,
            ]
        );
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<f64>()
                .prop_filter("equality", |number| !number.is_nan())
                .prop_map(Value::Number),
            any::<bool>().prop_map(Value::Boolean),
            ".{0,12}".prop_map(Value::String),
            Just(Value::Null),
            Just(Value::Undefined),
            Just(Value::Unsupported),
            any::<u16>().prop_map(Value::Reference),
            any::<i16>().prop_map(|zone| Value::Date { millis: 0.5, zone }),
            ".{0,12}".prop_map(Value::Xml),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            let fields = || prop::collection::vec((".{0,6}", inner.clone()), 0..6);
            prop_oneof![
                fields().prop_map(Value::Object),
                fields().prop_map(Value::EcmaArray),
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::StrictArray),
                (".{0,6}", fields())
                    .prop_map(|(class, fields)| Value::TypedObject { class, fields }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(values in prop::collection::vec(any_value(), 0..5)) {
            let mut data = Vec::new();
            for value in &values {
                write(&mut data, value);
            }
            prop_assert_eq!(read(&data).unwrap(), values);
        }

        #[test]
        fn random_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&data);
        }

        #[test]
        fn bytes_of_likely_markers_never_panic(data in prop::collection::vec(0_u8..0x12, 0..300)) {
            let _ = read(&data);
        }
    }
}
