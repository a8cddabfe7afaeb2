//! Limits that are part of the protocol, and the constants that name it on the wire.

/// The application protocol (RFC 7301) that both ends of every connection require.
pub const ALPN: &[u8] = b"sealstream/1";

/// The default port, TCP and UDP.
pub const DEFAULT_PORT: u16 = 7420;

/// The newest protocol version that this crate speaks.
pub const VERSION: u16 = 1;

/// The longest name of a topic, group, member or client, in bytes of UTF-8.
pub const MAX_NAME: usize = 255;

/// The longest text of an error, in bytes of UTF-8; longer texts are cut at a character's edge when encoded.
pub const MAX_TEXT: usize = 1024;

/// The most partitions that a topic may have: their description (340 KB) fits a control frame.
pub const MAX_PARTITIONS: u32 = 10_000;

/// The most topics that a list may hold: with names of full length (300 KB) they fit a control frame.
pub const MAX_TOPICS_IN_LIST: u32 = 1_000;

/// The largest frame without a payload, in bytes after its length field: 1 MiB. Lists of short strings take twelve times
/// as much memory as bytes on the wire, so that this, not the limit for payloads, bounds what a peer can make of them.
pub const MAX_CONTROL_FRAME: u32 = 1 << 20;

/// The largest Hello, in bytes after its length field: 64 KiB, since it comes from a peer that has not proven itself.
pub const MAX_HELLO: u32 = 64 << 10;

/// What a Data frame has around the batch of its one entry, with room for tagged fields: 1 byte of kind, 4 of
/// subscription, 1 of tagged section and 40 of entry header make 46. A batch that fits a Produce frame must fit Data too.
pub const FRAME_OVERHEAD: u32 = 64;

/// What a peer accepts. Configurable downwards; the defaults are the protocol's own upper bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest frame, in bytes after its length field.
    pub frame: u32,
    /// The largest batch after decompression, in bytes of records.
    pub decompressed_batch: u32,
}

impl Limits {
    /// 16 MiB: a frame is buffered whole before it is looked at, so it bounds what one session can make a peer hold.
    pub const MAX_FRAME: u32 = 16 << 20;
    /// 32 MiB: validating a compressed batch may hold this much for the time of the check.
    pub const MAX_DECOMPRESSED_BATCH: u32 = 32 << 20;

    /// These limits; those of the protocol are the defaults.
    pub const fn new(frame: u32, decompressed_batch: u32) -> Self {
        Self { frame, decompressed_batch }
    }

    /// The largest batch, in bytes: what a frame has room for.
    pub fn batch(&self) -> u32 {
        self.frame.saturating_sub(FRAME_OVERHEAD)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { frame: Self::MAX_FRAME, decompressed_batch: Self::MAX_DECOMPRESSED_BATCH }
    }
}
