use crate::{Value, marker};

/// Appends `value` to `out`.
///
/// Text longer than 65535 bytes takes the long form. A field or class name has
/// no long form and is cut at the last whole character that fits.
pub fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => {
            out.push(marker::NUMBER);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Boolean(truth) => out.extend_from_slice(&[marker::BOOLEAN, u8::from(*truth)]),
        Value::String(text) if u16::try_from(text.len()).is_ok() => {
            out.push(marker::STRING);
            name(out, text);
        }
        Value::String(text) => long_text(out, marker::LONG_STRING, text),
        Value::Object(fields) => {
            out.push(marker::OBJECT);
            named(out, fields);
        }
        Value::EcmaArray(fields) => {
            out.push(marker::ECMA_ARRAY);
            count(out, fields.len());
            named(out, fields);
        }
        Value::StrictArray(elements) => {
            out.push(marker::STRICT_ARRAY);
            count(out, elements.len());
            for element in elements {
                write(out, element);
            }
        }
        Value::TypedObject { class, fields } => {
            out.push(marker::TYPED_OBJECT);
            name(out, class);
            named(out, fields);
        }
        Value::Null => out.push(marker::NULL),
        Value::Undefined => out.push(marker::UNDEFINED),
        Value::Unsupported => out.push(marker::UNSUPPORTED),
        Value::Reference(index) => {
            out.push(marker::REFERENCE);
            out.extend_from_slice(&index.to_be_bytes());
        }
        Value::Date { millis, zone } => {
            out.push(marker::DATE);
            out.extend_from_slice(&millis.to_be_bytes());
            out.extend_from_slice(&zone.to_be_bytes());
        }
        Value::Xml(text) => long_text(out, marker::XML, text),
    }
}

fn named(out: &mut Vec<u8>, fields: &[(String, Value)]) {
    for (key, value) in fields {
        name(out, key);
        write(out, value);
    }
    out.extend_from_slice(&[0, 0, marker::OBJECT_END]);
}

fn name(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    // Just cut to what sixteen bits can say.
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn long_text(out: &mut Vec<u8>, kind: u8, text: &str) {
    let text = &text[..text.floor_char_boundary(u32::MAX as usize)];
    out.push(kind);
    count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn count(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, read_all};

    #[test]
    fn a_connect_is_written_byte_for_byte() {
        let mut out = Vec::new();
        write(&mut out, &"connect".into());
        write(&mut out, &1.0.into());
        let object = Value::Object(vec![
            ("app".to_owned(), "live".into()),
            ("fpad".to_owned(), false.into()),
        ]);
        write(&mut out, &object);
        let expected = b"\x02\0\x07connect\0\x3f\xf0\0\0\0\0\0\0\
            \x03\0\x03app\x02\0\x04live\0\x04fpad\x01\0\0\0\x09";
        assert_eq!(out, expected);
    }

    #[test]
    fn text_beyond_sixteen_bits_takes_the_long_form() {
        let long = Value::String("y".repeat(70_000));
        let mut out = Vec::new();
        write(&mut out, &long);
        assert_eq!(out[..5], [0x0c, 0, 1, 0x11, 0x70]);
        assert_eq!(read_all(&out, &Limits::default()).unwrap(), [long]);
    }

    #[test]
    fn a_name_beyond_sixteen_bits_is_cut_at_a_character() {
        let long = "é".repeat(40_000);
        let mut out = Vec::new();
        write(&mut out, &Value::Object(vec![(long, Value::Null)]));
        let values = read_all(&out, &Limits::default()).unwrap();
        let [(name, Value::Null)] = values[0].fields().unwrap() else {
            panic!("one field");
        };
        assert_eq!(name.len(), 65_534);
    }
}
