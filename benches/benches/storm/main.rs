//! What established streams notice of a storm of handshakes, and whether whoever keeps trying gets in.
//!
//! ```text
//! core 0   the broker, a process of its own
//! core 1   probes:   producers that wait for each acknowledgement, and note how long it took
//!          joiners:  clients that connect in the storm, with the retries of the SDK
//!          the flood, a process of its own at a lower priority: ten times as many handshakes a second as the broker
//!          completes, each begun and abandoned, from addresses all over 127.0.0.0/8
//! ```
//!
//! `cargo bench -p sealstream-benches --bench storm -- --table` prints a table. What the broker completes is measured first: full
//! handshakes of honest clients, by the processor's time that the broker spends on them. The flood computes nothing: it sends
//! Client Hellos made beforehand, over TCP from connections of their own; what one core can send is all there is. Linux only.

mod capacity;
mod flood;
mod probes;

use std::time::Duration;

use sealstream_benches::broker::{self, Broker};
use sealstream_benches::handshake::world::{Case, Key, World};
use sealstream_benches::process::pin;
use sealstream_transport::Scheme;

use flood::Flood;
use probes::{Joiners, Latencies, Probes};

/// How long latencies are noted, in quiet and in the storm.
const MEASURED: Duration = Duration::from_secs(10);

/// The storm is at its height after this.
const RISING: Duration = Duration::from_secs(2);

/// As many times the handshakes that the broker completes.
const STORM: f64 = 10.0;

/// The cores: one for the broker, one for all else.
const BROKER_CORE: usize = 0;
const OTHER_CORE: usize = 1;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(broker::ROLE) => broker::run(&arguments[2..]),
        Some(flood::ROLE) => flood::rage(&arguments[2..]),
        // Nothing of it is quick.
        _ if !arguments.iter().any(|argument| argument == "--table") => {
            println!("storm: pass `-- --table` for the table; it takes a minute");
        }
        _ => print(),
    }
}

fn print() {
    println!(
        "| | key | quiet p50 | quiet p99 | storm p50 | storm p99 | completed/s | offered/s | joiners in after (median, last) |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for scheme in [Scheme::Tls, Scheme::Quic] {
        for key in [Key::EcdsaP256, Key::Rsa2048] {
            println!("{}", Row::measure(scheme, key));
        }
    }
}

/// One transport's line.
struct Row {
    scheme: Scheme,
    key: Key,
    quiet: Latencies,
    storm: Latencies,
    completed: f64,
    offered: f64,
    joined: Latencies,
}

impl Row {
    fn measure(scheme: Scheme, key: Key) -> Self {
        let world = World::new(Case { key, ..Case::usual(scheme, false) });
        pin(BROKER_CORE);
        let server = Broker::start(&world);
        pin(OTHER_CORE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let probes = Probes::open(&server, scheme).await;
            let quiet = probes.measure(MEASURED).await;
            let completed = capacity::per_second(&server, scheme).await;
            let flood = Flood::start(&server, scheme, STORM * completed);
            tokio::time::sleep(RISING).await;
            let joiners = Joiners::start(&server, scheme);
            let storm = probes.measure(MEASURED).await;
            let joined = joiners.all_in().await;
            Self { scheme, key, quiet, storm, completed, offered: flood.stop(), joined }
        })
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scheme, key, quiet, storm, completed, offered, joined } = self;
        let ms =
            |latencies: &Latencies, share| format!("{:.2} ms", latencies.quantile(share).as_secs_f64() * 1e3);
        write!(
            f,
            "| {scheme} | {key:?} | {} | {} | {} | {} | {completed:.0} | {offered:.0} ({:.1} times) | {}, {} of {} |",
            ms(quiet, 0.5),
            ms(quiet, 0.99),
            ms(storm, 0.5),
            ms(storm, 0.99),
            offered / completed,
            ms(joined, 0.5),
            ms(joined, 1.0),
            joined.count(),
        )
    }
}
