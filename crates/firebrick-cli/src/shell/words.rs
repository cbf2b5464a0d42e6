//! From a line to the words of a command.

use crate::failure::{Failure, Result};

/// Splits a line as a POSIX shell does, except that a JSON value at its end is taken as it stands.
/// Empty for an empty line and for a comment.
pub(super) fn split(line: &str) -> Result<Vec<String>> {
    let line = line.trim();
    let (head, json) = match json_start(line) {
        Some(at) => line.split_at(at),
        None => (line, ""),
    };
    let mut words = shlex::split(head).ok_or_else(|| {
        Failure::bad_input("a quote is not closed").hint("close it, or write \\\" for a quote")
    })?;
    words.extend((!json.is_empty()).then(|| json.to_owned()));
    Ok(words)
}

/// Where a word begins with a brace, outside quotes: the rest of the line is a document then.
fn json_start(line: &str) -> Option<usize> {
    let mut quote = None;
    let mut before = ' ';
    for (at, letter) in line.char_indices() {
        match quote {
            Some(open) if open == letter && before != '\\' => quote = None,
            Some(_) => {}
            None if letter == '#' && before.is_whitespace() => return None,
            None if letter == '{' && before.is_whitespace() => return Some(at),
            None if (letter == '"' || letter == '\'') && before != '\\' => quote = Some(letter),
            None => {}
        }
        before = letter;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_document_needs_no_quotes() {
        let line = r#"put --id 'a b' {"text": "it's \"quoted\"", "n": [1, 2]}"#;
        let words = split(line).unwrap();
        assert_eq!(words[..3], ["put", "--id", "a b"]);
        assert_eq!(words[3], r#"{"text": "it's \"quoted\"", "n": [1, 2]}"#);
    }

    #[test]
    fn quotes_work_as_in_a_shell() {
        assert_eq!(
            split(r#"put '{"_id": "x"}'"#).unwrap(),
            ["put", r#"{"_id": "x"}"#]
        );
        assert_eq!(split(r#"get "a b" c\ d"#).unwrap(), ["get", "a b", "c d"]);
        assert!(split("get 'a").is_err());
    }

    #[test]
    fn comments_and_empty_lines_are_nothing() {
        for line in ["", "   ", "# put {}", "  # x"] {
            assert!(split(line).unwrap().is_empty(), "{line:?}");
        }
        assert_eq!(split("list # all of them").unwrap(), ["list"]);
    }
}
