//! What one handshake on the accepting side has proven: one cell, shared by the verifier, the tickets and the observer.
//!
//! Each handshake gets a copy of the rustls configuration in which client verifier and ticketer are these: `decrypt` and
//! `encrypt` see nothing but bytes, and the verifier nothing but a chain, so that only a cell of their own lets them know of
//! each other.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ProducesTickets, StoresServerSessions};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::claims::{Claims, Proof, TicketFault};
use super::keys::TICKET_LIFETIME_SECS;
use super::{Mode, ServerSessions};
use crate::peer::TransportKind;
use crate::tls::identity::not_after;
use crate::tls::sessions::unix_now;
use crate::tls::trust::Epoch;

/// What became of the ticket that a client offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TicketUse {
    /// There was none.
    #[default]
    NotOffered,
    /// It was good. rustls may still have made a full handshake, for another name or suite.
    Accepted,
    /// It was not: the handshake was a full one.
    Refused(TicketFault),
}

/// One handshake.
pub(crate) struct HandshakeContext {
    sessions: Arc<ServerSessions>,
    epoch: Epoch,
    kind: TransportKind,
    /// Where the dates of revocation lists count: until when those loaded allow an identity to be vouched for.
    lists_until: Option<i64>,
    clock: fn() -> i64,
    cell: Mutex<Cell>,
}

#[derive(Debug, Default)]
struct Cell {
    /// A client certificate was verified in this handshake.
    fresh: Option<Proof>,
    /// A ticket was accepted that goes back to this.
    carried: Option<Proof>,
    ticket: TicketUse,
    issued: u32,
}

impl HandshakeContext {
    pub(in crate::tls) fn new(
        sessions: &Arc<ServerSessions>,
        epoch: Epoch,
        kind: TransportKind,
        lists_until: Option<i64>,
    ) -> Arc<Self> {
        Arc::new(Self::at(unix_now, sessions, epoch, kind, lists_until))
    }

    /// The same by another clock.
    pub(super) fn at(
        clock: fn() -> i64,
        sessions: &Arc<ServerSessions>,
        epoch: Epoch,
        kind: TransportKind,
        lists_until: Option<i64>,
    ) -> Self {
        Self { sessions: Arc::clone(sessions), epoch, kind, lists_until, clock, cell: Mutex::default() }
    }

    /// Makes the tickets of a configuration those of this handshake.
    pub(in crate::tls) fn equip(self: &Arc<Self>, config: &mut rustls::ServerConfig) {
        match self.sessions.mode {
            Mode::Tickets => config.ticketer = Arc::<Self>::clone(self),
            Mode::Cache(_) => config.session_storage = Arc::<Self>::clone(self),
            Mode::Off => (config.send_tls13_tickets, config.max_tls13_tickets) = (0, 0),
        }
    }

    /// A verifier of this handshake's client that judges as `inner` does.
    pub(in crate::tls) fn verifier(
        self: &Arc<Self>,
        inner: &Arc<dyn ClientCertVerifier>,
    ) -> Arc<dyn ClientCertVerifier> {
        Arc::new(ContextVerifier { inner: Arc::clone(inner), context: Arc::clone(self) })
    }

    fn cell(&self) -> MutexGuard<'_, Cell> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of the ticket offered.
    pub(crate) fn ticket(&self) -> TicketUse {
        self.cell().ticket
    }

    /// Tickets issued.
    pub(crate) fn issued(&self) -> u32 {
        self.cell().issued
    }

    /// What a ticket issued now may vouch for. Where a certificate was verified in this handshake, that; else what an accepted
    /// ticket goes back to, also if rustls made a full handshake in spite of it: the older time is the safe one; else that
    /// somebody was here now.
    fn proof(&self, now: i64) -> Proof {
        let cell = self.cell();
        let anybody = Proof { authenticated_at: now, not_after: i64::MAX };
        cell.fresh.or(cell.carried).unwrap_or(anybody)
    }

    fn verified(&self, chain_not_after: i64) {
        let proof = Proof { authenticated_at: (self.clock)(), not_after: chain_not_after };
        self.cell().fresh = Some(proof);
    }

    /// The claims of a ticket issued now; `None` where there is nothing left to vouch for.
    fn claims(&self, now: i64) -> Option<Claims> {
        let proof = self.proof(now);
        let claims = Claims { epoch: self.epoch, kind: self.kind, proof, issued_at: now };
        (proof.left(now) > 0).then_some(claims)
    }

    /// Judges what a ticket says, and notes it.
    fn accept(&self, opened: Result<(Claims, Vec<u8>), TicketFault>, now: i64) -> Option<Vec<u8>> {
        let judged = opened.and_then(|(claims, session)| {
            let proof = claims.check(self.epoch, self.kind, now)?;
            // Those that are loaded now, not those of then: the same epoch means that nobody was revoked in between.
            let listed = !proof.names_somebody() || self.lists_until.is_none_or(|end| now < end);
            if listed { Ok((proof, session)) } else { Err(TicketFault::Expired) }
        });
        let mut cell = self.cell();
        match judged {
            Ok((proof, session)) => {
                (cell.carried, cell.ticket) = (Some(proof), TicketUse::Accepted);
                Some(session)
            }
            Err(fault) => {
                cell.ticket = TicketUse::Refused(fault);
                None
            }
        }
    }
}

impl ProducesTickets for HandshakeContext {
    fn enabled(&self) -> bool {
        matches!(self.sessions.mode, Mode::Tickets)
    }

    fn lifetime(&self) -> u32 {
        let now = (self.clock)();
        let left = self.proof(now).left(now).clamp(0, TICKET_LIFETIME_SECS);
        u32::try_from(left).unwrap_or(0)
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let now = (self.clock)();
        let ticket = self.sessions.keys.seal(&self.claims(now)?, session, now)?;
        self.cell().issued += 1;
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let now = (self.clock)();
        self.accept(self.sessions.keys.open(ticket, now), now)
    }
}

impl StoresServerSessions for HandshakeContext {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        let Mode::Cache(cache) = &self.sessions.mode else { return false };
        let now = (self.clock)();
        let Some(claims) = self.claims(now) else { return false };
        let kept = cache.put(&id, claims, session);
        self.cell().issued += u32::from(kept);
        kept
    }

    /// Nothing is used twice: only TLS 1.2, which is not spoken, would ask.
    fn get(&self, _id: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        let Mode::Cache(cache) = &self.sessions.mode else { return None };
        let now = (self.clock)();
        self.accept(cache.take(id).ok_or(TicketFault::UnknownKey), now)
    }

    fn can_cache(&self) -> bool {
        matches!(self.sessions.mode, Mode::Cache(_))
    }
}

impl fmt::Debug for HandshakeContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeContext")
            .field("epoch", &self.epoch)
            .field("kind", &self.kind)
            .field("cell", &*self.cell())
            .finish_non_exhaustive()
    }
}

/// Verifies as the inner one does, and notes what that proves.
#[derive(Debug)]
struct ContextVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    context: Arc<HandshakeContext>,
}

impl ClientCertVerifier for ContextVerifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        let now = (self.context.clock)();
        // Of an intermediate that had ended before, the chain made no use.
        let ends = intermediates.iter().filter_map(not_after).filter(|&end| end > now);
        let ends = ends.chain(not_after(end_entity));
        self.context.verified(ends.min().unwrap_or(now));
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::super::claims::MAX_AUTHENTICATION_AGE_SECS;
    use super::super::secret::SecretSource;
    use super::*;
    use crate::tls::material::ServerResumption;

    const NOW: i64 = 1_800_000_000;
    static CLOCK: AtomicI64 = AtomicI64::new(NOW);
    /// The clock is one for all of these tests.
    static TURN: Mutex<()> = Mutex::new(());

    fn sessions(resumption: ServerResumption) -> Arc<ServerSessions> {
        ServerSessions::load(resumption, &SecretSource::Random, None).unwrap()
    }

    fn context(sessions: &Arc<ServerSessions>, epoch: u8, kind: TransportKind) -> HandshakeContext {
        HandshakeContext::at(|| CLOCK.load(Ordering::Relaxed), sessions, [epoch; 32].into(), kind, None)
    }

    /// A ticket that a client with a certificate got by a full handshake.
    fn ticket(sessions: &Arc<ServerSessions>, not_after: i64) -> Vec<u8> {
        let full = context(sessions, 1, TransportKind::Tls);
        full.verified(not_after);
        full.encrypt(b"session").unwrap()
    }

    #[test]
    fn a_ticket_is_refused_for_each_claim_that_does_not_hold() {
        let _turn = TURN.lock();
        CLOCK.store(NOW, Ordering::Relaxed);
        let sessions = sessions(ServerResumption::Tickets);
        let ticket = ticket(&sessions, NOW + 100);
        let outcome = |epoch, kind| {
            let next = context(&sessions, epoch, kind);
            let opened = next.decrypt(&ticket);
            assert_eq!(opened.is_some(), next.ticket() == TicketUse::Accepted);
            next.ticket()
        };
        assert_eq!(outcome(1, TransportKind::Tls), TicketUse::Accepted);
        assert_eq!(outcome(2, TransportKind::Tls), TicketUse::Refused(TicketFault::OtherEpoch));
        assert_eq!(outcome(1, TransportKind::Quic), TicketUse::Refused(TicketFault::OtherTransport));
        CLOCK.store(NOW + 101, Ordering::Relaxed);
        assert_eq!(outcome(1, TransportKind::Tls), TicketUse::Refused(TicketFault::Expired));
    }

    #[test]
    fn tickets_renewed_again_and_again_go_back_to_one_authentication_and_end_with_it() {
        let _turn = TURN.lock();
        CLOCK.store(NOW, Ordering::Relaxed);
        let sessions = sessions(ServerResumption::Tickets);
        let mut held = ticket(&sessions, i64::MAX);
        let hour = 3600;
        for step in 1..=MAX_AUTHENTICATION_AGE_SECS / hour {
            CLOCK.store(NOW + step * hour, Ordering::Relaxed);
            let next = context(&sessions, 1, TransportKind::Tls);
            let opened = next.decrypt(&held);
            if step * hour == MAX_AUTHENTICATION_AGE_SECS {
                assert_eq!(next.ticket(), TicketUse::Refused(TicketFault::TooOld));
                continue;
            }
            assert!(opened.is_some(), "after {step} hours");
            let left = MAX_AUTHENTICATION_AGE_SECS - step * hour;
            assert_eq!(i64::from(next.lifetime()), left.min(TICKET_LIFETIME_SECS));
            held = next.encrypt(b"session").unwrap();
        }
    }

    #[test]
    fn a_full_handshake_after_an_accepted_ticket_counts_for_itself() {
        let _turn = TURN.lock();
        CLOCK.store(NOW, Ordering::Relaxed);
        let sessions = sessions(ServerResumption::Tickets);
        let held = ticket(&sessions, NOW + 5000);
        CLOCK.store(NOW + 1000, Ordering::Relaxed);
        let next = context(&sessions, 1, TransportKind::Tls);
        next.decrypt(&held).unwrap();
        assert_eq!(next.proof(NOW + 1000).authenticated_at, NOW);
        next.verified(NOW + 9000);
        assert_eq!(next.proof(NOW + 1000), Proof { authenticated_at: NOW + 1000, not_after: NOW + 9000 });
    }

    #[test]
    fn a_cached_session_follows_the_same_rules() {
        let _turn = TURN.lock();
        CLOCK.store(NOW, Ordering::Relaxed);
        let sessions = sessions(ServerResumption::Cache { bytes: 1 << 20 });
        let full = context(&sessions, 1, TransportKind::Tls);
        full.verified(NOW + 100);
        for id in [[1; 32], [2; 32]] {
            assert!(full.put(id.to_vec(), b"session".to_vec()));
        }
        assert_eq!(full.issued(), 2);
        let other = context(&sessions, 2, TransportKind::Tls);
        assert_eq!(other.take(&[1; 32]), None);
        assert_eq!(other.ticket(), TicketUse::Refused(TicketFault::OtherEpoch));
        let same = context(&sessions, 1, TransportKind::Tls);
        assert!(same.take(&[2; 32]).is_some());
        assert_eq!(same.take(&[2; 32]), None, "used");
    }

    #[test]
    fn where_lists_are_enforced_tickets_wait_for_the_next_ones_and_need_no_new_proof_then() {
        let _turn = TURN.lock();
        CLOCK.store(NOW, Ordering::Relaxed);
        let sessions = sessions(ServerResumption::Tickets);
        let named = ticket(&sessions, i64::MAX - 1);
        let unnamed = context(&sessions, 1, TransportKind::Tls).encrypt(b"session").unwrap();
        let outcome = |ticket: &[u8], lists_until| {
            let mut next = context(&sessions, 1, TransportKind::Tls);
            next.lists_until = Some(lists_until);
            next.decrypt(ticket);
            next.ticket()
        };
        assert_eq!(outcome(&named, NOW + 1), TicketUse::Accepted);
        assert_eq!(outcome(&named, NOW), TicketUse::Refused(TicketFault::Expired));
        assert_eq!(outcome(&unnamed, NOW), TicketUse::Accepted, "lists say nothing of nobody");
    }
}
