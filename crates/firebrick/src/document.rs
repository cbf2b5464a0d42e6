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
    ///
    /// ```
    /// # use firebrick::{Database, Document, Error};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Database::memory("example").await?;
    /// let written = db.put(&Document::new()).await?;
    /// let doc: Document = db.get(written.id()).await?.expect("it is there");
    /// assert_eq!(doc.id(), Some(written.id()));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With `value` under `key`.
    ///
    /// ```
    /// # use firebrick::Document;
    /// let doc = Document::new().with("_id", "a").with("done", false).with("stars", 4.5);
    /// assert_eq!(doc.to_json(), serde_json::json!({"_id": "a", "done": false, "stars": 4.5}));
    /// ```
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }

    /// Puts `value` under `key`.
    ///
    /// ```
    /// # use firebrick::{Document, Value};
    /// let mut doc = Document::new().with("n", 1);
    /// doc.set("n", 2);
    /// assert_eq!(doc.get("n"), Some(&Value::Int(2)));
    /// ```
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.0.insert(key.into(), value.into());
    }

    /// Takes the field out.
    ///
    /// ```
    /// # use firebrick::{Document, Value};
    /// let mut doc = Document::new().with("n", 1);
    /// assert_eq!(doc.remove("n"), Some(Value::Int(1)));
    /// assert_eq!(doc.remove("n"), None);
    /// ```
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }

    /// The field's value.
    ///
    /// ```
    /// # use firebrick::{Document, Value};
    /// let doc = Document::new().with("text", "milk");
    /// match doc.get("text") {
    ///     Some(Value::Text(text)) => assert_eq!(text, "milk"),
    ///     other => panic!("{other:?}"),
    /// }
    /// ```
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The id, if it has one that is text.
    ///
    /// ```
    /// # use firebrick::Document;
    /// assert_eq!(Document::new().with("_id", "a").id(), Some("a"));
    /// assert_eq!(Document::new().id(), None);
    /// ```
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self.get("_id") {
            Some(Value::Text(id)) => Some(id),
            _ => None,
        }
    }

    /// The fields, ordered by name.
    ///
    /// ```
    /// # use firebrick::Document;
    /// let doc = Document::new().with("b", 2).with("a", 1);
    /// let names: Vec<_> = doc.fields().map(|(name, _)| name).collect();
    /// assert_eq!(names, ["a", "b"]);
    /// ```
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// As JSON: bytes as `{"/":{"bytes":"base64"}}`, links as `{"/":"cid"}`, integers beyond 2^53
    /// as `{"$bigint":"…"}`.
    ///
    /// ```
    /// # use firebrick::{Document, Value};
    /// let doc = Document::new().with("big", 1_u64 << 60).with("raw", Value::Bytes(vec![1, 2]));
    /// let json = doc.to_json();
    /// assert_eq!(json["big"], serde_json::json!({"$bigint": "1152921504606846976"}));
    /// assert_eq!(json["raw"]["/"]["bytes"], "AQI");
    /// ```
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
    /// ```
    /// # use firebrick::{Document, Value};
    /// let doc = Document::from_json(&serde_json::json!({"_id": "a", "tags": ["x"]}))?;
    /// assert_eq!(doc.get("tags"), Some(&Value::List(vec!["x".into()])));
    /// assert!(Document::from_json(&serde_json::json!("text")).is_err());
    /// # Ok::<(), firebrick::core::cbor::JsonError>(())
    /// ```
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
