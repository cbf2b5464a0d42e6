//! dag-cbor as the format uses it (format §3): canonical, strict, bounded.
//!
//! [`Writer`] and [`Reader`] are the low level that every block codec stands on; neither allocates
//! by what the input *claims* to hold. [`to_vec`] and [`from_slice`] are the serde level, [`Value`]
//! is for data whose shape is unknown.
//!
//! ```
//! use firebrick_core::cbor;
//! let bytes = cbor::to_vec(&serde_json::json!({"b": 1.0, "a": [true, null]}))?;
//! assert_eq!(bytes, b"\xa2\x61a\x82\xf5\xf6\x61b\x01");
//! let back: cbor::Value = cbor::from_slice(&bytes)?;
//! assert_eq!(back["b"], cbor::Value::Int(1));
//! # Ok::<(), cbor::CborError>(())
//! ```

mod date;
mod de;
mod error;
mod json;
mod link;
mod reader;
mod ser;
mod value;
mod writer;

pub use date::{Date, Undefined};
pub(crate) use de::Deserializer;
pub use de::from_slice;
pub use error::CborError;
pub use json::JsonError;
pub use link::Link;
pub use reader::{Reader, Token};
pub(crate) use ser::Serializer;
pub use ser::to_vec;
pub use value::Value;
pub use writer::Writer;

/// How deeply lists and maps may be nested, in both directions.
///
/// ```
/// use firebrick_core::cbor::{self, CborError, MAX_DEPTH, Value};
/// let mut deep = Value::Null;
/// for _ in 0..MAX_DEPTH {
///     deep = vec![deep].into();
/// }
/// assert!(cbor::to_vec(&deep).is_ok());
/// assert_eq!(cbor::to_vec(&[deep]), Err(CborError::TooDeep(MAX_DEPTH)));
/// ```
pub const MAX_DEPTH: usize = 256;

/// The greatest integer that a JavaScript number holds exactly, 2^53 − 1.
///
/// ```
/// use firebrick_core::cbor::{MAX_SAFE_INTEGER, Value};
/// let greatest = MAX_SAFE_INTEGER as f64;
/// assert_eq!(Value::from(greatest), Value::Int(MAX_SAFE_INTEGER.into()));
/// assert_eq!(Value::from(greatest + 1.0), Value::Float(greatest + 1.0));
/// ```
pub const MAX_SAFE_INTEGER: i64 = 9_007_199_254_740_991;
