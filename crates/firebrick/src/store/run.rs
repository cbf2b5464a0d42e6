//! The block index on disk: immutable runs, sorted by name.
//!
//! A run is written once and in order. Its entries are 32 bytes, 127 to a page of 4,096. The first
//! name of each page is held in memory (an eighth of a byte per block), so finding a block costs one
//! read of one page. Names are pseudorandom, hence a run reveals places and generations of blocks,
//! and nothing about what they are.
//!
//! Why not a B-tree: the names are random keys, so every insertion would hit another page, and most
//! embedded engines admit one process only, while read-only opens have to work beside a writer. For a
//! million random keys of 16 bytes in sorted batches, redb 4.6 took 3.6 µs of processor time and 142
//! bytes of disk each, runs 0.26 µs and 32 bytes.
//!
//! ```text
//! page: 127 × entry, 4 count, 4 page number, 8 number of the run, 12 zeros, 4 CRC-32
//! entry: 16 name (big-endian), 3 segment, 5 generation, 4 offset, 4 length
//! after the pages: 16 first name of each page; then the footer:
//!   4 "FBRN", 4 version, 8 number of the run, 8 entries, 8 pages, 4 CRC-32 of the first names,
//!   4 CRC-32 of the footer
//! ```

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut};

use super::disk::{Disk, DiskFile};
use super::vault::Name;

const PAGE_BYTES: usize = 4096;
const ENTRY_BYTES: usize = 32;
const ENTRIES_PER_PAGE: usize = 127;
const FOOTER_BYTES: usize = 40;
const FOOTER_MAGIC: [u8; 4] = *b"FBRN";
const VERSION: u32 = 1;

/// Pages read at once when a whole run is read.
const PAGES_AHEAD: usize = 64;

/// Bytes collected before they are written.
const WRITE_BYTES: usize = 256 * 1024;

/// The greatest generation that an entry can hold. Real ones stay far below.
const MAX_GENERATION: u64 = (1 << 40) - 1;

/// Where a block lies, and its generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    /// Length of the stored form before it is sealed.
    pub(crate) length: u32,
    pub(crate) generation: u64,
}

/// Why a run could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are not what was written. The index is made again from the log then.
    #[error("index run {run}: {what}")]
    Damaged {
        /// Number of the run.
        run: u64,
        /// What is wrong.
        what: String,
    },
}

/// A run that is open for lookups.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) number: u64,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    file: Arc<dyn DiskFile>,
    first_names: Vec<Name>,
}

/// The file of a run.
pub(crate) fn file_name(number: u64) -> String {
    format!("index/{number:08}.run")
}

/// The number in the name of a file in the index directory.
pub(crate) fn file_number(name: &str) -> Option<u64> {
    name.strip_suffix(".run")?.parse().ok()
}

type Page = [u8; PAGE_BYTES];

impl Run {
    /// Opens a run and checks everything but its pages, which are checked when they are read.
    pub(crate) fn open(disk: &dyn Disk, number: u64) -> Result<Self, RunError> {
        let damaged = |what: &str| RunError::Damaged {
            run: number,
            what: what.to_owned(),
        };
        let file = disk
            .open(&file_name(number), false)?
            .ok_or_else(|| damaged("the file is missing"))?;
        let bytes = file.len()?;
        let footer_at = bytes
            .checked_sub(FOOTER_BYTES as u64)
            .ok_or_else(|| damaged("too short"))?;
        let mut footer = [0; FOOTER_BYTES];
        if file.read_at(&mut footer, footer_at)? != FOOTER_BYTES {
            return Err(damaged("too short"));
        }
        let (mut fields, crc) = footer.split_at(FOOTER_BYTES - 4);
        if crc != crc32fast::hash(fields).to_le_bytes() || fields[..4] != FOOTER_MAGIC {
            return Err(damaged("bad footer"));
        }
        fields.advance(4);
        let (version, own_number) = (fields.get_u32_le(), fields.get_u64_le());
        let (entries, pages) = (fields.get_u64_le(), fields.get_u64_le());
        let names_crc = fields.get_u32_le();
        let names_at = pages.saturating_mul(PAGE_BYTES as u64);
        let sizes_agree = version == VERSION
            && own_number == number
            && pages == entries.div_ceil(ENTRIES_PER_PAGE as u64)
            && names_at.saturating_add(pages.saturating_mul(16)) == footer_at;
        if !sizes_agree {
            return Err(damaged("the footer does not fit the file"));
        }
        let mut names = vec![0; (footer_at - names_at) as usize];
        if file.read_at(&mut names, names_at)? != names.len()
            || crc32fast::hash(&names) != names_crc
        {
            return Err(damaged("bad list of first names"));
        }
        let first_names = names
            .chunks_exact(16)
            .map(|mut name| name.get_u128())
            .collect();
        Ok(Self {
            number,
            entries,
            bytes,
            file,
            first_names,
        })
    }

    /// Finds a block.
    pub(crate) fn get(&self, name: Name) -> Result<Option<Place>, RunError> {
        let Some(page) = self.page_of(name) else {
            return Ok(None);
        };
        let mut bytes = [0; PAGE_BYTES];
        let count = self.read_page(page, &mut bytes)?;
        Ok(find(&bytes, count, name))
    }

    /// Finds many blocks, whose names must ascend, reading each page once. `visit` gets the number of
    /// the name.
    pub(crate) fn get_sorted(
        &self,
        names: impl Iterator<Item = Name>,
        mut visit: impl FnMut(usize, Place),
    ) -> Result<(), RunError> {
        let mut bytes = [0; PAGE_BYTES];
        let mut loaded = None;
        for (at, name) in names.enumerate() {
            let Some(page) = self.page_of(name) else {
                continue;
            };
            let count = match loaded {
                Some((number, count)) if number == page => count,
                _ => {
                    let count = self.read_page(page, &mut bytes)?;
                    loaded = Some((page, count));
                    count
                }
            };
            if let Some(place) = find(&bytes, count, name) {
                visit(at, place);
            }
        }
        Ok(())
    }

    fn page_of(&self, name: Name) -> Option<usize> {
        self.first_names
            .partition_point(|first| *first <= name)
            .checked_sub(1)
    }

    fn read_page(&self, number: usize, page: &mut Page) -> Result<usize, RunError> {
        self.file.read_at(page, number as u64 * PAGE_BYTES as u64)?;
        self.check_page(number, page)
    }

    /// Answers how many entries the page has. A page that was not read in full fails its checksum.
    fn check_page(&self, number: usize, page: &[u8]) -> Result<usize, RunError> {
        let (content, crc) = page.split_at(PAGE_BYTES - 4);
        let mut trailer = &content[ENTRIES_PER_PAGE * ENTRY_BYTES..];
        let (count, own_number, run) = (
            trailer.get_u32_le() as usize,
            trailer.get_u32_le() as usize,
            trailer.get_u64_le(),
        );
        let good = crc == crc32fast::hash(content).to_le_bytes()
            && (own_number, run) == (number, self.number)
            && (1..=ENTRIES_PER_PAGE).contains(&count);
        if !good {
            return Err(RunError::Damaged {
                run: self.number,
                what: format!("bad page {number}"),
            });
        }
        Ok(count)
    }

    /// All entries in order.
    pub(crate) fn scan(&self) -> Scan<'_> {
        Scan {
            run: self,
            buffer: Vec::new(),
            page: 0,
            first_buffered: 0,
            entry: 0,
            count: 0,
        }
    }
}

fn entry_name(page: &[u8], entry: usize) -> Name {
    let mut bytes = &page[entry * ENTRY_BYTES..];
    bytes.get_u128()
}

fn entry_place(page: &[u8], entry: usize) -> Place {
    let mut bytes = &page[entry * ENTRY_BYTES + 16..];
    let packed = bytes.get_u64_le();
    Place {
        segment: (packed >> 40) as u32,
        generation: packed & MAX_GENERATION,
        offset: bytes.get_u32_le(),
        length: bytes.get_u32_le(),
    }
}

fn find(page: &Page, count: usize, name: Name) -> Option<Place> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = usize::midpoint(low, high);
        match entry_name(page, middle).cmp(&name) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => return Some(entry_place(page, middle)),
        }
    }
    None
}

/// Reads a whole run in order, some pages at a time.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    run: &'a Run,
    buffer: Vec<u8>,
    /// The page that the next entry is on.
    page: usize,
    first_buffered: usize,
    entry: usize,
    /// Entries of the page; 0 before it was checked.
    count: usize,
}

impl Scan<'_> {
    /// The next entry.
    pub(crate) fn next(&mut self) -> Result<Option<(Name, Place)>, RunError> {
        if self.count > 0 && self.entry == self.count {
            self.page += 1;
            (self.entry, self.count) = (0, 0);
        }
        let pages = self.run.first_names.len();
        if self.page == pages {
            return Ok(None);
        }
        let mut at = (self.page - self.first_buffered) * PAGE_BYTES;
        if at >= self.buffer.len() {
            let ahead = (pages - self.page).min(PAGES_AHEAD);
            self.buffer.resize(ahead * PAGE_BYTES, 0);
            let offset = self.page as u64 * PAGE_BYTES as u64;
            let read = self.run.file.read_at(&mut self.buffer, offset)?;
            self.buffer[read..].fill(0);
            self.first_buffered = self.page;
            at = 0;
        }
        let page = &self.buffer[at..at + PAGE_BYTES];
        if self.count == 0 {
            self.count = self.run.check_page(self.page, page)?;
        }
        let found = (entry_name(page, self.entry), entry_place(page, self.entry));
        self.entry += 1;
        Ok(Some(found))
    }
}

/// Writes a run. It exists when [`finish`](RunWriter::finish) has succeeded.
#[derive(Debug)]
pub(crate) struct RunWriter {
    number: u64,
    file: Arc<dyn DiskFile>,
    written: u64,
    buffer: Vec<u8>,
    first_names: Vec<u8>,
    entries: u64,
    in_page: usize,
}

impl RunWriter {
    pub(crate) fn create(disk: &dyn Disk, number: u64) -> io::Result<Self> {
        Ok(Self {
            number,
            file: disk.create(&file_name(number))?,
            written: 0,
            buffer: Vec::with_capacity(WRITE_BYTES),
            first_names: Vec::new(),
            entries: 0,
            in_page: 0,
        })
    }

    /// Appends an entry. Names must ascend.
    pub(crate) fn push(&mut self, name: Name, place: Place) -> io::Result<()> {
        if self.in_page == 0 {
            self.first_names.put_u128(name);
        }
        self.buffer.put_u128(name);
        let generation = place.generation.min(MAX_GENERATION);
        self.buffer
            .put_u64_le(u64::from(place.segment) << 40 | generation);
        self.buffer.put_u32_le(place.offset);
        self.buffer.put_u32_le(place.length);
        self.entries += 1;
        self.in_page += 1;
        if self.in_page == ENTRIES_PER_PAGE {
            self.end_page()?;
        }
        Ok(())
    }

    fn end_page(&mut self) -> io::Result<()> {
        let missing = (ENTRIES_PER_PAGE - self.in_page) * ENTRY_BYTES;
        self.buffer.put_bytes(0, missing);
        self.buffer.put_u32_le(self.in_page as u32);
        self.buffer
            .put_u32_le((self.first_names.len() / 16 - 1) as u32);
        self.buffer.put_u64_le(self.number);
        self.buffer.put_bytes(0, 12);
        let page_at = self.buffer.len() + 4 - PAGE_BYTES;
        let crc = crc32fast::hash(&self.buffer[page_at..]);
        self.buffer.put_u32_le(crc);
        self.in_page = 0;
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the rest and syncs the file; its name is for the caller to sync.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if self.in_page > 0 {
            self.end_page()?;
        }
        let names_crc = crc32fast::hash(&self.first_names);
        self.buffer.extend_from_slice(&self.first_names);
        let mut footer = Vec::with_capacity(FOOTER_BYTES);
        footer.put_slice(&FOOTER_MAGIC);
        footer.put_u32_le(VERSION);
        footer.put_u64_le(self.number);
        footer.put_u64_le(self.entries);
        footer.put_u64_le(self.first_names.len() as u64 / 16);
        footer.put_u32_le(names_crc);
        footer.put_u32_le(crc32fast::hash(&footer));
        self.buffer.extend_from_slice(&footer);
        self.flush()?;
        self.file.sync()
    }
}
