//! Requests one after the other on a session that is opened when it is needed and kept while it is fresh.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::message::hello::{Pong, SessionKind};
use sealstream_protocol::message::{Fault, FaultClass, Message};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, debug, debug_span};

use super::error::AdminError;
use crate::backoff::Retries;
use crate::connection::{Connections, MAX_HOPS, Place, parse_redirect};
use crate::error::{SessionError, elsewhere};
use crate::wire::{Session, WireError};

/// Whether a request may be repeated when its answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Carried out twice, it does what it does once.
    Safely,
    /// Carried out twice, it fails, or does what was not meant.
    Never,
}

/// A session that may serve again.
#[derive(Debug)]
struct Held {
    session: Session,
    opened: Instant,
    target: String,
    /// When it was last used: nobody answers pings in between.
    used: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Requests {
    connections: Arc<Connections>,
    held: Mutex<Option<Held>>,
}

/// How one attempt ended.
enum Attempt {
    /// With an answer; the broker may have asked for the session's end meanwhile.
    Answered { answer: Message, goes_away: bool },
    /// Without.
    Lost(SessionError),
}

impl Requests {
    pub(super) fn new(connections: Arc<Connections>) -> Self {
        Self { connections, held: Mutex::new(None) }
    }

    /// Asks and waits for the answer that `read` understands. `request` names it in errors.
    pub(super) async fn ask<T>(
        &self,
        request: &str,
        message: Message,
        repeat: Repeat,
        read: impl Fn(Message) -> Option<T>,
    ) -> Result<T, AdminError> {
        self.answered(request, message, repeat, read).instrument(debug_span!("admin", request)).await
    }

    async fn answered<T>(
        &self,
        request: &str,
        message: Message,
        repeat: Repeat,
        read: impl Fn(Message) -> Option<T>,
    ) -> Result<T, AdminError> {
        let failed = |source| AdminError::Session { request: request.to_owned(), source };
        let mut held = self.held.lock().await;
        let mut retries = Retries::new(self.connections.settings.retry);
        let mut place = Place::Home;
        let mut hops = 0;
        loop {
            let mut live = match fresh(held.take()).await {
                Some(live) => live,
                None => self.open(&place, &mut retries).await.map_err(failed)?,
            };
            let (answer, goes_away) = match self.attempt(&mut live, &message).await {
                Attempt::Answered { answer, goes_away } => (answer, goes_away),
                Attempt::Lost(source) if repeat == Repeat::Never => {
                    return Err(AdminError::OutcomeUnknown { request: request.to_owned(), source });
                }
                Attempt::Lost(source) => {
                    self.after_loss(&place, live.opened, source, &mut retries).await.map_err(failed)?;
                    continue;
                }
            };
            let target = live.target.clone();
            if !goes_away && place == Place::Home {
                *held = Some(live);
            }
            let kind = answer.kind();
            let fault = match answer {
                Message::RequestRefused(fault) => fault,
                answer => {
                    return read(answer).ok_or_else(|| {
                        *held = None;
                        let detail = format!("it answered with a {} frame", kind.name());
                        failed(SessionError::Protocol { target, detail })
                    });
                }
            };
            match next_step(&fault, hops) {
                Step::Follow(url) => {
                    debug!(url, "sent on to another broker");
                    hops += 1;
                    *held = None;
                    place = parse_redirect(&target, url).map_err(failed)?;
                }
                Step::Wait if !self.waits(&mut retries, &fault, &target).await => {
                    return Err(AdminError::Refused { request: request.to_owned(), fault });
                }
                Step::Wait => {}
                Step::Stop => return Err(AdminError::Refused { request: request.to_owned(), fault }),
            }
        }
    }

    /// Waits until another session may be tried; the error says that none may be.
    async fn after_loss(
        &self,
        place: &Place,
        opened: Instant,
        lost: SessionError,
        retries: &mut Retries,
    ) -> Result<(), SessionError> {
        if self.connections.tries_anew(place, opened, &lost, retries).await {
            return Ok(());
        }
        if !lost.is_retryable() {
            return Err(lost);
        }
        self.connections.pause(retries, lost).await
    }

    /// Ends the session, if there is one.
    pub(super) async fn close(&self) {
        let held = self.held.lock().await.take();
        if let Some(held) = held
            && let Err(error) = held.session.finish(self.connections.settings.close_timeout).await
        {
            debug!(%error, "the session did not end cleanly");
        }
    }

    async fn open(&self, place: &Place, retries: &mut Retries) -> Result<Held, SessionError> {
        let session = self.connections.open(place, SessionKind::Admin, retries).await?;
        let now = Instant::now();
        Ok(Held { session, opened: now, target: self.connections.target(place), used: now })
    }

    /// Waits as long as the fault asks for. Says whether there is time left.
    async fn waits(&self, retries: &mut Retries, fault: &Fault, target: &str) -> bool {
        let error = SessionError::Ended { target: target.to_owned(), fault: Box::new(fault.clone()) };
        self.connections.pause(retries, error).await.is_ok()
    }

    async fn attempt(&self, live: &mut Held, message: &Message) -> Attempt {
        let after = self.connections.settings.request_timeout;
        let target = live.target.clone();
        live.session.writer.feed(message);
        let answered = timeout(after, exchange(&mut live.session)).await;
        live.used = Instant::now();
        match answered {
            Ok(Ok((Some(Message::Error(fault)), _))) => {
                Attempt::Lost(SessionError::Ended { target, fault: fault.into() })
            }
            Ok(Ok((Some(answer), goes_away))) => Attempt::Answered { answer, goes_away },
            Ok(Ok((None, _))) => Attempt::Lost(SessionError::Closed { target }),
            Ok(Err(source)) => Attempt::Lost(SessionError::Broken { target, source: Arc::new(source) }),
            Err(_) => Attempt::Lost(SessionError::Silent { target, after }),
        }
    }
}

/// The session held, if it can be used again: not if nobody has answered pings for so long that the broker may have
/// given it up (the first is due at half of the idle deadline), nor if the broker has asked for its end.
async fn fresh(held: Option<Held>) -> Option<Held> {
    let mut held = held?;
    let idle = Duration::from_millis(u64::from(held.session.welcome.idle_ms));
    if held.used.elapsed() >= idle / 2 {
        return None;
    }
    loop {
        tokio::select! {
            biased;
            arrived = held.session.reader.next() => match arrived {
                Ok(Some(Message::Ping(ping))) => {
                    held.session.writer.feed(&Message::Pong(Pong { nonce: ping.nonce }));
                }
                Ok(Some(Message::Pong(_))) => {}
                _ => return None,
            },
            () = ready(()) => return Some(held),
        }
    }
}

/// What to do about a refusal.
enum Step<'a> {
    Follow(&'a str),
    Wait,
    Stop,
}

fn next_step(fault: &Fault, hops: u32) -> Step<'_> {
    match fault.class {
        FaultClass::RetryElsewhere => match elsewhere(fault) {
            Some(url) if hops < MAX_HOPS => Step::Follow(url),
            _ => Step::Stop,
        },
        FaultClass::RetryLater => Step::Wait,
        FaultClass::Caller | FaultClass::Broker => Step::Stop,
    }
}

/// Sends what is queued and reads the answer. Says as well whether the broker wants the session to end.
async fn exchange(session: &mut Session) -> Result<(Option<Message>, bool), WireError> {
    session.writer.flush().await?;
    let mut goes_away = false;
    loop {
        match session.reader.next().await? {
            Some(Message::Ping(ping)) => {
                session.writer.feed(&Message::Pong(Pong { nonce: ping.nonce }));
                session.writer.flush().await?;
            }
            Some(Message::Pong(_)) => {}
            Some(Message::GoAway(_)) => goes_away = true,
            answer => return Ok((answer, goes_away)),
        }
    }
}
