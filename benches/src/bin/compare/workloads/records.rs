//! Records in and out: how many a second, how many bytes, and for how much of the processors.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealstream_benches::process;
use tokio::task::JoinSet;

use super::limits::{MOST, SYNCED, Stream, Writes};
use super::{log_name, size, sized};
use crate::Failure;
use crate::contestants::{Contestant, Field, Load};
use crate::figure::{Sample, Unit, float};
use crate::runner::{Runner, Stage, Task};

/// Bytes that all clients together have sent and not heard of: what a broker takes of a session.
const UNDER_WAY: usize = 8 << 20;

/// Batches that a client has at the most.
const MOST_BATCHES: usize = 1_024;

/// A piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Bytes of each record's value.
    pub(crate) record: usize,
    /// Records of each batch.
    pub(crate) batch: u32,
    /// Clients at once, each way.
    pub(crate) clients: usize,
    /// Partitions of each log.
    pub(crate) partitions: u32,
    /// All producers write to one log, and nobody reads it; otherwise each client has a log of its own.
    pub(crate) together: bool,
}

impl Work {
    /// One client's, or several's with a log each.
    pub(crate) const fn of(record: usize, batch: u32, clients: usize) -> Self {
        Self { record, batch, clients, partitions: 1, together: false }
    }

    /// Bytes of one batch of each client.
    fn round_of_batches(&self) -> u64 {
        (self.load().batch_bytes() * self.clients) as u64
    }

    /// How each of its clients works.
    pub(crate) fn load(&self) -> Load {
        let load = Load { record: self.record, batch: self.batch, under_way: 1 };
        let under_way = UNDER_WAY / self.clients / load.batch_bytes();
        Load { under_way: under_way.clamp(1, MOST_BATCHES), ..load }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { record, batch, clients, partitions, .. } = *self;
        let plural =
            |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        write!(f, "{} × {batch}, {}", size(record), plural(clients, "client"))?;
        if partitions != 1 {
            write!(f, ", {}", plural(partitions as usize, "partition"))?;
        }
        Ok(())
    }
}

/// The work of the marks.
pub(crate) const MARKED: Work = Work::of(1024, 1000, 1);

/// The same with small records.
pub(crate) const SMALL: Work = Work::of(128, 1000, 1);

/// Measures every kind of record, batch and number of clients, and the limits among them.
pub(crate) fn run(runner: &mut Runner, field: &Field) {
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    for server in &field.bare {
        tasks.push(Box::new(Stream::of(server)));
    }
    tasks.push(Box::new(Writes { synced: Some(SYNCED), bytes: None }));
    for work in works(runner.quick) {
        for broker in &field.brokers {
            tasks.push(Box::new(Moving::new(broker, work)));
        }
    }
    runner.measure("records", tasks);
}

/// Every kind of work; a few of them where all is small.
fn works(quick: bool) -> Vec<Work> {
    if quick {
        return vec![MARKED, SMALL, Work::of(1024, 1, 4)];
    }
    let mut works = Vec::new();
    for clients in [1, 4] {
        for record in [1024, 128] {
            works.extend([1000, 100, 1].map(|batch| Work::of(record, batch, clients)));
        }
    }
    works
}

/// One contestant at one piece of work.
pub(crate) struct Moving {
    broker: Arc<dyn Contestant>,
    work: Work,
    /// Of each client, in each round; `None` before the first has found out.
    batches: Option<u64>,
}

/// What one way took.
#[derive(Clone, Copy, Debug)]
struct Cost {
    wall: Duration,
    /// Of the server's process and of this one.
    cpu: Duration,
}

impl Moving {
    pub(crate) fn new(broker: &Arc<dyn Contestant>, work: Work) -> Self {
        Self { broker: Arc::clone(broker), work, batches: None }
    }

    /// As much as a round may move, however long that takes.
    pub(crate) fn most(broker: &Arc<dyn Contestant>, work: Work) -> Self {
        Self { batches: Some(MOST / work.round_of_batches()), ..Self::new(broker, work) }
    }

    /// Writes so many batches to new logs, reads them, and deletes the logs.
    async fn once(&self, batches: u64) -> Result<(Cost, Option<Cost>), Failure> {
        let Work { clients, partitions, together, .. } = self.work;
        let logs: Vec<_> = (0..if together { 1 } else { clients }).map(|_| log_name()).collect();
        for log in &logs {
            self.broker.create(log, partitions).await?;
        }
        let moved = async {
            let produced = self.produce(&logs, batches).await?;
            let there = batches + u64::from(partitions);
            let consumed = if together { None } else { Some(self.consume(&logs, there).await?) };
            Ok((produced, consumed))
        };
        let moved = moved.await;
        for log in &logs {
            self.broker.delete(log).await?;
        }
        moved
    }

    /// Writes so many batches by each client. Each partition has one already when the clock starts: with it comes its file, which is made
    /// once.
    async fn produce(&self, logs: &[String], batches: u64) -> Result<Cost, Failure> {
        let mut producers = Vec::new();
        for (which, log) in logs.iter().cycle().take(self.work.clients).enumerate() {
            let mut producer = self.broker.producer(log, self.work.load()).await?;
            if which < logs.len() {
                producer.produce(self.work.partitions.into()).await?;
            }
            producers.push(producer);
        }
        let meter = Meter::start(&*self.broker);
        let mut tasks = JoinSet::new();
        for mut producer in producers {
            tasks.spawn(async move { producer.produce(batches).await.map(|()| producer) });
        }
        let mut done = Vec::new();
        while let Some(producer) = tasks.join_next().await {
            done.push(producer??);
        }
        let cost = meter.stop();
        for producer in done {
            producer.close().await?;
        }
        Ok(cost)
    }

    async fn consume(&self, logs: &[String], batches: u64) -> Result<Cost, Failure> {
        let records = batches * u64::from(self.work.batch);
        let meter = Meter::start(&*self.broker);
        let mut tasks = JoinSet::new();
        for log in logs {
            let (broker, log) = (Arc::clone(&self.broker), log.clone());
            let record = self.work.record;
            tasks.spawn(async move {
                let mut consumer = broker.consumer(&log).await?;
                let (mut count, mut other) = (0, 0_u64);
                while count < records {
                    let each = &mut |value: &[u8]| {
                        count += 1;
                        other += u64::from(value.len() != record.max(size_of::<u64>()));
                    };
                    consumer.next(each).await?;
                }
                match (count == records, other) {
                    (true, 0) => Ok(consumer),
                    _ => Err(Failure::from(format!(
                        "{count} records of {records} came, {other} of another size"
                    ))),
                }
            });
        }
        let mut done = Vec::new();
        while let Some(consumer) = tasks.join_next().await {
            done.push(consumer??);
        }
        let cost = meter.stop();
        for consumer in done {
            consumer.close().await?;
        }
        Ok(cost)
    }

    fn samples(&self, way: &str, batches: u64, cost: Cost) -> [Sample; 3] {
        let records = float(batches * self.work.clients as u64 * u64::from(self.work.batch));
        let bytes = records * float(self.work.record as u64);
        let wall = cost.wall.as_secs_f64();
        [
            Sample::new(way, Unit::PerSecond, records / wall),
            Sample::new(format!("{way}, bytes"), Unit::BytesPerSecond, bytes / wall),
            Sample::new(format!("{way}, CPU"), Unit::CpuPerGigabyte, cost.cpu.as_secs_f64() / (bytes / 1e9)),
        ]
    }
}

impl Task for Moving {
    fn contestant(&self) -> String {
        self.broker.name()
    }

    fn case(&self) -> String {
        self.work.to_string()
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        let batches = if let Some(batches) = self.batches {
            batches
        } else {
            // Some thousand records, so that the first guess is worth something.
            let least = (1_000 / u64::from(self.work.batch)).max(1);
            let found = sized(stage.target, least, MOST / self.work.round_of_batches(), |batches| {
                let (produced, consumed) = stage.run(self.once(batches))?;
                Ok(consumed.map_or(produced.wall, |consumed| produced.wall.max(consumed.wall)))
            })?;
            *self.batches.insert(found)
        };
        let (produced, consumed) = stage.run(self.once(batches))?;
        let mut samples = self.samples("produce", batches, produced).to_vec();
        if let Some(consumed) = consumed {
            let batches = batches + u64::from(self.work.partitions);
            samples.extend(self.samples("consume", batches, consumed));
        }
        Ok(samples)
    }
}

/// Counts time, by the clock and by the processors.
struct Meter {
    server: u32,
    begun: Instant,
    cpu: Duration,
}

impl Meter {
    fn start(broker: &dyn Contestant) -> Self {
        let server = broker.id();
        Self { server, cpu: Self::cpu(server), begun: Instant::now() }
    }

    fn stop(self) -> Cost {
        let wall = self.begun.elapsed();
        Cost { wall, cpu: Self::cpu(self.server).saturating_sub(self.cpu) }
    }

    fn cpu(server: u32) -> Duration {
        process::cpu(server) + process::own_cpu()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clients_together_have_as_much_under_way_however_many_they_are() {
        for clients in [1, 4, 16, 64, 256] {
            let load = Work { together: true, ..Work::of(1024, 32, clients) }.load();
            assert_eq!(load.under_way * load.batch_bytes() * clients, UNDER_WAY);
        }
        // Bounded by number, where they are small.
        assert_eq!(Work::of(128, 1, 1).load().under_way, MOST_BATCHES);
        assert_eq!(Work::of(64 << 20, 1, 1).load().under_way, 1);
    }
}
