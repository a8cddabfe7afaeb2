//! Connections that sessions share: one `Outbound` a server, dialled when first needed and again when it is gone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sealstream_protocol::limits::{DEFAULT_PORT, Limits};
use sealstream_protocol::message::hello::{Hello, SessionKind};
use sealstream_transport::tls::Snapshot;
use sealstream_transport::{ConnectError, Endpoint, Expectation, Outbound, Server, Stream};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};
use tracing::{Instrument as _, debug, debug_span, warn};

use crate::backoff::{Retries, RetryPolicy};
use crate::bounds::{OptionError, some_time, within};
use crate::credentials::Credentials;
use crate::dial::{Dial, is_spent};
use crate::error::SessionError;
use crate::event::{ClientEvent, ClientEvents, EVENTS};
use crate::token::TokenSource;
use crate::wire::{OpenSessionError, Session, session};

/// Servers that one client keeps connections to: brokers of a large cluster. Beyond it idle ones are forgotten.
const MAX_SERVERS: usize = 64;

/// The least that a client can accept of a frame: 64 KiB. A Welcome, a fault and the description of a small topic fit.
const LEAST_FRAME: u32 = 64 << 10;

/// How often a client lets itself be sent on to another broker before it waits: owners change by one hop, and two
/// changes may be under way at once.
pub(crate) const MAX_HOPS: u32 = 5;

/// Generations of credentials that one session is tried with: each has been replaced on disk while the one before was tried.
const MAX_GENERATIONS: u32 = 5;

/// Where a session is to be opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// At any of the endpoints that the client was given.
    Home,
    /// Where a broker sent the client.
    At(Endpoint),
}

/// What every session of a client says and does.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) token: Option<TokenSource>,
    pub(crate) cluster: Option<String>,
    pub(crate) idle: Duration,
    pub(crate) hello_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) max_frame: u32,
    pub(crate) retry: RetryPolicy,
}

impl Settings {
    /// Whether each option has a value that it can have.
    pub(crate) fn check(&self) -> Result<(), OptionError> {
        some_time("idle", self.idle)?;
        some_time("hello_timeout", self.hello_timeout)?;
        some_time("request_timeout", self.request_timeout)?;
        some_time("close_timeout", self.close_timeout)?;
        within("max_frame", self.max_frame, LEAST_FRAME..=Limits::MAX_FRAME)?;
        self.retry.check()
    }
}

/// The connections of one client.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) settings: Settings,
    dial: Dial,
    /// At least one.
    home: Vec<Endpoint>,
    /// What a server must prove; `None` is the name in its URL.
    expectation: Option<Expectation>,
    /// The endpoint of `home` that is tried next.
    turn: AtomicUsize,
    servers: Mutex<HashMap<Endpoint, Arc<Slot>>>,
    events: broadcast::Sender<ClientEvent>,
}

/// One server's place: the lock is held while dialling, so that sessions that start together share one connection.
#[derive(Debug, Default)]
struct Slot(tokio::sync::Mutex<Option<Dialled>>);

/// A connection, when it was made, and by which credentials.
#[derive(Debug)]
struct Dialled {
    outbound: Arc<dyn Outbound>,
    at: Instant,
    by: Option<Arc<Snapshot>>,
}

impl Connections {
    pub(crate) fn new(
        dial: Dial,
        home: Vec<Endpoint>,
        expectation: Option<Expectation>,
        settings: Settings,
    ) -> Self {
        let (turn, servers) = (AtomicUsize::new(0), Mutex::default());
        Self { settings, dial, home, expectation, turn, servers, events: broadcast::Sender::new(EVENTS) }
    }

    pub(crate) fn events(&self) -> ClientEvents {
        ClientEvents { receiver: self.events.subscribe() }
    }

    /// Tells whoever listens.
    fn tell(&self, event: impl FnOnce() -> ClientEvent) {
        if self.events.receiver_count() > 0 {
            let _ = self.events.send(event()); // the last listener may have gone
        }
    }

    /// Opens a session at `place`, trying again within the retry policy and following brokers that send it on.
    /// `retries` outlives the call, so that sessions which open and break at once are not opened in a hot loop: the
    /// caller tells it of successes.
    pub(crate) async fn open(
        &self,
        place: &Place,
        kind: SessionKind,
        retries: &mut Retries,
    ) -> Result<Session, SessionError> {
        let mut place = place.clone();
        let mut hops = 0;
        loop {
            let error = match self.open_once(&place, kind).await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            if let Some(url) = error.elsewhere()
                && hops < MAX_HOPS
            {
                hops += 1;
                debug!(url, hops, "sent on to another broker");
                self.tell(|| ClientEvent::Redirected { url: url.to_owned() });
                place = parse_redirect(&error.to_string(), url)?;
                continue;
            }
            if error.is_loss_of_trust() && retries.may_try_anew() {
                continue;
            }
            if !error.is_retryable() {
                return Err(error);
            }
            self.pause(retries, error).await?;
        }
    }

    /// Whether, after a session that ended with `error`, another is to be tried at once: the broker no longer trusts the
    /// certificate of the connection, which may have been replaced since. `opened` is when the session was.
    pub(crate) async fn tries_anew(
        &self,
        place: &Place,
        opened: Instant,
        error: &SessionError,
        retries: &mut Retries,
    ) -> bool {
        if !error.is_loss_of_trust() || !retries.may_try_anew() {
            return false;
        }
        debug!(%error, "connecting once more, with the certificate that there is now");
        self.suspect(place, opened).await;
        true
    }

    /// Waits as long as the policy asks for after `error`, or says that time is up.
    pub(crate) async fn pause(&self, retries: &mut Retries, error: SessionError) -> Result<(), SessionError> {
        let Some(delay) = retries.after_failure(error.retry_after(), Instant::now()) else {
            let after = self.settings.retry.retry_for;
            debug!(%error, ?after, "giving up");
            return Err(match retries.failures() {
                0 | 1 => error,
                attempts => SessionError::GaveUp { attempts, after, last: Arc::new(error) },
            });
        };
        self.tell(|| ClientEvent::Retrying { error: error.clone(), after: delay });
        // Once for each outage, so that nobody waits in silence.
        if retries.failures() == 1 {
            warn!(%error, "no session with the broker; trying again for up to {:?}", self.settings.retry.retry_for);
        } else {
            debug!(%error, ?delay, "trying again");
        }
        sleep(delay).await;
        Ok(())
    }

    /// One attempt.
    pub(crate) async fn open_once(&self, place: &Place, kind: SessionKind) -> Result<Session, SessionError> {
        let opened = self.session_as_of_now(self.endpoint(place), kind).await;
        if opened.is_err() && *place == Place::Home {
            self.turn.fetch_add(1, Ordering::Relaxed);
        }
        opened
    }

    /// Closes every connection. Streams that are not finished are lost.
    pub(crate) async fn close(&self) {
        let servers = std::mem::take(&mut *self.servers());
        for slot in servers.into_values() {
            let dialled = slot.0.lock().await.take();
            if let Some(Dialled { outbound, .. }) = dialled {
                outbound.close(0).await;
            }
        }
    }

    /// The endpoint to try now.
    fn endpoint<'a>(&'a self, place: &'a Place) -> &'a Endpoint {
        match place {
            Place::Home => &self.home[self.turn.load(Ordering::Relaxed) % self.home.len()],
            Place::At(endpoint) => endpoint,
        }
    }

    /// How errors name a place.
    pub(crate) fn target(&self, place: &Place) -> String {
        self.endpoint(place).to_string()
    }

    /// The connection of a session that was opened at `opened` is of no more use: the next session gets another, unless
    /// the others that it served have one already. A path that is gone without a word is noticed by a shared connection
    /// only at its idle timeout, and every stream opened until then is lost.
    pub(crate) async fn suspect(&self, place: &Place, opened: Instant) {
        let slot = self.slot(self.endpoint(place));
        let mut held = slot.0.lock().await;
        if held.as_ref().is_some_and(|dialled| dialled.at <= opened) {
            *held = None;
            self.tell(|| ClientEvent::Disconnected { url: self.target(place) });
        }
    }

    /// A session by the credentials that there are now. What fails for good may do so because of those that there were when it
    /// began: where they have been replaced meanwhile, it is tried again.
    async fn session_as_of_now(
        &self,
        endpoint: &Endpoint,
        kind: SessionKind,
    ) -> Result<Session, SessionError> {
        let Some(credentials) = self.dial.credentials() else { return self.session(endpoint, kind).await };
        let tell = |event| self.tell(|| event);
        let mut current = credentials.refresh(&tell).await;
        for _ in 1..MAX_GENERATIONS {
            let error = match self.session(endpoint, kind).await {
                Err(error) if !error.is_retryable() => error,
                opened => return opened,
            };
            let Some(next) = credentials.await_after(&current, &tell).await else { return Err(error) };
            debug!(%error, "trying again, with the credentials that there are now");
            current = next;
        }
        self.session(endpoint, kind).await
    }

    async fn session(&self, endpoint: &Endpoint, kind: SessionKind) -> Result<Session, SessionError> {
        let stream = self.stream(endpoint).await?;
        let settings = &self.settings;
        // As late as can be: it may have been replaced.
        let token = match &settings.token {
            Some(source) => Some(source.token().await.map_err(|error| SessionError::Token(Arc::new(error)))?),
            None => None,
        };
        let hello = Hello {
            token,
            cluster: settings.cluster.clone(),
            ..session::hello(kind, settings.name.clone(), settings.idle)
        };
        let asked = Instant::now();
        let opened = session::open(stream, hello, settings.max_frame, settings.hello_timeout).await;
        let session = match opened {
            Ok(session) => session,
            Err(source) => {
                let silent = matches!(source, OpenSessionError::TimedOut { .. });
                let error = SessionError::Hello { target: endpoint.to_string(), source: Arc::new(source) };
                if silent || error.is_loss_of_trust() {
                    self.suspect(&Place::At(endpoint.clone()), asked).await;
                }
                return Err(error);
            }
        };
        let welcome = &session.welcome;
        debug!(%endpoint, ?kind, broker = welcome.broker, identity = welcome.identity, "session opened");
        Ok(session)
    }

    /// A stream of the server's shared connection, which is dialled anew if it is found closed.
    async fn stream(&self, endpoint: &Endpoint) -> Result<Stream, SessionError> {
        let slot = self.slot(endpoint);
        let (outbound, fresh) = self.outbound(&slot, endpoint, None).await?;
        let failed = |source| SessionError::Open { target: endpoint.to_string(), source: Arc::new(source) };
        match outbound.open().await {
            Ok(stream) => Ok(stream),
            Err(error) if !fresh && is_spent(&error) => {
                let (outbound, _) = self.outbound(&slot, endpoint, Some(&outbound)).await?;
                outbound.open().await.map_err(failed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The slot's connection and whether it was dialled just now. `closed` is one that is of no more use.
    async fn outbound(
        &self,
        slot: &Slot,
        endpoint: &Endpoint,
        closed: Option<&Arc<dyn Outbound>>,
    ) -> Result<(Arc<dyn Outbound>, bool), SessionError> {
        let mut held = slot.0.lock().await;
        let by = self.dial.credentials().map(Credentials::current);
        if let Some(Dialled { outbound, by: before, .. }) = &*held
            && closed.is_none_or(|closed| !Arc::ptr_eq(closed, outbound))
            // One that was made by older credentials goes on for the sessions that it has.
            && before.as_ref().map(Arc::as_ptr) == by.as_ref().map(Arc::as_ptr)
        {
            return Ok((outbound.clone(), false));
        }
        if held.take().is_some() && closed.is_some() {
            self.tell(|| ClientEvent::Disconnected { url: endpoint.to_string() });
        }
        let server = Server { endpoint: endpoint.clone(), expectation: self.expectation_of(endpoint) };
        let dialled = self.connect(&server).instrument(debug_span!("connect", %endpoint)).await;
        let outbound: Arc<dyn Outbound> =
            Arc::from(dialled.map_err(|error| SessionError::Connect(Arc::new(error)))?);
        *held = Some(Dialled { outbound: outbound.clone(), at: Instant::now(), by });
        self.tell(|| ClientEvent::Connected { url: endpoint.to_string() });
        Ok((outbound, true))
    }

    async fn connect(&self, server: &Server) -> Result<Box<dyn Outbound>, ConnectError> {
        let connected = self.dial.connect(server).await;
        match &connected {
            Ok(outbound) => {
                let peer = outbound.peer();
                debug!(transport = ?peer.transport, handshake = ?peer.handshake, addr = %peer.remote_addr, "connected");
            }
            Err(error) => debug!(%error, "not connected"),
        }
        connected
    }

    /// The same trust for every server: a name follows the URL; an exact identity, and a pinned key, do not change.
    fn expectation_of(&self, endpoint: &Endpoint) -> Expectation {
        match &self.expectation {
            None => Expectation::Name(endpoint.host.clone()),
            Some(Expectation::Pin { spki_sha256, .. }) if !self.home.contains(endpoint) => {
                Expectation::Pin { name: endpoint.host.clone(), spki_sha256: *spki_sha256 }
            }
            Some(expectation) => expectation.clone(),
        }
    }

    fn slot(&self, endpoint: &Endpoint) -> Arc<Slot> {
        let mut servers = self.servers();
        if servers.len() >= MAX_SERVERS && !servers.contains_key(endpoint) {
            // Nobody is opening a stream there; streams that are open do not need it.
            servers.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        servers.entry(endpoint.clone()).or_default().clone()
    }

    fn servers(&self) -> std::sync::MutexGuard<'_, HashMap<Endpoint, Arc<Slot>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place that a broker sent the client to.
pub(crate) fn parse_redirect(target: &str, url: &str) -> Result<Place, SessionError> {
    match Endpoint::parse(url, DEFAULT_PORT) {
        Ok(endpoint) => Ok(Place::At(endpoint)),
        Err(error) => Err(SessionError::BadRedirect {
            target: target.to_owned(),
            url: url.to_owned(),
            reason: error.to_string(),
        }),
    }
}
