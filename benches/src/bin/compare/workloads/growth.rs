//! How each grows: with clients, with partitions, with the size of records, with what is stored already.
//!
//! Equal bytes are in each batch (32 KiB) and under way (8 MiB over all clients), so that nothing else grows along.

use std::sync::Arc;
use std::time::Instant;

use sealstream_benches::process;

use super::records::{MARKED, Moving, Work};
use super::with_producer;
use crate::Failure;
use crate::contestants::{Contestant, Field};
use crate::figure::{Sample, Unit, float};
use crate::runner::{Runner, Stage, Task};

/// Clients at once, to one log.
const CLIENTS: [usize; 5] = [1, 4, 16, 64, 256];

/// Partitions of one log.
const PARTITIONS: [u32; 4] = [1, 10, 100, 1000];

/// Bytes of a record, in batches of 1 MiB.
const SIZES: [usize; 6] = [64, 256, 1024, 8 << 10, 64 << 10, 1 << 20];

/// Work by this many clients on one log.
pub(crate) fn by_clients(clients: usize) -> Work {
    Work { together: true, ..Work::of(1024, 32, clients) }
}

/// Work on so many partitions.
pub(crate) fn by_partitions(partitions: u32) -> Work {
    Work { partitions, ..Work::of(1024, 32, 1) }
}

/// Measures all of it.
pub(crate) fn run(runner: &mut Runner, field: &Field) {
    let quick = runner.quick;
    let brokers = || field.brokers.iter().filter(|broker| !broker.durable());
    // The same bytes for all of one broker, or what a client or a partition costs once would be shared out among fewer where there are
    // many. A peer, which would take a minute for it, moves what it can in its time.
    let moving = |broker: &Arc<dyn Contestant>, work| {
        let whole = broker.has_partitions() && !quick;
        Box::new(if whole { Moving::most(broker, work) } else { Moving::new(broker, work) }) as Box<dyn Task>
    };
    let mut tasks = Vec::new();
    for &clients in some(&CLIENTS, quick) {
        tasks.extend(brokers().map(|broker| moving(broker, by_clients(clients))));
    }
    runner.measure("growth with clients", tasks);
    let mut tasks = Vec::new();
    for &partitions in some(&PARTITIONS, quick) {
        let brokers = brokers().filter(|broker| broker.has_partitions());
        tasks.extend(brokers.map(|broker| moving(broker, by_partitions(partitions))));
    }
    runner.measure("growth with partitions", tasks);
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    for &record in some(&SIZES, quick) {
        let batch = u32::try_from((1 << 20) / record).expect("a few thousand");
        // NATS takes no record of 1 MiB unless it is told to.
        let brokers = brokers().filter(|broker| broker.has_partitions() || record < 1 << 20);
        tasks.extend(brokers.map(|broker| Box::new(Moving::new(broker, Work::of(record, batch, 1))) as _));
    }
    runner.measure("growth with records", tasks);
    let brokers = brokers().filter(|broker| broker.has_partitions());
    let tasks = brokers.map(|broker| Box::new(Longer { broker: Arc::clone(broker), quick }) as _).collect();
    runner.measure("growth with what is stored", tasks);
}

/// The first two where all is small.
fn some<T>(all: &[T], quick: bool) -> &[T] {
    if quick { &all[..2] } else { all }
}

/// One log that becomes longer.
struct Longer {
    broker: Arc<dyn Contestant>,
    quick: bool,
}

/// Parts of the log that are compared.
const PARTS: u64 = 8;

impl Task for Longer {
    fn contestant(&self) -> String {
        self.broker.name()
    }

    fn case(&self) -> String {
        MARKED.to_string()
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        let batches = if self.quick { 8 } else { (1 << 30) / MARKED.load().batch_bytes() as u64 / PARTS };
        stage.run(with_producer(&*self.broker, MARKED.load(), async |producer| {
            let mut samples = Vec::new();
            for part in 1..=PARTS {
                let cpu = || process::cpu(self.broker.id()) + process::own_cpu();
                let (begun, before) = (Instant::now(), cpu());
                producer.produce(batches).await?;
                let cpu = cpu().saturating_sub(before);
                let records = float(batches * u64::from(MARKED.batch));
                if part == 1 || part == PARTS {
                    let name = if part == 1 { EMPTY } else { LONG };
                    let took = begun.elapsed().as_secs_f64();
                    samples.push(Sample::new(
                        format!("{name}, CPU of a record"),
                        Unit::Seconds,
                        cpu.as_secs_f64() / records,
                    ));
                    samples.push(Sample::new(format!("{name}, produce"), Unit::PerSecond, records / took));
                }
            }
            Ok(samples)
        }))
    }
}

/// The first eighth of a log.
pub(crate) const EMPTY: &str = "from empty";
/// Its last eighth.
pub(crate) const LONG: &str = "to 1 GiB";
