//! The keys that seal tickets: derived from a secret by time slot, the same on every node and after a restart.
//!
//! A ticket is `key name (8) ‖ nonce (12) ‖ AES-256-GCM(claims ‖ session) ‖ tag (16)`; the name finds the key and is
//! authenticated along. Nonces are random: with at most 2³² tickets in a slot, over all nodes (200,000 a second), two share one
//! with a probability below 2⁻³².

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::claims::{Claims, TicketFault};
use super::secret::{MAX_SECRETS, SecretSource, TicketSecret};
use crate::tls::pem::MaterialError;

/// How long one key seals. A key that leaks opens the sessions of this time, not more.
pub const SLOT_SECS: i64 = 6 * 3600;

/// How long a ticket is honoured: two slots, so that a client that comes back after a night still resumes.
pub const TICKET_LIFETIME_SECS: i64 = 2 * SLOT_SECS;

/// Slots in the past whose tickets may still live: one sealed at the end of a slot lives through two more.
const SLOTS_BACK: i64 = TICKET_LIFETIME_SECS / SLOT_SECS;

/// Another node's clock may be ahead by up to a slot.
const SLOTS_AHEAD: i64 = 1;

const NAME_BYTES: usize = 8;
const TAG_BYTES: usize = 16;

/// The most that TLS has room for (RFC 8446, section 4.6.1); a session with a chain of certificates takes a few KiB. Not the
/// longest that this process has issued: other nodes issue, too.
const MAX_TICKET_BYTES: usize = u16::MAX as usize;

/// With the version of a ticket's layout: another one has other keys, so that no ticket is taken for what it is not.
const SALT: &[u8] = b"sealstream session tickets, version 1";
const QUIC_LABEL: &[u8] = b"quic endpoint";

/// Seals and opens tickets.
pub(crate) struct TicketKeys {
    secrets: Vec<Held>,
    /// Made by this process, not named by an operator.
    random: bool,
    table: RwLock<Arc<Table>>,
    quic: Vec<Zeroizing<[u8; 32]>>,
}

/// A secret, and until when it is honoured, in seconds since the Unix epoch.
#[derive(Clone, PartialEq, Eq)]
struct Held {
    secret: TicketSecret,
    until: i64,
}

/// The keys of the slots around one.
struct Table {
    slot: i64,
    /// The first seals.
    keys: Vec<SlotKey>,
}

struct SlotKey {
    name: [u8; NAME_BYTES],
    key: LessSafeKey,
    until: i64,
}

impl TicketKeys {
    /// Loads the secrets; returns `previous` itself if they are the same. Those that `previous` sealed with are honoured for
    /// one more lifetime of a ticket.
    pub(super) fn load(
        source: &SecretSource,
        previous: Option<&Arc<Self>>,
        now: i64,
    ) -> Result<Arc<Self>, MaterialError> {
        let named = source.load()?;
        if named.is_none()
            && let Some(same) = previous.filter(|previous| previous.random)
        {
            return Ok(Arc::clone(same));
        }
        let random = named.is_none();
        let named = named.unwrap_or_else(|| vec![TicketSecret::random()]);
        if let Some(same) = previous.filter(|previous| previous.names(&named)) {
            return Ok(Arc::clone(same));
        }
        let mut secrets: Vec<_> = named.into_iter().map(|secret| Held { secret, until: i64::MAX }).collect();
        for old in previous.iter().flat_map(|previous| &previous.secrets) {
            let until = old.until.min(now.saturating_add(TICKET_LIFETIME_SECS));
            let known = secrets.iter().any(|held| held.secret == old.secret);
            if !known && until > now && secrets.len() < 2 * MAX_SECRETS {
                secrets.push(Held { secret: old.secret.clone(), until });
            }
        }
        let table = RwLock::new(Arc::new(Table::derive(&secrets, slot_of(now))));
        let quic = secrets.iter().map(|held| Zeroizing::new(expand(&extract(&held.secret), &[QUIC_LABEL])));
        Ok(Arc::new(Self { quic: quic.collect(), secrets, random, table }))
    }

    fn names(&self, secrets: &[TicketSecret]) -> bool {
        let named = self.secrets.iter().filter(|held| held.until == i64::MAX).map(|held| &held.secret);
        named.eq(secrets)
    }

    fn table(&self, now: i64) -> Arc<Table> {
        let slot = slot_of(now);
        let current = Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner));
        if current.slot == slot {
            return current;
        }
        let next = Arc::new(Table::derive(&self.secrets, slot));
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
        next
    }

    /// A ticket for this session; `None` if the machine gives no random numbers, or the session has no room in a ticket.
    pub(super) fn seal(&self, claims: &Claims, session: &[u8], now: i64) -> Option<Vec<u8>> {
        self.seal_parts([&claims.encode(), session], now)
    }

    /// Seals two parts as one.
    pub(super) fn seal_parts(&self, plain: [&[u8]; 2], now: i64) -> Option<Vec<u8>> {
        let bytes = NAME_BYTES + NONCE_LEN + plain[0].len() + plain[1].len() + TAG_BYTES;
        if bytes > MAX_TICKET_BYTES {
            return None;
        }
        let table = self.table(now);
        let SlotKey { name, key, .. } = table.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let head = NAME_BYTES + NONCE_LEN;
        let mut ticket = Vec::with_capacity(bytes);
        ticket.extend_from_slice(name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain[0]);
        ticket.extend_from_slice(plain[1]);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(name), &mut ticket[head..]).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    /// What a ticket says. The bytes are the peer's: whatever they are, the answer is a fault or what we sealed.
    pub(super) fn open(&self, ticket: &[u8], now: i64) -> Result<(Claims, Vec<u8>), TicketFault> {
        let parts = ticket.split_first_chunk::<NAME_BYTES>();
        let (name, rest) = parts.filter(|_| ticket.len() <= MAX_TICKET_BYTES).ok_or(TicketFault::Damaged)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(TicketFault::Damaged)?;
        let table = self.table(now);
        let found = table.keys.iter().find(|key| key.name == *name && key.until > now);
        let SlotKey { key, .. } = found.ok_or(TicketFault::UnknownKey)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain =
            key.open_in_place(nonce, Aad::from(name), &mut opened).map_err(|_| TicketFault::Damaged)?;
        let (claims, session) = Claims::decode(plain).ok_or(TicketFault::Damaged)?;
        Ok((claims, session.to_vec()))
    }

    /// Secrets for what QUIC endpoints prove without a handshake, the one in use first.
    pub(crate) fn quic_secrets(&self) -> &[Zeroizing<[u8; 32]>] {
        &self.quic
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").field("secrets", &self.secrets.len()).finish_non_exhaustive()
    }
}

impl Table {
    fn derive(secrets: &[Held], slot: i64) -> Self {
        let around = (slot - SLOTS_BACK..=slot + SLOTS_AHEAD).filter(|other| *other != slot);
        let slots: Vec<_> = std::iter::once(slot).chain(around).collect();
        let keys = secrets.iter().flat_map(|held| {
            let secret = extract(&held.secret);
            slots.iter().map(move |slot| SlotKey::derive(&secret, *slot, held.until)).collect::<Vec<_>>()
        });
        Self { slot, keys: keys.collect() }
    }
}

impl SlotKey {
    fn derive(secret: &Prk, slot: i64, until: i64) -> Self {
        let slot = slot.to_be_bytes();
        let key = Zeroizing::new(expand::<32>(secret, &[b"key", &slot]));
        let key = UnboundKey::new(&AES_256_GCM, &*key).expect("the key has the cipher's length");
        Self { name: expand(secret, &[b"name", &slot]), key: LessSafeKey::new(key), until }
    }
}

fn slot_of(now: i64) -> i64 {
    now.div_euclid(SLOT_SECS)
}

fn extract(secret: &TicketSecret) -> Prk {
    Salt::new(HKDF_SHA256, SALT).extract(secret.as_bytes())
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(secret: &Prk, info: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    secret.expand(info, Length(N)).and_then(|key| key.fill(&mut out)).expect("HKDF gives this length");
    out
}

#[cfg(test)]
mod tests {
    use super::super::claims::Proof;
    use super::*;
    use crate::peer::TransportKind;
    use crate::tls::trust::Epoch;

    const NOW: i64 = 1_800_000_000;

    fn keys(secret: u8) -> Arc<TicketKeys> {
        TicketKeys::load(&SecretSource::Given(vec![[secret; 32].into()]), None, NOW).unwrap()
    }

    fn claims() -> Claims {
        let proof = Proof { authenticated_at: NOW, not_after: i64::MAX };
        Claims { epoch: Epoch::from([9; 32]), kind: TransportKind::Quic, proof, issued_at: NOW }
    }

    #[test]
    fn another_node_or_a_restarted_one_opens_what_the_same_secret_sealed() {
        let ticket = keys(1).seal(&claims(), b"session", NOW).unwrap();
        assert_eq!(keys(1).open(&ticket, NOW), Ok((claims(), b"session".to_vec())));
        assert_eq!(keys(2).open(&ticket, NOW), Err(TicketFault::UnknownKey));
    }

    #[test]
    fn a_key_opens_for_two_slots_more_and_by_a_clock_that_is_behind() {
        let start = slot_of(NOW) * SLOT_SECS;
        let ticket = keys(1).seal(&claims(), b"session", start).unwrap();
        for (slots, honoured) in [(-2, false), (-1, true), (0, true), (1, true), (2, true), (3, false)] {
            let opened = keys(1).open(&ticket, start + slots * SLOT_SECS);
            assert_eq!(opened.is_ok(), honoured, "{slots} slots later: {opened:?}");
        }
    }

    #[test]
    fn every_slot_has_a_key_of_its_own() {
        let keys = keys(1);
        let name = |now| keys.seal(&claims(), b"", now).unwrap()[..NAME_BYTES].to_vec();
        assert_eq!(name(slot_of(NOW) * SLOT_SECS), name(NOW));
        assert_ne!(name(NOW), name(NOW + SLOT_SECS));
    }

    #[test]
    fn a_ticket_that_was_touched_is_refused_whatever_was_touched() {
        let keys = keys(1);
        let ticket = keys.seal(&claims(), b"session", NOW).unwrap();
        for at in 0..ticket.len() {
            for bit in 0..8 {
                let mut touched = ticket.clone();
                touched[at] ^= 1 << bit;
                assert!(keys.open(&touched, NOW).is_err(), "bit {bit} of byte {at}");
            }
            assert!(keys.open(&ticket[..at], NOW).is_err(), "the first {at} bytes");
        }
        assert_eq!(keys.open(&vec![0; MAX_TICKET_BYTES + 1], NOW), Err(TicketFault::Damaged));
    }

    #[test]
    fn a_session_that_has_no_room_in_a_ticket_gets_none() {
        let keys = keys(1);
        let most = MAX_TICKET_BYTES - keys.seal(&claims(), b"", NOW).unwrap().len();
        let ticket = keys.seal(&claims(), &vec![1; most], NOW).unwrap();
        assert_eq!(ticket.len(), MAX_TICKET_BYTES);
        assert!(keys.open(&ticket, NOW).is_ok());
        assert_eq!(keys.seal(&claims(), &vec![1; most + 1], NOW), None);
    }

    #[test]
    fn an_old_secret_is_honoured_for_as_long_as_its_tickets_live_and_seals_no_more() {
        let old = keys(1);
        let ticket = old.seal(&claims(), b"old", NOW).unwrap();
        let given = SecretSource::Given(vec![[2; 32].into()]);
        let new = TicketKeys::load(&given, Some(&old), NOW).unwrap();
        let opened = |now| new.open(&ticket, now).map(|(_, session)| session);
        assert_eq!(opened(NOW + 1), Ok(b"old".to_vec()));
        assert_eq!(opened(NOW + TICKET_LIFETIME_SECS), Err(TicketFault::UnknownKey));
        let sealed = new.seal(&claims(), b"new", NOW).unwrap();
        assert!(old.open(&sealed, NOW).is_err());
        // A reload in between does not prolong it.
        let again = SecretSource::Given(vec![[3; 32].into()]);
        let newest = TicketKeys::load(&again, Some(&new), NOW + SLOT_SECS).unwrap();
        assert!(newest.open(&ticket, NOW + SLOT_SECS).is_ok());
        assert!(newest.open(&ticket, NOW + TICKET_LIFETIME_SECS).is_err());
    }

    #[test]
    fn a_fleet_opens_with_the_next_secret_before_anybody_seals_with_it() {
        let both = SecretSource::Given(vec![[1; 32].into(), [2; 32].into()]);
        let prepared = TicketKeys::load(&both, None, NOW).unwrap();
        let ticket = keys(2).seal(&claims(), b"", NOW).unwrap();
        assert!(prepared.open(&ticket, NOW).is_ok());
        let sealed = prepared.seal(&claims(), b"", NOW).unwrap();
        assert!(keys(1).open(&sealed, NOW).is_ok());
    }

    #[test]
    fn the_same_secrets_again_are_the_same_keys() {
        let first = keys(1);
        let again =
            TicketKeys::load(&SecretSource::Given(vec![[1; 32].into()]), Some(&first), NOW + 5).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let random = TicketKeys::load(&SecretSource::Random, None, NOW).unwrap();
        assert!(Arc::ptr_eq(&random, &TicketKeys::load(&SecretSource::Random, Some(&random), NOW).unwrap()));
    }
}
