//! Keys as bytes: the same order as the texts', but by plain comparison of bytes, and shorter.
//!
//! Two things differ from the text. A number is its kind and eight bytes instead of some 27
//! characters. And the lead bytes of UTF-8 from U+E000 on are renumbered, so that bytes sort as
//! UTF-16 code units do. Neither changes the order: numbers differ within those bytes, and the
//! renumbering is one to one.

use super::decode::unescape;
use super::{CharwiseError, Key, MAX_DEPTH, write_item};

/// Appends the bytes of a key. They never hold a zero byte outside of a number, and no key's bytes
/// followed by a zero byte are the beginning of another's.
///
/// ```
/// use firebrick_core::charwise::{Key, to_sortable};
/// let bytes = |key: Key| {
///     let mut out = Vec::new();
///     to_sortable(&key, &mut out);
///     out
/// };
/// assert!(bytes(9.0.into()) < bytes(10.0.into()));
/// assert!(bytes(10.0.into()) < bytes("1".into())); // numbers before text
/// ```
pub fn to_sortable(key: &Key, out: &mut Vec<u8>) {
    match key {
        Key::Number(value) => write_number(*value, out),
        Key::List(items) => {
            out.push(b'K');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b'"');
                }
                match item {
                    Key::Number(_) | Key::List(_) => to_sortable(item, out),
                    other => {
                        let mut text = String::new();
                        write_item(other, &mut text);
                        write_text(&text, out);
                    }
                }
            }
            out.push(b'!');
        }
        other => {
            let mut text = String::new();
            super::write(other, &mut text);
            write_text(&text, out);
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    for byte in &mut out[start..] {
        *byte = match *byte {
            lead @ 0xf0..=0xf4 => lead - 2,
            lead @ 0xee..=0xef => lead + 5,
            other => other,
        };
    }
}

fn read_text(bytes: &[u8]) -> Result<String, CharwiseError> {
    let original = |byte: &u8| match *byte {
        lead @ 0xee..=0xf2 => lead + 2,
        lead @ 0xf3..=0xf4 => lead - 5,
        other => other,
    };
    String::from_utf8(bytes.iter().map(original).collect()).map_err(|_| CharwiseError::NotAKey)
}

fn write_number(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"Da");
    } else if value < 0.0 {
        out.extend_from_slice(b"DE");
        out.extend_from_slice(&(!value.to_bits()).to_be_bytes());
    } else {
        out.extend_from_slice(b"FE");
        // Zero has one form.
        let bits = if value == 0.0 { 0 } else { value.to_bits() };
        out.extend_from_slice(&bits.to_be_bytes());
    }
}

/// Reads the bytes of a key, with the flaws of JavaScript's decoder (see [`decode`](super::decode)),
/// so that result rows show what it shows.
///
/// ```
/// use firebrick_core::charwise::{Key, from_sortable, to_sortable};
/// let key = Key::List(vec!["sea".into(), 12.5.into()]);
/// let mut bytes = Vec::new();
/// to_sortable(&key, &mut bytes);
/// assert_eq!(from_sortable(&bytes)?, key);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`CharwiseError`] if the bytes are not those of a key.
pub fn from_sortable(bytes: &[u8]) -> Result<Key, CharwiseError> {
    // Lists that are open, outermost first.
    let mut open: Vec<Vec<Key>> = Vec::new();
    let mut rest = bytes;
    loop {
        let in_list = !open.is_empty();
        let item = match rest {
            [b'K', after @ ..] => {
                if open.len() == MAX_DEPTH {
                    return Err(CharwiseError::TooDeep);
                }
                open.push(Vec::new());
                rest = after;
                if rest.first() != Some(&b'!') {
                    continue;
                }
                None
            }
            _ => {
                let (item, after) = atom(rest, in_list)?;
                rest = after;
                Some(item)
            }
        };
        let Some(mut done) = item.or_else(|| {
            rest = rest.strip_prefix(b"!")?;
            open.pop().map(Key::List)
        }) else {
            return Err(CharwiseError::NotAKey);
        };
        // Close the lists that end here; go on with the next item, or be done.
        loop {
            let Some(list) = open.last_mut() else {
                return if rest.is_empty() {
                    Ok(done)
                } else {
                    Err(CharwiseError::NotAKey)
                };
            };
            list.push(done);
            match rest {
                [b'"', after @ ..] => {
                    rest = after;
                    break;
                }
                [b'!', after @ ..] => {
                    rest = after;
                    done = Key::List(open.pop().unwrap_or_default());
                }
                _ => return Err(CharwiseError::NotAKey),
            }
        }
    }
}

fn atom(bytes: &[u8], in_list: bool) -> Result<(Key, &[u8]), CharwiseError> {
    Ok(match bytes {
        [b'A', rest @ ..] => (Key::Null, rest),
        [b'L', rest @ ..] => (Key::Undefined, rest),
        [b'B', rest @ ..] => (Key::Bool(false), rest),
        [b'C', rest @ ..] => (Key::Bool(true), rest),
        [b'D', b'a', rest @ ..] => (Key::Number(f64::NAN), rest),
        [kind @ (b'D' | b'F'), b'E', rest @ ..] => {
            let (bits, rest) = rest.split_first_chunk().ok_or(CharwiseError::NotAKey)?;
            let bits = u64::from_be_bytes(*bits);
            let bits = if *kind == b'D' { !bits } else { bits };
            (Key::Number(f64::from_bits(bits)), rest)
        }
        [b'J', rest @ ..] if in_list => {
            let end = rest.iter().position(|byte| matches!(byte, b'!' | b'"'));
            let (text, rest) = rest.split_at(end.ok_or(CharwiseError::NotAKey)?);
            (Key::Text(unescape(&read_text(text)?)), rest)
        }
        [b'J', rest @ ..] => (Key::Text(read_text(rest)?), &[][..]),
        _ => return Err(CharwiseError::NotAKey),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::charwise::{cmp, decode, encode};

    fn key() -> impl Strategy<Value = Key> {
        let text = prop_oneof![
            "[ab!\"?@%KJ \u{0}\u{1}é\u{d7ff}\u{e000}\u{ffff}😀]{0,5}",
            any::<String>()
        ];
        let number = prop_oneof![
            any::<f64>(),
            (-3..4_i32).prop_map(f64::from),
            prop::sample::select(vec![
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                -0.0,
                5e-324
            ]),
        ];
        let leaf = prop_oneof![
            Just(Key::Null),
            Just(Key::Undefined),
            any::<bool>().prop_map(Key::Bool),
            number.prop_map(Key::Number),
            text.prop_map(Key::Text),
        ];
        leaf.prop_recursive(3, 12, 4, |item| {
            prop::collection::vec(item, 0..4).prop_map(Key::List)
        })
    }

    fn sortable(key: &Key) -> Vec<u8> {
        let mut out = Vec::new();
        to_sortable(key, &mut out);
        out
    }

    proptest! {
        #[test]
        fn bytes_sort_as_texts_do(a in key(), b in key()) {
            prop_assert_eq!(sortable(&a).cmp(&sortable(&b)), cmp(&encode(&a), &encode(&b)));
        }

        /// With something behind, as in an index.
        #[test]
        fn what_follows_a_zero_byte_does_not_matter(a in key(), b in key(), tail in any::<[u8; 2]>()) {
            let order = sortable(&a).cmp(&sortable(&b));
            prop_assume!(order.is_ne());
            let with = |key, last| [&sortable(key)[..], &[0, last]].concat();
            prop_assert_eq!(with(&a, tail[0]).cmp(&with(&b, tail[1])), order);
        }

        #[test]
        fn read_back_as_javascript_reads_the_text(a in key()) {
            let back = from_sortable(&sortable(&a)).unwrap();
            prop_assert_eq!(format!("{back:?}"), format!("{:?}", decode(&encode(&a)).unwrap()));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(b"KJ!\"AFED".to_vec())], 0..20
        )) {
            let _ = from_sortable(&bytes);
        }
    }

    #[test]
    fn deep_lists_are_refused() {
        assert_eq!(from_sortable(&[b'K'; 100_000]), Err(CharwiseError::TooDeep));
    }
}
