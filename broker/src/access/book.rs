//! The rules that hold, and news of them.

use std::sync::Arc;

use tokio::sync::watch;

use super::audit::AUDIT;
use super::rules::Rules;

/// Holds the rules of a broker: published whole, read without a lock that anybody waits for. Clones share them.
#[derive(Clone, Debug)]
pub struct RuleBook(Arc<watch::Sender<Arc<Rules>>>);

/// A configuration without rules where there were some: everybody could do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "auth.rule: no rule is left, which would let everybody do everything: keep one, or restart the broker to mean it"
)]
pub struct Emptied;

impl RuleBook {
    /// A book of these rules.
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(rules))))
    }

    /// The rules as they stand.
    pub fn current(&self) -> Arc<Rules> {
        Arc::clone(&self.0.borrow())
    }

    /// Whether `next` may be published while the broker runs.
    pub fn check(&self, next: &Rules) -> Result<(), Emptied> {
        if next.is_empty() && !self.0.borrow().is_empty() { Err(Emptied) } else { Ok(()) }
    }

    /// Lets `next` hold from now on; sessions decide again what they had decided. Says whether anything has changed.
    pub fn publish(&self, next: Rules) -> bool {
        let changed = self.0.send_if_modified(|current| {
            let changed = **current != next;
            if changed {
                *current = Arc::new(next);
            }
            changed
        });
        if changed {
            tracing::info!(target: AUDIT, rules = self.0.borrow().len(), "permissions changed");
        }
        changed
    }

    /// News of changes after this call.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Rules>> {
        self.0.subscribe()
    }
}

impl Default for RuleBook {
    fn default() -> Self {
        Self::new(Rules::default())
    }
}
