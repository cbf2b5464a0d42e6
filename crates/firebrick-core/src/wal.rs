//! The write-ahead log of JavaScript, `wal/main.json` (format §10.3).
//!
//! Nothing acts on it; Firebrick writes the empty form and ignores what it finds.

use std::fmt::Write;

use serde_json::Value as Json;

use crate::cid::{Cid, CidError};

/// Why a write-ahead log cannot be read.
///
/// ```
/// use firebrick_core::wal::{Wal, WalError};
///
/// assert!(matches!(Wal::parse(b"[]"), Err(WalError::Json(_))));
/// let bad_name = br#"{"operations": [{"cars": ["x"]}]}"#;
/// assert!(matches!(Wal::parse(bad_name), Err(WalError::Cid(_))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// Not an object of lists.
    #[error("not a write-ahead log: {0}")]
    Json(String),
    /// A name is not a CID.
    #[error("not a CID: {0}")]
    Cid(#[from] CidError),
}

/// What was still to do when the log was saved.
///
/// ```
/// use firebrick_core::wal::Wal;
///
/// let empty = Wal::default();
/// assert!(empty.operations.is_empty() && empty.file_operations.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Wal {
    /// File CARs, each with whether it is public.
    pub file_operations: Vec<(Cid, bool)>,
    /// CAR groups of compactions.
    pub no_loader_ops: Vec<Vec<Cid>>,
    /// CAR groups of commits.
    pub operations: Vec<Vec<Cid>>,
}

impl Wal {
    /// Reads the file. Missing lists are empty, CIDs may be text or `{"/": text}`.
    ///
    /// ```
    /// use firebrick_core::wal::Wal;
    /// # use firebrick_core::cid::{Cid, Codec};
    /// # let car = Cid::of(Codec::Car, b"a CAR");
    ///
    /// let json = format!(r#"{{"operations": [{{"cars": ["{car}"]}}]}}"#);
    /// assert_eq!(Wal::parse(json.as_bytes())?.operations, [[car]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`WalError`] says what is wrong.
    pub fn parse(json: &[u8]) -> Result<Self, WalError> {
        let json: Json = serde_json::from_slice(json).map_err(|e| WalError::Json(e.to_string()))?;
        if !json.is_object() {
            return Err(WalError::Json("expected an object".into()));
        }
        Ok(Self {
            file_operations: list(json.get("fileOperations"))?
                .iter()
                .map(|op| {
                    let public = op.get("public").and_then(Json::as_bool).unwrap_or(false);
                    Ok((cid(op.get("cid"))?, public))
                })
                .collect::<Result<_, WalError>>()?,
            no_loader_ops: groups(json.get("noLoaderOps"))?,
            operations: groups(json.get("operations"))?,
        })
    }

    /// The file as JavaScript writes it.
    ///
    /// ```
    /// use firebrick_core::wal::Wal;
    ///
    /// let json = Wal::default().to_json();
    /// assert_eq!(json, r#"{"fileOperations":[],"noLoaderOps":[],"operations":[]}"#);
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::from(r#"{"fileOperations":["#);
        for (at, (cid, public)) in self.file_operations.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            // Writing into a string cannot fail.
            let _ = write!(out, r#"{comma}{{"cid":"{cid}","public":{public}}}"#);
        }
        out.push_str(r#"],"noLoaderOps":["#);
        write_groups(&mut out, &self.no_loader_ops);
        out.push_str(r#"],"operations":["#);
        write_groups(&mut out, &self.operations);
        out.push_str("]}");
        out
    }
}

fn write_groups(out: &mut String, groups: &[Vec<Cid>]) {
    for (at, group) in groups.iter().enumerate() {
        out.push_str(if at == 0 {
            r#"{"cars":["#
        } else {
            r#",{"cars":["#
        });
        for (at, cid) in group.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let _ = write!(out, r#"{comma}"{cid}""#);
        }
        out.push_str("]}");
    }
}

fn list(json: Option<&Json>) -> Result<&[Json], WalError> {
    match json {
        None | Some(Json::Null) => Ok(&[]),
        Some(Json::Array(items)) => Ok(items),
        Some(_) => Err(WalError::Json("expected a list".into())),
    }
}

fn groups(json: Option<&Json>) -> Result<Vec<Vec<Cid>>, WalError> {
    let groups = list(json)?.iter();
    groups
        .map(|group| {
            list(group.get("cars"))?
                .iter()
                .map(|c| cid(Some(c)))
                .collect()
        })
        .collect()
}

fn cid(json: Option<&Json>) -> Result<Cid, WalError> {
    let text = json.and_then(|json| json.get("/").unwrap_or(json).as_str());
    Ok(text
        .ok_or_else(|| WalError::Json("expected a CID".into()))?
        .parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::Codec;

    #[test]
    fn both_ways() {
        let cid = |n| Cid::of(Codec::Car, &[n]);
        let wal = Wal {
            file_operations: vec![(cid(1), false), (cid(2), true)],
            no_loader_ops: vec![vec![cid(3)]],
            operations: vec![vec![cid(4), cid(5)], vec![cid(6)]],
        };
        assert_eq!(Wal::parse(wal.to_json().as_bytes()).unwrap(), wal);
        let linked = format!(r#"{{"operations":[{{"cars":[{{"/":"{}"}}]}}]}}"#, cid(1));
        assert_eq!(
            Wal::parse(linked.as_bytes()).unwrap().operations,
            [[cid(1)]]
        );
        assert_eq!(Wal::parse(b"{}").unwrap(), Wal::default());
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            &b"[]"[..],
            b"",
            br#"{"operations":5}"#,
            br#"{"operations":[{"cars":["x"]}]}"#,
        ] {
            assert!(Wal::parse(bad).is_err());
        }
    }
}
