//! What both ends promise each other about a connection: windows, streams, timeouts. Each bound carries its arithmetic.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, ServerConfig, TransportConfig, ValidationTokenConfig, VarInt};
use rustls::quic::Suite;

use super::keys::TokenKey;
use super::options::QuicOptions;
use super::path::Paths;
use super::session::ServerCrypto;
use super::tokens::{TOKEN_LIFETIME, TOKENS_PER_CONNECTION, UsedTokens};

/// Bytes that a peer may send on one stream before a listener has read them, where its budget does not make the connection a
/// wide one. Over a round trip of 100 ms such a stream carries 2.6 MB/s, and several streams more.
pub const STREAM_WINDOW: u32 = 256 * 1024;

/// Bytes that a peer may send on one stream of a wide connection, and of any of a client, before they are read, which is also
/// what a writer can be ahead of a reader that stopped: 10 MB/s over a round trip of 100 ms. Between two busy processes of one
/// machine a narrow window is spent before its reader gets its turn (`docs/benchmarks.md`).
pub const WIDE_STREAM_WINDOW: u32 = 1024 * 1024;

/// Streams that a client may have open on a fresh connection: an idle connection with 16 costs 28 KB, with 256 it would
/// cost 50 KB.
pub const FIRST_STREAMS: u32 = 16;

/// Streams that a client may have open in the end. 256 narrow ones of 256 KiB are 64 MiB, the most that one client can leave
/// unread without a loan; a client can have 256 wide ones, 256 MiB, of its server.
///
/// quinn tells a client of streams given back when they are an eighth of the bound: whoever stays at the bound waits for
/// 33 others to end, and 224 are to be had at any time.
pub const MAX_STREAMS: u32 = 256;

/// Bytes written that the peer has not acknowledged, over all streams of a connection. They are kept to be sent again:
/// 8 MiB carry 80 MB/s over a round trip of 100 ms.
pub(super) const SEND_WINDOW: u64 = 8 * 1024 * 1024;

/// The same on a fresh connection of a listener, which has many: two streams to the full, or 50 MB/s over a round trip
/// of 10 ms. See [`SendRoom`](super::send_room::SendRoom) for more.
pub(super) const FIRST_SEND_WINDOW: u64 = 512 * 1024;

/// Connections that wait to be accepted or turned away. An accept costs 0.2 ms, so that the last of 1,024 waits 0.2 s,
/// and its client has repeated nothing yet.
const MAX_INCOMING: usize = 1_024;

/// Datagrams kept of a connection that waits to be accepted. A client has said all it can in its first flight: two
/// datagrams, or five with a long chain of names, of up to 6,500 bytes.
const INCOMING_BYTES: u64 = 32 * 1024;

/// The same over all of them: 8 KiB for each of 1,024. quinn's default is 100 MiB.
const INCOMING_BYTES_TOTAL: u64 = 8 * 1024 * 1024;

/// What a connection may have unread on `streams` streams of one `window`. Anything less, and one unread stream stalls all
/// others.
pub(super) fn receive_window(streams: u32, window: u32) -> VarInt {
    VarInt::try_from(u64::from(streams) * u64::from(window)).unwrap_or(VarInt::MAX)
}

/// What a server promises: streams only from the client, and only two-way ones, each with `window`.
pub(super) fn server_transport(options: &QuicOptions, window: u32) -> Paths {
    Paths::new(options, || {
        let mut config = common_transport(options, window);
        config
            .max_concurrent_bidi_streams(FIRST_STREAMS.into())
            .receive_window(receive_window(FIRST_STREAMS, window))
            .send_window(FIRST_SEND_WINDOW);
        config
    })
}

/// What a client promises: no streams from the server, answers on those it opens, and a sign of life.
///
/// The sign of life comes twice in an idle timeout, or it would come too late.
pub(super) fn client_transport(options: &QuicOptions, keep_alive: Option<Duration>) -> Paths {
    Paths::new(options, || {
        let mut config = common_transport(options, WIDE_STREAM_WINDOW);
        config
            .max_concurrent_bidi_streams(0_u32.into())
            .receive_window(receive_window(MAX_STREAMS, WIDE_STREAM_WINDOW))
            .send_window(SEND_WINDOW)
            .keep_alive_interval(keep_alive.map(|silence| silence.min(options.idle_timeout / 2)));
        config
    })
}

fn common_transport(options: &QuicOptions, window: u32) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_uni_streams(0_u32.into())
        .stream_receive_window(window.into())
        .max_idle_timeout(Some(idle_timeout(options.idle_timeout)))
        .enable_segmentation_offload(options.gso)
        .datagram_receive_buffer_size(None);
    config
}

/// RFC 9000 counts idle time in milliseconds, where zero would mean for ever.
fn idle_timeout(after: Duration) -> IdleTimeout {
    IdleTimeout::try_from(after.max(Duration::from_millis(1))).unwrap_or_else(|_| VarInt::MAX.into())
}

/// The server's configuration, but for what each handshake brings: the identity, and what the way to its peer carries.
pub(super) fn server_config(
    token_key: Arc<TokenKey>,
    used_tokens: Arc<UsedTokens>,
    initial: Suite,
) -> ServerConfig {
    let mut tokens = ValidationTokenConfig::default();
    tokens.lifetime(TOKEN_LIFETIME).log(used_tokens).sent(TOKENS_PER_CONNECTION);
    let mut config = ServerConfig::new(Arc::new(ServerCrypto::unconfigured(initial)), token_key);
    config
        .validation_token_config(tokens)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
    config
}
