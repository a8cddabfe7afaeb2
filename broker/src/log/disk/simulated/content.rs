//! The content of a simulated file: a page cache over stable storage.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, RngExt as _};

const PAGE: usize = 4096;
const PAGE_U64: u64 = PAGE as u64;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

type Page = Arc<[u8; PAGE]>;

/// How much of what was not synced a power cut takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Everything: the least that was promised remains.
    Everything,
    /// A part chosen by the seed, down to sectors.
    Some,
    /// Nothing: all had been written back in time, but for what a failed sync passed over.
    Nothing,
}

/// A file. Pages that are absent read as zeros.
#[derive(Debug, Default)]
pub(super) struct Content {
    cache: BTreeMap<u64, Page>,
    stable: BTreeMap<u64, Page>,
    /// Pages in which the cache is ahead of the storage and knows it.
    dirty: BTreeSet<u64>,
    len: u64,
    stable_len: u64,
    /// What the file takes on the disk.
    reserved: u64,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn reserved(&self) -> u64 {
        self.reserved
    }

    pub(super) fn read(&self, position: u64, buf: &mut [u8]) -> usize {
        let len = usize::try_from(self.len.saturating_sub(position)).unwrap_or(usize::MAX).min(buf.len());
        for (page, range, at) in pieces(position, len) {
            match self.cache.get(&page) {
                Some(content) => buf[at..][..range.len()].copy_from_slice(&content[range]),
                None => buf[at..][..range.len()].fill(0),
            }
        }
        len
    }

    /// How many of `len` bytes at `position` can be written with `room` bytes left on the disk.
    pub(super) fn fitting(&self, position: u64, len: usize, room: u64) -> usize {
        let limit = self.reserved.saturating_add(room / PAGE_U64 * PAGE_U64);
        usize::try_from(limit.saturating_sub(position)).unwrap_or(usize::MAX).min(len)
    }

    pub(super) fn write(&mut self, position: u64, bytes: &[u8]) {
        for (page, range, at) in pieces(position, bytes.len()) {
            let content = Arc::make_mut(self.cache.entry(page).or_insert_with(zeros));
            content[range.clone()].copy_from_slice(&bytes[at..][..range.len()]);
            self.dirty.insert(page);
        }
        if !bytes.is_empty() {
            self.len = self.len.max(position + bytes.len() as u64);
            self.reserve(self.len);
        }
    }

    pub(super) fn allocate(&mut self, len: u64) {
        self.len = self.len.max(len);
        self.reserve(len);
    }

    pub(super) fn truncate(&mut self, len: u64) {
        let gone: Vec<u64> = self.cache.range(len.div_ceil(PAGE_U64)..).map(|(&page, _)| page).collect();
        for page in gone {
            self.cache.remove(&page);
            self.dirty.insert(page);
        }
        let within = offset_in_page(len);
        if within > 0
            && let Some(content) = self.cache.get_mut(&(len / PAGE_U64))
        {
            Arc::make_mut(content)[within..].fill(0);
            self.dirty.insert(len / PAGE_U64);
        }
        self.len = len;
        self.reserved = self.reserved.min(len.next_multiple_of(PAGE_U64));
    }

    pub(super) fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            self.write_page(page);
        }
        self.stable_len = self.len;
    }

    /// The device refuses some of it; the cache calls all of it clean.
    pub(super) fn fail_sync(&mut self, random: &mut StdRng) {
        let dirty: Vec<u64> = std::mem::take(&mut self.dirty).into_iter().collect();
        if dirty.is_empty() {
            return;
        }
        let refused = random.random_range(0..dirty.len());
        for (index, page) in dirty.into_iter().enumerate() {
            if index != refused {
                self.lose_page(page, random);
            }
        }
        if random.random() {
            self.stable_len = self.len;
        }
    }

    /// The kernel writes some pages back of its own accord.
    pub(super) fn write_back(&mut self, random: &mut StdRng) {
        let chosen: Vec<u64> = self.dirty.iter().copied().filter(|_| random.random()).collect();
        for page in chosen {
            self.write_page(page);
            self.dirty.remove(&page);
        }
        if self.len > self.stable_len && random.random() {
            self.stable_len = self.len;
        }
    }

    pub(super) fn lose(&mut self, loss: Loss, random: &mut StdRng) {
        let dirty = std::mem::take(&mut self.dirty);
        match loss {
            Loss::Nothing => {
                for page in dirty {
                    self.write_page(page);
                }
                self.stable_len = self.len;
            }
            Loss::Everything => {}
            Loss::Some => {
                for page in dirty {
                    self.lose_page(page, random);
                }
                self.stable_len = match random.random_range(0..3_u32) {
                    0 => self.stable_len,
                    1 => self.len,
                    _ => random.random_range(self.stable_len.min(self.len)..=self.stable_len.max(self.len)),
                };
            }
        }
        // What lies beyond the length is never seen again.
        self.cache = std::mem::take(&mut self.stable);
        self.len = u64::MAX;
        self.truncate(self.stable_len);
        self.reserved = self.len.next_multiple_of(PAGE_U64);
        self.dirty.clear();
        self.stable = self.cache.clone();
    }

    /// Clean pages are read anew from the storage.
    pub(super) fn drop_caches(&mut self) {
        let pages: BTreeSet<u64> = self.cache.keys().chain(self.stable.keys()).copied().collect();
        for page in pages.difference(&self.dirty) {
            match self.stable.get(page) {
                Some(content) => self.cache.insert(*page, Arc::clone(content)),
                None => self.cache.remove(page),
            };
        }
    }

    pub(super) fn corrupt(&mut self, position: u64, flip: u8) -> io::Result<()> {
        if position >= self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let page = position / PAGE_U64;
        for pages in [&mut self.cache, &mut self.stable] {
            Arc::make_mut(pages.entry(page).or_insert_with(zeros))[offset_in_page(position)] ^= flip;
        }
        Ok(())
    }

    fn reserve(&mut self, len: u64) {
        self.reserved = self.reserved.max(len.next_multiple_of(PAGE_U64));
    }

    /// The page reaches the storage.
    fn write_page(&mut self, page: u64) {
        match self.cache.get(&page) {
            Some(content) => self.stable.insert(page, Arc::clone(content)),
            None => self.stable.remove(&page),
        };
    }

    /// The page reaches the storage whole, in some of its sectors, or not.
    fn lose_page(&mut self, page: u64, random: &mut StdRng) {
        match random.random_range(0..4_u32) {
            0 => {}
            1 => self.write_page(page),
            _ => {
                let cached = self.cache.get(&page).map_or_else(zeros, Arc::clone);
                let stable = Arc::make_mut(self.stable.entry(page).or_insert_with(zeros));
                let coins = random.next_u32();
                for sector in 0..PAGE / SECTOR {
                    if coins >> sector & 1 == 1 {
                        let range = sector * SECTOR..(sector + 1) * SECTOR;
                        stable[range.clone()].copy_from_slice(&cached[range]);
                    }
                }
            }
        }
    }
}

fn zeros() -> Page {
    Arc::new([0; PAGE])
}

fn offset_in_page(position: u64) -> usize {
    usize::try_from(position % PAGE_U64).expect("below 4,096")
}

/// Splits `len` bytes at `position` by pages: which page, which bytes of it, and where they are in the buffer.
fn pieces(position: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let here = position + at as u64;
        let start = offset_in_page(here);
        let take = (PAGE - start).min(len - at);
        let piece = (take > 0).then_some((here / PAGE_U64, start..start + take, at));
        at += take;
        piece
    })
}
