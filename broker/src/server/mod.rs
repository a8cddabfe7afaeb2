//! The server: takes connections, holds a session on each of their streams, and stands between the protocol and the log.
//!
//! # Tasks and their owners
//!
//! ```text
//! RunningBroker  owns all tasks by one tracker; two tokens reach every one of them: `draining`, then `aborted`
//! ├─ accept loop       one a listener: takes a place for each connection, or turns it away; never runs a handshake
//! ├─ connection        one a connection: handshake, then a task for each stream; ends when the last of them has
//! │  └─ session        one a stream: Hello and Welcome, then one of the four kinds
//! ├─ group             one a consumer group: `groups`
//! ├─ housekeeping      retention, and deletions that were left over
//! └─ ends of tokens    tells the sessions whose token has ended
//! ```
//!
//! A session is one task that runs two futures side by side, so that neither waits for the other: *in* reads frames,
//! *out* owns the writing half, and a bounded channel leads from one to the other.
//!
//! ```text
//! Admin     in: a request        ── its answer ──► out                                   one after the other
//! Produce   in: check, permits, commit ── pending answers ──► out: acks, when durable    ordered by partition
//! Group     in: the member's frames, its group's events ── frames ──► out      commits answered in order, once durable
//! Consume   in: subscriptions, reads of the log ── entries, permits ──► out: Data        round robin
//! ```
//!
//! # States
//!
//! ```text
//! session     awaiting Hello ─► open ─► draining (GoAway sent: what is under way is answered) ─► closing ─► gone
//!                  │             │ a frame that breaks the format, an idle peer, a broken promise
//!                  ├─────────────┴─► failing: Error frame, write side shut, what arrives is drained ─► gone
//!                  └──────────────── from anywhere, when trust no longer covers the peer: the same, within 0.6 s
//! broker      starting ─► serving ─► draining ─► (at the deadline) aborted ─► sealed
//! ```
//!
//! # Bounds
//!
//! Every one of them is a field of [`BrokerOptions`] with its arithmetic: connections, sessions, the time until the
//! first frame, idle time, bytes of unanswered batches by session and in all, bytes read ahead by session and in all.
//! Before its Hello is complete a peer can make the server hold no more than a small frame. Afterwards a session may hold
//! one frame that is still arriving, besides what it has permits for.

mod accept;
mod admin;
mod admission;
mod arriving;
mod broker;
mod consume;
mod faults;
mod group;
mod lane;
mod meters;
mod options;
mod presence;
mod produce;
mod rights;
mod session;
mod standing;
mod trace;
mod view;
mod windows;
mod writing;

pub use crate::groups::LoadGroupsError;
pub use broker::{Broker, RunningBroker, StartError, Stopped};
pub(crate) use meters::{Meters, TopicMeter};
pub use options::{
    ARRIVING_BUDGET, Anonymous, BrokerOptions, CONSUME_BUDGET, CONSUME_FLOOR, CONSUME_WINDOW, DATA_BYTES,
    FIRST_FRAME_DEADLINE, GROUP_GRACE, GROUP_HEARTBEAT, GROUP_IDLE_EXPIRY, GROUP_RELEASE, GroupOptions,
    IDLE_DEFAULT, IDLE_MAX, IDLE_MIN, InvalidOption, MAX_GREETINGS, MAX_GROUP_MEMBERS, MAX_GROUP_PARTITIONS,
    MAX_GROUPS, MAX_MEMBER_TOPICS, MAX_PARTITIONS, MAX_PARTITIONS_PER_TOPIC, MAX_SESSIONS, PRODUCE_BUDGET,
    PRODUCE_PATIENCE, PRODUCE_WINDOW, RETENTION_INTERVAL, TlsControl, TopicDefaults,
};
pub(crate) use presence::ConnectionShown;
pub use view::View;
pub(crate) use view::{GroupShown, NotAViewer, budgets};
