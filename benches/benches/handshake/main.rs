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

mod bare_quic;
mod bare_tls;
mod cpu;
mod ends;
mod ours;
mod subject;
mod table;
mod world;

fn main() {
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    if asked("--list") {
        return;
    }
    cpu::print();
}
