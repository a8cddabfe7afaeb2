//! The context of one handshake: its configuration, and the judgement of its outcome by one code path for every
//! backend.

use std::fmt;
use std::sync::Arc;

use rustls::{CommonState, HandshakeKind, NamedGroup};
use rustls_pki_types::ServerName;

use super::classify::{self, Side};
use super::peer_chain::PeerChain;
use super::registry::{Basis, Grounds, Registry};
use super::sessions::{HandshakeSessions, SessionCache, unix_now};
use super::tickets::{HandshakeContext, TicketUse};
use super::trust::Epoch;
use crate::error::HandshakeError;
use crate::peer::{Handshake, Identity, Negotiated};

/// What a finished handshake established.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    /// Suite, group and application protocol.
    pub(crate) negotiated: Arc<Negotiated>,
    /// Full or resumed.
    pub(crate) handshake: Handshake,
    /// Who the peer is, if it showed a certificate: after resumption too.
    pub(crate) identity: Option<Arc<Identity>>,
    /// What the connection rests on from now on.
    pub(crate) grounds: Grounds,
}

/// One handshake on the accepting side.
#[derive(Clone)]
pub(crate) struct ServerHandshake {
    pub(super) config: Arc<rustls::ServerConfig>,
    pub(super) alpn: Vec<u8>,
    pub(super) context: Arc<HandshakeContext>,
    pub(super) registry: Arc<Registry>,
    pub(super) epoch: Epoch,
}

impl ServerHandshake {
    /// What to configure rustls with.
    pub(crate) fn config(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Whether a `ClientHello` that offers these protocols can be answered. rustls lets a client that offers none pass.
    pub(crate) fn offers_alpn<'a>(&self, mut offered: impl Iterator<Item = &'a [u8]>) -> bool {
        offered.any(|protocol| protocol == self.alpn)
    }

    /// The refusal of a client that offers these protocols, none of them ours.
    pub(crate) fn alpn_refusal<'a>(&self, offered: impl Iterator<Item = &'a [u8]>) -> HandshakeError {
        classify::alpn_refusal(&self.alpn, offered)
    }

    /// Judges a finished handshake: the protocol must be agreed on, and a client certificate that a ticket vouches for
    /// must not have expired since.
    pub(crate) fn verify(&self, state: &CommonState) -> Result<Verified, HandshakeError> {
        let chain = self.registry.chains().intern(state.peer_certificates().unwrap_or_default(), unix_now());
        verify(state, &self.alpn, Side::Server, chain?, self.epoch, Basis::Client)
    }

    /// What became of the ticket that the client offered.
    pub(crate) fn ticket(&self) -> TicketUse {
        self.context.ticket()
    }

    /// How many tickets the client was given.
    pub(crate) fn tickets_issued(&self) -> u32 {
        self.context.issued()
    }

    /// Names the cause of a failure.
    pub(crate) fn explain(&self, error: &rustls::Error) -> HandshakeError {
        classify::classify(error, Side::Server, &self.alpn)
    }
}

impl fmt::Debug for ServerHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandshake")
            .field("alpn", &String::from_utf8_lossy(&self.alpn))
            .finish_non_exhaustive()
    }
}

/// One handshake on the dialling side.
#[derive(Clone)]
pub(crate) struct ClientHandshake {
    pub(super) config: Arc<rustls::ClientConfig>,
    pub(super) server_name: ServerName<'static>,
    pub(super) sessions: Arc<HandshakeSessions>,
    pub(super) cache: Arc<SessionCache>,
    pub(super) registry: Arc<Registry>,
    pub(super) epoch: Epoch,
}

impl ClientHandshake {
    /// What to configure rustls with. It serves this one handshake: its session store notes what the handshake proved.
    pub(crate) fn config(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The name to hand to rustls: sent as SNI where it is a DNS name.
    pub(crate) fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }

    /// What the sessions of this handshake are cached under.
    #[cfg(test)]
    pub(crate) fn session_key(&self) -> &super::sessions::SessionKey {
        self.sessions.key()
    }

    /// Judges a finished handshake, and releases its tickets for further ones.
    pub(crate) fn verify(&self, state: &CommonState) -> Result<Verified, HandshakeError> {
        let key = self.sessions.key();
        let judge = || {
            let shown = state.peer_certificates().unwrap_or_default();
            let chain = self.registry.chains().intern(shown, unix_now())?;
            verify(state, &key.alpn, Side::Client, chain, self.epoch, Basis::Server)
        };
        let verified = judge().inspect_err(|_| self.cache.forget(key))?;
        self.sessions.accepted(verified.grounds.not_after().unwrap_or(i64::MAX));
        Ok(verified)
    }

    /// Names the cause of a failure.
    pub(crate) fn explain(&self, error: &rustls::Error) -> HandshakeError {
        classify::classify(error, Side::Client, &self.sessions.key().alpn)
    }
}

impl fmt::Debug for ClientHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHandshake").field("key", self.sessions.key()).finish_non_exhaustive()
    }
}

fn verify(
    state: &CommonState,
    alpn: &[u8],
    side: Side,
    chain: Option<Arc<PeerChain>>,
    epoch: Epoch,
    basis: Basis,
) -> Result<Verified, HandshakeError> {
    if state.alpn_protocol() != Some(alpn) {
        return Err(classify::alpn_error(side, alpn));
    }
    let resumed = match state.handshake_kind() {
        Some(HandshakeKind::Resumed) => true,
        Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) => false,
        None => {
            let detail = "the handshake is not complete".to_owned();
            return Err(HandshakeError::Protocol { detail });
        }
    };
    let identity = chain.as_ref().map(|chain| Arc::clone(chain.identity()));
    let now = unix_now();
    if let Some(identity) = identity.as_ref().filter(|identity| resumed && identity.not_after < now) {
        return Err(HandshakeError::Expired { detail: classify::expired_on(identity.not_after, now) });
    }
    Ok(Verified {
        negotiated: Arc::new(Negotiated {
            suite: suite_name(state),
            group: state.negotiated_key_exchange_group().and_then(|group| group_name(group.name())),
            alpn: alpn.to_vec(),
        }),
        handshake: if resumed { Handshake::Resumed } else { Handshake::Full },
        identity,
        grounds: Grounds { basis, chain, epoch },
    })
}

fn suite_name(state: &CommonState) -> &'static str {
    match state.negotiated_cipher_suite().map(|suite| suite.suite()) {
        Some(rustls::CipherSuite::TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
        Some(rustls::CipherSuite::TLS13_AES_256_GCM_SHA384) => "TLS_AES_256_GCM_SHA384",
        Some(rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256) => "TLS_CHACHA20_POLY1305_SHA256",
        _ => "unknown",
    }
}

fn group_name(group: NamedGroup) -> Option<&'static str> {
    match group {
        NamedGroup::X25519 => Some("x25519"),
        NamedGroup::secp256r1 => Some("secp256r1"),
        NamedGroup::secp384r1 => Some("secp384r1"),
        NamedGroup::X25519MLKEM768 => Some("X25519MLKEM768"),
        _ => None,
    }
}
