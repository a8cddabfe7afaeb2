//! The alternative to tickets: sessions that the server keeps. Single use, bounded in bytes. No operation looks at more
//! than one entry but for those it evicts, and no table ever grows: rustls' own cache is searched from end to end.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use zeroize::Zeroizing;

use super::claims::Claims;

/// A lock each: sixteen handshakes at once seldom meet.
const SHARDS: usize = 16;

/// rustls' name for a session: random.
const ID_BYTES: usize = 32;

/// What an entry costs besides its session: id 32, claims 64, vector 24, links 16, two allocations 32, and its share of a table
/// that may be 7/16 full, 17 bytes a place: 39. Rounded up.
const ENTRY_BYTES: usize = 256;

/// Kept sessions. The one put first goes first.
pub(super) struct ServerSessionCache {
    shards: [Mutex<Shard>; SHARDS],
    max_bytes: usize,
}

struct Shard {
    sessions: LruCache<[u8; ID_BYTES], Kept>,
    bytes: usize,
}

struct Kept {
    claims: Claims,
    session: Zeroizing<Vec<u8>>,
}

impl Kept {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.session.capacity()
    }
}

impl ServerSessionCache {
    pub(super) fn new(max_bytes: usize) -> Self {
        // As many places as the bytes allow, at once: the empty tables take 7 to 15 % of them.
        let places = NonZeroUsize::new(max_bytes / SHARDS / ENTRY_BYTES).unwrap_or(NonZeroUsize::MIN);
        let shard = |_| Mutex::new(Shard { sessions: LruCache::new(places), bytes: 0 });
        Self { shards: std::array::from_fn(shard), max_bytes }
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    fn shard(&self, id: &[u8; ID_BYTES]) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[usize::from(id[0]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a session; false if its name is not one of rustls', or it is larger than the whole cache.
    pub(super) fn put(&self, id: &[u8], claims: Claims, session: Vec<u8>) -> bool {
        let Ok(id) = <[u8; ID_BYTES]>::try_from(id) else { return false };
        let kept = Kept { claims, session: Zeroizing::new(session) };
        let max = self.max_bytes / SHARDS;
        if kept.bytes() > max {
            return false;
        }
        let mut shard = self.shard(&id);
        shard.bytes += kept.bytes();
        // One of the same name, or where all places are taken the oldest.
        if let Some((_, gone)) = shard.sessions.push(id, kept) {
            shard.bytes -= gone.bytes();
        }
        while shard.bytes > max {
            let Some((_, evicted)) = shard.sessions.pop_lru() else { break };
            shard.bytes -= evicted.bytes();
        }
        true
    }

    /// A session, which is forgotten. Whether its claims hold is for the handshake to say.
    pub(super) fn take(&self, id: &[u8]) -> Option<(Claims, Vec<u8>)> {
        let id = <[u8; ID_BYTES]>::try_from(id).ok()?;
        let mut shard = self.shard(&id);
        let mut kept = shard.sessions.pop(&id)?;
        shard.bytes -= kept.bytes();
        drop(shard);
        let session = std::mem::take(&mut *kept.session);
        Some((kept.claims, session))
    }
}

impl fmt::Debug for ServerSessionCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSessionCache").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::claims::Proof;
    use super::*;
    use crate::peer::TransportKind;
    use crate::tls::trust::Epoch;

    fn claims() -> Claims {
        let proof = Proof { authenticated_at: 0, not_after: i64::MAX };
        Claims { epoch: Epoch::from([0; 32]), kind: TransportKind::Tls, proof, issued_at: 0 }
    }

    fn id(n: u16) -> [u8; ID_BYTES] {
        let mut id = [0; ID_BYTES];
        id[1..3].copy_from_slice(&n.to_be_bytes());
        id
    }

    #[test]
    fn a_session_is_used_once() {
        let cache = ServerSessionCache::new(1 << 20);
        assert!(cache.put(&id(1), claims(), b"one".to_vec()));
        assert_eq!(cache.take(&id(2)), None);
        assert_eq!(cache.take(&id(1)), Some((claims(), b"one".to_vec())));
        assert_eq!(cache.take(&id(1)), None);
        assert!(!cache.put(b"short", claims(), Vec::new()));
    }

    #[test]
    fn the_bytes_are_bounded_and_the_oldest_goes_first() {
        let cache = ServerSessionCache::new(SHARDS * 10 * (ENTRY_BYTES + 100));
        for n in 0..1000 {
            assert!(cache.put(&id(n), claims(), vec![0; 100]));
            assert!(cache.shard(&id(n)).bytes <= cache.max_bytes / SHARDS);
        }
        let kept: Vec<_> = (0..1000).filter(|n| cache.take(&id(*n)).is_some()).collect();
        assert_eq!(kept, (990..1000).collect::<Vec<_>>());
        assert_eq!(cache.shard(&id(0)).bytes, 0);
        assert!(!cache.put(&id(0), claims(), vec![0; 1 << 20]), "larger than all");
    }

    #[test]
    fn a_large_session_takes_the_room_of_as_many_as_it_needs_and_one_that_cannot_fit_takes_none() {
        let cache = ServerSessionCache::new(SHARDS * 10 * (ENTRY_BYTES + 100));
        let kept = |n| cache.shard(&id(0)).sessions.contains(&id(n));
        for n in 0..10 {
            cache.put(&id(n), claims(), vec![0; 100]);
        }
        assert!(cache.put(&id(10), claims(), vec![0; 1000]));
        assert_eq!((0..=10).filter(|n| kept(*n)).collect::<Vec<_>>(), (4..=10).collect::<Vec<_>>());
        let most = 10 * (ENTRY_BYTES + 100) - ENTRY_BYTES;
        assert!(!cache.put(&id(11), claims(), vec![0; most + 1]) && kept(10));
        assert!(cache.put(&id(11), claims(), vec![0; most]) && !kept(10));
    }

    #[test]
    fn empty_sessions_are_bounded_too_and_a_name_put_twice_counts_once() {
        let cache = ServerSessionCache::new(SHARDS * 64 * ENTRY_BYTES);
        for n in 0..1000 {
            cache.put(&id(n), claims(), Vec::new());
            cache.put(&id(n), claims(), Vec::new());
        }
        let shard = cache.shard(&id(0));
        assert_eq!((shard.sessions.len(), shard.bytes), (64, 64 * ENTRY_BYTES));
    }
}
