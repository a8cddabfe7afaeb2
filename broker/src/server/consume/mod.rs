//! Consume sessions: subscriptions come and go while what is durable is pushed.
//!
//! *In* reads the client's frames and the log, *out* writes. Subscriptions that have something to read take turns: one
//! read of bounded size each, while the one before it is on its way out. At the durable end a subscription waits until
//! the end moves. What was read holds a part of the session's window and of the broker's budget until the transport has
//! taken it, so that a client that stops reading costs no more than its window, and nobody else anything: who finds the
//! budget spent reads by small turns, one at a time outside of it (`turns`).
//!
//! A consumer asks for nothing, so that nothing can be refused: one whose quota is spent is *paced*. What was read for it,
//! one turn and no more, waits with its permits until the quota covers it.
//!
//! A subscription of a group's member ends when its assignment does: nothing that is read after that is handed over.

mod feed;
mod incoming;
pub(super) mod subscribe;
mod turns;

use std::pin::pin;

use sealstream_protocol::message::Message;
use sealstream_protocol::message::hello::SessionKind;
use tokio::sync::mpsc;

use self::incoming::Incoming;
use super::admission::ByteBudget;
use super::session::{End, LAST_WORDS, Session, side_by_side};
use super::writing::{Item, Outgoing};

/// 64 frames between the two halves. Those with entries are also counted by the window, the others are small.
const FRAMES: usize = 64;

/// Serves subscriptions until the session ends.
pub(super) async fn serve(session: &mut Session) -> End {
    let Session { core, inlet, writer, heart, standing, rights, allowance, .. } = session;
    let heart = &*heart;
    let (frames, items) = mpsc::channel(FRAMES);
    let pings = frames.downgrade();
    let ping = |ping| {
        if let Some(frames) = pings.upgrade() {
            // Full: there is something to be written already, which is as good as a ping.
            let _ = frames.try_send(Item::frame(Message::Ping(ping)));
        }
    };
    let window = ByteBudget::new(core.options.consume_window);
    let _shown = core.windows.show(rights.identity(), SessionKind::Consume, &window);
    let incoming = pin!(Incoming::new(core, heart, rights, allowance, window, frames).read(inlet));
    let outgoing = pin!(Outgoing::new(writer, heart).write(items));
    side_by_side(heart, standing, ping, incoming, outgoing, Some(LAST_WORDS)).await
}
