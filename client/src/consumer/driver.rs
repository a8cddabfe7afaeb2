//! The task behind a consumer: has one session after the other for its partitions, and decides what each end means.
//! What goes on within a session is in [`super::exchange`].

use std::collections::BTreeMap;
use std::sync::Arc;

use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::{Fault, FaultCode};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument as _, debug, debug_span, info, warn};

use super::cursor::Cursor;
use super::error::ConsumeError;
use super::link::Link;
use super::shared::{Item, Shared};
use crate::backoff::{Retries, jittered};
use crate::connection::{MAX_HOPS, Place, parse_redirect};
use crate::error::{GoAway, SessionError};
use crate::wire::farewell::DRAIN_TIME;

/// How a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// The program reads no more.
    Stopped,
    /// Nothing is left to read here.
    Deserted,
    /// The broker asked for it.
    GoneAway(GoAway),
    /// It broke.
    Lost(SessionError),
    /// The broker did what it must not do.
    Violated(String),
    /// Nothing more can be read.
    Fatal(ConsumeError),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) place: Place,
    pub(super) inbox: mpsc::Receiver<Cursor>,
    /// By the number of the reading.
    pub(super) cursors: BTreeMap<u64, Cursor>,
    /// When one of them may want something: a subscription, or another session.
    pub(super) look_at: Instant,
    pub(super) sender: mpsc::Sender<Item>,
    /// Says that readings were taken back.
    pub(super) taken_back: watch::Receiver<()>,
    pub(super) retries: Retries,
    /// When the next session may be opened.
    not_before: Instant,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        place: Place,
        inbox: mpsc::Receiver<Cursor>,
        cursors: impl IntoIterator<Item = Cursor>,
        sender: mpsc::Sender<Item>,
    ) -> Self {
        let retries = Retries::new(shared.connections.settings.retry);
        let cursors = cursors.into_iter().map(|cursor| (cursor.id(), cursor)).collect();
        let now = Instant::now();
        let taken_back = shared.watch_taken_back();
        Self { shared, place, inbox, cursors, look_at: now, sender, taken_back, retries, not_before: now }
    }

    /// Runs until everything was read, the program reads no more, or nothing more can be read.
    pub(crate) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        loop {
            self.drop_taken_back();
            while self.cursors.is_empty() {
                match self.shared.routes.retire(&self.place, &mut self.inbox) {
                    Some(cursor) => self.adopt(cursor),
                    None => return,
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(self.not_before) => {}
            }
            let opened = tokio::select! {
                () = stop.cancelled() => return,
                opened = self.open() => opened,
            };
            let mut link = match opened {
                Ok(session) => session,
                Err(error) if self.place != Place::Home => {
                    debug!(%error, "going home");
                    self.go_home();
                    continue;
                }
                Err(error) => return self.fail(error.into()).await,
            };
            let session = debug_span!("session", kind = "consume", broker = link.target);
            let end = self.drive(&mut link).instrument(session).await;
            self.look_at = Instant::now();
            for cursor in self.cursors.values_mut() {
                cursor.session_lost();
            }
            if !self.after(end, link).await {
                return;
            }
        }
    }

    /// Opens a session: at home for as long as the retry policy allows, elsewhere once, since home may know better.
    async fn open(&mut self) -> Result<Link, SessionError> {
        let connections = &self.shared.connections;
        let session = match &self.place {
            Place::Home => connections.open(&self.place, SessionKind::Consume, &mut self.retries).await?,
            Place::At(_) => connections.open_once(&self.place, SessionKind::Consume).await?,
        };
        Ok(Link::new(session, connections.target(&self.place)))
    }

    /// Acts on the end of a session. Says whether there is to be another.
    async fn after(&mut self, end: End, link: Link) -> bool {
        let close_timeout = self.shared.connections.settings.close_timeout;
        let target = link.target.clone();
        let opened = link.opened;
        self.retries.lasted(opened.elapsed());
        let lost = match end {
            End::Stopped => {
                link.finish(close_timeout).await;
                return false;
            }
            End::Deserted => {
                link.finish(close_timeout).await;
                return true;
            }
            End::Fatal(error) => {
                link.finish(close_timeout).await;
                self.fail(error).await;
                return false;
            }
            End::GoneAway(GoAway { retry_after }) => {
                info!(target, ?retry_after, "the broker asked to be left");
                let longest = self.shared.connections.settings.retry.retry_for;
                self.not_before = Instant::now() + jittered(retry_after.unwrap_or_default().min(longest));
                return true;
            }
            End::Violated(detail) => {
                let fault = Fault::new(FaultCode::UnexpectedFrame, detail.clone());
                if let Err(error) = crate::wire::fail(link.reader, link.writer, fault).await {
                    debug!(target, %error, "the broker did not take our complaint");
                }
                SessionError::Protocol { target, detail }
            }
            // Closed by us, which the connection's end may be noticed before.
            End::Lost(_) if self.shared.stop.is_cancelled() => return false,
            End::Lost(error) => {
                if error.fault().is_some() {
                    link.finish(DRAIN_TIME).await;
                }
                if matches!(error, SessionError::Silent { .. }) {
                    self.shared.connections.suspect(&self.place, opened).await;
                }
                error
            }
        };
        warn!(error = %lost, "the consumer's session is lost");
        if self.shared.connections.tries_anew(&self.place, opened, &lost, &mut self.retries).await {
            return true;
        }
        if !lost.is_retryable() {
            self.fail(lost.into()).await;
            return false;
        }
        let now = Instant::now();
        let Some(delay) = self.retries.after_failure(lost.retry_after(), now) else {
            let attempts = self.retries.failures();
            let after = self.shared.connections.settings.retry.retry_for;
            let error = SessionError::GaveUp { attempts, after, last: Arc::new(lost) };
            self.fail(error.into()).await;
            return false;
        };
        self.not_before = now + delay;
        true
    }

    /// The consumer's end: the program gets the error behind everything that was read before it.
    async fn fail(&mut self, error: ConsumeError) {
        tokio::select! {
            () = self.shared.stop.cancelled() => {}
            // If nobody is there to hear it, nobody needs to.
            _ = self.sender.send(Err(error)) => {}
        }
        self.shared.stop.cancel();
    }

    /// Hands partitions over that another broker owns.
    pub(super) fn move_away(&mut self, now: Instant) {
        let here = &self.place;
        let later = now + self.shared.connections.settings.retry.max_backoff;
        let mut moving = Vec::new();
        for cursor in self.cursors.values_mut() {
            let Some(url) = cursor.elsewhere.take() else { continue };
            debug!(partition = cursor.partition(), url, "the partition is elsewhere");
            cursor.hops += 1;
            match parse_redirect(&cursor.reading.terms.topic, &url) {
                Ok(place) if cursor.hops <= MAX_HOPS && place != *here => {
                    cursor.moved(None);
                    moving.push((cursor.id(), place));
                }
                _ => {
                    // The brokers do not agree, or send us to nowhere: give them time.
                    cursor.hops = 0;
                    cursor.moved(Some(later));
                }
            }
        }
        for (reading, place) in moving {
            if let Some(cursor) = self.cursors.remove(&reading) {
                self.hand_over(place, cursor);
            }
        }
    }

    /// Forgets the readings that were taken back, between two sessions.
    fn drop_taken_back(&mut self) {
        self.taken_back.mark_unchanged();
        self.cursors.retain(|_, cursor| !cursor.reading.is_taken_back());
    }

    /// Takes a partition in.
    pub(super) fn adopt(&mut self, cursor: Cursor) {
        // It may have been taken back while it was on its way here.
        if !cursor.reading.is_taken_back() {
            self.look_at = Instant::now();
            self.cursors.insert(cursor.id(), cursor);
        }
    }

    fn hand_over(&self, place: Place, cursor: Cursor) {
        self.shared.routes.hand_over(place.clone(), cursor, |inbox, cursor| {
            Self::new(self.shared.clone(), place, inbox, [cursor], self.sender.clone()).run()
        });
    }

    /// Gives every partition back to the task at home.
    fn go_home(&mut self) {
        let later = Instant::now() + self.shared.connections.settings.retry.min_backoff;
        for mut cursor in std::mem::take(&mut self.cursors).into_values() {
            cursor.moved(Some(later));
            self.hand_over(Place::Home, cursor);
        }
    }
}
