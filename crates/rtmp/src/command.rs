//! Commands: a name, a transaction number and values, in AMF0.

use amf0::{Limits, Reader, Value};

/// A command, from a peer or for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    /// What to do, or `_result`, `_error`, `onStatus`.
    pub(crate) name: String,
    /// Which answer belongs to which question; 0 wants no answer.
    pub(crate) transaction: f64,
    /// The command object, often null, and then the arguments.
    pub(crate) values: Vec<Value>,
}

impl Command {
    pub(crate) fn new(name: &str, transaction: f64, values: Vec<Value>) -> Self {
        Self {
            name: name.to_owned(),
            transaction,
            values,
        }
    }

    /// An `onStatus` about a stream.
    pub(crate) fn on_status(info: Value) -> Self {
        Self::new("onStatus", 0.0, vec![Value::Null, info])
    }

    /// Reads a command. A missing transaction number is 0. What stands before
    /// an AMF3 value is kept and the rest is lost: only Flash sends them, in
    /// places that do not matter here.
    pub(crate) fn parse(body: &[u8], limits: &Limits) -> Result<Self, amf0::Error> {
        let mut values = Vec::new();
        for value in Reader::new(body, limits) {
            match value {
                Ok(value) => values.push(value),
                Err(amf0::Error::Unsupported { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        let mut values = values.into_iter();
        let Some(Value::String(name)) = values.next() else {
            return Err(amf0::Error::Malformed {
                offset: 0,
                what: "a command that does not begin with its name",
            });
        };
        let transaction = values.next().and_then(|value| value.as_number());
        Ok(Self {
            name,
            transaction: transaction.unwrap_or(0.0),
            values: values.collect(),
        })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        amf0::write(&mut body, &Value::from(self.name.as_str()));
        amf0::write(&mut body, &Value::Number(self.transaction));
        for value in &self.values {
            amf0::write(&mut body, value);
        }
        body
    }

    /// The command object.
    pub(crate) fn object(&self) -> &Value {
        self.values.first().unwrap_or(&Value::Undefined)
    }

    /// Argument `index`, counted from 0 after the command object.
    pub(crate) fn argument(&self, index: usize) -> &Value {
        self.values.get(index + 1).unwrap_or(&Value::Undefined)
    }
}

/// The object in which both `onStatus` and the answer to `connect` say how
/// things went. `level` is `status` or `error`.
pub(crate) fn info(level: &str, code: &str, description: &str) -> Value {
    object([
        ("level", level.into()),
        ("code", code.into()),
        ("description", description.into()),
    ])
}

/// An object of these fields, in this order.
pub(crate) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[Value]) -> Result<Command, amf0::Error> {
        let mut body = Vec::new();
        for value in values {
            amf0::write(&mut body, value);
        }
        Command::parse(&body, &Limits::default())
    }

    #[test]
    fn a_command_without_a_name_is_refused() {
        for values in [vec![], vec![Value::Null], vec![Value::Number(1.0)]] {
            assert_eq!(
                parse(&values).unwrap_err().to_string(),
                "AMF0 at byte 0: a command that does not begin with its name"
            );
        }
    }

    #[test]
    fn a_command_of_a_name_alone_has_undefined_arguments() {
        let command = parse(&["connect".into()]).unwrap();
        assert_eq!(command.transaction, 0.0);
        assert_eq!(command.object(), &Value::Undefined);
        assert_eq!(command.argument(5), &Value::Undefined);
    }

    #[test]
    fn values_before_an_amf3_value_count() {
        let mut body = Command::new("publish", 5.0, vec![Value::Null, "key".into()]).to_bytes();
        body.extend([0x11, 0x0a, 0x0b]);
        let command = Command::parse(&body, &Limits::default()).unwrap();
        assert_eq!(command.argument(0), &"key".into());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let info = info("error", "NetStream.Publish.BadName", "no");
        let command = Command::on_status(info);
        let read = Command::parse(&command.to_bytes(), &Limits::default()).unwrap();
        assert_eq!(read, command);
    }
}
