//! `bench connect`: connections a second, by full handshakes and by resumed ones, and how long each takes.
//!
//! Each worker has a transport and a memory of tickets of its own, and makes one connection after the other: connect, Hello,
//! Welcome, close. A ticket reaches a client with the first that it reads, so that without a session nothing could be resumed.
//! What counts as the handshake is the connecting alone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use sealstream_protocol::DEFAULT_PORT;
use sealstream_transport::{Endpoint, Handshake, Scheme};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::schedule::{Percentiles, histogram, record};
use crate::cli::args::BenchConnect;
use crate::cli::interrupt::Interrupt;
use crate::cli::link::Link;
use crate::cli::{Failure, logging, output};

/// A run ends after so many connections that failed: what they have in common is known by then.
const MAX_FAILURES: u64 = 100;

/// Measures by each transport that the URL names.
pub(super) fn run(args: &BenchConnect) -> Result<(), Failure> {
    logging::start("warn", args.connection.json)?;
    let endpoint = Endpoint::parse(&args.connection.url, DEFAULT_PORT)?;
    let schemes = match endpoint.scheme {
        Scheme::Auto => vec![Scheme::Tls, Scheme::Quic],
        scheme => vec![scheme],
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let interrupt = Interrupt::watch()?;
        let mut runs = Vec::new();
        for scheme in schemes {
            let endpoint = Endpoint { scheme, ..endpoint.clone() };
            for kind in [Kind::Full, Kind::Resumed] {
                if !interrupt.is_asked() {
                    runs.push(measure(args, &endpoint, kind, &interrupt).await?);
                }
            }
        }
        report(args, &runs, interrupt.is_asked())?;
        interrupt.outcome()
    })
}

/// Which handshakes are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Full,
    Resumed,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if *self == Self::Full { "full" } else { "resumed" })
    }
}

/// What was counted.
#[derive(Debug)]
struct Run {
    scheme: Scheme,
    kind: Kind,
    handshakes: Histogram<u64>,
    /// How many of them were resumed.
    resumed: u64,
    failed: u64,
    failure: Option<String>,
    took: Duration,
}

/// What the workers of a run share.
#[derive(Debug)]
struct Work {
    left: AtomicU64,
    failed: AtomicU64,
}

impl Work {
    /// Takes one connection upon itself, if there is one left.
    fn take(&self) -> bool {
        let one_less = |left: u64| left.checked_sub(1);
        self.failed.load(Ordering::Relaxed) < MAX_FAILURES
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

async fn measure(
    args: &BenchConnect,
    endpoint: &Endpoint,
    kind: Kind,
    interrupt: &Interrupt,
) -> Result<Run, Failure> {
    let work = Arc::new(Work { left: AtomicU64::new(args.connections.get()), failed: AtomicU64::new(0) });
    let mut links = Vec::new();
    for _ in 0..args.parallel.get() {
        let link = Link::new(&args.connection, endpoint)?;
        if kind == Kind::Resumed {
            // The first one has no ticket; it does not count. What is wrong with all of them is said here, with its remedy.
            link.hello().await?;
        }
        links.push(link);
    }
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for link in links {
        workers.spawn(worker(link, kind, Arc::clone(&work), interrupt.token()));
    }
    let mut run = Run {
        scheme: endpoint.scheme,
        kind,
        handshakes: histogram(),
        resumed: 0,
        failed: 0,
        failure: None,
        took: Duration::ZERO,
    };
    let mut links = Vec::new();
    while let Some(worked) = workers.join_next().await {
        let (part, link) = worked?;
        run.handshakes.add(&part.handshakes)?;
        run.resumed += part.resumed;
        run.failed += part.failed;
        run.failure = run.failure.or(part.failure);
        links.push(link);
    }
    run.took = start.elapsed();
    for link in links {
        link.drained().await;
    }
    match run.failure {
        Some(failure) if run.handshakes.is_empty() => Err(Failure::new(failure)),
        _ => Ok(run),
    }
}

/// What one worker has counted.
struct Part {
    handshakes: Histogram<u64>,
    resumed: u64,
    failed: u64,
    failure: Option<String>,
}

async fn worker(link: Link, kind: Kind, work: Arc<Work>, asked_to_end: CancellationToken) -> (Part, Link) {
    let mut part = Part { handshakes: histogram(), resumed: 0, failed: 0, failure: None };
    while !asked_to_end.is_cancelled() && work.take() {
        if kind == Kind::Full {
            link.forget();
        }
        match link.hello().await {
            Ok(greeted) => {
                record(&mut part.handshakes, greeted.connecting);
                part.resumed += u64::from(greeted.peer.handshake == Handshake::Resumed);
            }
            Err(failure) => {
                work.failed.fetch_add(1, Ordering::Relaxed);
                part.failed += 1;
                part.failure.get_or_insert_with(|| failure.to_string());
            }
        }
    }
    (part, link)
}

impl Run {
    fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 connections")]
        let count = self.handshakes.len() as f64;
        count / self.took.as_secs_f64().max(1e-9)
    }

    fn json(&self) -> Value {
        json!({
            "transport": self.scheme.as_str(), "asked_for": self.kind.to_string(), "handshakes": self.handshakes.len(),
            "resumed": self.resumed, "failed": self.failed, "failure": self.failure, "seconds": self.took.as_secs_f64(),
            "per_second": self.per_second(), "handshake": Percentiles::of(&self.handshakes).json(),
        })
    }

    fn row(&self) -> Vec<String> {
        let start = [
            self.scheme.to_string(),
            self.kind.to_string(),
            self.handshakes.len().to_string(),
            self.resumed.to_string(),
            self.failed.to_string(),
            format!("{:.0}", self.per_second()),
        ];
        start.into_iter().chain(Percentiles::of(&self.handshakes).cells()).collect()
    }
}

fn report(args: &BenchConnect, runs: &[Run], interrupted: bool) -> Result<(), Failure> {
    if args.connection.json {
        let runs: Vec<_> = runs.iter().map(Run::json).collect();
        return output::json(&json!({
            "bench": "connect", "url": args.connection.url, "parallel": args.parallel, "runs": runs, "interrupted": interrupted,
        }));
    }
    if interrupted {
        output::line("interrupted: the figures are of the connections that were made")?;
    }
    let names =
        ["transport", "asked for", "handshakes", "resumed", "failed", "per second"].map(str::to_owned);
    let heading: Vec<_> = names.into_iter().chain(Percentiles::heading()).collect();
    let rows: Vec<_> = std::iter::once(heading).chain(runs.iter().map(Run::row)).collect();
    output::table(&rows)?;
    for run in runs {
        if let Some(failure) = &run.failure {
            output::line(format_args!(
                "{} {}: {} failed; the first: {failure}",
                run.scheme, run.kind, run.failed
            ))?;
        }
    }
    if runs.iter().any(|run| run.failed > 0) {
        output::line(
            "a broker turns connections away beyond limits.address_rate and limits.connections: its log says so",
        )?;
    }
    Ok(())
}
