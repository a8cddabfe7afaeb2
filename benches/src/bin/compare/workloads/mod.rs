//! What is measured.

pub(crate) mod connects;
pub(crate) mod growth;
pub(crate) mod idle;
pub(crate) mod latency;
pub(crate) mod limits;
pub(crate) mod records;
pub(crate) mod start;
pub(crate) mod steady;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Failure;
use crate::contestants::{Contestant, Field, Load, Producing};
use crate::figure::float;
use crate::runner::Runner;

/// Measures one workload.
type Run = fn(&mut Runner, &Field);

/// All of them, by name, in the order in which they run.
pub(crate) const ALL: [(&str, Run); 8] = [
    ("limits", limits::run),
    ("records", records::run),
    ("latency", latency::run),
    ("connects", connects::run),
    ("idle", idle::run),
    ("start", start::run),
    ("growth", growth::run),
    ("steady", steady::run),
];

/// How much work lasts about as long as `target`: found by doing ever more of it, from `least` on and no more than `most`.
fn sized(
    target: Duration,
    least: u64,
    most: u64,
    mut work: impl FnMut(u64) -> Result<Duration, Failure>,
) -> Result<u64, Failure> {
    let mut count = least.min(most).max(1);
    loop {
        let took = work(count)?;
        if took * 4 >= target || count == most {
            let lasting = float(count) * target.as_secs_f64() / took.as_secs_f64().max(1e-9);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
            return Ok((lasting as u64).clamp(1, most.max(1)));
        }
        count = (count * 4).min(most);
    }
}

/// What work finds with one producer to a new log, which is deleted whatever came of it.
async fn with_producer<T>(
    broker: &dyn Contestant,
    load: Load,
    work: impl AsyncFnOnce(&mut dyn Producing) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let log = log_name();
    broker.create(&log, 1).await?;
    let found = async {
        let mut producer = broker.producer(&log, load).await?;
        let found = work(&mut *producer).await?;
        producer.close().await?;
        Ok(found)
    };
    let found = found.await;
    broker.delete(&log).await?;
    found
}

/// A name that no log had before.
fn log_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("compare-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A size in bytes, as records have it.
fn size(bytes: usize) -> String {
    match bytes {
        large if large >= 1 << 20 => format!("{} MiB", large >> 20),
        middling if middling >= 1 << 10 => format!("{} KiB", middling >> 10),
        small => format!("{small} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_as_long_as_the_target_and_no_larger_than_the_most() {
        let a_millisecond_each = |count| Ok(Duration::from_millis(count));
        let target = Duration::from_millis(100);
        assert_eq!(sized(target, 1, 1_000, a_millisecond_each).unwrap(), 100);
        assert_eq!(sized(target, 1, 50, a_millisecond_each).unwrap(), 50);
        assert_eq!(sized(target, 500, 1_000, a_millisecond_each).unwrap(), 100);
        assert!(sized(target, 1, 1_000, |_| Err("it does not work".into())).is_err());
    }
}
