//! Writes `docs/metrics.md`: `cargo run -p sealstream-broker --example metrics > docs/metrics.md`.

fn main() {
    print!("{}", sealstream_broker::monitor::reference());
}
