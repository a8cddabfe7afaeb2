//! `doctor`: what would keep a broker from serving, or a client from being served, each with its remedy.
//!
//! ```text
//! gather/  reads files, binds ports, writes a probe, dials ──► facts ──► judges (one file a subject, pure) ──► findings ──► lines or JSON
//! ```
//!
//! What a machine is like is gathered apart from what is thought of it: every judgement is a function of facts that a test can make up.
//!
//! **Bounds.** Each dial, each look at a port and the probe of the disk has a deadline or a count; the subjects follow one
//! another. Nothing is left behind: the probe file is removed by its owner's drop.

mod clock;
mod configuration;
mod disk;
mod finding;
mod gather;
mod keys;
mod limits;
mod ports;
mod reach;

use std::time::SystemTime;

use sealstream_protocol::DEFAULT_PORT;
use sealstream_transport::{Endpoint, Scheme};
use serde_json::json;

use self::finding::{Finding, Level};
use self::gather::reach::Target;
use super::args::{Connection, Doctor};
use super::{Failure, config, logging, output, style};
use crate::config::Config;

/// What the URL is unless somebody says otherwise.
const DEFAULT_URL: &str = "tls://localhost:7420";

/// Looks at everything, and says what it found.
pub(super) fn run(args: &Doctor) -> Result<(), Failure> {
    // What is wrong comes out as findings.
    logging::start("error", args.connection.json)?;
    let url_given = args.connection.url != DEFAULT_URL;
    let endpoint = Endpoint::parse(&args.connection.url, DEFAULT_PORT)?;
    let broker_side = args.config.config.is_some() || args.config.data_dir.is_some() || !url_given;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut findings = Vec::new();
    let mut data_dir = None;
    let mut target = url_given.then(|| Target::of_url(endpoint.clone()));
    if broker_side {
        match config::resolve(&args.config, []) {
            Err(failure) => findings.push(Finding::fail("configuration", failure.to_string(), None)),
            Ok(resolved) => {
                let host = url_given.then_some(endpoint.host.as_str());
                let (found, own) = examine_broker(args, &resolved.config, host);
                findings.extend(found);
                target = target.or(own);
                data_dir = Some(resolved.config.data_dir);
            }
        }
    }
    findings.extend(keys::judge(&gather::files::of_client(&args.connection), unix_now()));
    findings.extend(clock::judge(&gather::machine::clock(data_dir.as_deref()), unix_now()));
    if let Some(target) = target {
        let facts = runtime.block_on(gather::reach::dial(&args.connection, &target));
        findings.extend(reach::judge(&facts, unix_now()));
    }
    report(&args.connection, &findings)
}

/// What there is on the broker's machine; and where a broker is running by this configuration, how to reach it.
fn examine_broker(args: &Doctor, config: &Config, host: Option<&str>) -> (Vec<Finding>, Option<Target>) {
    let mut findings =
        configuration::judge(config, args.config.config.as_deref(), gather::files::quotas(config));
    let keys = gather::files::keys(config, host);
    findings.extend(keys::judge(&keys, unix_now()));
    let ports = gather::ports::look(config);
    findings.extend(ports::judge(&ports));
    findings.extend(disk::judge(&gather::disk::look(config)));
    findings.extend(limits::judge(&gather::machine::limits(config)));
    let running = ports::may_be_ours(&ports);
    if !running && host.is_none() {
        let text = "no broker is running by this configuration: there is none to reach";
        findings.push(Finding::ok("reach", text.to_owned()));
    }
    (findings, running.then(|| Target::of_config(config, &keys)))
}

fn report(connection: &Connection, findings: &[Finding]) -> Result<(), Failure> {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (failed, warned) = (count(Level::Fail), count(Level::Warn));
    if connection.json {
        let all: Vec<_> = findings.iter().map(Finding::json).collect();
        output::json(&json!({ "ok": failed == 0, "failed": failed, "warned": warned, "findings": all }))?;
    } else {
        for finding in findings {
            output::line(finding.line(style::out))?;
        }
    }
    if failed > 0 {
        return Err(Failure::new(format!("{failed} of {} checks failed", findings.len())));
    }
    Ok(())
}

/// In seconds since the Unix epoch.
fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A day, in seconds.
const DAY: i64 = 86_400;

/// Seconds since the Unix epoch as RFC 3339 in UTC.
fn date(seconds: i64) -> String {
    output::time(seconds.saturating_mul(1000))
}

/// In hours, or in days where there are more than two.
fn time_left(seconds: i64) -> String {
    match seconds {
        ..=172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / DAY),
    }
}

/// Both ways to a host.
const BOTH: [Scheme; 2] = [Scheme::Tls, Scheme::Quic];
