//! Writing shards: from nothing, or by changing an encoded one in place of decoding it.

use bytes::Bytes;

use super::{ENTRIES, HEAD, LINK, LINK_LEN, Shard, TAIL};
use crate::cid::Cid;

/// One new or changed entry.
#[derive(Clone, Debug)]
pub(in crate::pail) enum NewEntry<'a> {
    /// A value; the key is relative to the shard.
    Leaf { key: &'a [u8], value: Cid },
    /// A child, and the value of exactly its key.
    Child {
        first: u8,
        child: Cid,
        value: Option<Cid>,
    },
    /// Nothing: the entry goes.
    Gone { first: u8 },
}

impl NewEntry<'_> {
    fn first(&self) -> u8 {
        match self {
            NewEntry::Leaf { key, .. } => key[0],
            NewEntry::Child { first, .. } | NewEntry::Gone { first } => *first,
        }
    }

    fn len(&self) -> usize {
        match self {
            NewEntry::Leaf { key, .. } => 1 + text_len(key.len()) + LINK_LEN,
            NewEntry::Child { value, .. } => 1 + 2 + 1 + LINK_LEN + value.map_or(0, |_| LINK_LEN),
            NewEntry::Gone { .. } => 0,
        }
    }
}

fn text_len(len: usize) -> usize {
    len + match len {
        0..=23 => 1,
        24..=255 => 2,
        _ => 3,
    }
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        len @ 0..=23 => out.push(0x60 | len as u8),
        len @ 24..=255 => out.extend_from_slice(&[0x78, len as u8]),
        len => out.extend_from_slice(&[0x79, (len >> 8) as u8, len as u8]),
    }
    out.extend_from_slice(text);
}

fn write_link(out: &mut Vec<u8>, cid: &Cid) {
    let mut link = [0; LINK_LEN];
    link[..5].copy_from_slice(LINK);
    link[5..].copy_from_slice(&cid.to_bytes());
    out.extend_from_slice(&link);
}

fn list_head_len(count: usize) -> usize {
    if count < 24 { 1 } else { 2 }
}

impl Shard {
    /// A shard of these entries alone, which are in order.
    pub(in crate::pail) fn build<'a>(
        prefix: &[u8],
        entries: impl ExactSizeIterator<Item = NewEntry<'a>> + Clone,
    ) -> Self {
        let count = entries.len();
        let before = HEAD.len() + text_len(prefix.len()) + ENTRIES.len() + list_head_len(count);
        let body: usize = entries.clone().map(|entry| entry.len()).sum();
        let mut out = Vec::with_capacity(before + body + TAIL.len());
        out.extend_from_slice(HEAD);
        write_text(&mut out, prefix);
        let prefix_start = out.len() - prefix.len();
        out.extend_from_slice(ENTRIES);
        let mut writer = Writer::new(out, count);
        let mut mask = 0;
        for entry in entries {
            mask |= 1 << entry.first();
            writer.entry(&entry);
        }
        writer.finish(mask, prefix_start as u8, prefix.len() as u16)
    }

    /// This shard with some entries replaced, added or gone; `changes` are in order.
    ///
    /// What lies between the changes is copied in one piece.
    pub(in crate::pail) fn splice<'a>(
        &self,
        changes: impl Iterator<Item = NewEntry<'a>> + Clone,
    ) -> Self {
        let (mut mask, mut len) = (self.mask, self.bytes.len());
        for change in changes.clone() {
            let first = change.first();
            if self.has(first) {
                let index = self.lower_bound(first);
                len -= (self.starts[index + 1] - self.starts[index]) as usize;
            }
            len += change.len();
            match change {
                NewEntry::Gone { .. } => mask &= !(1 << first),
                _ => mask |= 1 << first,
            }
        }
        let count = mask.count_ones() as usize;
        len = len - list_head_len(self.len()) + list_head_len(count);
        let list_head = self.starts[0] as usize - list_head_len(self.len());
        let mut out = Vec::with_capacity(len);
        out.extend_from_slice(&self.bytes[..list_head]);
        let mut writer = Writer::new(out, count);
        let mut from = 0;
        for change in changes {
            let first = change.first();
            let index = self.lower_bound(first);
            writer.copy(self, from, index);
            writer.entry(&change);
            from = index + usize::from(self.has(first));
        }
        writer.copy(self, from, self.len());
        writer.finish(mask, self.prefix_start, self.prefix_len)
    }
}

/// A shard being written.
struct Writer {
    out: Vec<u8>,
    starts: Vec<u32>,
}

impl Writer {
    /// Goes on after `out`, which ends before the list of `count` entries.
    fn new(mut out: Vec<u8>, count: usize) -> Self {
        match count {
            0..=23 => out.push(0x80 | count as u8),
            _ => out.extend_from_slice(&[0x98, count as u8]),
        }
        Self {
            out,
            starts: Vec::with_capacity(count + 1),
        }
    }

    fn copy(&mut self, from: &Shard, start: usize, end: usize) {
        if start >= end {
            return;
        }
        let (first, last) = (from.starts[start], from.starts[end]);
        let at = self.out.len() as u32;
        self.starts
            .extend(from.starts[start..end].iter().map(|old| old - first + at));
        self.out
            .extend_from_slice(&from.bytes[first as usize..last as usize]);
    }

    fn entry(&mut self, entry: &NewEntry<'_>) {
        if matches!(entry, NewEntry::Gone { .. }) {
            return;
        }
        self.starts.push(self.out.len() as u32);
        self.out.push(0x82);
        match entry {
            NewEntry::Leaf { key, value } => {
                write_text(&mut self.out, key);
                write_link(&mut self.out, value);
            }
            NewEntry::Child {
                first,
                child,
                value,
            } => {
                let list = if value.is_some() { 0x82 } else { 0x81 };
                self.out.extend_from_slice(&[0x61, *first, list]);
                write_link(&mut self.out, child);
                if let Some(value) = value {
                    write_link(&mut self.out, value);
                }
            }
            NewEntry::Gone { .. } => {}
        }
    }

    fn finish(mut self, mask: u128, prefix_start: u8, prefix_len: u16) -> Shard {
        self.starts.push(self.out.len() as u32);
        self.out.extend_from_slice(TAIL);
        Shard {
            bytes: Bytes::from(self.out),
            mask,
            starts: self.starts.into_boxed_slice(),
            prefix_start,
            prefix_len,
        }
    }
}
