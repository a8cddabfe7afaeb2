//! The processor's time of a handshake, of each end apart: ours as a ratio of the bare one.
//!
//! Each round measures ours and the bare one of every kind of handshake, one right after the other, in an order that changes;
//! a ratio is the median of the rounds' ratios. A handshake is everything from the connect to the close.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sealstream_transport::Scheme;
use sealstream_transport::observe::Observers;

use crate::ends;
use crate::subject::{Maker, Subject};
use crate::table::{Spread, microseconds, row};
use crate::world::{Case, Key, World};

/// An odd number has a median; two minutes in all.
const ROUNDS: usize = 31;

/// Handshakes of one measurement: 20 to 100 ms.
const HANDSHAKES: u32 = 100;

/// What each end of a handshake took.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    server: Duration,
    client: Duration,
}

impl Cost {
    fn both(self) -> Duration {
        self.server + self.client
    }

    pub(crate) fn server(self) -> Duration {
        self.server
    }
}

/// Two subjects that do the same, and what they took, round by round.
struct Pair {
    case: Case,
    subjects: [Subject; 2],
    costs: [Vec<Cost>; 2],
}

/// Measures every kind of handshake and prints a table for each transport.
pub(crate) fn print() {
    let schemes = [Scheme::Tls, Scheme::Quic];
    let mut pairs: Vec<_> = schemes.into_iter().flat_map(cases).map(Pair::new).collect();
    // The first round warms up, and nobody counts it.
    for round in 0..=ROUNDS {
        let count = pairs.len();
        for turn in 0..count {
            pairs[(turn + round) % count].measure(round);
        }
    }
    for scheme in schemes {
        let name = Maker::Bare.name(scheme);
        println!(
            "\nCPU time of a handshake, microseconds: {}\n",
            Maker::Ours(Observers::default()).name(scheme)
        );
        let ours = ["certificates", "handshake", "ours, server + client"];
        row(ours.into_iter().chain([name, "of both ends", "of the server", "of the client"]));
        row(["---"; 7]);
        for pair in pairs.iter().filter(|pair| pair.case.scheme == scheme) {
            pair.print();
        }
    }
}

fn cases(scheme: Scheme) -> impl Iterator<Item = Case> {
    let mut cases = Vec::new();
    for key in [Key::EcdsaP256, Key::Rsa2048] {
        for mutual in [false, true] {
            cases.extend([false, true].map(|resumed| Case { scheme, key, mutual, resumed }));
        }
    }
    cases.into_iter()
}

impl Pair {
    fn new(case: Case) -> Self {
        let world = World::new(case);
        let makers = [Maker::Ours(Observers::default()), Maker::Bare];
        Self {
            case,
            subjects: makers.map(|maker| Subject::new(&world, &maker)),
            costs: [Vec::new(), Vec::new()],
        }
    }

    fn measure(&mut self, round: usize) {
        for turn in 0..2 {
            // Whoever comes first in one round comes second in the next.
            let who = (turn + round) % 2;
            let cost = cost(&self.subjects[who], HANDSHAKES);
            if round > 0 {
                self.costs[who].push(cost);
            }
        }
    }

    fn print(&self) {
        let [ours, bare] = &self.costs;
        let ratio = |of: fn(Cost) -> Duration| {
            let ratios =
                ours.iter().zip(bare).map(|(&ours, &bare)| of(ours).as_secs_f64() / of(bare).as_secs_f64());
            Spread::of(ratios).to_string()
        };
        let clients = if self.case.mutual { ", clients too" } else { "" };
        row([
            format!("{}{clients}", self.case.key),
            (if self.case.resumed { "resumed" } else { "full" }).to_owned(),
            median(ours),
            median(bare),
            format!("**{}**", ratio(Cost::both)),
            ratio(|cost| cost.server),
            ratio(|cost| cost.client),
        ]);
    }
}

fn median(costs: &[Cost]) -> String {
    let of = |which: fn(Cost) -> Duration| {
        microseconds(Spread::of(costs.iter().map(|&cost| which(cost).as_secs_f64())).median)
    };
    format!("{} = {} + {}", of(Cost::both), of(|cost| cost.server), of(|cost| cost.client))
}

/// What one handshake of so many takes.
pub(crate) fn cost(subject: &Subject, handshakes: u32) -> Cost {
    let count = usize::try_from(handshakes).expect("a small number");
    let measured = subject.server(move |runtime, acceptor| {
        let before = thread_time();
        runtime.block_on(ends::serve(&**acceptor, count));
        thread_time().saturating_sub(before)
    });
    let before = thread_time();
    subject.client.block_on(ends::dial(&subject.dialler, count));
    let client = thread_time().saturating_sub(before);
    let server = measured.recv().expect("a server");
    Cost { server: server / handshakes, client: client / handshakes }
}

fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("a time since the start")
}
