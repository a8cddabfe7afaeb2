//! What is stored for as long as one likes: beyond what the page cache takes, at the speed of the disk.
//!
//! Everybody stores [`MOST`], or what [`LONGEST`] allows, and the second half counts. Whoever is faster than the disk has more dirty pages by
//! then than the kernel lets be (`vm.dirty_ratio`, 20 % of the memory unless set otherwise), and is held back to its speed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::limits::{Plain, SYNCED, Writes};
use super::records::MARKED;
use super::with_producer;
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

/// How much is stored in a round, and how much between two looks at the clock, in bytes.
#[derive(Clone, Copy)]
struct Size {
    most: u64,
    part: u64,
}

impl Size {
    fn of(stage: &Stage<'_>, quick: bool) -> Self {
        let part = if quick { PART_QUICK } else { PART };
        let most = if quick || stage.round == 0 { FEW * part } else { MOST };
        Self { most, part }
    }
}

/// What has been stored, part by part.
struct Progress {
    size: Size,
    begun: Instant,
    /// After how long each part was stored.
    parts: Vec<Duration>,
}

impl Progress {
    fn begin(size: Size) -> Self {
        Self { size, begun: Instant::now(), parts: Vec::new() }
    }

    /// Whether there is to be another part.
    fn goes_on(&self) -> bool {
        let last = self.parts.last().copied().unwrap_or_default();
        self.parts.len() as u64 * self.size.part < self.size.most && last < LONGEST
    }

    /// Counts a part.
    fn stored(&mut self) {
        self.parts.push(self.begun.elapsed());
    }

    /// The rate over the second half.
    fn sample(&self) -> Sample {
        let (first, second) = self.parts.split_at(self.parts.len() / 2);
        let from = first.last().copied().unwrap_or_default();
        let took = second.last().copied().unwrap_or_default().saturating_sub(from);
        let bytes = float(second.len() as u64 * self.size.part);
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
        let size = Size::of(stage, self.quick);
        let mut file = Plain::new(size.most, self.synced)?;
        let mut progress = Progress::begin(size);
        while progress.goes_on() {
            file.write(size.part)?;
            progress.stored();
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
        let (size, load) = (Size::of(stage, self.quick), MARKED.load());
        let batches = size.part / load.batch_bytes() as u64;
        stage.run(with_producer(&*self.broker, load, async |producer| {
            let mut progress = Progress::begin(size);
            while progress.goes_on() {
                producer.produce(batches).await?;
                progress.stored();
            }
            Ok(vec![progress.sample()])
        }))
    }
}
