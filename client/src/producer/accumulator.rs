//! Where records become batches: one open batch a partition, queues of full ones, and the window that bounds both.
//!
//! Pure: no I/O, no clock. The caller holds the lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sealstream_protocol::batch::{BatchBuilder, BufferPool};
use sealstream_protocol::partition::for_key;
use tokio::time::Instant;

use super::delivery::{Position, Receipt};
use super::error::{DeliveryError, NotAcknowledged, SendError};
use super::plan::Plan;
use super::record::Record;
use super::reports::ReportSender;
use super::ticket::{Full, Settlement, Ticket};

/// Builders and buffers kept to be used again: as many as batches that are filled and built at the same time.
const SPARE_BUILDERS: usize = 4;

/// Buffers kept while batches are under way: as many of the default size as a broker takes of a session before it has answered. Each one
/// too few is memory that comes from the kernel, page by page, and goes back there.
const SPARE_BUFFERS: usize = 32;

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

/// Whether there is to be room for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// If there is none it is not taken.
    Asked,
    /// It was reserved, and has just been given back.
    Reserved,
}

/// What a push did.
#[derive(Debug)]
pub(super) struct Pushed<T> {
    /// What was made of the record's position.
    pub(super) taken: T,
    /// Whether there is something for the driver to see: a full batch, or the first record of one.
    pub(super) news: bool,
    /// Bytes of the largest batch that it made full, if it did.
    pub(super) filled: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Accumulator {
    pub(super) plan: Plan,
    open: Vec<Option<Open>>,
    full: Vec<VecDeque<Full>>,
    open_count: usize,
    /// Bytes that are about.
    bytes: usize,
    /// Room that is reserved: in bytes, and by how many permits, each of which may begin a batch.
    reserved: usize,
    permits: usize,
    /// Receipts of batches that are about, by the number of their first record.
    about: BTreeMap<u64, Arc<Receipt>>,
    /// The number of the next record.
    next_number: u64,
    /// Where records without a key go until the batch is full.
    sticky: u32,
    spare: Vec<BatchBuilder>,
    /// How long the last batch was.
    last_len: usize,
    buffers: BufferPool,
    /// What has failed since it was last asked for.
    failures: Option<NotAcknowledged>,
    /// Who is told of each batch that is settled, while there is somebody.
    reports: Option<ReportSender>,
    closed: Option<DeliveryError>,
}

impl Accumulator {
    /// Begins with partition `first` for records without a key.
    pub(super) fn new(plan: Plan, first: u32) -> Self {
        let partitions = plan.partitions as usize;
        let buffers = (plan.window_bytes / plan.batch_bytes.max(1) + 1).clamp(SPARE_BUILDERS, SPARE_BUFFERS);
        Self {
            plan,
            open: std::iter::repeat_with(|| None).take(partitions).collect(),
            full: std::iter::repeat_with(VecDeque::new).take(partitions).collect(),
            open_count: 0,
            bytes: 0,
            reserved: 0,
            permits: 0,
            about: BTreeMap::new(),
            next_number: 0,
            sticky: first % plan.partitions,
            spare: Vec::new(),
            last_len: 0,
            // A batch ends a record beyond its size at most, unless that record is a large one.
            buffers: BufferPool::new(buffers, plan.batch_bytes.saturating_mul(2)),
            failures: None,
            reports: None,
            closed: None,
        }
    }

    /// Tells `reports` of each batch that is settled from now on.
    pub(super) fn report_to(&mut self, reports: ReportSender) {
        self.reports = Some(reports);
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
        self.check_size(record.size())?;
        match record.partition {
            Some(partition) if partition >= self.plan.partitions => {
                Err(SendError::UnknownPartition { partition, partitions: self.plan.partitions })
            }
            _ => Ok(()),
        }
    }

    /// Whether a record of so many bytes can ever be taken.
    fn check_size(&self, size: usize) -> Result<(), SendError> {
        if let Some(error) = &self.closed {
            return Err(SendError::Closed(error.clone()));
        }
        let limit = self.plan.record_limit();
        if size > limit { Err(SendError::TooLarge { size, limit }) } else { Ok(()) }
    }

    /// Keeps room for a record of so many bytes, whatever partition it goes to.
    pub(super) fn reserve(&mut self, size: usize) -> Result<(), PushError> {
        self.check_size(size).map_err(PushError::Refused)?;
        if !self.has_room(size) || !self.has_place() {
            return Err(PushError::WindowFull);
        }
        self.reserved += size;
        self.permits += 1;
        Ok(())
    }

    /// Gives back what was reserved.
    pub(super) fn release(&mut self, size: usize) {
        self.reserved -= size;
        self.permits -= 1;
    }

    /// Whether the window takes so many bytes more; with nothing in it it takes anything.
    fn has_room(&self, more: usize) -> bool {
        let held = self.bytes + self.reserved;
        held == 0 || held + more <= self.plan.window_bytes
    }

    /// Whether a batch may be begun. One whose report was not taken yet counts too, so that reports have a bound.
    fn has_place(&self) -> bool {
        let held = self.about.len() + self.permits + self.reports.as_ref().map_or(0, ReportSender::unread);
        held == 0 || held < self.plan.window_batches
    }

    /// Adds a record to the open batch of its partition, and has `took` told where it is. The timestamp is in milliseconds since
    /// the Unix epoch; what time it is is asked when a batch is begun.
    pub(super) fn push<T>(
        &mut self,
        record: &Record<'_>,
        timestamp: i64,
        now: impl FnOnce() -> Instant,
        room: Room,
        took: impl FnOnce(Position<'_>) -> T,
    ) -> Result<Pushed<T>, PushError> {
        self.check(record).map_err(PushError::Refused)?;
        let size = record.size();
        if room == Room::Asked && !self.has_room(size) {
            return Err(PushError::WindowFull);
        }
        let mut partition = self.choose(record);
        let (mut news, mut filled) = (false, 0);
        // Records without a key move on to the next partition, whose batch may be as full.
        while self.overflows(partition, size) {
            filled = filled.max(self.seal(partition));
            news = true;
            partition = self.choose(record);
        }
        let index = partition as usize;
        if self.open[index].is_none() {
            if room == Room::Asked && !self.has_place() {
                return Err(PushError::WindowFull);
            }
            self.begin(partition, now());
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
        open.full.ticket.records += 1;
        self.bytes += grown;
        let taken =
            took(Position { receipt: &open.full.ticket.receipt, index: place, number: self.next_number });
        self.next_number += 1;
        if builder.encoded_len() >= self.plan.batch_bytes || place + 1 >= self.plan.batch_records {
            filled = filled.max(self.seal(partition));
            news = true;
        }
        Ok(Pushed { taken, news, filled })
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

    /// Gives back what a batch took of the window, and tells of its end.
    pub(super) fn settled(&mut self, Settlement { ticket, outcome }: &Settlement) {
        if self.about.remove(&ticket.first).is_some() {
            self.bytes -= ticket.bytes;
        }
        if self.about.is_empty() {
            self.buffers.shrink_to(SPARE_BUILDERS);
        }
        if let Err(error) = outcome {
            let (from, records) = (ticket.first, u64::from(ticket.records));
            NotAcknowledged::add(&mut self.failures, from, records, error);
        }
        let low_watermark = self.low_watermark();
        if let Some(reports) = &mut self.reports {
            reports.tell(ticket, outcome, low_watermark);
        }
        self.end_reports();
    }

    /// Every record with a smaller number is settled.
    pub(super) fn low_watermark(&self) -> u64 {
        self.about.first_key_value().map_or(self.next_number, |(first, _)| *first)
    }

    /// After the last batch of a closed producer there is nothing more to report, and without a listener nobody to tell.
    fn end_reports(&mut self) {
        let over = self.closed.is_some() && self.about.is_empty();
        self.reports.take_if(|reports| over || !reports.is_heard());
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

    /// What has failed since the last call.
    pub(super) fn take_failures(&mut self) -> Option<NotAcknowledged> {
        self.failures.take()
    }

    /// Takes no record any more. Returns why: the first reason counts.
    pub(super) fn close(&mut self, reason: DeliveryError) -> DeliveryError {
        let reason = self.closed.get_or_insert(reason).clone();
        self.end_reports();
        reason
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
        let builder = self.spare.pop().unwrap_or_else(|| {
            // Grown from nothing, it would be copied each time that it doubles.
            BatchBuilder::with_limits(self.plan.codec, &self.plan.limits)
                .expecting(self.last_len)
                .pooled(self.buffers.clone())
        });
        let receipt = Arc::new(Receipt::new(partition));
        let first = self.next_number;
        self.about.insert(first, receipt.clone());
        if let Some(reports) = &mut self.reports {
            reports.begun(partition, first);
        }
        let deadline = now + self.plan.delivery_timeout;
        let ticket = Ticket { first, receipt, records: 0, bytes: 0, deadline };
        self.open[partition as usize] = Some(Open { full: Full { ticket, builder }, since: now });
        self.open_count += 1;
    }

    /// Ends the open batch of `partition`. Gives its length in bytes.
    fn seal(&mut self, partition: u32) -> usize {
        let index = partition as usize;
        let Some(mut open) = self.open[index].take() else { return 0 };
        self.open_count -= 1;
        // Here, where the records were written a moment ago, and not in the task that sends them.
        open.full.builder.seal();
        self.last_len = open.full.builder.encoded_len();
        self.full[index].push_back(open.full);
        if partition == self.sticky {
            self.sticky = (self.sticky + 1) % self.plan.partitions;
        }
        self.last_len
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
