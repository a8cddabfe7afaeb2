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

/// What a peer accepts. Configurable downwards; the defaults are the protocol's own upper bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl Default for Limits {
    fn default() -> Self {
        Self { frame: Self::MAX_FRAME, decompressed_batch: Self::MAX_DECOMPRESSED_BATCH }
    }
}
