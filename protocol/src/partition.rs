//! Which partition a key belongs to: the same for every client in every language.

use xxhash_rust::xxh3::xxh3_64;

/// The partition of a key, from 0: XXH3-64(key, seed 0) mod `partitions`.
///
/// With 0 partitions, which no topic has, it is 0. An empty key is a key like any other; records without a key go round
/// the partitions batch by batch.
///
/// ```
/// # use sealstream_protocol::partition::for_key;
/// assert_eq!(for_key(b"order-17", 1), 0);
/// assert!(for_key(b"order-17", 12) < 12);
/// ```
#[expect(clippy::cast_possible_truncation, reason = "a remainder of a u32 fits one")]
pub fn for_key(key: &[u8], partitions: u32) -> u32 {
    (xxh3_64(key) % u64::from(partitions.max(1))) as u32
}
