//! The LZ4 frame format, strictly: exactly one frame, checked to its last byte, with every allocation bounded.
//!
//! The frame is walked here and only its blocks are left to the LZ4 library, because a reader of whole frames
//! allocates what a descriptor claims (12 MiB for a batch of 100 bytes) and takes a cut end for a clean one.

use std::io::Write;

use lz4_flex::block::{DecompressError, decompress_into, decompress_into_with_dict};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use xxhash_rust::xxh32::xxh32;

use super::error::{BatchError, Lz4Problem};
use crate::wire::{Flaw, Reader};

const MAGIC: u32 = 0x184D_2204;

/// How far back a match may reach.
const WINDOW: usize = 64 << 10;

/// A byte of a compressed block yields at most so many: a run of match-length bytes counts 255 each.
const MAX_RATIO: usize = 255;

/// Above this, larger blocks find more; below, they would only cost memory.
const SMALL: usize = 64 << 10;

fn cut(_: Flaw) -> BatchError {
    BatchError::Lz4(Lz4Problem::EndsEarly)
}

/// What the frame's descriptor says.
struct Descriptor {
    independent: bool,
    block_checksums: bool,
    content_checksum: bool,
    content_size: Option<u64>,
    max_block: usize,
}

impl Descriptor {
    fn read(reader: &mut Reader<'_>) -> Result<Self, BatchError> {
        if reader.u32().map_err(cut)? != MAGIC {
            return Err(BatchError::Lz4(Lz4Problem::BadMagic));
        }
        let start = *reader;
        let flags = reader.u8().map_err(cut)?;
        let sizes = reader.u8().map_err(cut)?;
        // FLG: version 01 in bits 7-6, bit 1 reserved. BD: bits 7 and 3-0 reserved, block size 4 to 7 in bits 6-4.
        if flags & 0b1100_0010 != 0b0100_0000 || sizes & 0b1000_1111 != 0 {
            return Err(BatchError::Lz4(Lz4Problem::Descriptor));
        }
        if flags & 0b0000_0001 != 0 {
            return Err(BatchError::Lz4(Lz4Problem::Dictionary));
        }
        let max_block = match sizes >> 4 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => return Err(BatchError::Lz4(Lz4Problem::Descriptor)),
        };
        let content_size = if flags & 0b0000_1000 == 0 { None } else { Some(reader.u64().map_err(cut)?) };
        let mut hashed = start;
        let descriptor = hashed.take(start.len() - reader.len()).map_err(cut)?;
        if u32::from(reader.u8().map_err(cut)?) != (xxh32(descriptor, 0) >> 8) & 0xff {
            return Err(BatchError::Lz4(Lz4Problem::Checksum));
        }
        Ok(Self {
            independent: flags & 0b0010_0000 != 0,
            block_checksums: flags & 0b0001_0000 != 0,
            content_checksum: flags & 0b0000_0100 != 0,
            content_size,
            max_block,
        })
    }
}

/// What the content may come to at most.
#[derive(Clone, Copy)]
struct Bound {
    bytes: usize,
    /// What it means to exceed it.
    excess: BatchError,
}

impl Bound {
    /// The size that the frame claims, if it is within the limit; the limit itself if it claims none.
    fn new(claimed: Option<u64>, limit: u32) -> Result<Self, BatchError> {
        let excess = BatchError::TooLarge { limit };
        match claimed {
            None => Ok(Self { bytes: limit as usize, excess }),
            Some(size) if size > u64::from(limit) => Err(excess),
            Some(size) => {
                let bytes = usize::try_from(size).map_err(|_| excess)?;
                Ok(Self { bytes, excess: BatchError::Lz4(Lz4Problem::ContentSize) })
            }
        }
    }
}

/// The content of the one frame that `compressed` is; at most `limit` bytes, beyond which it is cut off as too large.
///
/// Allocates at most 255 times what it was given, and never more than `limit`.
pub(super) fn decompress(compressed: &[u8], limit: u32) -> Result<Vec<u8>, BatchError> {
    let mut reader = Reader::new(compressed);
    let descriptor = Descriptor::read(&mut reader)?;
    let bound = Bound::new(descriptor.content_size, limit)?;
    let mut out = Vec::new();
    if descriptor.content_size.is_some() {
        // The size is only a claim: what the frame can expand to at most is not.
        out.reserve_exact(bound.bytes.min(compressed.len().saturating_mul(MAX_RATIO)));
    }
    loop {
        let size = reader.u32().map_err(cut)?;
        if size == 0 {
            break;
        }
        let stored = size & 0x8000_0000 != 0;
        let len = (size & 0x7fff_ffff) as usize;
        if len > descriptor.max_block {
            return Err(BatchError::Lz4(Lz4Problem::BlockTooLarge));
        }
        let block = reader.take(len).map_err(cut)?;
        if descriptor.block_checksums && reader.u32().map_err(cut)? != xxh32(block, 0) {
            return Err(BatchError::Lz4(Lz4Problem::Checksum));
        }
        if !stored {
            expand(block, &descriptor, bound, &mut out)?;
        } else if block.len() > bound.bytes - out.len() {
            return Err(bound.excess);
        } else {
            out.extend_from_slice(block);
        }
    }
    finish(&mut reader, &descriptor, &out)?;
    Ok(out)
}

/// Appends a compressed block's content.
fn expand(block: &[u8], descriptor: &Descriptor, bound: Bound, out: &mut Vec<u8>) -> Result<(), BatchError> {
    let written = out.len();
    let left = bound.bytes - written;
    let most = descriptor.max_block.min(block.len().saturating_mul(MAX_RATIO));
    out.resize(written + most.min(left), 0);
    let (before, space) = out.split_at_mut(written);
    let result = if descriptor.independent || before.is_empty() {
        decompress_into(block, space)
    } else {
        let dictionary = &before[before.len().saturating_sub(WINDOW)..];
        decompress_into_with_dict(block, space, dictionary)
    };
    match result {
        Ok(len) => {
            out.truncate(written + len);
            Ok(())
        }
        Err(DecompressError::OutputTooSmall { .. }) if left < most => Err(bound.excess),
        Err(_) => Err(BatchError::Lz4(Lz4Problem::Block)),
    }
}

/// Checks what follows the end mark: the content's size and checksum, and then nothing.
fn finish(reader: &mut Reader<'_>, descriptor: &Descriptor, content: &[u8]) -> Result<(), BatchError> {
    if descriptor.content_size.is_some_and(|size| size != content.len() as u64) {
        return Err(BatchError::Lz4(Lz4Problem::ContentSize));
    }
    if descriptor.content_checksum && reader.u32().map_err(cut)? != xxh32(content, 0) {
        return Err(BatchError::Lz4(Lz4Problem::Checksum));
    }
    if reader.is_empty() { Ok(()) } else { Err(BatchError::Lz4(Lz4Problem::TrailingBytes)) }
}

/// Appends one frame with `records` as its content. No checksums of LZ4's: the batch has its CRC.
pub(super) fn compress(records: &[u8], out: &mut Vec<u8>) {
    let block_size = if records.len() <= SMALL { BlockSize::Max64KB } else { BlockSize::Max256KB };
    let info = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(block_size)
        .content_size(Some(records.len() as u64));
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(records).expect("a Vec takes every byte");
    encoder.finish().expect("a Vec takes every byte, and the content has the size that was said");
}
