//! Remembers which address tokens were used, so that each vouches for an address once (RFC 9000, section 8.1.4).

use std::collections::HashSet;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use quinn::{TokenLog, TokenReuseError};

/// Nonces in one generation. Two generations of 32,768 nonces of 16 bytes, in tables at most half empty: 2 MiB.
const GENERATION_NONCES: usize = 32 * 1024;

/// How long a token may be kept by its client. A token only saves a round trip when the server is under load: a day
/// covers a client that comes back every morning, and the log above covers 65,536 of them.
pub(super) const TOKEN_LIFETIME: Duration = Duration::from_hours(24);

/// Tokens given to each client: it uses one for each connection, and may make two before it is given more.
pub(super) const TOKENS_PER_CONNECTION: u32 = 2;

/// The nonces of the tokens used, in two generations. A token as old as a forgotten generation is refused: a token is
/// at worst ignored, and never honoured twice.
#[derive(Debug)]
pub(super) struct UsedTokens {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    current: HashSet<u128>,
    previous: HashSet<u128>,
    /// When `previous` was closed.
    closed: SystemTime,
    /// Tokens issued up to here may have been forgotten.
    horizon: SystemTime,
}

impl UsedTokens {
    pub(super) fn new() -> Self {
        Self::with_capacity(GENERATION_NONCES)
    }

    fn with_capacity(capacity: usize) -> Self {
        Self {
            capacity,
            state: Mutex::new(State {
                current: HashSet::new(),
                previous: HashSet::new(),
                closed: SystemTime::UNIX_EPOCH,
                horizon: SystemTime::UNIX_EPOCH,
            }),
        }
    }

    fn use_once(&self, nonce: u128, issued: SystemTime, now: SystemTime) -> Result<(), TokenReuseError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if issued <= state.horizon || state.previous.contains(&nonce) || !state.current.insert(nonce) {
            return Err(TokenReuseError);
        }
        if state.current.len() >= self.capacity {
            state.previous = mem::take(&mut state.current);
            // What is forgotten now was used before its generation was closed, hence issued by then.
            state.horizon = mem::replace(&mut state.closed, now);
        }
        Ok(())
    }
}

impl TokenLog for UsedTokens {
    fn check_and_insert(
        &self,
        nonce: u128,
        issued: SystemTime,
        _lifetime: Duration,
    ) -> Result<(), TokenReuseError> {
        self.use_once(nonce, issued, SystemTime::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn a_token_is_honoured_once() {
        let used = UsedTokens::new();
        assert!(used.use_once(7, at(10), at(11)).is_ok());
        assert!(used.use_once(7, at(10), at(12)).is_err());
        assert!(used.use_once(8, at(10), at(12)).is_ok());
    }

    #[test]
    fn a_token_is_not_honoured_again_after_its_use_was_forgotten() {
        let used = UsedTokens::with_capacity(2);
        for second in 100..106 {
            assert!(used.use_once(u128::from(second), at(second), at(second)).is_ok());
        }
        for second in 100..106 {
            assert!(used.use_once(u128::from(second), at(second), at(200)).is_err(), "token {second}");
        }
        assert!(used.use_once(9, at(201), at(202)).is_ok());
    }
}
