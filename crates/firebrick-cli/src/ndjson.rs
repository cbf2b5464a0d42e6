//! Reading NDJSON: one JSON object per line, of any length of file in bounded memory.

use std::io::{self, BufRead};

use serde_json::{Map, Value};

/// A line longer than this is refused without being held. A document may have 16 MiB encoded;
/// its JSON with escapes is longer.
const LINE_BYTES: usize = 64 << 20;

/// A record and where it stood.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) line: u64,
    pub(crate) document: Map<String, Value>,
}

/// A line that holds no document.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct BadLine {
    pub(crate) line: u64,
    pub(crate) reason: String,
}

/// Iterates over the lines of a reader; empty ones are left out.
#[derive(Debug)]
pub(crate) struct Records<R> {
    reader: R,
    line: u64,
    bytes: u64,
    id_field: Option<String>,
    buffer: Vec<u8>,
}

impl<R: BufRead> Records<R> {
    pub(crate) fn new(reader: R, id_field: Option<String>) -> Self {
        Records {
            reader,
            line: 0,
            bytes: 0,
            id_field,
            buffer: Vec::new(),
        }
    }

    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Skips to this line, counted from one.
    pub(crate) fn start_at(&mut self, line: u64) -> io::Result<()> {
        while self.line + 1 < line && self.read_line()?.is_some() {}
        Ok(())
    }

    /// The next record; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Result<Record, BadLine>>> {
        loop {
            let Some(fits) = self.read_line()? else {
                return Ok(None);
            };
            let line = self.line;
            if !fits {
                let reason = format!("longer than {} MiB", LINE_BYTES >> 20);
                return Ok(Some(Err(BadLine { line, reason })));
            }
            let mut text = self.buffer.trim_ascii();
            if line == 1 {
                text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
            }
            if text.is_empty() {
                continue;
            }
            let record = parse(text, self.id_field.as_deref());
            return Ok(Some(match record {
                Ok(document) => Ok(Record { line, document }),
                Err(reason) => Err(BadLine { line, reason }),
            }));
        }
    }

    /// Reads one line into the buffer; `Some(false)` if it was too long to keep.
    fn read_line(&mut self) -> io::Result<Option<bool>> {
        self.buffer.clear();
        let mut length = 0_usize;
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                if length == 0 {
                    return Ok(None);
                }
                break;
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(available.len(), |end| end + 1);
            length += taken;
            if length <= LINE_BYTES {
                self.buffer.extend_from_slice(&available[..taken]);
            } else {
                self.buffer = Vec::new();
            }
            self.reader.consume(taken);
            if end.is_some() {
                break;
            }
        }
        self.line += 1;
        self.bytes += length as u64;
        Ok(Some(length <= LINE_BYTES))
    }
}

fn parse(text: &[u8], id_field: Option<&str>) -> Result<Map<String, Value>, String> {
    let value = serde_json::from_slice(text).map_err(|error| json_reason(&error))?;
    let mut document = object(value)?;
    match (document.get("_id"), id_field) {
        (Some(Value::String(_)), _) => {}
        (Some(other), _) => return Err(format!("its _id is {}; ids are text", kind_of(other))),
        (None, Some(field)) => {
            let id = match document.get(field) {
                Some(Value::String(id)) => id.clone(),
                Some(Value::Number(number)) => number.to_string(),
                Some(other) => {
                    return Err(format!(
                        "its `{field}` is {}; an id is text or a number",
                        kind_of(other)
                    ));
                }
                None => return Err(format!("it has neither _id nor `{field}`")),
            };
            document.insert("_id".to_owned(), Value::String(id));
        }
        (None, None) => {}
    }
    Ok(document)
}

/// The map that a document must be.
pub(crate) fn object(value: Value) -> Result<Map<String, Value>, String> {
    match value {
        Value::Object(map) => Ok(map),
        other => Err(format!(
            "it is {}; a document is an object such as {{\"name\": \"x\"}}",
            kind_of(&other)
        )),
    }
}

/// What serde_json found wrong, without its line number, which is always one.
pub(crate) fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or(&text);
    match error.column() {
        0 => format!("not JSON: {text}"),
        column => format!("not JSON: {text} at column {column}"),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str, id_field: Option<&str>) -> Vec<Result<(u64, Value), (u64, String)>> {
        let mut records = Records::new(text.as_bytes(), id_field.map(str::to_owned));
        let mut found = Vec::new();
        while let Some(record) = records.next().unwrap() {
            found.push(match record {
                Ok(record) => Ok((record.line, Value::Object(record.document))),
                Err(bad) => Err((bad.line, bad.reason)),
            });
        }
        assert_eq!(records.bytes(), text.len() as u64);
        found
    }

    #[test]
    fn lines_are_counted_and_bad_ones_named() {
        let found = read(
            "\u{feff}{\"_id\":\"a\"}\r\n\n[1]\n{\"_id\":7}\n{\"x\"\n{\"x\":1}",
            None,
        );
        assert_eq!(found[0], Ok((1, json!({"_id": "a"}))));
        assert!(
            found[1].as_ref().unwrap_err().1.contains("it is a list"),
            "{found:?}"
        );
        assert_eq!(found[1].as_ref().unwrap_err().0, 3);
        assert!(
            found[2].as_ref().unwrap_err().1.contains("ids are text"),
            "{found:?}"
        );
        assert!(
            found[3].as_ref().unwrap_err().1.contains("not JSON: EOF"),
            "{found:?}"
        );
        assert_eq!(found[4], Ok((6, json!({"x": 1}))));
    }

    #[test]
    fn ids_come_from_a_field() {
        let found = read(
            "{\"n\":1}\n{\"n\":\"b\"}\n{\"_id\":\"c\"}\n{\"m\":1}\n{\"n\":[]}",
            Some("n"),
        );
        assert_eq!(found[0], Ok((1, json!({"_id": "1", "n": 1}))));
        assert_eq!(found[1], Ok((2, json!({"_id": "b", "n": "b"}))));
        assert_eq!(found[2], Ok((3, json!({"_id": "c"}))));
        assert!(found[3].is_err() && found[4].is_err());
    }

    #[test]
    fn lines_can_be_skipped() {
        let mut records = Records::new("{\"_id\":\"a\"}\nx\n{\"_id\":\"c\"}\n".as_bytes(), None);
        records.start_at(3).unwrap();
        assert_eq!(records.next().unwrap().unwrap().unwrap().line, 3);
        assert!(records.next().unwrap().is_none());
    }
}
