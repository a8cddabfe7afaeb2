//! The marks: what the project wants of itself, what was measured, and whether that is enough. All ratios are of one run, round by round.

use sealstream_benches::handshake::subject::Maker;
use sealstream_benches::spread::Spread;
use sealstream_benches::stream::ends::Carrier;
use sealstream_client::admin::Durability;
use sealstream_transport::Scheme;
use serde::Serialize;

use crate::contestants::sealstream::name;
use crate::figure::{Figure, Unit};
use crate::workloads::{connects, growth, idle, limits, records, start};

/// One of them, or a part of one.
#[derive(Debug, Serialize)]
pub(super) struct Mark {
    /// Which of the eight.
    pub(super) number: &'static str,
    /// What it is about.
    pub(super) what: String,
    /// What is wanted.
    pub(super) wanted: String,
    /// What was found, if it was measured.
    pub(super) measured: Option<String>,
    /// Whether that is enough.
    met: Option<bool>,
}

impl Mark {
    pub(super) fn verdict(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not measured",
        }
    }
}

/// What is wanted of a value.
#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Wanted {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn show(self, shown: impl Fn(f64) -> String) -> String {
        match self {
            Self::AtLeast(least) => format!("at least {}", shown(least)),
            Self::AtMost(most) => format!("at most {}", shown(most)),
        }
    }
}

/// The figures of a run.
struct Run<'a>(&'a [Figure]);

impl<'a> Run<'a> {
    fn find(&self, workload: &str, case: &str, contestant: &str, name: &str) -> Option<&'a Figure> {
        self.0.iter().find(|figure| {
            figure.workload == workload
                && figure.case == case
                && figure.contestant == contestant
                && figure.name == name
        })
    }
}

fn ratio(number: &'static str, what: impl Into<String>, wanted: Wanted, measured: Option<Spread>) -> Mark {
    let shown = |value: f64| format!("{value:.2}");
    Mark {
        number,
        what: what.into(),
        wanted: wanted.show(shown),
        measured: measured.map(|spread| format!("{} {}", shown(spread.median), spread.quarters())),
        met: measured.map(|spread| wanted.met(spread.median)),
    }
}

fn value(
    number: &'static str,
    what: impl Into<String>,
    wanted: Wanted,
    unit: Unit,
    measured: Option<&Figure>,
) -> Mark {
    Mark {
        number,
        what: what.into(),
        wanted: wanted.show(|value| unit.show(value)),
        measured: measured.map(Figure::show),
        met: measured.map(|figure| wanted.met(figure.spread.median)),
    }
}

fn over(one: Option<&Figure>, other: Option<&Figure>) -> Option<Spread> {
    one.zip(other).map(|(one, other)| one.over(other))
}

/// All of them.
pub(super) fn judge(figures: &[Figure]) -> Vec<Mark> {
    let run = Run(figures);
    let mut marks = produce(&run);
    marks.extend(consume(&run));
    marks.extend(single(&run));
    marks.extend(quic(&run));
    marks.extend(handshakes(&run));
    marks.extend(idle_connections(&run));
    marks.extend(growing(&run));
    marks.extend(starting(&run));
    marks
}

fn moved<'a>(run: &Run<'a>, work: records::Work, durability: Durability, sample: &str) -> Option<&'a Figure> {
    run.find("records", &work.to_string(), &name(Scheme::Tls, durability), sample)
}

fn stream<'a>(run: &Run<'a>, carrier: Carrier) -> Option<&'a Figure> {
    run.find("records", limits::BYTES, carrier.name(), "throughput")
}

fn produce(run: &Run<'_>) -> Vec<Mark> {
    let memory = moved(run, records::MARKED, Durability::Memory, "produce, bytes");
    let disk = moved(run, records::MARKED, Durability::Disk, "produce, bytes");
    let jetstream = run.find("records", &records::MARKED.to_string(), JETSTREAM, "produce, bytes");
    let file = limits::Writes::name(Some(limits::SYNCED));
    let file = run.find("records", limits::BYTES, &file, "throughput");
    let (of_memory, of_file) = (over(disk, memory), over(disk, file));
    let of =
        |part: &str, spread: Option<Spread>| spread.map(|spread| format!("{:.2} of {part}", spread.median));
    let measured: Vec<_> = [of("memory", of_memory), of("the file", of_file)].into_iter().flatten().collect();
    let enough = |spread: Option<Spread>, least| spread.map(|spread| spread.median >= least);
    let met = [enough(of_memory, 0.7), enough(of_file, 0.9)]
        .into_iter()
        .flatten()
        .reduce(|one, other| one || other);
    let disk = Mark {
        number: "1",
        what: "produce, disk".to_owned(),
        wanted: "at least 0.70 of memory, or 0.90 of a file with as many bytes a sync".to_owned(),
        measured: (!measured.is_empty()).then(|| measured.join(", ")),
        met,
    };
    let single = |contestant: &str| run.find("latency", limits::ONE, contestant, "round trip, p50");
    let durable = single(&name(Scheme::Tls, Durability::Disk));
    let bound = echo(run, "round trip, p50").zip(single(limits::Sync::NAME)).map(|(echo, sync)| {
        let rounds: Vec<_> = echo.rounds.iter().zip(&sync.rounds).map(|(echo, sync)| echo + sync).collect();
        Figure { spread: Spread::of(rounds.iter().copied()), rounds, ..sync.clone() }
    });
    vec![
        ratio(
            "1",
            "produce, memory, of bare tokio-rustls",
            Wanted::AtLeast(0.5),
            over(memory, stream(run, Carrier::Tls)),
        ),
        ratio("1", "produce, memory, of JetStream", Wanted::AtLeast(15.0), over(memory, jetstream)),
        disk,
        ratio(
            "1",
            "one durable record, p50, of echo and fdatasync",
            Wanted::AtMost(1.5),
            over(durable, bound.as_ref()),
        ),
    ]
}

/// Its name.
const JETSTREAM: &str = "NATS JetStream";

fn echo<'a>(run: &Run<'a>, sample: &str) -> Option<&'a Figure> {
    run.find("latency", limits::ONE, &limits::echo(Carrier::Tls), sample)
}

fn consume(run: &Run<'_>) -> Vec<Mark> {
    let marked = moved(run, records::MARKED, Durability::Memory, "consume, bytes");
    let small = |way| moved(run, records::SMALL, Durability::Memory, way);
    let five_million = Wanted::AtLeast(5e6);
    vec![
        ratio(
            "2",
            "consume, of bare tokio-rustls",
            Wanted::AtLeast(0.65),
            over(marked, stream(run, Carrier::Tls)),
        ),
        value("2", "produce, 128 B", five_million, Unit::PerSecond, small("produce")),
        value("2", "consume, 128 B", five_million, Unit::PerSecond, small("consume")),
    ]
}

fn single(run: &Run<'_>) -> Vec<Mark> {
    let ours = |sample| run.find("latency", limits::ONE, &name(Scheme::Tls, Durability::Memory), sample);
    let (p50, p99) = ("round trip, p50", "round trip, p99");
    let arrived = over(ours("to a consumer, p50"), echo(run, p50));
    vec![
        ratio("3", "one record, p50, of the echo", Wanted::AtMost(3.0), over(ours(p50), echo(run, p50))),
        ratio("3", "one record, p99, of the echo", Wanted::AtMost(3.0), over(ours(p99), echo(run, p99))),
        ratio("3", "producer to consumer, p50, of the echo", Wanted::AtMost(4.0), arrived),
    ]
}

fn quic(run: &Run<'_>) -> Vec<Mark> {
    let best = [Carrier::Quic, Carrier::QuicTuned].into_iter().filter_map(|carrier| stream(run, carrier));
    let best = best.max_by(|one, other| one.spread.median.total_cmp(&other.spread.median));
    let ours = stream(run, Carrier::Ours(Scheme::Quic));
    vec![ratio("4", "a stream over QUIC, of bare quinn at its best", Wanted::AtLeast(0.9), over(ours, best))]
}

fn handshakes(run: &Run<'_>) -> Vec<Mark> {
    let mut marks = Vec::new();
    for scheme in [Scheme::Tls, Scheme::Quic] {
        for resumed in [false, true] {
            let case = connects::by_processor(resumed);
            let cost =
                |maker| run.find("connects", &case, &connects::maker(maker, scheme), "CPU of a handshake");
            // More handshakes for the same time: the ratio is the other way round than that of times.
            let share = over(cost(Maker::Bare), cost(Maker::Ours));
            let what = format!("{scheme}, {} handshakes, of the bare one's", connects::word(resumed));
            marks.push(ratio("5", what, Wanted::AtLeast(0.9), share));
        }
        let contestant = name(scheme, Durability::Memory);
        let missed = run.find("connects", &connects::visits(true, 16), &contestant, "not resumed");
        marks.push(value(
            "5",
            format!("{scheme}, 16 at a time, not resumed"),
            Wanted::AtMost(0.0),
            Unit::Count,
            missed,
        ));
    }
    marks
}

fn idle_connections(run: &Run<'_>) -> Vec<Mark> {
    let mut marks = Vec::new();
    for (scheme, bare) in [(Scheme::Tls, Carrier::Tls), (Scheme::Quic, Carrier::Quic)] {
        let ours = name(scheme, Durability::Memory);
        let found = |contestant: &str, sample: &str| run.find("idle", idle::CASE, contestant, sample);
        let most = |contestant: &str| found(contestant, &idle::of(idle::MOST));
        let memory = over(most(&ours), most(bare.name()));
        marks.push(ratio(
            "6",
            format!("{scheme}, memory of an idle connection, of the bare one's"),
            Wanted::AtMost(1.2),
            memory,
        ));
        let live =
            over(found(&ours, &format!("{}, p99", idle::beside(idle::MOST))), found(&ours, idle::LIVE_ALONE));
        marks.push(ratio(
            "6",
            format!("{scheme}, p99 beside {} idle ones, of that alone", idle::MOST),
            Wanted::AtMost(1.2),
            live,
        ));
    }
    marks
}

fn growing(run: &Run<'_>) -> Vec<Mark> {
    let ours = name(Scheme::Tls, Durability::Memory);
    let found = |workload: &str, work: records::Work, sample: &str| {
        run.find(workload, &work.to_string(), &ours, sample)
    };
    let partitions = |count| found("growth with partitions", growth::by_partitions(count), "produce");
    let clients = |count| found("growth with clients", growth::by_clients(count), "produce");
    let stored = |part: &str| {
        found("growth with what is stored", records::MARKED, &format!("{part}, CPU of a record"))
    };
    vec![
        ratio(
            "7",
            "produce, 1,000 partitions of 1",
            Wanted::AtLeast(0.9),
            over(partitions(1000), partitions(1)),
        ),
        ratio("7", "produce, 256 clients of 1", Wanted::AtLeast(0.9), over(clients(256), clients(1))),
        // Flat: as far apart as rounds are.
        ratio(
            "7",
            "CPU of a record, at 1 GiB of that from empty",
            Wanted::AtMost(1.1),
            over(stored(growth::LONG), stored(growth::EMPTY)),
        ),
    ]
}

fn starting(run: &Run<'_>) -> Vec<Mark> {
    let started = run.find("start", start::START, "Sealstream", "time");
    let size = run.find("start", start::BINARY, "Sealstream", "size");
    vec![
        value("8", "start to first connection", Wanted::AtMost(0.1), Unit::Seconds, started),
        value("8", "the binary", Wanted::AtMost(15e6), Unit::Bytes, size),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_met_at_its_bound_missed_beyond_it_and_neither_where_nothing_was_measured() {
        let verdict = |wanted, median| {
            let measured = Spread { low: median, median, high: median };
            ratio("1", "it", wanted, Some(measured)).verdict()
        };
        assert_eq!(verdict(Wanted::AtLeast(0.5), 0.5), "met");
        assert_eq!(verdict(Wanted::AtLeast(0.5), 0.49), "**missed**");
        assert_eq!(verdict(Wanted::AtMost(1.2), 1.2), "met");
        assert_eq!(verdict(Wanted::AtMost(1.2), 1.21), "**missed**");
        assert_eq!(ratio("1", "it", Wanted::AtMost(1.2), None).verdict(), "not measured");
        assert!(judge(&[]).iter().all(|mark| mark.verdict() == "not measured"));
    }
}
