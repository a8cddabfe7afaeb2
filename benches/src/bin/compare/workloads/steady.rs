//! What is stored for as long as one likes: beyond what the page cache takes, at the speed of the disk.
//!
//! Everybody stores [`MOST`], or what [`LONGEST`] allows, and the second half counts. Whoever is faster than the disk has more dirty pages by
//! then than the kernel lets be (`vm.dirty_ratio`, 20 % of the memory unless set otherwise), and is held back to its speed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::limits::{Plain, SYNCED, Writes};
use super::log_name;
use super::records::MARKED;
use crate::Failure;
use crate::contestants::{Contestant, Field};
use crate::figure::{Sample, Unit, float};
use crate::runner::{Runner, Stage, Task};

/// 15.6 GiB: more than three times what may be dirty of 24 GiB of memory.
const MOST: u64 = 64 * PART;

/// 10 s: whoever is slower than the disk stores at one speed from the beginning.
const LONGEST: Duration = Duration::from_secs(10);

/// 250 MiB, which are 256 batches: between two looks at the clock.
const PART: u64 = 250 << 20;

/// The same where all is small: 16 batches.
const PART_QUICK: u64 = PART / 16;

/// Parts of a round that warms up, and of a quick one.
const FEW: u64 = 2;

/// Measures files, ours, and those of the others that do not sync each record.
pub(crate) fn run(runner: &mut Runner, field: &Field) {
    let quick = runner.quick;
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    for synced in [None, Some(SYNCED)] {
        tasks.push(Box::new(Filling { synced, quick }));
    }
    for broker in field.brokers.iter().filter(|broker| broker.has_partitions() || !broker.durable()) {
        tasks.push(Box::new(Storing { broker: Arc::clone(broker), quick }));
    }
    runner.measure("steady", tasks);
}

/// What has been stored, part by part.
struct Progress {
    begun: Instant,
    /// Bytes of one.
    part: u64,
    most: u64,
    /// After how long each part was stored.
    parts: Vec<Duration>,
}

impl Progress {
    /// Begins now.
    fn of(stage: &Stage<'_>, quick: bool) -> Self {
        let part = if quick { PART_QUICK } else { PART };
        let most = if quick || stage.round == 0 { FEW * part } else { MOST };
        Self { begun: Instant::now(), part, most, parts: Vec::new() }
    }

    /// Counts a part; tells whether there is to be another.
    fn stored(&mut self) -> bool {
        let took = self.begun.elapsed();
        self.parts.push(took);
        self.parts.len() as u64 * self.part < self.most && took < LONGEST
    }

    /// The rate over the second half.
    fn sample(&self) -> Sample {
        let (first, second) = self.parts.split_at(self.parts.len() / 2);
        let from = first.last().copied().unwrap_or_default();
        let took = second.last().copied().unwrap_or_default().saturating_sub(from);
        let bytes = float(second.len() as u64 * self.part);
        Sample::new("stored", Unit::BytesPerSecond, bytes / took.as_secs_f64())
    }
}

/// A file, as long as that.
struct Filling {
    synced: Option<u64>,
    quick: bool,
}

impl Task for Filling {
    fn contestant(&self) -> String {
        Writes::name(self.synced)
    }

    fn case(&self) -> String {
        MARKED.to_string()
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        let mut progress = Progress::of(stage, self.quick);
        let mut file = Plain::new(progress.most, self.synced)?;
        progress.begun = Instant::now();
        loop {
            file.write(progress.part)?;
            if !progress.stored() {
                break;
            }
        }
        Ok(vec![progress.sample()])
    }
}

/// One broker, with one producer.
struct Storing {
    broker: Arc<dyn Contestant>,
    quick: bool,
}

impl Task for Storing {
    fn contestant(&self) -> String {
        self.broker.name()
    }

    fn case(&self) -> String {
        MARKED.to_string()
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        let log = log_name();
        let load = MARKED.load();
        stage.run(async {
            self.broker.create(&log, 1).await?;
            let mut producer = self.broker.producer(&log, load).await?;
            let mut progress = Progress::of(stage, self.quick);
            loop {
                producer.produce(progress.part / load.batch_bytes() as u64).await?;
                if !progress.stored() {
                    break;
                }
            }
            producer.close().await?;
            self.broker.delete(&log).await?;
            Ok(vec![progress.sample()])
        })
    }
}
