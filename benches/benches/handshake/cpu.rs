//! The processor's time of a handshake, of each end apart: ours as a ratio of the bare one.
//!
//! Each round measures ours and the bare one of every kind of handshake, one right after the other, in an order that changes;
//! a ratio is the median of the rounds' ratios. A handshake is everything from the connect to the close.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sealstream_benches::handshake::ends;
use sealstream_benches::handshake::subject::{Maker, Subject};
use sealstream_benches::handshake::world::{Case, Key, World};
use sealstream_benches::markdown::row;
use sealstream_benches::spread::Spread;
use sealstream_transport::Scheme;

/// An odd number has a median; two minutes in all.
const ROUNDS: usize = 31;

/// Handshakes of one measurement: 20 to 100 ms.
const HANDSHAKES: u32 = 100;

/// What each end of a handshake took.
#[derive(Clone, Copy)]
struct Cost {
    server: Duration,
    client: Duration,
}

impl Cost {
    fn both(self) -> Duration {
        self.server + self.client
    }
}

/// Those that make the same kind of handshake.
struct Group {
    case: Case,
    contestants: Vec<Contestant>,
}

struct Contestant {
    maker: Maker,
    subject: Subject,
    /// Round by round.
    costs: Vec<Cost>,
}

/// Measures every kind of handshake, and prints a table for each of ours.
pub(crate) fn print() {
    let mut groups: Vec<_> = cases().into_iter().map(Group::new).collect();
    // The first round warms up, and nobody counts it.
    for round in 0..=ROUNDS {
        let count = groups.len();
        for turn in 0..count {
            groups[(turn + round) % count].measure(round);
        }
    }
    for (scheme, maker) in
        [(Scheme::Tls, Maker::Ours), (Scheme::Quic, Maker::Ours), (Scheme::Quic, Maker::OursLikeQuinn)]
    {
        let [ours, bare] = [maker, Maker::Bare].map(|maker| maker.name(scheme));
        println!("\nCPU time of a handshake, microseconds, server + client: {ours}\n");
        row(["certificates", "handshake", "ours", bare, "of both ends", "of the server", "of the client"]);
        row(["---"; 7]);
        for group in groups.iter().filter(|group| group.case.scheme == scheme) {
            group.print(maker);
        }
    }
}

/// Makes a few handshakes of every kind.
pub(crate) fn try_out() {
    for case in cases() {
        // They assert that handshakes resume, or do not.
        drop(Group::new(case));
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for scheme in [Scheme::Tls, Scheme::Quic] {
        for key in [Key::EcdsaP256, Key::Rsa2048] {
            for mutual in [false, true] {
                cases.extend([false, true].map(|resumed| Case { scheme, key, mutual, resumed }));
            }
        }
    }
    cases
}

impl Group {
    fn new(case: Case) -> Self {
        let world = World::new(case);
        let makers: &[_] = match case.scheme {
            Scheme::Quic => &[Maker::Ours, Maker::OursLikeQuinn, Maker::Bare],
            _ => &[Maker::Ours, Maker::Bare],
        };
        let contestants = makers.iter().map(|&maker| Contestant {
            maker,
            subject: Subject::new(&world, maker),
            costs: Vec::new(),
        });
        Self { case, contestants: contestants.collect() }
    }

    fn measure(&mut self, round: usize) {
        let count = self.contestants.len();
        for turn in 0..count {
            // Whoever comes first in one round comes later in the next.
            let contestant = &mut self.contestants[(turn + round) % count];
            let cost = cost(&contestant.subject);
            if round > 0 {
                contestant.costs.push(cost);
            }
        }
    }

    fn costs(&self, maker: Maker) -> &[Cost] {
        &self.contestants.iter().find(|one| one.maker == maker).expect("a contestant").costs
    }

    fn print(&self, maker: Maker) {
        let (ours, bare) = (self.costs(maker), self.costs(Maker::Bare));
        let ratio = |which: fn(Cost) -> Duration| {
            let pairs = ours.iter().zip(bare);
            Spread::of(pairs.map(|(&ours, &bare)| which(ours).as_secs_f64() / which(bare).as_secs_f64()))
        };
        row([
            self.case.certificates(),
            self.case.handshake().to_owned(),
            medians(ours),
            medians(bare),
            format!("**{:.2}** {}", ratio(Cost::both).median, ratio(Cost::both).quarters()),
            format!("{:.2}", ratio(|cost| cost.server).median),
            format!("{:.2}", ratio(|cost| cost.client).median),
        ]);
    }
}

fn medians(costs: &[Cost]) -> String {
    let median = |which: fn(Cost) -> Duration| {
        Spread::of(costs.iter().map(|&cost| which(cost).as_secs_f64() * 1e6)).median
    };
    format!("{:.0} + {:.0}", median(|cost| cost.server), median(|cost| cost.client))
}

/// What one handshake of many takes.
fn cost(subject: &Subject) -> Cost {
    let count = usize::try_from(HANDSHAKES).expect("a small number");
    let measured = subject.server(move |runtime, acceptor| {
        let before = thread_time();
        runtime.block_on(ends::serve(&**acceptor, count));
        thread_time().saturating_sub(before)
    });
    let before = thread_time();
    subject.client.block_on(ends::dial(&subject.dialler, ends::LANES, count));
    let client = thread_time().saturating_sub(before);
    let server = measured.recv().expect("a server");
    Cost { server: server / HANDSHAKES, client: client / HANDSHAKES }
}

fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("a time since the start")
}
