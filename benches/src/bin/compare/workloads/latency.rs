//! How long a record takes: one at a time, and at a rate that is given.
//!
//! The second is an open loop by the broker's own [`Schedule`]: batches are sent when they are due, whatever became of those before, and
//! each time counts from when its batch was due. So what is slow shows it also in what could not be sent meanwhile.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sealstream_broker::cli::bench::schedule::{Latencies, Percentiles, Schedule};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::limits::{Echo, ONE, Sync, percentiles, record, times};
use super::records::Work;
use super::{log_name, sized};
use crate::Failure;
use crate::contestants::{Answer, Consuming, Contestant, Field, Load, Producing, number_of};
use crate::figure::{Sample, Unit, float};
use crate::runner::{Runner, Stage, Task};

/// Of each record's value, as the echo has it.
const SMALL: usize = sealstream_benches::stream::subject::MESSAGE;

/// What is sent at a rate.
const PACED: Work = Work::of(1024, 100, 1);

/// Shares of the capacity, in percent; the last one is reported only.
const SHARES: [u8; 3] = [10, 50, 80];

/// A paced run takes so many times as long as another measurement.
const LONGER: u32 = 3;

/// Of it, so much warms up.
const WARM_UP: u32 = 4;

/// A run that falls behind is given up after so many times its duration.
const OVERTIME: u32 = 3;

/// How long records may take to arrive once all are sent.
const PATIENCE: Duration = Duration::from_secs(20);

/// The number of the first record whose arrival is awaited.
const FIRST: u64 = 1 << 32;

/// Acknowledgements that may wait to be looked at: more than batches may be under way.
const ANSWERS: usize = 2_048;

/// Measures both, and the echoes and the disk beside the first.
pub(crate) fn run(runner: &mut Runner, field: &Field) {
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    for server in &field.bare {
        tasks.push(Box::new(Echo::of(server)));
    }
    tasks.push(Box::new(Sync));
    for broker in &field.brokers {
        tasks.push(Box::new(Single { broker: Arc::clone(broker) }));
    }
    for broker in &field.brokers {
        tasks.push(Box::new(Paced { broker: Arc::clone(broker), capacity: 0.0 }));
    }
    runner.measure("latency", tasks);
}

/// One record, its acknowledgement; one record, its arrival.
struct Single {
    broker: Arc<dyn Contestant>,
}

impl Single {
    async fn measure(&self, log: &str, target: Duration) -> Result<Vec<Sample>, Failure> {
        let load = Load { record: SMALL, batch: 1, under_way: 1 };
        let mut producer = self.broker.producer(log, load).await?;
        let acknowledged = acknowledged(&mut *producer, target).await?;
        let mut samples = percentiles("round trip", &acknowledged);
        let mut consumer = self.broker.consumer(log).await?;
        let mut received = times();
        let begun = Instant::now();
        let mut last = None;
        // Unlike those before.
        for number in FIRST.. {
            let sent = Instant::now();
            let answer = producer.send(number).await?;
            while last != Some(number) {
                consumer.next(&mut |value| last = number_of(value)).await?;
            }
            // The first one comes behind all that was sent before.
            if number > FIRST {
                record(&mut received, sent.elapsed());
            }
            answer.await?;
            if number > FIRST && begun.elapsed() >= target {
                break;
            }
        }
        consumer.close().await?;
        producer.close().await?;
        samples.extend(percentiles("to a consumer", &received));
        Ok(samples)
    }
}

/// How long acknowledgements take, one after the other.
pub(crate) async fn acknowledged(
    producer: &mut dyn Producing,
    target: Duration,
) -> Result<hdrhistogram::Histogram<u64>, Failure> {
    let mut times = times();
    let begun = Instant::now();
    for number in 0.. {
        if begun.elapsed() >= target {
            break;
        }
        let sent = Instant::now();
        producer.send(number).await?.await?;
        record(&mut times, sent.elapsed());
    }
    Ok(times)
}

impl Task for Single {
    fn contestant(&self) -> String {
        self.broker.name()
    }

    fn case(&self) -> String {
        ONE.to_owned()
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        stage.runtime.block_on(async {
            let log = log_name();
            self.broker.create(&log, 1).await?;
            let measured = self.measure(&log, stage.target).await;
            self.broker.delete(&log).await?;
            measured
        })
    }
}

/// Batches at shares of what the contestant can.
struct Paced {
    broker: Arc<dyn Contestant>,
    /// Batches a second.
    capacity: f64,
}

impl Paced {
    /// As fast as it goes: how long so many batches take.
    async fn rush(&self, batches: u64) -> Result<Duration, Failure> {
        let log = log_name();
        self.broker.create(&log, 1).await?;
        let mut producer = self.broker.producer(&log, PACED.load()).await?;
        let begun = Instant::now();
        producer.produce(batches).await?;
        let took = begun.elapsed();
        producer.close().await?;
        self.broker.delete(&log).await?;
        Ok(took)
    }

    async fn pace(&self, share: u8, target: Duration) -> Result<Vec<Sample>, Failure> {
        let rate = self.capacity * f64::from(share) / 100.0;
        let schedule = Schedule::new(rate, target / WARM_UP, target);
        let log = log_name();
        self.broker.create(&log, 1).await?;
        let measured = self.follow(&log, schedule).await;
        self.broker.delete(&log).await?;
        let (acknowledged, received) = measured?;
        let sample = |what: &str, part: &str, time: Duration| {
            Sample::new(format!("{what} at {share} %, {part}"), Unit::Seconds, time.as_secs_f64())
        };
        let all = |what: &str, times: Percentiles| {
            [
                sample(what, "p50", times.p50),
                sample(what, "p99", times.p99),
                sample(what, "p99.9", times.p99_9),
            ]
        };
        Ok([all("acknowledged", acknowledged), all("to a consumer", received)].concat())
    }

    async fn follow(&self, log: &str, schedule: Schedule) -> Result<(Percentiles, Percentiles), Failure> {
        let producer = self.broker.producer(log, PACED.load()).await?;
        let consumer = self.broker.consumer(log).await?;
        let (answers, settled) = mpsc::channel(ANSWERS);
        let (total, sent_in_all) = watch::channel(None);
        let (start, runtime) = (Instant::now(), Handle::current());
        let sending = async move {
            // A thread of its own sleeps better than tokio, whose timers are good to a millisecond.
            let sending = move || send(&runtime, producer, schedule, start, &answers);
            let (producer, count) = tokio::task::spawn_blocking(sending).await??;
            let _ = total.send(Some(count));
            Ok::<_, Failure>((producer, count))
        };
        let acknowledging = acknowledge(schedule, start, settled);
        let receiving = receive(schedule, start, consumer, sent_in_all);
        let ((producer, count), mut acknowledged, mut received) =
            tokio::try_join!(sending, acknowledging, receiving)?;
        let now = start.elapsed();
        acknowledged.give_up(count, now);
        received.give_up(count, now);
        producer.close().await?;
        Ok((acknowledged.percentiles(), received.percentiles()))
    }
}

type Answered = (u64, Answer<'static, ()>);

/// Sends batches when they are due; gives how many it sent.
fn send(
    runtime: &Handle,
    mut producer: Box<dyn Producing>,
    schedule: Schedule,
    start: Instant,
    answers: &mpsc::Sender<Answered>,
) -> Result<(Box<dyn Producing>, u64), Failure> {
    let until = schedule.end() * OVERTIME;
    let mut count = 0;
    for number in 0..schedule.total() {
        thread::sleep(schedule.due(number).saturating_sub(start.elapsed()));
        if start.elapsed() > until {
            break;
        }
        let answer = runtime.block_on(producer.send(number))?;
        count = number + 1;
        if answers.blocking_send((number, answer)).is_err() {
            // Whoever looked at them has failed, and says why.
            break;
        }
    }
    Ok((producer, count))
}

async fn acknowledge(
    schedule: Schedule,
    start: Instant,
    mut answers: mpsc::Receiver<Answered>,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::of(schedule);
    while let Some((number, answer)) = answers.recv().await {
        answer.await?;
        latencies.record(number, start.elapsed());
    }
    Ok(latencies)
}

async fn receive(
    schedule: Schedule,
    start: Instant,
    mut consumer: Box<dyn Consuming>,
    mut sent_in_all: watch::Receiver<Option<u64>>,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::of(schedule);
    let (mut next, mut all) = (0, None);
    let mut deadline = None;
    while all.is_none_or(|all| next < all) {
        let overdue = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let each = &mut |value: &[u8]| {
            if let Some(number) = number_of(value)
                && number >= next
            {
                latencies.record(number, start.elapsed());
                next = number + 1;
            }
        };
        tokio::select! {
            outcome = consumer.next(each) => outcome?,
            Ok(()) = sent_in_all.changed(), if all.is_none() => {
                all = *sent_in_all.borrow_and_update();
                deadline = Some(tokio::time::Instant::now() + PATIENCE);
            }
            () = overdue => return Err(format!("{next} batches arrived within {PATIENCE:?}").into()),
        }
    }
    consumer.close().await?;
    Ok(latencies)
}

impl Task for Paced {
    fn contestant(&self) -> String {
        self.broker.name()
    }

    fn case(&self) -> String {
        format!("{PACED}, at shares of its capacity")
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        if stage.round == 0 {
            let most = super::limits::MOST / PACED.load().batch_bytes() as u64;
            let batches =
                sized(stage.target, 10, most, |batches| stage.runtime.block_on(self.rush(batches)))?;
            let took = stage.runtime.block_on(self.rush(batches))?;
            self.capacity = float(batches) / took.as_secs_f64();
            return Ok(Vec::new());
        }
        let mut samples =
            vec![Sample::new("capacity", Unit::PerSecond, self.capacity * f64::from(PACED.batch))];
        for share in SHARES {
            samples.extend(stage.runtime.block_on(self.pace(share, stage.target * LONGER))?);
        }
        Ok(samples)
    }
}
