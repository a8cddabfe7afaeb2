//! Connections: how many a second, full and resumed, and what a handshake costs the processors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sealstream_benches::handshake::subject::{Maker, Subject};
use sealstream_benches::handshake::world::{Case, World};
use sealstream_benches::process;
use sealstream_benches::stream::ends::Carrier;
use sealstream_transport::Scheme;
use tokio::task::JoinSet;

use super::sized;
use crate::Failure;
use crate::contestants::bare::BareServer;
use crate::contestants::{Contestant, Field, Visits};
use crate::figure::{Sample, Unit, float};
use crate::runner::{Runner, Stage, Task};

/// Clients at once.
const LANES: [u8; 2] = [1, 16];

/// No more than so many in a round: closed connections keep their ports for a minute, and there are 28,000.
const MOST: u64 = 2_000;

/// The case of handshakes by the processors' time.
pub(crate) fn by_processor(resumed: bool) -> String {
    format!("{} handshakes, by the processor", word(resumed))
}

/// The case of visits.
pub(crate) fn visits(resumed: bool, lanes: u8) -> String {
    format!("{}, {lanes} at a time", word(resumed))
}

pub(crate) fn word(resumed: bool) -> &'static str {
    if resumed { "resumed" } else { "full" }
}

/// Measures visits to every server, and handshakes of the transport beside bare ones.
pub(crate) fn run(runner: &mut Runner, field: &Field) {
    let servers =
        [Carrier::Tls, Carrier::Quic].map(|bare| BareServer::start_for_connections(bare, &field.world));
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    for resumed in [false, true] {
        for lanes in LANES {
            for server in &servers {
                let name = server.bare.name().to_owned();
                tasks.push(Box::new(Visiting::new(name, Visited::Bare(server), resumed, lanes)));
            }
            // Durability is nothing to a connection.
            for broker in field.brokers.iter().filter(|broker| !broker.durable()) {
                let name = broker.name();
                tasks.push(Box::new(Visiting::new(name, Visited::Broker(broker), resumed, lanes)));
            }
        }
    }
    for scheme in [Scheme::Tls, Scheme::Quic] {
        for resumed in [false, true] {
            for maker in [Maker::Ours, Maker::Bare] {
                tasks.push(Box::new(Handshakes { subject: None, maker, scheme, resumed, count: 0 }));
            }
        }
    }
    runner.measure("connects", tasks);
}

/// Whom a client connects to.
enum Visited<'a> {
    Bare(&'a BareServer),
    Broker(&'a Arc<dyn Contestant>),
}

impl Visited<'_> {
    fn id(&self) -> u32 {
        match self {
            Self::Bare(server) => server.id(),
            Self::Broker(broker) => broker.id(),
        }
    }

    fn visits(&self, resumed: bool) -> Result<Arc<dyn Visits>, Failure> {
        match self {
            Self::Bare(server) => Ok(server.visits(resumed)),
            Self::Broker(broker) => broker.visits(resumed),
        }
    }
}

struct Visiting<'a> {
    contestant: String,
    visited: Visited<'a>,
    resumed: bool,
    lanes: u8,
    visits: Option<Arc<dyn Visits>>,
    count: u64,
}

impl<'a> Visiting<'a> {
    fn new(contestant: String, visited: Visited<'a>, resumed: bool, lanes: u8) -> Self {
        Self { contestant, visited, resumed, lanes, visits: None, count: 0 }
    }
}

/// So many visits, by clients that come one after the other in each lane: how long it took, and how many of them resumed, where that is
/// known.
async fn visit(visits: &Arc<dyn Visits>, lanes: u8, count: u64) -> Result<(Duration, Option<u64>), Failure> {
    let left = Arc::new(AtomicU64::new(count));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for lane in 0..lanes {
        let (visits, left) = (Arc::clone(visits), Arc::clone(&left));
        tasks.spawn(async move {
            let mut resumed = Some(0);
            let one_less = |left: u64| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                let this = visits.visit(lane).await?;
                resumed = resumed.zip(this).map(|(before, this)| before + u64::from(this));
            }
            Ok::<_, Failure>(resumed)
        });
    }
    let mut resumed = Some(0);
    while let Some(part) = tasks.join_next().await {
        resumed = resumed.zip(part??).map(|(before, part)| before + part);
    }
    Ok((begun.elapsed(), resumed))
}

impl Task for Visiting<'_> {
    fn contestant(&self) -> String {
        self.contestant.clone()
    }

    fn case(&self) -> String {
        visits(self.resumed, self.lanes)
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        let _runtime = stage.runtime.enter();
        let (resumed, lanes) = (self.resumed, self.lanes);
        let visits = match &self.visits {
            Some(visits) => visits,
            None => self.visits.insert(self.visited.visits(resumed)?),
        };
        if stage.round == 0 {
            // Every lane has its tickets then.
            self.count = sized(stage.target, u64::from(lanes) * 2, MOST, |count| {
                Ok(stage.runtime.block_on(visit(visits, lanes, count))?.0)
            })?;
        }
        let cpu = || process::cpu(self.visited.id()) + process::own_cpu();
        let before = cpu();
        let (took, resumed_in_fact) = stage.runtime.block_on(visit(visits, lanes, self.count))?;
        let cpu = cpu().saturating_sub(before);
        let mut samples = vec![
            Sample::new("connections", Unit::PerSecond, float(self.count) / took.as_secs_f64()),
            Sample::new("CPU of a connection", Unit::Seconds, cpu.as_secs_f64() / float(self.count)),
        ];
        if let (true, Some(in_fact)) = (resumed, resumed_in_fact) {
            samples.push(Sample::new("not resumed", Unit::Count, float(self.count - in_fact)));
        }
        Ok(samples)
    }
}

/// Handshakes of a transport, without a broker: both ends in this process.
struct Handshakes {
    subject: Option<Subject>,
    maker: Maker,
    scheme: Scheme,
    resumed: bool,
    count: u64,
}

impl Handshakes {
    fn converse(&mut self, count: u64) -> Duration {
        let subject = self.subject.get_or_insert_with(|| {
            Subject::new(&World::new(Case::usual(self.scheme, self.resumed)), self.maker)
        });
        let before = process::own_cpu();
        subject.converse(usize::try_from(count).expect("a few thousand"));
        process::own_cpu().saturating_sub(before)
    }
}

/// The contestant of the marks.
pub(crate) fn maker(maker: Maker, scheme: Scheme) -> String {
    match maker {
        Maker::Bare => maker.name(scheme).to_owned(),
        _ => format!("the transport of Sealstream, {scheme}"),
    }
}

impl Task for Handshakes {
    fn contestant(&self) -> String {
        maker(self.maker, self.scheme)
    }

    fn case(&self) -> String {
        by_processor(self.resumed)
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        if stage.round == 0 {
            self.count = sized(stage.target, 8, MOST, |count| Ok(self.converse(count)))?;
        }
        let cpu = self.converse(self.count);
        Ok(vec![Sample::new("CPU of a handshake", Unit::Seconds, cpu.as_secs_f64() / float(self.count))])
    }
}
