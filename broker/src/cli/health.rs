//! `health`: whether a broker is there and well.

use std::time::Instant;

use serde_json::json;

use super::args::Health;
use super::connect::with_client;
use super::{Failure, output, style};

/// `health`: one session's Hello, without a second try for longer than the flag allows.
pub(super) fn run(args: &Health) -> Result<(), Failure> {
    let connection = &args.connection;
    with_client(connection, std::time::Duration::ZERO, |client| async move {
        let start = Instant::now();
        let welcome = client.hello().await?;
        let taken = start.elapsed();
        if connection.json {
            return output::json(&json!({
                "ok": true, "broker": welcome.broker, "cluster": welcome.cluster, "identity": welcome.identity,
                "version": welcome.version, "incarnation": welcome.incarnation.to_string(),
                "milliseconds": taken.as_secs_f64() * 1e3,
            }));
        }
        let (broker, cluster, identity) = (&welcome.broker, &welcome.cluster, &welcome.identity);
        output::line(format_args!(
            "{} broker {broker} of cluster {cluster} in {:.1} ms; you are {identity}",
            style::out(style::GOOD, "ok:"),
            taken.as_secs_f64() * 1e3
        ))
    })
}
