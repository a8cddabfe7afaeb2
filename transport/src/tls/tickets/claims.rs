//! What a ticket says, and when it is not believed.

use super::keys::TICKET_LIFETIME_SECS;
use crate::peer::TransportKind;
use crate::tls::trust::Epoch;

/// How long after its first full authentication a client may go on resuming, however often its tickets were renewed. RFC 8446
/// allows 7 days; a day bounds what a stolen ticket, or a mistake of ours, can be worth.
pub const MAX_AUTHENTICATION_AGE_SECS: i64 = 24 * 3600;

/// Bytes of [`Claims`] in a ticket: epoch, transport, three times.
const CLAIMS_BYTES: usize = 32 + 1 + 3 * 8;

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
    /// When it was issued, in seconds since the Unix epoch. The slot of its key tells that too, but to six hours only.
    pub(super) issued_at: i64,
}

/// Why a ticket was not accepted. A closed list: they are labels of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TicketFault {
    /// It was sealed by nobody we know: under a secret or in a time that is not honoured any more, or it is forged.
    UnknownKey,
    /// It is truncated or was changed.
    Damaged,
    /// It was issued longer ago than a ticket lives, or the first full authentication is too long ago.
    TooOld,
    /// It was issued under another trust.
    OtherEpoch,
    /// It was issued on another transport.
    OtherTransport,
    /// What it vouches for has ended, or the revocation lists that would have to agree have.
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
    /// Whether a certificate was shown.
    pub(super) fn names_somebody(&self) -> bool {
        self.not_after < i64::MAX
    }

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
        } else if self.proof.not_after <= now {
            Err(TicketFault::Expired)
        } else if now.saturating_sub(self.issued_at) >= TICKET_LIFETIME_SECS || self.proof.left(now) <= 0 {
            Err(TicketFault::TooOld)
        } else {
            // A node whose clock is ahead must not make a proof younger than it is.
            Ok(Proof { authenticated_at: self.proof.authenticated_at.min(now), ..self.proof })
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
        let times = [self.proof.not_after, self.proof.authenticated_at, self.issued_at];
        for (room, time) in bytes[33..].chunks_exact_mut(8).zip(times) {
            room.copy_from_slice(&time.to_be_bytes());
        }
        bytes
    }

    /// The claims, and what follows them.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (epoch, rest) = bytes.split_first_chunk::<32>()?;
        let (kind, rest) = rest.split_first()?;
        let (not_after, rest) = rest.split_first_chunk::<8>()?;
        let (authenticated_at, rest) = rest.split_first_chunk::<8>()?;
        let (issued_at, rest) = rest.split_first_chunk::<8>()?;
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
        let issued_at = i64::from_be_bytes(*issued_at);
        Some((Self { epoch: Epoch::from(*epoch), kind, proof, issued_at }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn claims() -> Claims {
        let proof = Proof { authenticated_at: NOW - 5, not_after: i64::MAX };
        Claims { epoch: Epoch::from([9; 32]), kind: TransportKind::Quic, proof, issued_at: NOW }
    }

    fn check(claims: Claims, now: i64) -> Result<Proof, TicketFault> {
        claims.check(Epoch::from([9; 32]), TransportKind::Quic, now)
    }

    #[test]
    fn what_is_encoded_is_decoded_and_less_is_not() {
        for kind in [TransportKind::Tls, TransportKind::Quic, TransportKind::Memory] {
            let claims = Claims { kind, ..claims() };
            let mut bytes = claims.encode().to_vec();
            assert!((0..CLAIMS_BYTES).all(|len| Claims::decode(&bytes[..len]).is_none()));
            bytes.extend_from_slice(b"session");
            assert_eq!(Claims::decode(&bytes), Some((claims, &b"session"[..])));
            bytes[32] = 9;
            assert_eq!(Claims::decode(&bytes), None, "no such transport");
        }
    }

    #[test]
    fn a_ticket_lives_twelve_hours_to_the_second_whatever_the_slot_of_its_key() {
        let issued = Claims { proof: Proof { authenticated_at: NOW, ..claims().proof }, ..claims() };
        assert!(check(issued, NOW + TICKET_LIFETIME_SECS - 1).is_ok());
        assert_eq!(check(issued, NOW + TICKET_LIFETIME_SECS), Err(TicketFault::TooOld));
    }

    #[test]
    fn an_identity_is_vouched_for_until_it_ends_and_then_has_expired() {
        let ending = Claims { proof: Proof { not_after: NOW + 9, ..claims().proof }, ..claims() };
        assert!(check(ending, NOW + 8).is_ok());
        assert_eq!(check(ending, NOW + 9), Err(TicketFault::Expired));
    }

    #[test]
    fn a_node_whose_clock_is_ahead_makes_nobody_younger() {
        let proof = Proof { authenticated_at: NOW + 3600, ..claims().proof };
        let ahead = Claims { proof, issued_at: NOW + 3600, ..claims() };
        assert_eq!(check(ahead, NOW), Ok(Proof { authenticated_at: NOW, ..proof }));
    }

    #[test]
    fn times_at_the_ends_of_time_do_no_harm() {
        for time in [i64::MIN, -1, 0, i64::MAX] {
            let proof = Proof { authenticated_at: time, not_after: time };
            for now in [i64::MIN, 0, NOW, i64::MAX] {
                let _ = check(Claims { proof, issued_at: time, ..claims() }, now);
            }
        }
    }

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        let names: std::collections::HashSet<_> = TicketFault::ALL.iter().map(|fault| fault.name()).collect();
        assert_eq!(names.len(), TicketFault::ALL.len());
    }
}
