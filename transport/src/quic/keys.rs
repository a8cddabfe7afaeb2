//! The secrets of an endpoint that no handshake negotiates: with which it proves a stateless reset, and with which it
//! seals the tokens that vouch for a client's address.
//!
//! Both come from the secret of a listener's TLS material: a restarted server resets the connections of the one before, so that
//! their clients need not wait for the idle timeout, and honours its tokens. Retry and the reading of tokens use the endpoint's
//! configuration, `NEW_TOKEN` the connection's: the same key has to be in both, or no token is ever honoured.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quinn::EndpointConfig;
use quinn::crypto::{AeadKey, CryptoError, HandshakeTokenKey};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::session::QUIC_V1;
use crate::tls::Receiver;

/// Separates the keys that are derived from one secret.
const RESET_SALT: &[u8] = b"sealstream quic stateless reset";
const TOKEN_SALT: &[u8] = b"sealstream quic address token";
const CONNECTION_ID_SALT: &[u8] = b"sealstream quic connection id";

/// Between two stateless resets of an endpoint: ten thousand clients of a restarted server can be told within a second that their
/// connections are gone; a client that is missed asks again with its next packet. A reset is shorter than the packet that asks for it, costs some microseconds, and answers only
/// connection IDs that were made with our key.
const RESET_INTERVAL: Duration = Duration::from_micros(100);

/// The keys of stateless resets, and of the connection IDs that are answered so. Cheap to clone.
#[derive(Clone)]
pub(super) struct EndpointKeys {
    reset: Arc<hmac::Key>,
    connection_id: u64,
}

impl EndpointKeys {
    /// The keys of a listener: of the secret that its material has now. An endpoint keeps its reset key for life.
    pub(super) fn of_listener(receiver: &Receiver) -> Self {
        Self::derive(&receiver.current().quic_secrets()[0])
    }

    /// The keys of this process, made on first use: for sockets that only dial.
    pub(super) fn of_process() -> Self {
        static KEYS: OnceLock<EndpointKeys> = OnceLock::new();
        KEYS.get_or_init(|| {
            let mut secret = Zeroizing::new([0; 32]);
            SystemRandom::new().fill(&mut *secret).expect("the operating system gives random numbers");
            Self::derive(&secret)
        })
        .clone()
    }

    fn derive(secret: &[u8; 32]) -> Self {
        let key = |salt| {
            let key = Salt::new(HKDF_SHA256, salt).extract(secret);
            hmac::Key::from(key.expand(&[], hmac::HMAC_SHA256).expect("HKDF gives 32 bytes"))
        };
        let connection_id = hmac::sign(&key(CONNECTION_ID_SALT), &[]);
        let (connection_id, _) = connection_id.as_ref().split_first_chunk().expect("HMAC gives 32 bytes");
        Self { reset: Arc::new(key(RESET_SALT)), connection_id: u64::from_be_bytes(*connection_id) }
    }

    /// The configuration of an endpoint with these keys, which receives datagrams of at most `max_datagram` bytes.
    pub(super) fn endpoint_config(&self, max_datagram: u16) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::<hmac::Key>::clone(&self.reset));
        // A packet with an ID that this key has not made is dropped without a word, a reset included.
        let key = self.connection_id;
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
        config.min_reset_interval(RESET_INTERVAL);
        config.supported_versions(vec![QUIC_V1]);
        config.max_udp_payload_size(max_datagram).expect("clamped to what RFC 9000 allows");
        config
    }
}

impl fmt::Debug for EndpointKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointKeys").finish_non_exhaustive()
    }
}

/// Seals address tokens under the secret that a listener's material has at that moment, and opens those of every secret that is
/// still honoured.
pub(super) struct TokenKey(pub(super) Receiver);

impl HandshakeTokenKey for TokenKey {
    fn aead_from_hkdf(&self, random_bytes: &[u8]) -> Box<dyn AeadKey> {
        let snapshot = self.0.current();
        let key =
            |secret: &Zeroizing<[u8; 32]>| -> Prk { Salt::new(HKDF_SHA256, TOKEN_SALT).extract(&**secret) };
        let keys = snapshot.quic_secrets().iter().map(|secret| key(secret).aead_from_hkdf(random_bytes));
        Box::new(AnyKey(keys.collect()))
    }
}

/// The same key under each secret, the one in use first.
struct AnyKey(Vec<Box<dyn AeadKey>>);

impl AeadKey for AnyKey {
    fn seal(&self, data: &mut Vec<u8>, additional_data: &[u8]) -> Result<(), CryptoError> {
        self.0.first().ok_or(CryptoError)?.seal(data, additional_data)
    }

    fn open<'a>(&self, data: &'a mut [u8], additional_data: &[u8]) -> Result<&'a mut [u8], CryptoError> {
        for key in &self.0 {
            // A key that does not fit leaves the bytes in pieces.
            let mut attempt = data.to_vec();
            if let Ok(opened) = key.open(&mut attempt, additional_data) {
                let plain = data.get_mut(..opened.len()).ok_or(CryptoError)?;
                plain.copy_from_slice(opened);
                return Ok(plain);
            }
        }
        Err(CryptoError)
    }
}
