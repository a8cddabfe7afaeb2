//! The secrets of an endpoint that no handshake negotiates: with which it proves a stateless reset, and with which it
//! seals the tokens that vouch for a client's address.
//!
//! One set serves the whole process. Retry and the reading of tokens use the endpoint's configuration, `NEW_TOKEN` the
//! connection's: the same key has to be in both, or no token is ever honoured.

use std::fmt;
use std::sync::{Arc, OnceLock};

use quinn::EndpointConfig;
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::session::QUIC_V1;

/// Separates the two keys that are derived from one secret.
const RESET_SALT: &[u8] = b"sealstream quic stateless reset";
const TOKEN_SALT: &[u8] = b"sealstream quic address token";

/// The keys of stateless resets and of address tokens. Cheap to clone.
#[derive(Clone)]
pub(super) struct EndpointKeys {
    reset: Arc<hmac::Key>,
    token: Arc<Prk>,
}

impl EndpointKeys {
    /// The keys of this process, made on first use.
    pub(super) fn of_process() -> Self {
        static KEYS: OnceLock<EndpointKeys> = OnceLock::new();
        KEYS.get_or_init(|| {
            let mut secret = Zeroizing::new([0; 32]);
            SystemRandom::new().fill(&mut *secret).expect("the operating system gives random numbers");
            Self::derive(&secret)
        })
        .clone()
    }

    /// Both keys from one secret.
    fn derive(secret: &[u8; 32]) -> Self {
        Self {
            reset: Arc::new(hmac::Key::from(
                Salt::new(HKDF_SHA256, RESET_SALT)
                    .extract(secret)
                    .expand(&[], hmac::HMAC_SHA256)
                    .expect("HKDF gives 32 bytes"),
            )),
            token: Arc::new(Salt::new(HKDF_SHA256, TOKEN_SALT).extract(secret)),
        }
    }

    /// The configuration of an endpoint with these keys, which receives datagrams of at most `max_datagram` bytes.
    pub(super) fn endpoint_config(&self, max_datagram: u16) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::<hmac::Key>::clone(&self.reset));
        config.supported_versions(vec![QUIC_V1]);
        config.max_udp_payload_size(max_datagram).expect("clamped to what RFC 9000 allows");
        config
    }

    /// The key with which address tokens are sealed.
    pub(super) fn token(&self) -> Arc<Prk> {
        Arc::clone(&self.token)
    }
}

impl fmt::Debug for EndpointKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointKeys").finish_non_exhaustive()
    }
}
