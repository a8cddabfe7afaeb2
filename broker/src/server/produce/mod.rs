//! Produce sessions: batches in, answers out.
//!
//! *In* checks each batch, takes permits for its bytes and hands it to the log, which fixes its place; *out* awaits
//! durability and answers, in order within a partition and in none between partitions, so that a slow partition delays
//! nobody else. Every frame that needs an answer holds part of the session's window until the transport has taken the
//! answer: a client that does not read its answers is read from no further. The part of the broker's budget is given
//! back as soon as the log is done with the batch, whether or not the client takes the answer.
//!
//! A batch that the quota does not cover is refused before it costs anything, and so is whatever follows it in its sequence
//! until it comes again. What the log refuses is given back to the quota.
//!
//! A session that breaks leaves the log its batches: their permits stay taken until it is done with them. A client that is no
//! longer trusted gets the answers that are known by then, and no others.

mod gaps;
mod incoming;
mod lanes;
mod outgoing;

use std::pin::pin;

use sealstream_protocol::message::Message;
use sealstream_protocol::message::hello::SessionKind;
use tokio::sync::mpsc;

use self::incoming::Incoming;
use self::lanes::Lanes;
use self::outgoing::{Item, Outgoing};
use super::admission::ByteBudget;
use super::session::{End, Session, side_by_side};
use super::windows::Shown;

/// 256 answers between the two halves of a session: they are also counted by the window.
const ANSWERS: usize = 256;

/// Serves batches until the session ends. What the log is not done with by then is to be settled afterwards.
pub(super) async fn serve(session: &mut Session) -> (End, Unsettled) {
    let identity = session.identity_hash();
    let Session { core, inlet, writer, heart, standing, rights, allowance, .. } = session;
    let heart = &*heart;
    let (answers, mut items) = mpsc::channel(ANSWERS);
    let pings = answers.downgrade();
    let window = ByteBudget::new(core.options.produce_window);
    let shown = core.windows.show(rights.identity(), SessionKind::Produce, &window);
    let mut lanes = Lanes::default();

    let refunds = allowance.clone();
    let incoming = Incoming::new(core, heart, identity, rights, allowance, window, answers);
    let ping = |ping| {
        if let Some(answers) = pings.upgrade() {
            // Full: there is something to be written already, which is as good as a ping.
            let _ = answers.try_send(Item::frame(Message::Ping(ping), None));
        }
    };
    let mut outgoing = Outgoing::new(core, writer, heart, &refunds, &mut lanes);
    // For as long as it takes: what was taken is answered.
    let end = {
        let (incoming, outgoing) = (pin!(incoming.read(inlet)), pin!(outgoing.write(&mut items)));
        side_by_side(heart, standing, ping, incoming, outgoing, None).await
    };
    if let End::Fallen(_) = end {
        outgoing.answer_known(&mut items);
    }
    (end, Unsettled { lanes, items, _shown: shown })
}

/// What the log still has of a session that is over.
pub(super) struct Unsettled {
    lanes: Lanes,
    items: mpsc::Receiver<Item>,
    /// What the log still has is shown as the session's.
    _shown: Shown,
}

impl Unsettled {
    /// Awaits it, so that permits are held for as long as the batches are.
    pub(super) async fn settle(self) {
        self.lanes.settle(self.items).await;
    }
}
