//! The windows of all sessions that have one, for whoever watches.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sealstream_protocol::message::admin::SessionUse;
use sealstream_protocol::message::hello::SessionKind;

use super::admission::ByteBudget;
use crate::access::audit::cut;

/// What is shown of a session.
#[derive(Debug)]
struct Window {
    identity: Arc<str>,
    kind: SessionKind,
    bytes: ByteBudget,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the next one.
    next: u64,
    open: HashMap<u64, Window>,
}

/// The windows of a broker's sessions, each of which has at most one: they are bounded as sessions are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Windows(Arc<Mutex<State>>);

/// A window that is shown; dropped, it is not any more.
#[derive(Debug)]
#[must_use = "the window is shown for as long as this lives"]
pub(crate) struct Shown {
    windows: Windows,
    number: u64,
}

impl Windows {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the window of a session.
    pub(crate) fn show(&self, identity: &Arc<str>, kind: SessionKind, bytes: &ByteBudget) -> Shown {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.open.insert(number, Window { identity: Arc::clone(identity), kind, bytes: bytes.clone() });
        Shown { windows: self.clone(), number }
    }

    /// Those that hold most, at most `count` and none that holds nothing, the largest first.
    pub(crate) fn largest(&self, count: usize) -> Vec<SessionUse> {
        let state = self.state();
        let mut taken: Vec<_> = state
            .open
            .values()
            .map(|window| (window.bytes.level().now, window))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        taken.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
        taken.truncate(count);
        let shown = |(bytes, window): (u64, &Window)| SessionUse {
            identity: cut(&window.identity).to_owned(),
            kind: window.kind,
            bytes,
        };
        taken.into_iter().map(shown).collect()
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.windows.state().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_that_hold_most_come_first_and_those_that_hold_nothing_or_are_gone_not_at_all() {
        let windows = Windows::default();
        let mut held = Vec::new();
        for bytes in [0, 30, 10, 20] {
            let window = ByteBudget::new(100);
            let shown = windows.show(&format!("cn:{bytes}").into(), SessionKind::Produce, &window);
            held.push((shown, window.take(bytes).await));
        }
        let largest =
            |count| -> Vec<u64> { windows.largest(count).into_iter().map(|session| session.bytes).collect() };
        assert_eq!(largest(20), [30, 20, 10]);
        assert_eq!(largest(2), [30, 20]);
        assert_eq!(windows.largest(1)[0].identity, "cn:30");
        drop(held.remove(1));
        assert_eq!(largest(20), [20, 10]);
    }
}
