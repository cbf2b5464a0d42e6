//! Writing shards: from nothing, or by changing an encoded one in place of decoding it.

use super::{ENTRIES, HEAD, LINK, LINK_LEN, MASK_BYTES, START_BYTES, Shard, TAIL, index_bytes};
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
        let mask = entries
            .clone()
            .fold(0, |mask, entry| mask | 1 << entry.first());
        let mut writer = Writer::new(mask, before + body + TAIL.len());
        writer.out.extend_from_slice(HEAD);
        write_text(&mut writer.out, prefix);
        writer.out.extend_from_slice(ENTRIES);
        writer.list_head(count);
        for entry in entries {
            writer.entry(&entry);
        }
        writer.finish()
    }

    /// This shard with some entries replaced, added or gone; `changes` are in order.
    ///
    /// What lies between the changes is copied in one piece.
    pub(in crate::pail) fn splice<'a>(
        &self,
        changes: impl Iterator<Item = NewEntry<'a>> + Clone,
    ) -> Self {
        let (mut mask, mut len) = (self.mask(), self.bytes().len());
        for change in changes.clone() {
            let first = change.first();
            if self.has(first) {
                let index = self.lower_bound(first);
                len -= self.start(index + 1) - self.start(index);
            }
            len += change.len();
            match change {
                NewEntry::Gone { .. } => mask &= !(1 << first),
                _ => mask |= 1 << first,
            }
        }
        let count = mask.count_ones() as usize;
        len = len - list_head_len(self.len()) + list_head_len(count);
        let list_head = self.start(0) - list_head_len(self.len());
        let mut writer = Writer::new(mask, len);
        writer.out.extend_from_slice(&self.bytes()[..list_head]);
        writer.list_head(count);
        let mut from = 0;
        for change in changes {
            let first = change.first();
            let index = self.lower_bound(first);
            writer.copy(self, from, index);
            writer.entry(&change);
            from = index + usize::from(self.has(first));
        }
        writer.copy(self, from, self.len());
        writer.finish()
    }
}

/// A shard being written.
struct Writer {
    /// The index, then the encoded bytes.
    out: Vec<u8>,
    /// Where the encoded bytes begin.
    base: usize,
    /// Entries written.
    entries: usize,
}

impl Writer {
    /// Entries as in `mask`, and `len` encoded bytes.
    fn new(mask: u128, len: usize) -> Self {
        let base = index_bytes(mask.count_ones() as usize);
        let mut out = Vec::with_capacity(base + len);
        out.extend_from_slice(&mask.to_le_bytes());
        out.resize(base, 0);
        Self {
            out,
            base,
            entries: 0,
        }
    }

    fn list_head(&mut self, count: usize) {
        match count {
            0..=23 => self.out.push(0x80 | count as u8),
            _ => self.out.extend_from_slice(&[0x98, count as u8]),
        }
    }

    /// Notes that the next entry, or the tail, begins at `at` of the encoded bytes.
    fn start(&mut self, at: usize) {
        let index = MASK_BYTES + START_BYTES * self.entries;
        self.out[index..index + START_BYTES].copy_from_slice(&(at as u32).to_le_bytes());
        self.entries += 1;
    }

    fn copy(&mut self, from: &Shard, start: usize, end: usize) {
        if start >= end {
            return;
        }
        let (first, last) = (from.start(start), from.start(end));
        let at = self.out.len() - self.base;
        for index in start..end {
            self.start(from.start(index) - first + at);
        }
        self.out.extend_from_slice(&from.bytes()[first..last]);
    }

    fn entry(&mut self, entry: &NewEntry<'_>) {
        if matches!(entry, NewEntry::Gone { .. }) {
            return;
        }
        self.start(self.out.len() - self.base);
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

    fn finish(mut self) -> Shard {
        self.start(self.out.len() - self.base);
        self.out.extend_from_slice(TAIL);
        Shard {
            data: self.out.into(),
        }
    }
}
