//! Group sessions: a member's frames to its group, and what the group tells the member.
//!
//! ```text
//! awaiting JoinGroup ─► member ─► going (GoAway sent: what still comes is answered) ─► gone, within its grace
//!                         ├── LeaveGroup: the commits before it are answered, then Left ─► gone, and out
//!                         └── fenced, not allowed any more, or it does not read what it is told ─► Error
//! ```
//!
//! *In* reads the member's frames and its group's events, *out* writes. Commits are answered in their order, once they are durable;
//! [`MAX_COMMITS`](incoming::MAX_COMMITS) may be unanswered. The session holds the member's seat: when it ends, however it ends, the group knows.

mod faults;
mod incoming;
pub(super) mod operate;

use std::pin::pin;

use sealstream_protocol::message::Message;
use tokio::sync::mpsc;

use self::incoming::Incoming;
use super::session::{End, LAST_WORDS, Session, side_by_side};
use super::writing::{Item, Outgoing};

/// 64 frames between the two halves.
const FRAMES: usize = 64;

/// Serves a member until its session ends.
pub(super) async fn serve(session: &mut Session) -> End {
    let Session { core, inlet, writer, heart, standing, rights, allowance, client } = session;
    let heart = &*heart;
    let (frames, items) = mpsc::channel(FRAMES);
    let pings = frames.downgrade();
    let ping = |ping| {
        if let Some(frames) = pings.upgrade() {
            // Full: there is something to be written already, which is as good as a ping.
            let _ = frames.try_send(Item::frame(Message::Ping(ping)));
        }
    };
    let incoming = pin!(Incoming::new(core, heart, rights, allowance, frames).read(inlet, client));
    let outgoing = pin!(Outgoing::new(writer, heart).write(items));
    side_by_side(heart, standing, ping, incoming, outgoing, Some(LAST_WORDS)).await
}
