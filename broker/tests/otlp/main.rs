//! Traces as a collector gets them from the real binary, and what becomes of the broker where the collector does not take them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod collector;
mod environment;
#[path = "../process/flows.rs"]
#[allow(dead_code, reason = "the tests of processes use all of it")]
mod flows;
#[path = "../process/harness.rs"]
#[allow(dead_code, reason = "the tests of processes use all of it")]
mod harness;
mod secrets;
mod spans;
mod trouble;

use std::process::Command;

use harness::{Broker, House, Process};

/// Soon: a test waits for it.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "100");

/// A broker that sends its traces to this URL, by more of `[traces]` and of the environment.
fn serve(house: &House, url: &str, more: &str, env: &[(&str, &str)]) -> Broker {
    let mut command = serving(house, &format!("[traces]\notlp = \"{url}\"\n{more}"), env);
    let mut process = Process::start(&mut command);
    let line = process.wait_for("export SEALSTREAM_URL=");
    let url = line.split("SEALSTREAM_URL=").nth(1).unwrap().split(' ').next().unwrap();
    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    Broker { process, port }
}

fn serving(house: &House, config: &str, env: &[(&str, &str)]) -> Command {
    house.write("s.toml", config);
    let mut command = house.command(["serve", "--config", "s.toml", "--listen", "127.0.0.1:0"]);
    command
        .env("SEALSTREAM_LOG", "info,sealstream_broker::traces=debug")
        .envs([SOON])
        .envs(env.iter().copied());
    command
}

/// Stops it in order; what it said.
#[track_caller]
fn stopped(mut broker: Broker) -> String {
    broker.process.signal("TERM");
    let status = broker.process.wait();
    assert!(status.success(), "{status:?}: {}", broker.process.said);
    std::mem::take(&mut broker.process.said)
}

fn produce(house: &House, url: &str, topic: &str) {
    let input = house.write("records", "one\ntwo\n");
    house.run(["produce", topic, "--file", input.to_str().unwrap(), "--url", url]).ok();
}
