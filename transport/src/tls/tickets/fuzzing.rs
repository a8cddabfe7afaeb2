//! The door for fuzzing: bytes as a ticket, as what lies behind a good seal, and as a file of secrets.

use std::sync::{Arc, LazyLock};

use rustls::server::ProducesTickets as _;

use super::keys::TICKET_LIFETIME_SECS;
use super::secret::{self, SecretSource};
use super::{HandshakeContext, ServerSessions, TicketFault, TicketUse};
use crate::peer::TransportKind;
use crate::tls::material::ServerResumption;
use crate::tls::sessions::unix_now;
use crate::tls::trust::Epoch;

/// The handshakes that tickets are tried on. The slots begin when the process does, and the time of day goes on.
static NODE: LazyLock<Arc<ServerSessions>> = LazyLock::new(|| {
    let secret = SecretSource::Given(vec![[7; 32].into()]);
    ServerSessions::load(ServerResumption::Tickets, &secret, None).expect("a secret in memory loads")
});

fn handshake() -> HandshakeContext {
    HandshakeContext::at(unix_now, &NODE, Epoch::from([0; 32]), TransportKind::Tls, None)
}

/// Takes any bytes: the first says what for.
///
/// # Panics
///
/// If something is accepted that must not be, or a rule of resumption is broken.
pub fn fuzz_ticket(data: &[u8]) {
    let Some((&what, data)) = data.split_first() else { return };
    match what & 3 {
        0 => forged(data),
        1 => touched(data),
        2 => drop(sealed(data)),
        _ => file(data),
    }
}

/// What nobody sealed opens nothing, under a name of ours either.
fn forged(data: &[u8]) {
    let mut named = handshake().encrypt(b"").unwrap_or_default();
    named.truncate(8);
    named.extend_from_slice(data);
    for ticket in [data, &named] {
        let context = handshake();
        assert_eq!(context.decrypt(ticket), None);
        let fault = TicketUse::Refused(TicketFault::Damaged);
        assert!([fault, TicketUse::Refused(TicketFault::UnknownKey)].contains(&context.ticket()));
        assert!(context.encrypt(b"").is_some(), "a full handshake follows");
    }
}

/// A ticket of ours opens as it was sealed, and not with a bit changed or bytes missing.
fn touched(data: &[u8]) {
    let Some((place, session)) = data.split_first_chunk::<2>() else { return };
    let Some(mut ticket) = handshake().encrypt(session) else { return };
    let context = handshake();
    assert_eq!(context.decrypt(&ticket).as_deref(), Some(session));
    let bit = usize::from(u16::from_be_bytes(*place)) % (8 * ticket.len());
    ticket[bit / 8] ^= 1 << (bit % 8);
    assert_eq!(handshake().decrypt(&ticket), None, "bit {bit}");
    ticket[bit / 8] ^= 1 << (bit % 8);
    ticket.truncate(bit / 8);
    assert_eq!(handshake().decrypt(&ticket), None, "{} bytes", bit / 8);
}

/// Whatever another node sealed: what is carried on keeps the rules. Tells whether anything was.
fn sealed(plain: &[u8]) -> bool {
    let now = unix_now();
    // Ages rather than times, for else no claim would ever hold.
    let mut plain = plain.to_vec();
    for time in plain.iter_mut().skip(33).take(24).collect::<Vec<_>>().chunks_exact_mut(8) {
        let age: i64 = time.iter().fold(0, |sum, byte| sum << 8 | i64::from(**byte));
        let at = now.saturating_sub(age >> 40).to_be_bytes();
        time.iter_mut().zip(at).for_each(|(byte, new)| **byte = new);
    }
    let Some(ticket) = NODE.keys().seal_parts([&plain, &[]], now) else { return false };
    let context = handshake();
    let Some(session) = context.decrypt(&ticket) else {
        assert!(matches!(context.ticket(), TicketUse::Refused(_)));
        return false;
    };
    assert_eq!(context.ticket(), TicketUse::Accepted);
    assert!(plain.ends_with(&session));
    let lifetime = i64::from(context.lifetime());
    assert!(lifetime <= TICKET_LIFETIME_SECS);
    // The clock may have ticked past the last second of what it vouched for.
    let Some(next) = context.encrypt(&session) else { return true };
    let carried = handshake();
    if carried.decrypt(&next).is_some() {
        assert!(i64::from(carried.lifetime()) <= lifetime, "re-issued for longer");
    }
    true
}

/// A file of secrets gives secrets that are written as they were read, or says which line is wrong.
fn file(text: &[u8]) {
    match secret::parse(text) {
        Ok(secrets) => {
            for secret in secrets {
                let again = secret::parse(secret.to_hex().as_bytes());
                assert!(again.is_ok_and(|again| again == [secret]));
            }
        }
        Err(told) => assert!(told.contains("64 hexadecimal digits"), "{told}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_takes_any_bytes() {
        fuzz_ticket(&[]);
        for what in 0..4 {
            for len in [0, 1, 2, 8, 60, 90, 70_000] {
                for byte in [0, 1, 0x61, 0xff] {
                    fuzz_ticket(&[vec![what], vec![byte; len]].concat());
                }
            }
        }
    }

    #[test]
    fn what_is_sealed_for_this_handshake_is_carried_on() {
        let plain = [&[0; 33][..], &[0x80; 8], &[0; 16], b"session"].concat();
        assert!(sealed(&plain));
        assert!(!sealed(&[&[1][..], &plain[1..]].concat()), "of another epoch");
    }
}
