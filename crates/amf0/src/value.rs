/// One AMF0 value.
///
/// Objects and ECMA arrays keep the order of their fields and any repeated
/// names, as the sender wrote them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A double; AMF0 has no other number.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// Text, short or long form; bytes that are not UTF-8 are replaced when read.
    String(String),
    /// Named fields.
    Object(Vec<(String, Self)>),
    /// Named fields, announced with a count that nobody relies on.
    EcmaArray(Vec<(String, Self)>),
    /// Values in order.
    StrictArray(Vec<Self>),
    /// Named fields of a class.
    TypedObject {
        /// Name of the class at the sender.
        class: String,
        /// Its fields.
        fields: Vec<(String, Self)>,
    },
    /// No value.
    Null,
    /// A value that was never set.
    Undefined,
    /// A value the sender could not encode.
    Unsupported,
    /// The index of an object that came earlier in the same message. Not
    /// followed: no sender of commands or metadata is known to need it.
    Reference(u16),
    /// An instant.
    Date {
        /// Milliseconds since 1970-01-01 UTC.
        millis: f64,
        /// Minutes from UTC; the specification reserves it as 0.
        zone: i16,
    },
    /// An XML document as text.
    Xml(String),
}

impl Value {
    /// The text of a [`Value::String`].
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number of a [`Value::Number`].
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth of a [`Value::Boolean`].
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The fields of an object, a typed object or an ECMA array: senders use
    /// them interchangeably.
    pub fn fields(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Object(fields) | Self::EcmaArray(fields) | Self::TypedObject { fields, .. } => {
                Some(fields)
            }
            _ => None,
        }
    }

    /// The first field called `name`, of anything that has fields.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.fields()?
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}
