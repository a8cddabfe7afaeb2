//! The subscriptions of a session, and whose turn it is.
//!
//! ```text
//! ready ── its turn ──► reading ── more to read ──► ready (at the back)
//!   ▲                      └── at the durable end ──► waiting
//!   └────────── the end moved, or the partition is gone ──┘
//! ```

use std::collections::{HashMap, VecDeque};

use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use sealstream_transport::BoxFuture;
use tokio::sync::watch;

use super::subscribe::Subscription;

/// Tells a subscription from an earlier one of the same number.
pub(super) type Key = u64;

/// A subscription and what it waits with.
#[derive(Debug)]
struct Slot {
    subscription: Subscription,
    /// Set while it waits: dropped with the slot, so that nothing waits for a subscription that is gone.
    waiting: Option<AbortOnDrop>,
    /// The same for the end of its assignment, if it has one.
    _watching: Option<AbortOnDrop>,
}

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// All subscriptions of a session.
#[derive(Default)]
pub(super) struct Feed {
    slots: HashMap<Key, Slot>,
    keys: HashMap<u32, Key>,
    last_key: Key,
    /// Those with something to read, in the order of their turns. May name keys that are gone.
    ready: VecDeque<Key>,
    waiting: FuturesUnordered<Abortable<BoxFuture<'static, Key>>>,
    /// Those whose assignment can end.
    tenures: FuturesUnordered<Abortable<BoxFuture<'static, Key>>>,
}

impl Feed {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn has(&self, id: u32) -> bool {
        self.keys.contains_key(&id)
    }

    /// Adds a subscription; its first turn comes after everybody's that is ready.
    pub(super) fn add(&mut self, subscription: Subscription) {
        self.last_key += 1;
        let key = self.last_key;
        let watching = subscription.tenure.clone().map(|tenure| {
            let (handle, registration) = AbortHandle::new_pair();
            let over: BoxFuture<'static, Key> = Box::pin(async move {
                tenure.cancelled().await;
                key
            });
            self.tenures.push(Abortable::new(over, registration));
            AbortOnDrop(handle)
        });
        self.keys.insert(subscription.id, key);
        self.slots.insert(key, Slot { subscription, waiting: None, _watching: watching });
        self.ready.push_back(key);
    }

    /// Takes a subscription off by the client's number for it.
    pub(super) fn remove(&mut self, id: u32) -> Option<Subscription> {
        let key = self.keys.remove(&id)?;
        self.slots.remove(&key).map(|slot| slot.subscription)
    }

    /// Whose turn it is.
    pub(super) fn next_turn(&mut self) -> Option<(Key, &Subscription)> {
        loop {
            let key = *self.ready.front()?;
            if self.slots.contains_key(&key) {
                break;
            }
            self.ready.pop_front();
        }
        let key = self.ready.pop_front()?;
        self.slots.get(&key).map(|slot| (key, &slot.subscription))
    }

    /// Whether it is anybody's turn.
    pub(super) fn has_turn(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The subscription of a key, unless it was taken off.
    pub(super) fn get(&mut self, key: Key) -> Option<&mut Subscription> {
        self.slots.get_mut(&key).map(|slot| &mut slot.subscription)
    }

    /// After its turn: to the back of the queue if the log goes on, or to waiting until it does.
    pub(super) fn requeue(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let mut end = slot.subscription.end.clone();
        if *end.borrow_and_update() > slot.subscription.next {
            self.ready.push_back(key);
            return;
        }
        let (handle, registration) = AbortHandle::new_pair();
        slot.waiting = Some(AbortOnDrop(handle));
        let moved: BoxFuture<'static, Key> = Box::pin(moved(key, end));
        self.waiting.push(Abortable::new(moved, registration));
    }

    /// Waits until some subscription has something to read, or its assignment is over: then it is that one. For ever if none waits.
    /// Cancellation safe.
    pub(super) async fn wake(&mut self) -> Option<Key> {
        tokio::select! {
            biased;
            Some(over) = self.tenures.next(), if !self.tenures.is_empty() => over.ok(),
            Some(moved) = self.waiting.next(), if !self.waiting.is_empty() => {
                let key = moved.ok()?;
                if let Some(slot) = self.slots.get_mut(&key) {
                    slot.waiting = None;
                    self.ready.push_back(key);
                }
                None
            }
            else => std::future::pending().await,
        }
    }
}

/// Resolves when the end has moved, or will not any more: the next read tells which.
async fn moved(key: Key, mut end: watch::Receiver<u64>) -> Key {
    let _ = end.changed().await;
    key
}
