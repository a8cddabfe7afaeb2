//! The last word of a session, clean or not.
//!
//! TLS carries no coded reason, so a fatal answer is a frame like any other. A socket that is closed with unread input
//! sends RST, which destroys what the peer has not read yet, the answer included: so the write side is shut first, and
//! what still arrives is read and thrown away for a while.

use std::time::Duration;

use sealstream_protocol::message::{Fault, Message};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};

use super::{FrameReader, FrameWriter, WireError};

/// How long the peer may take to accept the answer, and then how long its stream is drained: a round trip around the
/// world takes 0.3 s.
pub const DRAIN_TIME: Duration = Duration::from_secs(1);

/// How much is drained: what a default TCP receive buffer of 128 KiB and its peer's send buffer hold.
pub const DRAIN_BYTES: usize = 256 * 1024;

/// Ends a session cleanly: what is queued is written, the write side is shut, and what the peer still says is thrown
/// away until it ends too, or [`DRAIN_BYTES`] were. `deadline` bounds all of it.
///
/// The error says that not everything could be written; the stream is gone either way.
pub async fn finish<R, W>(
    mut reader: FrameReader<R>,
    mut writer: FrameWriter<W>,
    deadline: Duration,
) -> Result<(), WireError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let until = Instant::now() + deadline;
    writer.finish(deadline).await?;
    // Everything of ours has arrived; a peer that does not end in time is left.
    let _ = timeout_at(until, reader.discard(DRAIN_BYTES)).await;
    Ok(())
}

/// Writes `fault` as an Error frame, shuts the write side, drains what still arrives ([`DRAIN_BYTES`],
/// [`DRAIN_TIME`]), then closes the stream. Takes at most twice [`DRAIN_TIME`].
///
/// The error says that the answer could not be delivered; the stream is gone either way.
pub async fn fail<R, W>(
    mut reader: FrameReader<R>,
    mut writer: FrameWriter<W>,
    fault: Fault,
) -> Result<(), WireError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    writer.feed(&Message::Error(fault));
    // Its own: a reader that has drained its part goes, and QUIC keeps nothing of what comes behind that.
    let draining = async move { reader.discard(DRAIN_BYTES).await };
    tokio::pin!(draining);
    let mut drained = false;
    let finishing = writer.finish(DRAIN_TIME);
    tokio::pin!(finishing);
    // A peer that is busy writing may not read before it was read from: both go on at once.
    let finished = loop {
        tokio::select! {
            finished = &mut finishing => break finished,
            () = &mut draining, if !drained => drained = true,
        }
    };
    if finished.is_ok() && !drained {
        // Whether the peer fell silent in time makes no difference to what is left to do: close.
        let _ = timeout(DRAIN_TIME, draining).await;
    }
    finished
}
