//! A shorter form of events, which a compaction keeps for good: most of what is not a digest in an
//! event is the same in all of them.
//!
//! The form of a block depends on its bytes alone, because the nonce that seals it does too: the same
//! block must never be sealed in two forms.

use std::borrow::Cow;

use bytes::Bytes;
use firebrick_core::Cid;
use firebrick_core::cid::Codec;

/// The first byte of the short form; no dag-cbor begins with it.
const MARK: u8 = 0xff;
/// What an event begins with.
const EVENT: &[u8] = b"\xa2\x64data";
/// Bytes from here on stand for one of [`WORDS`], those below for a run of bytes as they are.
const FIRST_WORD: u8 = 0xe0;
/// What comes up in events. Part of the store's format: another list would give events another form.
const WORDS: [&[u8]; 7] = [
    EVENT,
    b"\xa4\x63key",
    b"\x64root\xd8\x2a\x58\x25\x00\x01\x71\x12\x20",
    b"\x64type\x63put\x65value\xd8\x2a\x58\x25\x00\x01\x71\x12\x20",
    b"\x67parents\x81\xd8\x2a\x58\x25\x00\x01\x71\x12\x20",
    b"\xa3\x63key",
    b"\xd8\x2a\x58\x25\x00\x01\x71\x12\x20",
];
/// Whether a word begins with this byte: few do, and every write asks it of every byte of its event.
const BEGINS_WORD: [bool; 256] = {
    let mut begins = [false; 256];
    let mut word = 0;
    while word < WORDS.len() {
        begins[WORDS[word][0] as usize] = true;
        word += 1;
    }
    begins
};
/// Longer blocks stay as they are.
const PLAIN_BYTES_MAX: usize = 64 << 10;

/// The form in which a block is stored.
pub(crate) fn pack<'a>(cid: &Cid, plain: &'a [u8]) -> Cow<'a, [u8]> {
    let is_event = plain.starts_with(EVENT) && plain.len() <= PLAIN_BYTES_MAX;
    let is_odd = plain.first() == Some(&MARK);
    if cid.codec() != Codec::DagCbor || !(is_event || is_odd) {
        return Cow::Borrowed(plain);
    }
    let mut out = Vec::with_capacity(plain.len());
    out.push(MARK);
    // An odd block only needs to be told from a short form.
    let (mut from, mut at) = (0, if is_event { 0 } else { plain.len() });
    while at < plain.len() {
        let rest = &plain[at..];
        let mut words = WORDS.iter();
        let word = match BEGINS_WORD[usize::from(rest[0])] {
            true => words.position(|word| rest.starts_with(word)),
            false => None,
        };
        match word {
            Some(word) => {
                put_run(&plain[from..at], &mut out);
                out.push(FIRST_WORD + word as u8);
                at += WORDS[word].len();
                from = at;
            }
            None => at += 1,
        }
    }
    put_run(&plain[from..], &mut out);
    Cow::Owned(out)
}

fn put_run(bytes: &[u8], out: &mut Vec<u8>) {
    for run in bytes.chunks(usize::from(FIRST_WORD)) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

/// The block from its stored form; `None` if it is not one.
pub(crate) fn unpack(cid: &Cid, stored: Bytes) -> Option<Bytes> {
    if cid.codec() != Codec::DagCbor || stored.first() != Some(&MARK) {
        return Some(stored);
    }
    let limit = stored.len().max(PLAIN_BYTES_MAX);
    let mut out = Vec::with_capacity(2 * stored.len().min(PLAIN_BYTES_MAX));
    let mut rest = &stored[1..];
    while let Some((op, after)) = rest.split_first() {
        let word = op.checked_sub(FIRST_WORD);
        rest = match word {
            Some(word) => {
                out.extend_from_slice(WORDS.get(usize::from(word))?);
                after
            }
            None => {
                let (run, after) = after.split_at_checked(usize::from(*op) + 1)?;
                out.extend_from_slice(run);
                after
            }
        };
        if out.len() > limit {
            return None;
        }
    }
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use firebrick_core::clock::{Event, Operation};
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(codec: Codec, plain: &[u8]) -> usize {
        let cid = Cid::of(codec, plain);
        let stored = pack(&cid, plain).into_owned();
        assert_eq!(pack(&cid, plain), stored, "one form only");
        let len = stored.len();
        assert_eq!(unpack(&cid, stored.into()).as_deref(), Some(plain));
        len
    }

    #[test]
    fn events_take_little_more_than_their_digests() {
        let [a, b, c] = [1, 2, 3].map(|n| Cid::of(Codec::DagCbor, &[n]));
        let put = Operation::Put {
            key: "the-document".into(),
            value: a,
        };
        let event = Event::new(put, b, vec![c]).encode();
        let stored = there_and_back(Codec::DagCbor, &event.bytes);
        assert!(event.bytes.len() > 170 && stored <= 122, "{stored}");
    }

    #[test]
    fn what_is_no_event_is_told_apart() {
        for plain in [
            &b""[..],
            b"\xff",
            b"\xff\xe0",
            b"\xa2",
            EVENT,
            b"\xa2\x64datx",
        ] {
            there_and_back(Codec::DagCbor, plain);
            assert_eq!(there_and_back(Codec::Raw, plain), plain.len());
        }
        let mut long = EVENT.to_vec();
        long.resize(PLAIN_BYTES_MAX + 1, 7);
        assert_eq!(there_and_back(Codec::DagCbor, &long), long.len());
        long[0] = MARK;
        there_and_back(Codec::DagCbor, &long);
        let cid = Cid::of(Codec::DagCbor, b"");
        for broken in [&b"\xff\x00"[..], b"\xff\xff", b"\xff\x05abc"] {
            assert_eq!(unpack(&cid, Bytes::from_static(broken)), None);
        }
        let bomb = vec![FIRST_WORD + 3; PLAIN_BYTES_MAX];
        assert_eq!(unpack(&cid, [&[MARK][..], &bomb].concat().into()), None);
    }

    proptest! {
        #[test]
        fn any_bytes(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..300),
                    (0..WORDS.len()).prop_map(|word| WORDS[word].to_vec()),
                ],
                0..12,
            ),
            is_event in any::<bool>(),
        ) {
            let start = if is_event { EVENT } else { &[] };
            let plain = [start, &parts.concat()].concat();
            there_and_back(Codec::DagCbor, &plain);
        }
    }
}
