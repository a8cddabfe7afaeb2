//! What a ticket says, and when it is not believed.

use crate::peer::TransportKind;
use crate::tls::trust::Epoch;

/// How long after its first full authentication a client may go on resuming, however often its tickets were renewed. RFC 8446
/// allows 7 days; a day bounds what a stolen ticket, or a mistake of ours, can be worth.
pub const MAX_AUTHENTICATION_AGE_SECS: i64 = 24 * 3600;

/// Bytes of [`Claims`] in a ticket: epoch, transport, two times.
pub(super) const CLAIMS_BYTES: usize = 32 + 1 + 8 + 8;

/// What was proven of a client, and when for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// When the full handshake was that everything since goes back to, in seconds since the Unix epoch.
    pub(super) authenticated_at: i64,
    /// The earliest end of what was shown then; `i64::MAX` where nothing was.
    pub(super) not_after: i64,
}

/// What a ticket authenticates besides the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) epoch: Epoch,
    pub(super) kind: TransportKind,
    pub(super) proof: Proof,
}

/// Why a ticket was not accepted. A closed list: they are labels of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TicketFault {
    /// It was sealed by nobody we know: under a secret or in a time that is not honoured any more, or it is forged.
    UnknownKey,
    /// It is truncated or was changed.
    Damaged,
    /// The first full authentication is too long ago.
    TooOld,
    /// It was issued under another trust.
    OtherEpoch,
    /// It was issued on another transport.
    OtherTransport,
    /// What it vouches for has ended.
    Expired,
}

impl TicketFault {
    /// Every fault.
    pub const ALL: [Self; 6] = [
        Self::UnknownKey,
        Self::Damaged,
        Self::TooOld,
        Self::OtherEpoch,
        Self::OtherTransport,
        Self::Expired,
    ];

    /// Its name as a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown_key",
            Self::Damaged => "damaged",
            Self::TooOld => "too_old",
            Self::OtherEpoch => "other_epoch",
            Self::OtherTransport => "other_transport",
            Self::Expired => "expired",
        }
    }
}

impl Proof {
    /// Seconds for which it can still be carried on.
    pub(super) fn left(&self, now: i64) -> i64 {
        let age = now.saturating_sub(self.authenticated_at);
        MAX_AUTHENTICATION_AGE_SECS.saturating_sub(age).min(self.not_after.saturating_sub(now))
    }
}

impl Claims {
    /// Whether they hold, on a transport, under a trust, at a time.
    pub(super) fn check(&self, epoch: Epoch, kind: TransportKind, now: i64) -> Result<Proof, TicketFault> {
        if self.kind != kind {
            Err(TicketFault::OtherTransport)
        } else if self.epoch != epoch {
            Err(TicketFault::OtherEpoch)
        } else if self.proof.not_after < now {
            Err(TicketFault::Expired)
        } else if self.proof.left(now) <= 0 {
            Err(TicketFault::TooOld)
        } else {
            Ok(self.proof)
        }
    }

    pub(super) fn encode(&self) -> [u8; CLAIMS_BYTES] {
        let mut bytes = [0; CLAIMS_BYTES];
        bytes[..32].copy_from_slice(self.epoch.as_bytes());
        bytes[32] = match self.kind {
            TransportKind::Tls => 0,
            TransportKind::Quic => 1,
            TransportKind::Memory => 2,
        };
        bytes[33..41].copy_from_slice(&self.proof.not_after.to_be_bytes());
        bytes[41..].copy_from_slice(&self.proof.authenticated_at.to_be_bytes());
        bytes
    }

    /// The claims, and what follows them.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (epoch, rest) = bytes.split_first_chunk::<32>()?;
        let (kind, rest) = rest.split_first()?;
        let (not_after, rest) = rest.split_first_chunk::<8>()?;
        let (authenticated_at, rest) = rest.split_first_chunk::<8>()?;
        let kind = match kind {
            0 => TransportKind::Tls,
            1 => TransportKind::Quic,
            2 => TransportKind::Memory,
            _ => return None,
        };
        let proof = Proof {
            authenticated_at: i64::from_be_bytes(*authenticated_at),
            not_after: i64::from_be_bytes(*not_after),
        };
        Some((Self { epoch: Epoch::from(*epoch), kind, proof }, rest))
    }
}
