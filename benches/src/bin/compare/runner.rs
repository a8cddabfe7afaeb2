//! Rounds in which everybody takes turns: what the machine does meanwhile, it does to all of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use sealstream_benches::memory::Filled;
use sealstream_benches::spread::Spread;
use tokio::runtime::Runtime;

use crate::Failure;
use crate::args::Args;
use crate::figure::{Figure, Sample};

/// One contestant at one piece of work.
pub(crate) trait Task {
    /// Whose figures these will be.
    fn contestant(&self) -> String;

    /// What the work is.
    fn case(&self) -> String;

    /// Measures once. The first round warms up, and finds out how much work lasts [`Stage::target`]: its samples do not count.
    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure>;
}

/// 2 min: the slowest work takes a few seconds.
const PATIENCE: Duration = Duration::from_mins(2);

/// Where a round takes place.
pub(crate) struct Stage<'a> {
    /// The clients'.
    pub(crate) runtime: &'a Runtime,
    /// How long a measurement is to last, about.
    pub(crate) target: Duration,
    /// Which round, from 0, which warms up.
    pub(crate) round: usize,
}

impl Stage<'_> {
    /// What the work comes to, if it ends at all: a client of another broker that waits for ever costs its own task.
    pub(crate) fn run<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let patient = async { tokio::time::timeout(PATIENCE, work).await };
        self.runtime.block_on(patient).unwrap_or_else(|_| Err("it did not end within two minutes".into()))
    }
}

/// What was found.
pub(crate) struct Outcome {
    /// Every figure, in the order of the workloads.
    pub(crate) figures: Vec<Figure>,
    /// Who could not do what, and why.
    pub(crate) failures: Vec<String>,
    /// Who did not take part, and what would let it.
    pub(crate) missing: Vec<String>,
    /// How long all of it took.
    pub(crate) took: Duration,
}

/// Measures one workload after the other.
pub(crate) struct Runner {
    runtime: Runtime,
    rounds: usize,
    target: Duration,
    /// Small rounds only.
    pub(crate) quick: bool,
    /// So that no page of what is measured is one that a host has to find first.
    memory: Option<Filled>,
    /// Parts of cases that alone are measured; with none all are.
    cases: Vec<String>,
    /// The same of contestants.
    who: Vec<String>,
    begun: Instant,
    figures: Vec<Figure>,
    failures: Vec<String>,
}

impl Runner {
    pub(crate) fn new(args: &Args) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        Self {
            runtime: runtime.expect("a runtime starts"),
            rounds: args.rounds(),
            target: args.target(),
            quick: args.quick,
            memory: if args.quick { None } else { fill(args) },
            cases: args.cases.clone(),
            who: args.who.clone(),
            begun: Instant::now(),
            figures: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// What drives the clients.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn asks_for(&self, task: &dyn Task) -> bool {
        let has =
            |name: &str, parts: &[String]| parts.is_empty() || parts.iter().any(|part| name.contains(part));
        has(&task.case(), &self.cases) && has(&task.contestant(), &self.who)
    }

    /// Whoever fails is left out from then on, and named.
    pub(crate) fn measure(&mut self, workload: &str, tasks: Vec<Box<dyn Task + '_>>) {
        let tasks = tasks.into_iter().filter(|task| self.asks_for(&**task));
        let mut entries: Vec<_> = tasks.map(|task| Entry { task, samples: Vec::new() }).collect();
        for round in 0..=self.rounds {
            let count = entries.len();
            eprintln!(
                "{:4} s  {workload}: {} with {count} tasks",
                self.begun.elapsed().as_secs(),
                if round == 0 {
                    "warming up".to_owned()
                } else {
                    format!("round {round} of {}", self.rounds)
                }
            );
            let stage = Stage { runtime: &self.runtime, target: self.target, round };
            let mut failed = Vec::new();
            for turn in 0..count {
                // Whoever comes first in one round comes later in the next.
                let which = (turn + round) % count;
                let entry = &mut entries[which];
                if let Some(Err(error)) = self.memory.as_mut().map(Filled::renew) {
                    eprintln!("the memory is not filled again: {error}");
                }
                // What the benchmarks share ends with whatever does not work: here it ends one task.
                let task = AssertUnwindSafe(|| entry.task.round(&stage));
                let outcome =
                    catch_unwind(task).unwrap_or_else(|_| Err("it broke off: stderr has the reason".into()));
                match outcome {
                    Ok(samples) if round > 0 => entry.samples.push(samples),
                    Ok(_) => {}
                    Err(error) => {
                        let (who, what) = (entry.task.contestant(), entry.task.case());
                        self.failures.push(format!("{workload}: {who}, {what}: {error}"));
                        eprintln!("{workload}: {who}, {what}: {error}");
                        failed.push(which);
                    }
                }
            }
            failed.sort_unstable();
            for which in failed.into_iter().rev() {
                entries.remove(which);
            }
        }
        for entry in entries {
            self.figures.extend(entry.figures(workload));
        }
    }

    pub(crate) fn into_outcome(self, missing: Vec<String>) -> Outcome {
        let Self { figures, failures, begun, .. } = self;
        Outcome { figures, failures, missing, took: begun.elapsed() }
    }
}

fn fill(args: &Args) -> Option<Filled> {
    eprintln!("filling the memory, as files do on a machine that has run for long");
    Filled::new(&args.out).inspect_err(|error| eprintln!("it stays as it is: {error}")).ok()
}

/// A task, and what it found round by round.
struct Entry<'a> {
    task: Box<dyn Task + 'a>,
    samples: Vec<Vec<Sample>>,
}

impl Entry<'_> {
    fn figures(self, workload: &str) -> Vec<Figure> {
        let Some(first) = self.samples.first() else { return Vec::new() };
        let figure = |(place, sample): (usize, &Sample)| {
            let rounds: Vec<_> = self.samples.iter().map(|round| round[place].value).collect();
            Figure {
                workload: workload.to_owned(),
                name: sample.name.clone(),
                case: self.task.case(),
                contestant: self.task.contestant(),
                unit: sample.unit,
                spread: Spread::of(rounds.iter().copied()),
                rounds,
            }
        };
        first.iter().enumerate().map(figure).collect()
    }
}
