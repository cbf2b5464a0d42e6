//! Reading keys back, with the flaws of JavaScript's decoder: escapes of U+0000 and U+0001 stay, and
//! in lists `?` escapes are undone even where none were made.

use super::{CharwiseError, Key, MAX_DEPTH, complement};

/// Reads an encoded key as JavaScript does.
///
/// ```
/// use firebrick_core::charwise::{Key, decode, encode};
/// assert_eq!(decode("FE501M1.2500000000000000000000")?, Key::Number(12.5));
/// let key = Key::List(vec!["sea".into(), Key::Null]);
/// assert_eq!(decode(&encode(&key))?, key);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`CharwiseError`] if the text is not an encoded key.
pub fn decode(text: &str) -> Result<Key, CharwiseError> {
    if text.starts_with('K') {
        list(text)
    } else {
        atom(text)
    }
}

fn atom(text: &str) -> Result<Key, CharwiseError> {
    let mut rest = text.chars();
    let kind = rest.next().ok_or(CharwiseError::NotAKey)?;
    let rest = rest.as_str();
    match (kind, rest) {
        ('A', "") => Ok(Key::Null),
        ('L', "") => Ok(Key::Undefined),
        ('B', "") => Ok(Key::Bool(false)),
        ('C', "") => Ok(Key::Bool(true)),
        ('D', "aN") => Ok(Key::Number(f64::NAN)),
        ('D', "D") => Ok(Key::Number(f64::NEG_INFINITY)),
        ('F', "F") => Ok(Key::Number(f64::INFINITY)),
        ('D' | 'F', _) => number(kind == 'D', rest).ok_or(CharwiseError::NotAKey),
        ('J', _) => Ok(Key::Text(rest.into())),
        _ => Err(CharwiseError::NotAKey),
    }
}

/// `E` exponent + 500 `M` mantissa.
fn number(is_negative: bool, text: &str) -> Option<Key> {
    let text = text.strip_prefix('E')?;
    let flipped: String;
    let body = if is_negative {
        flipped = text.chars().map(complement).collect();
        &flipped
    } else {
        text
    };
    let (exponent, mantissa) = body.split_once('M')?;
    let exponent: i32 = exponent.trim_start_matches(' ').parse().ok()?;
    let is_decimal = |c: char| c.is_ascii_digit() || c == '.';
    if !mantissa.chars().all(is_decimal) {
        return None;
    }
    if mantissa == "0" {
        return Some(Key::Number(0.0));
    }
    let value: f64 = format!("{mantissa}e{}", exponent.checked_sub(500)?)
        .parse()
        .ok()?;
    Some(Key::Number(if is_negative { -value } else { value }))
}

/// Lists: items are separated by `"`; an item opens lists by leading `K`s and closes them by
/// trailing `!`s.
fn list(text: &str) -> Result<Key, CharwiseError> {
    // Lists that are open, outermost first.
    let mut open: Vec<Vec<Key>> = Vec::new();
    let mut items = text.split('"');
    while let Some(item) = items.next() {
        let content = item.trim_start_matches('K');
        for _ in 0..item.len() - content.len() {
            open.push(Vec::new());
        }
        if open.len() > MAX_DEPTH {
            return Err(CharwiseError::TooDeep);
        }
        let atom_text = content.trim_end_matches('!');
        if !atom_text.is_empty() {
            let item = atom(&unescape(atom_text))?;
            open.last_mut().ok_or(CharwiseError::NotAKey)?.push(item);
        }
        for left in (0..content.len() - atom_text.len()).rev() {
            let closed = Key::List(open.pop().ok_or(CharwiseError::NotAKey)?);
            match open.last_mut() {
                Some(outer) => outer.push(closed),
                None if left == 0 && items.next().is_none() => return Ok(closed),
                None => return Err(CharwiseError::NotAKey),
            }
        }
    }
    Err(CharwiseError::NotAKey)
}

pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('?') {
        out.push_str(before);
        let (plain, skip) = match after.chars().next() {
            Some('@') => ('?', 1),
            Some('?') => ('!', 1),
            Some('%') => ('"', 1),
            _ => ('?', 0),
        };
        out.push(plain);
        rest = &after[skip..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charwise::encode;

    #[test]
    fn both_ways() {
        let list = Key::List;
        for key in [
            Key::Null,
            Key::Undefined,
            true.into(),
            (-12.5e-9).into(),
            f64::MAX.into(),
            0.0.into(),
            "a\"!?".into(),
            list(vec![]),
            list(vec![list(vec![]), list(vec![])]),
            list(vec![list(vec!["x".into()]), Key::Null, "".into()]),
            list(vec!["!".into(), "a\"b?c!d".into(), (-5.0).into()]),
            list(vec![list(vec![list(vec![1.0.into()])])]),
        ] {
            assert_eq!(decode(&encode(&key)), Ok(key));
        }
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            "",
            "X",
            "Ax",
            "FE",
            "FE500M",
            "FE500Mx",
            "DE",
            "K",
            "KA",
            "KA!\"A",
            "KA!!",
            "KX!",
            "FEM1",
            "FE999999999999M1",
        ] {
            assert!(decode(bad).is_err(), "{bad}");
        }
        assert_eq!(decode(&"K".repeat(100_000)), Err(CharwiseError::TooDeep));
    }
}
