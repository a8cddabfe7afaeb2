//! `health`: whether a broker is there and well.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::{ConfigSource, Health};
use super::connect::with_client;
use super::{Failure, config, output, style};

/// 5 s for the monitor to answer, unless told otherwise: it is on this machine, and probes that hang are worse than probes that fail.
const MONITOR_PATIENCE: Duration = Duration::from_secs(5);

/// 64 KiB of the monitor's answer: a line for each reason.
const MAX_ANSWER: u64 = 64 << 10;

/// `health`: of the broker on this machine by its monitor, of one with a URL by a Hello.
pub(super) fn run(args: &Health) -> Result<(), Failure> {
    if args.has_url && args.monitor.is_none() { hello(args) } else { readiness(args) }
}

/// One session's Hello, without a second try for longer than the flag allows.
fn hello(args: &Health) -> Result<(), Failure> {
    let connection = &args.connection;
    with_client(connection, Duration::ZERO, |client| async move {
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

/// What `/readyz` of the monitor says.
fn readiness(args: &Health) -> Result<(), Failure> {
    let addr = match args.monitor {
        Some(addr) => addr,
        None => configured(args)?,
    };
    let patience = args.connection.timeout.map_or(MONITOR_PATIENCE, |span| span.0);
    let (ready, text) = ask(addr, patience).map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::InvalidData => {
                format!("what listens on {addr} is no monitor of a broker ({error})")
            }
            _ => format!("no monitor answers on {addr} ({error}): is the broker running?"),
        };
        Failure::new(format!("{what}: --monitor names another address, --url asks by a Hello"))
    })?;
    let reasons: Vec<&str> = text.lines().skip(1).collect();
    if !ready {
        return Err(Failure::new(format!("the broker is not ready: {}", reasons.join("; "))));
    }
    if args.connection.json {
        return output::json(&json!({ "ok": true, "monitor": addr.to_string() }));
    }
    let ok = style::out(style::GOOD, "ok:");
    output::line(format_args!("{ok} the broker is ready, as its monitor on {addr} says"))
}

/// The address on loopback that the configuration gives the monitor.
fn configured(args: &Health) -> Result<SocketAddr, Failure> {
    let source = ConfigSource { config: args.config.clone(), data_dir: None };
    let config = config::resolve(&source, None)?.config;
    let addresses = config.monitor.listen.addresses(&config.listen).map_err(Failure::Message)?;
    let found = addresses.into_iter().find(|addr| addr.ip().is_loopback() && addr.port() != 0);
    found.ok_or_else(|| {
        Failure::new(format!(
            "monitor.listen is \"{}\", which names no port on loopback: give --monitor ADDR, or --url URL to ask by a Hello",
            config.monitor.listen
        ))
    })
}

/// One GET of `/readyz`: whether it is ready, and what was said. HTTP/1.0, so that the answer ends with the connection.
fn ask(addr: SocketAddr, patience: Duration) -> io::Result<(bool, String)> {
    let patience = patience.max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&addr, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    write!(stream, "GET /readyz HTTP/1.0\r\nHost: {addr}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| strange("its answer is not HTTP".to_owned()))?;
    match head.split(' ').nth(1) {
        Some("200") => Ok((true, body.to_owned())),
        Some("503") => Ok((false, body.to_owned())),
        code => Err(strange(format!("it answered {}", code.unwrap_or("nothing")))),
    }
}

/// An answer that no monitor gives.
fn strange(answer: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, answer)
}
