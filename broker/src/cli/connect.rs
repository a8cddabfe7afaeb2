//! From the connection flags to a client, and what every client command does with it.

use std::path::PathBuf;
use std::time::Duration;

use sealstream_client::options::{DEFAULT_CONNECT_TIMEOUT, DEFAULT_HELLO_TIMEOUT};
use sealstream_client::{Client, RetryPolicy};
use sealstream_protocol::DEFAULT_PORT;
use sealstream_transport::Endpoint;

use super::args::Connection;
use super::context::chosen::TOKEN_VARIABLE;
use super::{Failure, logging};
use crate::config::Span;
use crate::devca;

/// Where `serve` keeps its data unless told otherwise: there a client on this machine finds the development CA.
const DEFAULT_DATA_DIR: &str = "./sealstream-data";

/// How long a command that answers at once waits for a broker.
pub(super) const SHORT: Duration = Duration::from_secs(10);

/// How long a command that moves data waits for a broker that went away: longer than a restart with recovery takes.
pub(super) const PATIENT: Duration = Duration::from_mins(2);

/// Runs a client command on a runtime of its own, with a client that gives up after the flag's or `default` time.
pub(super) fn with_client<F: Future<Output = Result<(), Failure>>>(
    connection: &Connection,
    default: Duration,
    command: impl FnOnce(Client) -> F,
) -> Result<(), Failure> {
    // Warnings too: whoever waits for a broker that is away is told so.
    logging::start("warn", connection.json)?;
    let timeout = connection.timeout.map_or(default, |span| span.0);
    let client = client(connection, timeout)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let outcome = command(client.clone()).await;
        client.close().await;
        outcome
    });
    outcome.map_err(|failure| with_context(failure, connection))
}

/// Names the context that the connection came from: whoever has several asks that first.
fn with_context(failure: Failure, connection: &Connection) -> Failure {
    match (failure, &connection.context) {
        (Failure::Message(message), Some(context)) if !context.name.is_empty() => {
            Failure::new(format!("{message} (context {})", context.name))
        }
        (failure, _) => failure,
    }
}

/// A client that has not connected yet.
fn client(connection: &Connection, retry_for: Duration) -> Result<Client, Failure> {
    let endpoint = Endpoint::parse(&connection.url, DEFAULT_PORT)?;
    let mut builder = Client::builder()
        .url(&connection.url)
        .name("sealstream command line")
        .retry(RetryPolicy::default().retry_for(retry_for));
    // Who is not to wait for longer waits for no single step for longer.
    if let Some(Span(timeout)) = connection.timeout.filter(|span| !span.0.is_zero()) {
        builder = builder
            .connect_timeout(timeout.min(DEFAULT_CONNECT_TIMEOUT))
            .hello_timeout(timeout.min(DEFAULT_HELLO_TIMEOUT));
    }
    if let Some(ca) = ca(connection, &endpoint) {
        builder = builder.ca_file(ca);
    }
    if let (Some(cert), Some(key)) = (&connection.cert, &connection.key) {
        builder = builder.identity_files(cert, key);
    }
    if let Some(file) = &connection.token_file {
        builder = builder.token_file(file);
    } else if let Some(token) = token_of_environment(connection) {
        builder = builder.token(token);
    }
    Ok(builder.build()?)
}

/// The token that the environment holds, where no file is named.
pub(super) fn token_of_environment(connection: &Connection) -> Option<String> {
    if connection.context.as_ref().is_some_and(|context| context.by_flag && !context.name.is_empty()) {
        return None;
    }
    std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty())
}

/// The CA to trust, if it is not the public roots.
pub(super) fn ca(connection: &Connection, endpoint: &Endpoint) -> Option<PathBuf> {
    if connection.ca.is_some() {
        return connection.ca.clone();
    }
    let loopback =
        endpoint.host.parse().map_or(endpoint.host == "localhost", |ip: std::net::IpAddr| ip.is_loopback());
    // Inside of a container the data directory is what the environment says.
    let data_dir = std::env::var_os("SEALSTREAM_DATA_DIR").filter(|dir| !dir.is_empty());
    let data_dir = data_dir.map_or_else(|| PathBuf::from(DEFAULT_DATA_DIR), PathBuf::from);
    Some(devca::ca_path(&data_dir)).filter(|path| loopback && path.exists())
}
