//! The comparison: all subjects take turns, and ours is told as a ratio of each bare one.
//!
//! The clock says what a user sees on a machine that has nothing else to do. The processors' time says the same of any
//! machine, but for waiting.

use std::time::Duration;

use sealstream_benches::process::own_cpu;
use sealstream_benches::spread::Spread;
use sealstream_benches::stream::subject::Subject;
use tokio::runtime::Runtime;

use crate::subjects::{BARE, MEMORY, QUIC, TLS};
use crate::{ROUND_TRIPS, STREAMED};

/// An odd number has a median; a minute or less in all.
const ROUNDS: usize = 21;

/// A round before the others, which nobody counts: windows grow and MTUs are found.
const WARM_UP: usize = 2;

/// What one subject took, round by round.
struct Times {
    name: &'static str,
    stream: Vec<Cost>,
    round_trip: Vec<Cost>,
}

/// What one measurement took, of the clock and of all processors.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

/// What a table shows.
struct Shown {
    title: String,
    of: fn(&Times) -> &[Cost],
    which: fn(&Cost) -> Duration,
    /// The value of a row out of its median, in seconds.
    value: fn(f64) -> f64,
    decimals: usize,
    /// More is better: the ratio is the other way round than that of times.
    rate: bool,
}

/// Measures everything and prints the tables.
pub(crate) fn print(runtime: &Runtime, subjects: &mut [Box<dyn Subject>]) {
    let times = measure(runtime, subjects);
    let mebibytes = STREAMED >> 20;
    let tables = [
        Shown {
            title: format!("Streaming {mebibytes} MiB: MiB/s, more is better"),
            of: |times| &times.stream,
            which: |cost| cost.wall,
            value: |seconds| count(STREAMED >> 20) / seconds,
            decimals: 0,
            rate: true,
        },
        Shown {
            title: format!("Streaming {mebibytes} MiB: CPU time of both ends, ms, less is better"),
            of: |times| &times.stream,
            which: |cost| cost.cpu,
            value: |seconds| seconds * 1e3,
            decimals: 1,
            rate: false,
        },
        Shown {
            title: "Round trip of 64 B: microseconds, less is better".to_owned(),
            of: |times| &times.round_trip,
            which: |cost| cost.wall,
            value: |seconds| seconds * 1e6 / count(ROUND_TRIPS),
            decimals: 1,
            rate: false,
        },
        Shown {
            title: "Round trip of 64 B: CPU time of both ends, microseconds, less is better".to_owned(),
            of: |times| &times.round_trip,
            which: |cost| cost.cpu,
            value: |seconds| seconds * 1e6 / count(ROUND_TRIPS),
            decimals: 1,
            rate: false,
        },
    ];
    for shown in tables {
        shown.print(&times);
    }
}

impl Shown {
    /// One row for each subject; ours as a ratio of each bare one: median, and between which quarters of the rounds lie.
    fn print(&self, times: &[Times]) {
        let find = |name| times.iter().find(|times| times.name == name).expect("a subject");
        let bare = BARE.map(|bare| find(bare.name()));
        print!("\n{}\n{:<26}{:>10}", self.title, "", "median");
        for bare in bare {
            print!("{:>24}", format!("of {}", bare.name));
        }
        println!();
        for ours in [MEMORY, TLS, QUIC].map(find) {
            self.begin_row(ours);
            for bare in bare {
                let (over, under) = if self.rate { (bare, ours) } else { (ours, bare) };
                let pairs = self.seconds(over).zip(self.seconds(under));
                let ratio = Spread::of(pairs.map(|(over, under)| over / under));
                print!("{:>24}", format!("{:.2} {}", ratio.median, ratio.quarters()));
            }
            println!();
        }
        for bare in bare {
            self.begin_row(bare);
            println!();
        }
    }

    fn begin_row(&self, times: &Times) {
        let value = (self.value)(Spread::of(self.seconds(times)).median);
        print!("{:<26}{value:>10.*}", times.name, self.decimals);
    }

    fn seconds(&self, times: &Times) -> impl Iterator<Item = f64> {
        (self.of)(times).iter().map(|cost| (self.which)(cost).as_secs_f64())
    }
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
            let stream = cost(|| runtime.block_on(subjects[who].stream(STREAMED)));
            let round_trip = cost(|| runtime.block_on(subjects[who].round_trips(ROUND_TRIPS, &mut |_| {})));
            if round >= WARM_UP {
                times[who].stream.push(stream);
                times[who].round_trip.push(round_trip);
            }
        }
    }
    times
}

/// What a measurement took, by its own clock and by the processors'.
fn cost(measurement: impl FnOnce() -> Duration) -> Cost {
    let before = own_cpu();
    let wall = measurement();
    Cost { wall, cpu: own_cpu().saturating_sub(before) }
}

fn count(of: u64) -> f64 {
    f64::from(u32::try_from(of).expect("a small number"))
}
