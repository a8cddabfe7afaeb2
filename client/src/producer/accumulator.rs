//! Where records become batches: one open batch a partition, queues of full ones, and the window that bounds both.
//!
//! Pure: no I/O, no clock. The caller holds the lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::Limits;
use sealstream_protocol::batch::{BATCH_HEADER, BatchBuilder, Codec};
use sealstream_protocol::partition::for_key;
use tokio::time::Instant;

use super::delivery::{Delivery, Outcome, Receipt, delivery};
use super::error::{DeliveryError, SendError};
use super::record::Record;

/// Builders kept for their buffers: as many as batches that are filled and built at the same time.
const SPARE_BUILDERS: usize = 4;

/// How records become batches, and how many of them may be about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) partitions: u32,
    pub(super) codec: Codec,
    /// What the broker accepts.
    pub(super) limits: Limits,
    /// A batch is full at so many bytes, header included.
    pub(super) batch_bytes: usize,
    /// A batch is full at so many records.
    pub(super) batch_records: u32,
    pub(super) linger: Duration,
    pub(super) delivery_timeout: Duration,
    /// Bytes that may be about, encoded, from `push` until settled.
    pub(super) window_bytes: usize,
    /// Batches that may be about.
    pub(super) window_batches: usize,
}

impl Plan {
    /// The largest record that a batch of its own can hold, by its bound.
    pub(super) fn record_limit(&self) -> usize {
        /// What a frame needs besides the batch, and what LZ4 may add: see `BatchBuilder`.
        const MARGIN: usize = 1024 + BATCH_HEADER;
        (self.limits.frame as usize).saturating_sub(MARGIN).min(self.limits.decompressed_batch as usize)
    }
}

/// What identifies a batch from its first record to its end.
#[derive(Debug)]
pub(super) struct Ticket {
    /// Unique in the producer.
    pub(super) serial: u64,
    pub(super) receipt: Arc<Receipt>,
    /// What it takes of the window.
    pub(super) bytes: usize,
    /// When it fails if it is not settled.
    pub(super) deadline: Instant,
}

/// How a batch ended.
#[derive(Debug)]
pub(super) struct Settlement {
    pub(super) ticket: Ticket,
    pub(super) outcome: Outcome,
}

/// A batch that is filled and not built yet: its sequence is not known before it is sent.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) ticket: Ticket,
    pub(super) builder: BatchBuilder,
}

/// A batch that is being filled.
#[derive(Debug)]
struct Open {
    full: Full,
    since: Instant,
}

/// Why a record was not taken.
#[derive(Debug)]
pub(super) enum PushError {
    /// There is no room in the window.
    WindowFull,
    /// It will never be taken.
    Refused(SendError),
}

/// What a push did.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) delivery: Delivery,
    /// Whether there is something for the driver to see: a full batch, or the first record of one.
    pub(super) news: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Accumulator {
    pub(super) plan: Plan,
    open: Vec<Option<Open>>,
    full: Vec<VecDeque<Full>>,
    open_count: usize,
    /// Bytes and batches that are about.
    bytes: usize,
    /// Receipts of batches that are about, by serial.
    about: BTreeMap<u64, Arc<Receipt>>,
    next_serial: u64,
    /// Where records without a key go until the batch is full.
    sticky: u32,
    spare: Vec<BatchBuilder>,
    /// The first failure since it was last asked for.
    failure: Option<DeliveryError>,
    closed: Option<DeliveryError>,
}

impl Accumulator {
    /// Begins with partition `first` for records without a key.
    pub(super) fn new(plan: Plan, first: u32) -> Self {
        let partitions = plan.partitions as usize;
        Self {
            plan,
            open: std::iter::repeat_with(|| None).take(partitions).collect(),
            full: std::iter::repeat_with(VecDeque::new).take(partitions).collect(),
            open_count: 0,
            bytes: 0,
            about: BTreeMap::new(),
            next_serial: 0,
            sticky: first % plan.partitions,
            spare: Vec::new(),
            failure: None,
            closed: None,
        }
    }

    /// Takes records for so many partitions from now on, if they are more: keys map to other partitions then. What is in a
    /// batch already stays there.
    pub(super) fn grow(&mut self, partitions: u32) {
        if partitions > self.plan.partitions {
            self.plan.partitions = partitions;
            self.open.resize_with(partitions as usize, || None);
            self.full.resize_with(partitions as usize, VecDeque::new);
        }
    }

    /// Whether `record` can ever be taken.
    pub(super) fn check(&self, record: &Record<'_>) -> Result<(), SendError> {
        if let Some(error) = &self.closed {
            return Err(SendError::Closed(error.clone()));
        }
        let (size, limit) = (record.size_bound(), self.plan.record_limit());
        if size > limit {
            return Err(SendError::TooLarge { size, limit });
        }
        match record.partition {
            Some(partition) if partition >= self.plan.partitions => {
                Err(SendError::UnknownPartition { partition, partitions: self.plan.partitions })
            }
            _ => Ok(()),
        }
    }

    /// Adds a record to the open batch of its partition. The timestamp is in milliseconds since the Unix epoch.
    pub(super) fn push(
        &mut self,
        record: &Record<'_>,
        timestamp: i64,
        now: Instant,
    ) -> Result<Pushed, PushError> {
        self.check(record).map_err(PushError::Refused)?;
        let size = record.size_bound();
        if self.bytes > 0 && self.bytes + size > self.plan.window_bytes {
            return Err(PushError::WindowFull);
        }
        let mut partition = self.choose(record);
        let mut news = false;
        // Records without a key move on to the next partition, whose batch may be as full.
        while self.overflows(partition, size) {
            self.seal(partition);
            news = true;
            partition = self.choose(record);
        }
        let index = partition as usize;
        if self.open[index].is_none() {
            if !self.about.is_empty() && self.about.len() >= self.plan.window_batches {
                return Err(PushError::WindowFull);
            }
            self.begin(partition, now);
            news = true;
        }
        let open = self.open[index].as_mut().expect("begun above");
        let builder = &mut open.full.builder;
        let before = builder.encoded_len();
        let place = builder.record_count();
        let limit = self.plan.record_limit();
        builder
            .push(timestamp, record.key, record.value, record.headers)
            .map_err(|_| PushError::Refused(SendError::TooLarge { size, limit }))?;
        let grown = builder.encoded_len() - before;
        open.full.ticket.bytes += grown;
        self.bytes += grown;
        let delivery = delivery(&open.full.ticket.receipt, place);
        if builder.encoded_len() >= self.plan.batch_bytes || place + 1 >= self.plan.batch_records {
            self.seal(partition);
            news = true;
        }
        Ok(Pushed { delivery, news })
    }

    /// The next batch of `partition` to send: one that is full, or one that has lingered long enough.
    pub(super) fn take(&mut self, partition: u32, now: Instant) -> Option<Full> {
        let index = partition as usize;
        if self.full[index].is_empty() && self.lingered(index).is_some_and(|due| due <= now) {
            self.seal(partition);
        }
        self.full[index].pop_front()
    }

    /// Whether there is anything to send of `partition`, now or later.
    pub(super) fn holds(&self, partition: u32) -> bool {
        let index = partition as usize;
        !self.full[index].is_empty() || self.open[index].is_some()
    }

    /// When the open batch of `partition` has lingered long enough.
    pub(super) fn due(&self, partition: u32) -> Option<Instant> {
        self.lingered(partition as usize)
    }

    /// When the first batch of `partition` fails if it is not taken.
    pub(super) fn deadline(&self, partition: u32) -> Option<Instant> {
        let index = partition as usize;
        let first = self.full[index].front().or(self.open[index].as_ref().map(|open| &open.full));
        first.map(|full| full.ticket.deadline)
    }

    /// Takes out what has passed its deadline, all of it never sent.
    pub(super) fn expire(&mut self, partition: u32, now: Instant, out: &mut Vec<Settlement>) {
        while self.deadline(partition).is_some_and(|deadline| deadline <= now) {
            let after = self.plan.delivery_timeout;
            let error = DeliveryError::TimedOut { after, refusal: None, maybe_stored: false };
            self.drop_first(partition, error, out);
        }
    }

    /// Takes out everything of `partition`, none of it ever sent.
    pub(super) fn fail(&mut self, partition: u32, error: &DeliveryError, out: &mut Vec<Settlement>) {
        while self.holds(partition) {
            self.drop_first(partition, error.clone().with_doubt(false), out);
        }
    }

    /// Seals every open batch: they wait no longer.
    pub(super) fn seal_all(&mut self) {
        for partition in 0..self.plan.partitions {
            if self.open[partition as usize].is_some() {
                self.seal(partition);
            }
        }
    }

    /// Whether nothing but open batches fills the window: nothing would free it before they have lingered.
    pub(super) fn only_open(&self) -> bool {
        self.about.len() == self.open_count
    }

    /// Gives back what a batch took of the window.
    pub(super) fn settled(&mut self, settlement: &Settlement) {
        let ticket = &settlement.ticket;
        if self.about.remove(&ticket.serial).is_some() {
            self.bytes -= ticket.bytes;
        }
        if let Err(error) = &settlement.outcome {
            self.failure.get_or_insert_with(|| error.clone());
        }
    }

    /// Takes a builder back for its buffer.
    pub(super) fn recycle(&mut self, builder: BatchBuilder) {
        if self.spare.len() < SPARE_BUILDERS {
            self.spare.push(builder);
        }
    }

    /// The receipts of all batches that are about.
    pub(super) fn receipts(&self) -> Vec<Arc<Receipt>> {
        self.about.values().cloned().collect()
    }

    /// The first failure since the last call.
    pub(super) fn take_failure(&mut self) -> Option<DeliveryError> {
        self.failure.take()
    }

    /// Takes no record any more. Returns why: the first reason counts.
    pub(super) fn close(&mut self, reason: DeliveryError) -> DeliveryError {
        self.closed.get_or_insert(reason).clone()
    }

    fn choose(&self, record: &Record<'_>) -> u32 {
        match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => for_key(key, self.plan.partitions),
            (None, None) => self.sticky,
        }
    }

    /// Whether the open batch would grow beyond its size by `more` bytes.
    fn overflows(&self, partition: u32, more: usize) -> bool {
        self.open[partition as usize]
            .as_ref()
            .is_some_and(|open| open.full.builder.encoded_len() + more > self.plan.batch_bytes)
    }

    fn lingered(&self, index: usize) -> Option<Instant> {
        self.open[index].as_ref().map(|open| open.since + self.plan.linger)
    }

    fn begin(&mut self, partition: u32, now: Instant) {
        let builder =
            self.spare.pop().unwrap_or_else(|| BatchBuilder::with_limits(self.plan.codec, &self.plan.limits));
        let receipt = Arc::new(Receipt::new(partition));
        let serial = self.next_serial;
        self.next_serial += 1;
        self.about.insert(serial, receipt.clone());
        let ticket = Ticket { serial, receipt, bytes: 0, deadline: now + self.plan.delivery_timeout };
        self.open[partition as usize] = Some(Open { full: Full { ticket, builder }, since: now });
        self.open_count += 1;
    }

    fn seal(&mut self, partition: u32) {
        let index = partition as usize;
        if let Some(open) = self.open[index].take() {
            self.open_count -= 1;
            self.full[index].push_back(open.full);
            if partition == self.sticky {
                self.sticky = (self.sticky + 1) % self.plan.partitions;
            }
        }
    }

    fn drop_first(&mut self, partition: u32, error: DeliveryError, out: &mut Vec<Settlement>) {
        if self.full[partition as usize].is_empty() {
            self.seal(partition);
        }
        if let Some(full) = self.full[partition as usize].pop_front() {
            out.push(Settlement { ticket: full.ticket, outcome: Err(error) });
        }
    }
}
