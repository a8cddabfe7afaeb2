//! The task behind a producer: has one session after the other for its partitions, and decides what each end means.
//! What goes on within a session is in [`super::exchange`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument as _, debug, debug_span, info, warn};

use super::error::{DeliveryError, OpenProducerError};
use super::lane::Lane;
use super::link::Link;
use super::shared::Shared;
use super::ticket::Settlement;
use crate::backoff::{Retries, jittered};
use crate::connection::{MAX_HOPS, Place, parse_redirect};
use crate::error::{GoAway, SessionError};
use crate::wire::farewell::DRAIN_TIME;

/// How a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// The producer is closed.
    Stopped,
    /// The broker asked for it, and answered everything before.
    GoneAway(GoAway),
    /// It broke.
    Lost(SessionError),
    /// The broker did what it must not do.
    Violated(String),
    /// The topic is gone.
    Fatal(DeliveryError),
    /// Its last partition moved away.
    Deserted,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) place: Place,
    pub(super) inbox: mpsc::Receiver<Lane>,
    /// By partition.
    pub(super) lanes: BTreeMap<u32, Lane>,
    /// The partition whose turn it is to send first.
    pub(super) turn: u32,
    pub(super) news: watch::Receiver<u64>,
    pub(super) retries: Retries,
    pub(super) settlements: Vec<Settlement>,
    /// When the next session may be opened.
    not_before: Instant,
    /// No batch has passed its deadline before this.
    expire_at: Instant,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        place: Place,
        inbox: mpsc::Receiver<Lane>,
        lanes: impl IntoIterator<Item = Lane>,
    ) -> Self {
        let news = shared.subscribe();
        let retries = Retries::new(shared.connections.settings.retry);
        let not_before = Instant::now();
        let lanes = lanes.into_iter().map(|lane| (lane.partition(), lane)).collect();
        let settlements = Vec::new();
        Self {
            shared,
            place,
            inbox,
            lanes,
            turn: 0,
            news,
            retries,
            settlements,
            not_before,
            expire_at: not_before,
        }
    }

    /// Runs until the producer is closed, fails for good, or has no partition left for this task.
    pub(super) async fn run(mut self, mut link: Option<Link>) {
        loop {
            let mut live = match link.take() {
                Some(link) => link,
                None => match self.reconnect().await {
                    Some(link) => link,
                    None => return,
                },
            };
            let session =
                debug_span!("session", kind = "produce", topic = self.shared.topic, broker = live.target);
            let end = self.drive(&mut live).instrument(session).await;
            for lane in self.lanes.values_mut() {
                lane.session_lost();
            }
            if !self.after(end, live).await {
                return;
            }
        }
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
                self.stop(&DeliveryError::Closed { maybe_stored: false });
                return false;
            }
            End::Fatal(error) => {
                link.finish(close_timeout).await;
                self.stop(&error);
                return false;
            }
            End::Deserted => {
                link.finish(close_timeout).await;
                return true;
            }
            End::GoneAway(GoAway { retry_after }) => {
                info!(target, ?retry_after, "the broker asked to be left");
                link.finish(close_timeout).await;
                self.retries.succeeded();
                self.not_before = Instant::now() + self.bounded(jittered(retry_after.unwrap_or_default()));
                return true;
            }
            End::Violated(detail) => {
                link.fail(&detail).await;
                SessionError::Protocol { target, detail }
            }
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
        warn!(error = %lost, "the producer's session is lost");
        if self.shared.connections.tries_anew(&self.place, opened, &lost, &mut self.retries).await {
            return true;
        }
        if !lost.is_retryable() {
            self.stop(&DeliveryError::Session { source: lost, maybe_stored: false });
            return false;
        }
        let now = Instant::now();
        let policy = self.shared.connections.settings.retry;
        let delay = self.retries.after_failure(lost.retry_after(), now).unwrap_or(policy.max_backoff);
        self.not_before = now + delay;
        true
    }

    /// A new session, once there is something to send. `None` ends the task.
    async fn reconnect(&mut self) -> Option<Link> {
        loop {
            if !self.await_work().await {
                return None;
            }
            match self.connect().await {
                Some(Ok(link)) => return Some(link),
                Some(Err(error)) if self.place != Place::Home => {
                    debug!(%error, "going home");
                    self.go_home();
                }
                Some(Err(error)) => {
                    let fatal = !error.is_retryable();
                    let error = match error {
                        OpenProducerError::Session(source) => {
                            DeliveryError::Session { source, maybe_stored: false }
                        }
                        OpenProducerError::Refused { fault, .. } => {
                            DeliveryError::Refused { fault, maybe_stored: false }
                        }
                        // Options were checked before there was a driver.
                        OpenProducerError::Option(_) => DeliveryError::Closed { maybe_stored: false },
                    };
                    if fatal {
                        self.stop(&error);
                        return None;
                    }
                    self.fail(&error);
                    self.retries.succeeded();
                }
                None => {
                    self.stop(&DeliveryError::Closed { maybe_stored: false });
                    return None;
                }
            }
        }
    }

    fn has_work(&self) -> bool {
        let accumulator = self.shared.accumulator();
        self.lanes.values().any(|lane| !lane.is_empty() || accumulator.holds(lane.partition()))
    }

    /// Waits until there is something to send and the broker wants to be asked. Says whether the task is to go on.
    async fn await_work(&mut self) -> bool {
        loop {
            self.expire(Instant::now());
            if self.lanes.is_empty() && self.place != Place::Home {
                match self.shared.routes.retire(&self.place, &mut self.inbox) {
                    Some(lane) => self.adopt(lane),
                    None => return false,
                }
            }
            let now = Instant::now();
            let mut wake = self.expire_at;
            if self.has_work() {
                if self.not_before <= now {
                    return true;
                }
                wake = self.expire_at.min(self.not_before);
            }
            tokio::select! {
                () = sleep_until(wake) => {}
                () = self.shared.stop.cancelled() => {
                    self.stop(&DeliveryError::Closed { maybe_stored: false });
                    return false;
                }
                _ = self.news.changed() => {}
                Some(lane) = self.inbox.recv() => self.adopt(lane),
            }
        }
    }

    /// Connects, failing meanwhile what has passed its deadline. `None` if the producer is closed.
    async fn connect(&mut self) -> Option<Result<Link, OpenProducerError>> {
        let shared = self.shared.clone();
        let place = self.place.clone();
        let policy = shared.connections.settings.retry;
        let mut retries = std::mem::replace(&mut self.retries, Retries::new(policy));
        let connecting = async {
            let id = Some(shared.topic_id);
            let opened = Link::open(&shared.connections, &shared.topic, id, &place, &mut retries).await;
            (opened, retries)
        };
        tokio::pin!(connecting);
        loop {
            let expire_at = self.expire_at;
            tokio::select! {
                () = shared.stop.cancelled() => return None,
                (opened, retries) = &mut connecting => {
                    self.retries = retries;
                    return Some(opened.map(|(link, opened)| {
                        self.grow(opened.partitions);
                        link
                    }));
                }
                () = sleep_until(expire_at) => {
                    self.expire(Instant::now());
                }
                _ = self.news.changed() => {}
                Some(lane) = self.inbox.recv() => self.adopt(lane),
            }
        }
    }

    /// Hands partitions over that another broker owns.
    pub(super) fn move_away(&mut self, now: Instant) {
        let here = &self.place;
        let later = now + self.shared.connections.settings.retry.max_backoff;
        let mut moving = Vec::new();
        for lane in self.lanes.values_mut() {
            let Some(url) = lane.moves_to() else { continue };
            debug!(partition = lane.partition(), url, "the partition is elsewhere");
            let place = parse_redirect(&self.shared.topic, url);
            lane.hops += 1;
            match place {
                Ok(place) if lane.hops <= MAX_HOPS && place != *here => {
                    lane.moved(None);
                    moving.push((lane.partition(), place));
                }
                _ => {
                    // The brokers do not agree, or send us to nowhere: give them time.
                    lane.hops = 0;
                    lane.moved(Some(later));
                }
            }
        }
        for (partition, place) in moving {
            if let Some(lane) = self.lanes.remove(&partition) {
                self.hand_over(place, lane);
            }
        }
    }

    /// Takes in the partitions that the topic has got since it was last asked. The task at home does: the others serve what is handed to
    /// them.
    pub(super) fn grow(&mut self, partitions: u32) {
        let known = self.shared.partitions();
        if self.place != Place::Home || partitions <= known {
            return;
        }
        info!(topic = self.shared.topic, from = known, to = partitions, "the topic has more partitions");
        self.shared.accumulator().grow(partitions);
        let policy = self.shared.connections.settings.retry;
        for partition in known..partitions {
            self.adopt(Lane::new(partition, policy));
        }
    }

    /// Takes a partition in.
    pub(super) fn adopt(&mut self, lane: Lane) {
        self.expire_at = Instant::now();
        self.lanes.insert(lane.partition(), lane);
    }

    fn hand_over(&self, place: Place, lane: Lane) {
        self.shared.routes.hand_over(place.clone(), lane, |inbox, lane| {
            Self::new(self.shared.clone(), place, inbox, [lane]).run(None)
        });
    }

    /// Gives every partition back to the task at home.
    fn go_home(&mut self) {
        let later = Instant::now() + self.shared.connections.settings.retry.min_backoff;
        for mut lane in std::mem::take(&mut self.lanes).into_values() {
            lane.moved(Some(later));
            self.hand_over(Place::Home, lane);
        }
    }

    /// When to look for batches that have passed their deadline.
    pub(super) fn expire_at(&self) -> Instant {
        self.expire_at
    }

    /// Fails what has passed its deadline. Says whether the session is to be given up for it.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        if now < self.expire_at {
            return false;
        }
        let mut abandoned = false;
        let mut accumulator = self.shared.accumulator();
        let timeout = accumulator.plan.delivery_timeout;
        // A batch that does not exist yet has all of it before it.
        self.expire_at = now + timeout;
        for lane in self.lanes.values_mut() {
            abandoned |= lane.expire(now, timeout, &mut self.settlements);
            accumulator.expire(lane.partition(), now, &mut self.settlements);
            let first = lane.deadline().or_else(|| accumulator.deadline(lane.partition()));
            self.expire_at = first.map_or(self.expire_at, |first| first.min(self.expire_at));
        }
        drop(accumulator);
        self.shared.settle(&mut self.settlements);
        abandoned
    }

    /// Fails everything that is not settled.
    fn fail(&mut self, error: &DeliveryError) {
        let mut accumulator = self.shared.accumulator();
        for lane in self.lanes.values_mut() {
            lane.fail(error, &mut self.settlements);
            accumulator.fail(lane.partition(), error, &mut self.settlements);
        }
        drop(accumulator);
        self.shared.settle(&mut self.settlements);
    }

    /// Fails everything, now and later, and ends the producer's other tasks.
    fn stop(&mut self, error: &DeliveryError) {
        let error = &self.shared.close(error.clone());
        while let Ok(lane) = self.inbox.try_recv() {
            self.adopt(lane);
        }
        self.fail(error);
        self.shared.stop.cancel();
    }

    /// What a broker may make us wait.
    fn bounded(&self, delay: Duration) -> Duration {
        delay.min(self.shared.connections.settings.retry.retry_for)
    }
}
