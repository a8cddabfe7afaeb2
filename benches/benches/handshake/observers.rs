//! What it costs that handshakes can be observed: the calls that a backend makes in one, without the handshake.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use sealstream_benches::markdown::row;
use sealstream_benches::spread::Spread;
use sealstream_transport::observe::{HandshakeObserver, Observers};
use sealstream_transport::testing::observe_handshake;

/// An odd number has a median; a second in all.
const ROUNDS: usize = 21;

/// Handshakes of one measurement.
const HANDSHAKES: u32 = 10_000;

/// Is told of everything and does nothing.
struct Nobody;

impl HandshakeObserver for Nobody {}

/// Measures a handshake that nobody watches, and one that is watched in vain.
pub(crate) fn print() {
    println!("\nObserving one handshake on the accepting side of TCP, nanoseconds\n");
    row(["observers", "median"]);
    row(["---"; 2]);
    row(["none".to_owned(), nanoseconds(&Observers::default())]);
    row(["one that does nothing".to_owned(), nanoseconds(&Observers::new([Arc::new(Nobody) as Arc<_>]))]);
}

fn nanoseconds(observers: &Observers) -> String {
    let round = |_| {
        let start = Instant::now();
        for _ in 0..HANDSHAKES {
            observe_handshake(black_box(observers));
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(HANDSHAKES)
    };
    format!("{:.0}", Spread::of((0..ROUNDS).map(round)).median)
}
