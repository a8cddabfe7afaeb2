//! What the handles of a producer and its drivers share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::accumulator::{Accumulator, PushError, Pushed, Room};
use super::delivery::{BatchDelivery, Delivery, delivery};
use super::error::{DeliveryError, SendError, TrySendError};
use super::lane::Lane;
use super::record::Record;
use super::ticket::Settlement;
use crate::connection::Connections;
use crate::routes::Routes;

/// 64 KiB: a batch that is full with so many bytes is encrypted at once, while it lies in the cache of whoever filled it. For smaller
/// ones the way to the driver costs more than that saves.
const GIVES_WAY: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) connections: Arc<Connections>,
    pub(super) topic: String,
    pub(super) topic_id: Uuid,
    /// Ends the drivers.
    pub(super) stop: CancellationToken,
    pub(super) routes: Routes<Lane>,
    accumulator: Mutex<Accumulator>,
    /// Counts news for the drivers: batches that are full, and first records of batches.
    news: watch::Sender<u64>,
    /// The window has room again.
    room: Notify,
    /// Those who wait for room stand in line here.
    line: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
    /// A large batch is full: whoever sends next lets the driver go first.
    owes_way: AtomicBool,
}

/// Why no more of many records were taken.
enum Stop {
    /// All are.
    Done,
    /// The driver is to go first.
    OwesWay,
    /// There is no room.
    WindowFull,
}

/// One who waits for room, counted for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn new(
        connections: Arc<Connections>,
        topic: String,
        topic_id: Uuid,
        accumulator: Accumulator,
    ) -> Self {
        Self {
            connections,
            topic,
            topic_id,
            stop: CancellationToken::new(),
            routes: Routes::new(accumulator.plan.partitions),
            accumulator: Mutex::new(accumulator),
            news: watch::Sender::new(0),
            room: Notify::new(),
            line: tokio::sync::Mutex::new(()),
            waiting: AtomicUsize::new(0),
            owes_way: AtomicBool::new(false),
        }
    }

    pub(super) fn accumulator(&self) -> MutexGuard<'_, Accumulator> {
        self.accumulator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many partitions the topic has, as far as is known.
    pub(super) fn partitions(&self) -> u32 {
        self.accumulator().plan.partitions
    }

    /// News from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    pub(super) fn announce(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Takes a record if there is room and nobody stands in line before it.
    pub(super) fn try_send(&self, record: &Record<'_>) -> Result<Delivery, TrySendError> {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.accumulator().check(record)?;
            return Err(TrySendError::WindowFull);
        }
        self.push(record)
    }

    /// Takes a record, waiting in line for room.
    pub(super) async fn send(&self, record: &Record<'_>) -> Result<Delivery, SendError> {
        self.give_way().await;
        match self.try_send(record) {
            Ok(delivery) => return Ok(delivery),
            Err(TrySendError::Refused(error)) => return Err(error),
            Err(TrySendError::WindowFull) => {}
        }
        self.in_turn(|| self.push(record)).await
    }

    /// Reserves room if there is some and nobody stands in line before it.
    pub(super) fn try_reserve(&self, size: usize) -> Result<(), TrySendError> {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return Err(TrySendError::WindowFull);
        }
        self.reserve_now(size)
    }

    /// Reserves room, waiting in line for it.
    pub(super) async fn reserve(&self, size: usize) -> Result<(), SendError> {
        match self.try_reserve(size) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Refused(error)) => return Err(error),
            Err(TrySendError::WindowFull) => {}
        }
        self.in_turn(|| self.reserve_now(size)).await
    }

    /// Lets the driver go first if there is a large batch for it.
    async fn give_way(&self) {
        // Looked at once a record, and written once a batch.
        if self.owes_way.load(Ordering::Relaxed) && self.owes_way.swap(false, Ordering::Relaxed) {
            yield_now().await;
        }
    }

    fn reserve_now(&self, size: usize) -> Result<(), TrySendError> {
        let mut accumulator = self.accumulator();
        match accumulator.reserve(size) {
            Ok(()) => Ok(()),
            Err(PushError::Refused(error)) => Err(error.into()),
            Err(PushError::WindowFull) => {
                self.seal_if_stuck(accumulator);
                Err(TrySendError::WindowFull)
            }
        }
    }

    /// Gives reserved room back.
    pub(super) fn release(&self, size: usize) {
        self.accumulator().release(size);
        self.room_again();
    }

    /// Takes a record for which room was reserved.
    pub(super) fn send_reserved(&self, record: &Record<'_>, reserved: usize) -> Result<Delivery, SendError> {
        let timestamp = record.timestamp.unwrap_or_else(now_ms);
        let mut accumulator = self.accumulator();
        accumulator.release(reserved);
        let pushed = accumulator.push(record, timestamp, Instant::now, Room::Reserved, delivery);
        drop(accumulator);
        // It may have been smaller than what was reserved.
        self.room_again();
        match pushed {
            Ok(pushed) => Ok(self.pushed(pushed)),
            Err(PushError::Refused(error)) => Err(error),
            Err(PushError::WindowFull) => unreachable!("reserved room is not asked for"),
        }
    }

    /// Whoever stands first in line may find room.
    pub(super) fn room_again(&self) {
        self.room.notify_one();
    }

    /// Tries again whenever there is room, in line with others.
    async fn in_turn<T>(&self, mut attempt: impl FnMut() -> Result<T, TrySendError>) -> Result<T, SendError> {
        let _waiting = self.wait();
        let _turn = self.line.lock().await;
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(TrySendError::Refused(error)) => return Err(error),
                Err(TrySendError::WindowFull) => self.room.notified().await,
            }
        }
    }

    /// Takes all of `records`, waiting in line for room as often as it must.
    pub(super) async fn send_all(&self, records: &[Record<'_>]) -> Result<BatchDelivery, SendError> {
        let mut all = BatchDelivery::default();
        let mut rest = records;
        {
            let accumulator = self.accumulator();
            for record in records {
                accumulator.check(record)?;
            }
        }
        while self.waiting.load(Ordering::Relaxed) == 0 {
            match self.push_all(&mut rest, &mut all)? {
                Stop::Done => return Ok(all),
                Stop::OwesWay => self.give_way().await,
                Stop::WindowFull => break,
            }
        }
        let _waiting = self.wait();
        let _turn = self.line.lock().await;
        loop {
            match self.push_all(&mut rest, &mut all)? {
                Stop::Done => return Ok(all),
                Stop::OwesWay => self.give_way().await,
                Stop::WindowFull => self.room.notified().await,
            }
        }
    }

    /// Books what has ended and tells those who wait for it.
    pub(super) fn settle(&self, settlements: &mut Vec<Settlement>) {
        if settlements.is_empty() {
            return;
        }
        let mut accumulator = self.accumulator();
        for settlement in settlements.iter() {
            accumulator.settled(settlement);
        }
        drop(accumulator);
        for settlement in settlements.drain(..) {
            settlement.ticket.receipt.settle(settlement.outcome);
        }
        self.room_again();
    }

    /// Takes no record any more. Returns why: the first reason counts.
    pub(super) fn close(&self, reason: DeliveryError) -> DeliveryError {
        let reason = self.accumulator().close(reason);
        // One is woken, and passes its turn on when it has seen why.
        self.room_again();
        reason
    }

    fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.waiting)
    }

    fn push(&self, record: &Record<'_>) -> Result<Delivery, TrySendError> {
        let timestamp = record.timestamp.unwrap_or_else(now_ms);
        let mut accumulator = self.accumulator();
        match accumulator.push(record, timestamp, Instant::now, Room::Asked, delivery) {
            Ok(pushed) => {
                drop(accumulator);
                Ok(self.pushed(pushed))
            }
            Err(PushError::Refused(error)) => Err(error.into()),
            Err(PushError::WindowFull) => {
                self.seal_if_stuck(accumulator);
                Err(TrySendError::WindowFull)
            }
        }
    }

    /// Tells the driver of what a push did.
    fn pushed<T>(&self, Pushed { taken, news, filled }: Pushed<T>) -> T {
        if filled >= GIVES_WAY {
            self.owes_way.store(true, Ordering::Relaxed);
        }
        if news {
            self.announce();
        }
        taken
    }

    /// Takes as many of `records` as there is room for, under one lock, and at most until it owes the driver the way; leaves the
    /// rest.
    fn push_all(&self, records: &mut &[Record<'_>], all: &mut BatchDelivery) -> Result<Stop, SendError> {
        let (clock, now) = (now_ms(), Instant::now());
        let mut news = false;
        let mut accumulator = self.accumulator();
        while let [record, rest @ ..] = *records {
            let timestamp = record.timestamp.unwrap_or(clock);
            match accumulator.push(record, timestamp, || now, Room::Asked, |position| all.add(position)) {
                Ok(pushed) => {
                    *records = rest;
                    news |= pushed.news;
                    if pushed.filled >= GIVES_WAY {
                        drop(accumulator);
                        self.pushed(pushed);
                        return Ok(if rest.is_empty() { Stop::Done } else { Stop::OwesWay });
                    }
                }
                Err(PushError::Refused(error)) => {
                    drop(accumulator);
                    self.announce();
                    return Err(error);
                }
                Err(PushError::WindowFull) => {
                    self.seal_if_stuck(accumulator);
                    self.announce();
                    return Ok(Stop::WindowFull);
                }
            }
        }
        drop(accumulator);
        if news {
            self.announce();
        }
        Ok(Stop::Done)
    }

    /// With nothing but open batches in the window, waiting for them to linger would only cost time.
    fn seal_if_stuck(&self, mut accumulator: MutexGuard<'_, Accumulator>) {
        if accumulator.only_open() {
            accumulator.seal_all();
            drop(accumulator);
            self.announce();
        }
    }
}

fn now_ms() -> i64 {
    // A clock before 1970 is a clock that was never set: the epoch says so as well as any other time.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
