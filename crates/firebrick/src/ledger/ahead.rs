//! How many documents a long reading takes from the store at once.

/// Documents of the first read.
const FIRST: usize = 64;
/// Documents of one read at most.
const MOST: usize = 4096;
/// Bytes of documents that one read aims at.
const BYTES: usize = 1 << 20;

/// The size of the next read. Places of documents lie all over the store's index, so small documents
/// are read by thousands; large ones by few, because all of them are in memory together.
#[derive(Debug)]
pub(crate) struct Ahead(usize);

impl Ahead {
    pub(crate) const fn new() -> Self {
        Self(FIRST)
    }

    /// Documents to read next.
    pub(crate) const fn documents(&self) -> usize {
        self.0
    }

    /// Learns from what a read gave.
    pub(crate) fn took(&mut self, documents: usize, bytes: usize) {
        if let Some(size) = bytes.checked_div(documents) {
            self.0 = (BYTES / size.max(1)).clamp(1, (self.0 * 4).min(MOST));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_documents_are_read_by_thousands_and_large_ones_by_few() {
        let mut ahead = Ahead::new();
        let mut sizes = Vec::new();
        for bytes in [200, 200, 200, 200, 200, 1 << 16, 8 << 20, 0, 200] {
            sizes.push(ahead.documents());
            ahead.took(ahead.documents(), ahead.documents() * bytes);
        }
        assert_eq!(sizes, [64, 256, 1024, 4096, 4096, 4096, 16, 1, 4]);
        ahead.took(0, 0);
        assert_eq!(ahead.documents(), 16);
    }
}
