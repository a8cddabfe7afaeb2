//! The certificates that a peer showed: kept once for all connections of one peer, for as long as one of them lives, and a
//! few beyond that: a peer that connects, says what it has to say and comes back is not read anew each time.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ring::digest;
use rustls_pki_types::CertificateDer;

use super::identity::{identity_of, not_after};
use crate::error::HandshakeError;
use crate::peer::Identity;

/// A chain that a verifier has accepted, leaf first, with what is read from it.
pub(crate) struct PeerChain {
    certificates: Vec<CertificateDer<'static>>,
    digest: [u8; 32],
    identity: Arc<Identity>,
    not_after: i64,
}

impl PeerChain {
    fn parse(chain: &[CertificateDer<'_>], digest: [u8; 32], now: i64) -> Result<Self, HandshakeError> {
        let identity = identity_of(chain)?.expect("the caller has a leaf");
        // A certificate that had expired before the full handshake took no part in it: servers carry such cross-signs
        // along.
        let not_after = chain.iter().filter_map(not_after).filter(|&end| end > now).min();
        Ok(Self {
            certificates: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            digest,
            not_after: not_after.unwrap_or(identity.not_after),
            identity: Arc::new(identity),
        })
    }

    /// The leaf.
    pub(crate) fn leaf(&self) -> &CertificateDer<'static> {
        &self.certificates[0]
    }

    /// What came along with the leaf.
    pub(crate) fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.certificates[1..]
    }

    /// Who the leaf says its holder is.
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// When the first of the certificates ends, in seconds since the Unix epoch.
    pub(crate) fn not_after(&self) -> i64 {
        self.not_after
    }

    /// SHA-256 over the certificates, each with its length before it.
    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl fmt::Debug for PeerChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerChain")
            .field("identity", &self.identity)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

fn digest_of(chain: &[CertificateDer<'_>]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for certificate in chain {
        context.update(&(certificate.len() as u64).to_be_bytes());
        context.update(certificate);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// Chains before the first look for those that nobody holds any more.
const FIRST_PRUNE: usize = 64;

/// Chains kept that nobody may hold any more: those that were read last. With 3 KB each, 200 KB.
const KEPT: usize = 64;

/// The chains in use. Bounded by the connections that hold them; an entry whose chain is gone costs 48 bytes until the
/// table has doubled.
#[derive(Debug, Default)]
pub(super) struct PeerChains {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    chains: HashMap<[u8; 32], Weak<PeerChain>>,
    prune_at: usize,
    kept: VecDeque<Arc<PeerChain>>,
}

impl PeerChains {
    /// The chain as everybody else who met the same peer has it; `None` for an empty one.
    pub(super) fn intern(
        &self,
        chain: &[CertificateDer<'_>],
        now: i64,
    ) -> Result<Option<Arc<PeerChain>>, HandshakeError> {
        if chain.is_empty() {
            return Ok(None);
        }
        let digest = digest_of(chain);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.chains.get(&digest).and_then(Weak::upgrade);
        // What has ended since it was read may be a cross-sign that the handshake had no need of: read anew, it does not count.
        if let Some(known) = known.filter(|known| known.not_after > now) {
            return Ok(Some(known));
        }
        let parsed = Arc::new(PeerChain::parse(chain, digest, now)?);
        if state.chains.len() >= state.prune_at {
            state.chains.retain(|_, chain| chain.strong_count() > 0);
            state.prune_at = (state.chains.len() * 2).max(FIRST_PRUNE);
        }
        state.chains.insert(digest, Arc::downgrade(&parsed));
        if state.kept.len() == KEPT {
            state.kept.pop_front();
        }
        state.kept.push_back(Arc::clone(&parsed));
        Ok(Some(parsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pki::{Authority, Leaf};

    #[test]
    fn one_peer_is_kept_once_and_not_long_after_nobody_holds_it() {
        let ca = Authority::new("CA");
        let (one, two) = (ca.issue(&Leaf::new().dns("one")), ca.issue(&Leaf::new().dns("two")));
        let chains = PeerChains::default();
        let held = chains.intern(&one.chain(), 0).unwrap().unwrap();
        let again = chains.intern(&one.chain(), 0).unwrap().unwrap();
        assert!(Arc::ptr_eq(&held, &again));
        assert!(!Arc::ptr_eq(&held, &chains.intern(&two.chain(), 0).unwrap().unwrap()));
        assert_eq!(held.identity().dns_names, ["one"]);
        let ended = chains.intern(&one.chain(), held.not_after()).unwrap().unwrap();
        assert!(!Arc::ptr_eq(&held, &ended), "what had ended is read anew");
        let passing = ca.issue(&Leaf::new().dns("passing"));
        let passed = Arc::downgrade(&chains.intern(&passing.chain(), 0).unwrap().unwrap());
        let back = chains.intern(&passing.chain(), 0).unwrap().unwrap();
        assert!(Arc::ptr_eq(&passed.upgrade().unwrap(), &back), "not read anew");
        drop(back);
        for _ in 0..3 * KEPT {
            chains.intern(&ca.issue(&Leaf::new().dns("another")).chain(), 0).unwrap();
        }
        assert!(passed.upgrade().is_none());
        assert!(chains.state.lock().unwrap().chains.len() <= 2 * KEPT + 2);
        assert!(chains.intern(&[], 0).unwrap().is_none());
    }
}
