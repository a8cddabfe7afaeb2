//! What a handshake costs, and what a connection holds afterwards: over both transports of ours, and over bare tokio-rustls
//! and bare quinn in the same run, with the same certificates, trust, tickets and cipher suites.
//!
//! `cargo bench -p sealstream-benches --bench handshake -- --table` prints, as Markdown:
//!
//! - the processor's time of a handshake, by transport, certificates, and whether it resumes a session;
//! - the heap of a handshake in flight, of an idle connection, and the size of a handshake's future;
//! - what a process holds while ten thousand TCP peers say nothing;
//! - what observers cost, and what none cost.
//!
//! Without `--table` each kind of handshake is made a few times, to see that it works. A name behind `--table` (`cpu`, `heap`,
//! `silent`, `observers`) prints that part alone.

mod cpu;
mod heap;
mod observers;
mod silent;
mod table;

use sealstream_benches::process;

/// A part of the tables, and how to print it.
type Part = (&'static str, fn());

const PARTS: [Part; 4] =
    [("cpu", cpu::print), ("heap", heap::print), ("silent", silent::print), ("observers", observers::print)];

fn main() {
    if silent::served_as_child() {
        return;
    }
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    if asked("--list") {
        return;
    }
    if !asked("--table") {
        return cpu::try_out();
    }
    process::raise_limit();
    let named: Vec<_> = PARTS.into_iter().filter(|(name, _)| asked(name)).collect();
    for (_, print) in if named.is_empty() { PARTS.to_vec() } else { named } {
        print();
    }
}
