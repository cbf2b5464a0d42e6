//! The dynamic document, for data whose shape the program does not know.

use firebrick_core::cbor::{JsonError, Value};

/// A document of any shape: a map of [`Value`]s, among them its `_id`.
///
/// It keeps what the format can hold: bytes, links, and integers beyond 2^53, which JavaScript sees
/// as BigInt.
///
/// ```
/// use firebrick::Document;
/// let doc = Document::new().with("_id", "a").with("tags", vec!["x".into(), "y".into()]);
/// assert_eq!(doc.id(), Some("a"));
/// assert_eq!(doc.to_json(), serde_json::json!({"_id": "a", "tags": ["x", "y"]}));
/// ```
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Document(std::collections::BTreeMap<String, Value>);

impl Document {
    /// An empty document; it gets an id when it is written.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With `value` under `key`.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }

    /// Puts `value` under `key`.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.0.insert(key.into(), value.into());
    }

    /// Takes the field out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }

    /// The field's value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The id, if it has one that is text.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self.get("_id") {
            Some(Value::Text(id)) => Some(id),
            _ => None,
        }
    }

    /// The fields, ordered by name.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// As JSON: bytes as `{"/":{"bytes":"base64"}}`, links as `{"/":"cid"}`, integers beyond 2^53
    /// as `{"$bigint":"…"}`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let fields = self
            .0
            .iter()
            .map(|(key, value)| (key.clone(), value.to_json()));
        serde_json::Value::Object(fields.collect())
    }

    /// From JSON in the notation of [`Document::to_json`].
    ///
    /// # Errors
    /// If the JSON is not an object, or holds bytes or links that are malformed.
    pub fn from_json(json: &serde_json::Value) -> Result<Self, JsonError> {
        match Value::from_json(json)? {
            Value::Map(fields) => Ok(Self(fields.into_iter().collect())),
            _ => Err(JsonError::NotAnObject),
        }
    }
}

impl FromIterator<(String, Value)> for Document {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}
