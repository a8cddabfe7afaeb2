//! Our own TLS session for QUIC: the traits of `quinn_proto::crypto` over `rustls::quic`.
//!
//! The session that comes with quinn keeps what rustls knows to itself. This one tells whether the handshake was full or
//! resumed, has the finished handshake judged by the same code as TCP, and keeps the very error on which one failed, so that
//! a cause has the same name on QUIC as on TCP. Besides, 0-RTT is off here whatever a configuration says.

use std::any::Any;
use std::io::Cursor;
use std::mem;
use std::sync::{Arc, OnceLock};

use quinn::crypto::{
    ClientConfig, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session,
    UnsupportedVersion,
};
use quinn::{ConnectError, ConnectionId, Side, TransportErrorCode};
use quinn_proto::TransportError;
use quinn_proto::transport_parameters::TransportParameters;
use ring::aead;
use rustls::crypto::CryptoProvider;
use rustls::quic::{self, KeyChange, Secrets, Suite, Version};
use rustls::{AlertDescription, CommonState};
use rustls_pki_types::CertificateDer;

use crate::error::HandshakeError;
use crate::observe::Meter;
use crate::tls::{ClientHandshake, ServerHandshake, Verified};

/// The one version of QUIC that is spoken (RFC 9000).
pub(super) const QUIC_V1: u32 = 1;

/// The key and nonce with which RFC 9001, section 5.8, has every Retry packet of version 1 sealed. They are public: the
/// tag tells a damaged packet, not a forged one.
const RETRY_KEY: [u8; 16] =
    [0xbe, 0x0c, 0x69, 0x0b, 0x9f, 0x66, 0x57, 0x5a, 0x1d, 0x76, 0x6b, 0x54, 0xe3, 0x68, 0xc8, 0x4e];
const RETRY_NONCE: [u8; 12] = [0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63, 0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb];

/// The length of that tag.
const RETRY_TAG_BYTES: usize = 16;

/// How the TLS side of one handshake ended: empty until it has. quinn itself passes on no more than an alert.
///
/// Also what `quinn::Connection::handshake_data` returns, in a box.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    judged: Arc<OnceLock<Result<Verified, HandshakeError>>>,
    meter: Meter,
}

impl Outcome {
    /// Of a handshake whose cost is counted.
    pub(super) fn metered(meter: Meter) -> Self {
        Self { meter, ..Self::default() }
    }

    pub(super) fn get(&self) -> Option<&Result<Verified, HandshakeError>> {
        self.judged.get()
    }

    fn set(&self, outcome: Result<Verified, HandshakeError>) {
        // Only the first error is a cause; what follows it is a consequence.
        drop(self.judged.set(outcome));
    }
}

/// The type behind `quinn::Connection::peer_identity`: the chain of the peer, leaf first.
pub(super) type PeerChain = Vec<CertificateDer<'static>>;

/// The cipher suite of Initial packets, which RFC 9001, section 5.2, fixes; `None` if the provider lacks it.
pub(super) fn initial_suite(provider: &CryptoProvider) -> Option<Suite> {
    provider
        .cipher_suites
        .iter()
        .filter(|suite| suite.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256)
        .find_map(|suite| suite.tls13()?.quic_suite())
}

/// One outgoing handshake. Made anew for each, for it holds that handshake's outcome.
pub(super) struct ClientCrypto {
    handshake: ClientHandshake,
    initial: Suite,
    outcome: Outcome,
}

impl ClientCrypto {
    pub(super) fn new(handshake: ClientHandshake, initial: Suite, outcome: Outcome) -> Self {
        Self { handshake, initial, outcome }
    }
}

impl ClientConfig for ClientCrypto {
    /// The name that quinn hands over is the key of its token store; the name for TLS is the handshake's own.
    fn start_session(
        self: Arc<Self>,
        version: u32,
        _token_key: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        supported(version)?;
        let tls = quic::ClientConnection::new(
            self.handshake.config(),
            Version::V1,
            self.handshake.server_name(),
            encoded(params),
        )
        .map_err(|error| {
            self.outcome.set(Err(self.handshake.explain(&error)));
            ConnectError::InvalidServerName(error.to_string())
        })?;
        Ok(Box::new(TlsSession {
            tls: quic::Connection::Client(tls),
            judge: Judge::Client(self.handshake.clone()),
            initial: self.initial,
            outcome: self.outcome.clone(),
            told: false,
            secrets: None,
        }))
    }
}

/// One incoming handshake, or what a listener knows before there is one.
pub(super) struct ServerCrypto {
    handshake: Option<ServerHandshake>,
    initial: Suite,
    outcome: Outcome,
}

impl ServerCrypto {
    /// For one handshake.
    pub(super) fn new(handshake: ServerHandshake, initial: Suite, outcome: Outcome) -> Self {
        Self { handshake: Some(handshake), initial, outcome }
    }

    /// For an endpoint: enough to read an Initial packet and to answer it with Retry or a refusal, and no identity that
    /// could grow stale. Every accept brings a configuration of its own.
    pub(super) fn unconfigured(initial: Suite) -> Self {
        Self { handshake: None, initial, outcome: Outcome::default() }
    }
}

impl ServerConfig for ServerCrypto {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        supported(version)?;
        Ok(initial_keys(self.initial, dst_cid, Side::Server))
    }

    fn retry_tag(&self, _version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; RETRY_TAG_BYTES] {
        retry_tag(orig_dst_cid, &[packet])
    }

    fn start_session(self: Arc<Self>, _version: u32, params: &TransportParameters) -> Box<dyn Session> {
        let handshake =
            self.handshake.clone().expect("every accept brings the configuration of its own handshake");
        let tls = quic::ServerConnection::new(handshake.config(), Version::V1, encoded(params))
            .expect("the configuration has TLS 1.3, a QUIC suite and no early data");
        Box::new(TlsSession {
            tls: quic::Connection::Server(tls),
            judge: Judge::Server(handshake),
            initial: self.initial,
            outcome: self.outcome.clone(),
            told: false,
            secrets: None,
        })
    }
}

/// Judges the handshake of one side.
enum Judge {
    Client(ClientHandshake),
    Server(ServerHandshake),
}

impl Judge {
    fn explain(&self, error: &rustls::Error) -> HandshakeError {
        match self {
            Self::Client(handshake) => handshake.explain(error),
            Self::Server(handshake) => handshake.explain(error),
        }
    }

    fn verify(&self, state: &CommonState) -> Result<Verified, HandshakeError> {
        match self {
            Self::Client(handshake) => handshake.verify(state),
            Self::Server(handshake) => handshake.verify(state),
        }
    }
}

/// The TLS side of one connection.
struct TlsSession {
    tls: quic::Connection,
    judge: Judge,
    initial: Suite,
    outcome: Outcome,
    /// Whether quinn was told that handshake data is there.
    told: bool,
    /// The secrets of the next key update, once there are application keys.
    secrets: Option<Secrets>,
}

impl TlsSession {
    fn side(&self) -> Side {
        match self.tls {
            quic::Connection::Client(_) => Side::Client,
            quic::Connection::Server(_) => Side::Server,
        }
    }

    /// Keeps why rustls gave up, and returns what the peer is told: TLS alerts have codes of their own (RFC 9001,
    /// section 4.8).
    fn failed(&self, error: &rustls::Error) -> TransportError {
        self.outcome.set(Err(self.judge.explain(error)));
        let code = match self.tls.alert() {
            Some(alert) => TransportErrorCode::crypto(alert.into()),
            None => TransportErrorCode::PROTOCOL_VIOLATION,
        };
        TransportError { code, frame: None, reason: error.to_string() }
    }

    /// Judges what rustls let pass, before the connection counts as established.
    fn judge(&self) -> Result<(), TransportError> {
        let outcome = self.judge.verify(&self.tls);
        let verdict = outcome.as_ref().map(|_| ()).map_err(|error| TransportError {
            code: TransportErrorCode::crypto(alert_for(error).into()),
            frame: None,
            reason: error.to_string(),
        });
        self.outcome.set(outcome);
        verdict
    }
}

/// The alert that tells the peer of a refusal of ours.
fn alert_for(error: &HandshakeError) -> AlertDescription {
    match error {
        HandshakeError::Alpn { .. } => AlertDescription::NoApplicationProtocol,
        HandshakeError::Expired { .. } => AlertDescription::CertificateExpired,
        HandshakeError::Revoked { .. } => AlertDescription::CertificateRevoked,
        HandshakeError::BadCertificate { .. } => AlertDescription::BadCertificate,
        _ => AlertDescription::AccessDenied,
    }
}

impl Session for TlsSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        initial_keys(self.initial, dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        if !self.told {
            return None;
        }
        Some(Box::new(self.outcome.clone()))
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        let chain: PeerChain = self.tls.peer_certificates()?.to_vec();
        Some(Box::new(chain))
    }

    /// 0-RTT is off: a replayed stream would be a replayed batch.
    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        match self.side() {
            Side::Client => Some(false),
            Side::Server => None,
        }
    }

    fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    fn read_handshake(&mut self, plaintext: &[u8]) -> Result<bool, TransportError> {
        let handshaking = self.tls.is_handshaking();
        let meter = self.outcome.meter.clone();
        meter.bytes(plaintext.len() as u64, 0);
        if let Err(error) = meter.step(|| self.tls.read_hs(plaintext)) {
            return Err(self.failed(&error));
        }
        if handshaking && !self.tls.is_handshaking() {
            meter.step(|| self.judge())?;
        }
        let known = self.tls.alpn_protocol().is_some() || !self.tls.is_handshaking();
        if let (true, false, quic::Connection::Server(server)) = (known, self.told, &self.tls) {
            meter.asked_for(server.server_name());
        }
        Ok(known && !mem::replace(&mut self.told, known))
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(encoded) = self.tls.quic_transport_parameters() else { return Ok(None) };
        Ok(Some(TransportParameters::read(self.side(), &mut Cursor::new(encoded))?))
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        let meter = self.outcome.meter.clone();
        let before = out.len();
        let change = meter.step(|| self.tls.write_hs(out));
        meter.bytes(0, (out.len() - before) as u64);
        match change? {
            KeyChange::Handshake { keys } => Some(boxed(keys)),
            KeyChange::OneRtt { keys, next } => {
                self.secrets = Some(next);
                Some(boxed(keys))
            }
        }
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.secrets.as_mut()?.next_packet_keys();
        Some(KeyPair { local: Box::new(keys.local), remote: Box::new(keys.remote) })
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        payload
            .split_last_chunk::<RETRY_TAG_BYTES>()
            .is_some_and(|(token, tag)| retry_tag(orig_dst_cid, &[header, token]) == *tag)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        match self.tls.export_keying_material(output, label, Some(context)) {
            Ok(_) => Ok(()),
            Err(_) => Err(ExportKeyingMaterialError),
        }
    }
}

fn supported(version: u32) -> Result<(), UnsupportedVersion> {
    if version == QUIC_V1 { Ok(()) } else { Err(UnsupportedVersion) }
}

fn encoded(params: &TransportParameters) -> Vec<u8> {
    let mut bytes = Vec::new();
    params.write(&mut bytes);
    bytes
}

fn initial_keys(suite: Suite, dst_cid: &ConnectionId, side: Side) -> Keys {
    boxed(suite.keys(dst_cid, side.into(), Version::V1))
}

fn boxed(keys: quic::Keys) -> Keys {
    Keys {
        header: KeyPair { local: Box::new(keys.local.header), remote: Box::new(keys.remote.header) },
        packet: KeyPair { local: Box::new(keys.local.packet), remote: Box::new(keys.remote.packet) },
    }
}

/// The integrity tag of a Retry packet, given in parts: sealed is nothing, authenticated is the pseudo-packet of RFC
/// 9001, section 5.8, which begins with the connection ID that the client had chosen.
fn retry_tag(orig_dst_cid: &ConnectionId, packet: &[&[u8]]) -> [u8; RETRY_TAG_BYTES] {
    let id_length = u8::try_from(orig_dst_cid.len()).expect("a connection ID has at most 20 bytes");
    let mut pseudo_packet = vec![id_length];
    pseudo_packet.extend_from_slice(orig_dst_cid);
    for part in packet {
        pseudo_packet.extend_from_slice(part);
    }
    let key = aead::UnboundKey::new(&aead::AES_128_GCM, &RETRY_KEY).expect("the key has the cipher's length");
    let tag = aead::LessSafeKey::new(key)
        .seal_in_place_separate_tag(
            aead::Nonce::assume_unique_for_key(RETRY_NONCE),
            aead::Aad::from(pseudo_packet),
            &mut [],
        )
        .expect("an empty text is not too long");
    let mut bytes = [0; RETRY_TAG_BYTES];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9001, appendix A.4: the Retry packet that answers the client's first Initial.
    #[test]
    fn the_tag_of_a_retry_packet_is_the_one_of_the_rfc() {
        let packet = [
            0xff, 0x00, 0x00, 0x00, 0x01, 0x00, 0x08, 0xf0, 0x67, 0xa5, 0x50, 0x2a, 0x42, 0x62, 0xb5, 0x74,
            0x6f, 0x6b, 0x65, 0x6e,
        ];
        let tag =
            [0x04, 0xa2, 0x65, 0xba, 0x2e, 0xff, 0x4d, 0x82, 0x90, 0x58, 0xfb, 0x3f, 0x0f, 0x24, 0x96, 0xba];
        let client_chose = ConnectionId::new(&[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08]);
        assert_eq!(retry_tag(&client_chose, &[&packet]), tag);
    }
}
