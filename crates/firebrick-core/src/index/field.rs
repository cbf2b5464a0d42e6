//! Reading one field of an encoded document, without the others.

use crate::cbor::{self, CborError, Reader, Token, Value};

/// The value at a path of map keys in an encoded map; `None` if it is absent, null, or if something
/// on the way is not a map.
///
/// ```
/// # use firebrick_core::{cbor::{self, Value}, index::value_at};
/// # use std::collections::BTreeMap;
/// let author = BTreeMap::from([("name", "Ada")]);
/// let bytes = cbor::to_vec(&BTreeMap::from([("author", author)]))?;
/// assert_eq!(value_at(&bytes, &["author", "name"])?, Some(Value::from("Ada")));
/// assert_eq!(value_at(&bytes, &["author", "age"])?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`CborError`] if the bytes are malformed, as far as they are read.
pub fn value_at(map: &[u8], path: &[impl AsRef<str>]) -> Result<Option<Value>, CborError> {
    let mut input = Reader::new(map);
    for (depth, name) in path.iter().enumerate() {
        if !find(&mut input, name.as_ref())? {
            return Ok(None);
        }
        if depth + 1 == path.len() {
            return read(map, &mut input);
        }
    }
    Ok(None)
}

/// Goes to the value of an entry of the map that is next.
fn find(input: &mut Reader<'_>, name: &str) -> Result<bool, CborError> {
    let Token::Map(entries) = input.token()? else {
        return Ok(false);
    };
    for _ in 0..entries {
        if input.text()? == name {
            return Ok(true);
        }
        skip(input)?;
    }
    Ok(false)
}

fn skip(input: &mut Reader<'_>) -> Result<(), CborError> {
    let mut left = 1_usize;
    while left > 0 {
        left -= 1;
        // A head that claims more items than there are bytes is refused by the reader.
        left += match input.token()? {
            Token::List(items) => items,
            Token::Map(entries) => entries * 2,
            _ => 0,
        };
    }
    Ok(())
}

fn read(bytes: &[u8], input: &mut Reader<'_>) -> Result<Option<Value>, CborError> {
    let start = input.position();
    Ok(Some(match input.token()? {
        Token::Null => return Ok(None),
        Token::Bool(value) => Value::Bool(value),
        Token::Int(value) => Value::Int(value),
        Token::Float(value) => Value::from(value),
        Token::Text(text) => Value::Text(text.into()),
        _ => {
            let mut end = Reader::new(&bytes[start..]);
            skip(&mut end)?;
            cbor::from_slice(&bytes[start..start + end.position()])?
        }
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths() {
        let document = json!({
            "_id": "x", "n": 5, "f": 1.5, "null": null, "list": [1, [2]],
            "a": {"b": {"c": "deep"}, "d": [{"e": 1}]}, "z": "last",
        });
        let bytes = cbor::to_vec(&document).unwrap();
        let at = |path: &[&str]| value_at(&bytes, path).unwrap().map(|value| value.to_json());
        assert_eq!(at(&["n"]), Some(json!(5)));
        assert_eq!(at(&["f"]), Some(json!(1.5)));
        assert_eq!(at(&["z"]), Some(json!("last")));
        assert_eq!(at(&["list"]), Some(json!([1, [2]])));
        assert_eq!(at(&["a", "b", "c"]), Some(json!("deep")));
        assert_eq!(at(&["a"]), Some(document["a"].clone()));
        for absent in [
            &["null"][..],
            &["x"],
            &["n", "x"],
            &["a", "x"],
            &["a", "d", "e"],
            &[],
        ] {
            assert_eq!(at(absent), None, "{absent:?}");
        }
        for cut in 0..bytes.len() {
            let _ = value_at(&bytes[..cut], &["z"]);
        }
        assert!(value_at(&bytes[..bytes.len() - 1], &["null"]).is_err());
    }
}
