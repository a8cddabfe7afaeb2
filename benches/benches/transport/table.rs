//! The comparison: all subjects take turns, and ours is told as a ratio of each bare one.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::subject::Subject;
use crate::subjects::{BARE_QUIC, BARE_TCP, BARE_TLS, MEMORY, QUIC, TLS};
use crate::{ROUND_TRIPS, STREAMED};

/// An odd number has a median; a minute or less in all.
const ROUNDS: usize = 21;

/// A round before the others, which nobody counts: windows grow and MTUs are found.
const WARM_UP: usize = 2;

/// The times of one subject, round by round.
struct Times {
    name: &'static str,
    stream: Vec<Duration>,
    round_trip: Vec<Duration>,
}

/// Measures everything and prints the table.
pub(crate) fn print(runtime: &Runtime, subjects: &mut [Box<dyn Subject>]) {
    let times = measure(runtime, subjects);
    let find = |name| times.iter().find(|times| times.name == name).expect("a subject");
    let bare = [BARE_TCP, BARE_TLS, BARE_QUIC].map(find);
    println!("\nStreaming {} MiB, MiB/s; ours as a ratio of each (more is better)", STREAMED >> 20);
    header(&bare);
    for ours in [MEMORY, TLS, QUIC].map(find) {
        let ratios = bare.map(|bare| ratio(&bare.stream, &ours.stream));
        row(ours.name, mebibytes_per_second(&ours.stream), 0, ratios);
    }
    for bare in &bare {
        row(bare.name, mebibytes_per_second(&bare.stream), 0, []);
    }
    println!("\nRound trip of 64 B, microseconds; ours as a ratio of each (less is better)");
    header(&bare);
    for ours in [MEMORY, TLS, QUIC].map(find) {
        let ratios = bare.map(|bare| ratio(&ours.round_trip, &bare.round_trip));
        row(ours.name, microseconds(&ours.round_trip), 1, ratios);
    }
    for bare in &bare {
        row(bare.name, microseconds(&bare.round_trip), 1, []);
    }
    println!();
}

fn measure(runtime: &Runtime, subjects: &mut [Box<dyn Subject>]) -> Vec<Times> {
    let mut times: Vec<_> = subjects
        .iter()
        .map(|subject| Times { name: subject.name(), stream: Vec::new(), round_trip: Vec::new() })
        .collect();
    for round in 0..WARM_UP + ROUNDS {
        for turn in 0..subjects.len() {
            // Whoever comes first in one round comes second in the next: nobody always follows the same one.
            let who = (turn + round) % subjects.len();
            let stream = runtime.block_on(subjects[who].stream(STREAMED));
            let round_trip = runtime.block_on(subjects[who].round_trips(ROUND_TRIPS));
            if round >= WARM_UP {
                times[who].stream.push(stream);
                times[who].round_trip.push(round_trip);
            }
        }
    }
    times
}

fn header(bare: &[&Times]) {
    print!("{:<26}{:>10}", "", "median");
    for bare in bare {
        print!("{:>24}", format!("of {}", bare.name));
    }
    println!();
}

fn row<const N: usize>(name: &str, value: f64, decimals: usize, ratios: [(f64, f64, f64); N]) {
    print!("{name:<26}{value:>10.decimals$}");
    for (low, median, high) in ratios {
        print!("{:>24}", format!("{median:.2} ({low:.2} to {high:.2})"));
    }
    println!();
}

fn mebibytes_per_second(times: &[Duration]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few mebibytes")]
    let mebibytes = (STREAMED >> 20) as f64;
    mebibytes / median(times.iter().map(Duration::as_secs_f64)).1
}

fn microseconds(times: &[Duration]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let count = ROUND_TRIPS as f64;
    median(times.iter().map(Duration::as_secs_f64)).1 * 1e6 / count
}

/// How many times as long the first took, round by round: lower quartile, median, upper quartile.
fn ratio(over: &[Duration], under: &[Duration]) -> (f64, f64, f64) {
    median(over.iter().zip(under).map(|(over, under)| over.as_secs_f64() / under.as_secs_f64()))
}

fn median(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values[(values.len() - 1) * part / 4];
    (at(1), at(2), at(3))
}
