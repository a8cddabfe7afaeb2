//! Dials the broker by either transport, and asks what we may do.

use std::time::Duration;

use sealstream_protocol::message::Message;
use sealstream_protocol::message::admin::{Action, CheckAccess};
use sealstream_transport::{ConnectError, Endpoint, Negotiated, Scheme};
use tokio::time::timeout;

use super::ports::nearest;
use crate::cli::Failure;
use crate::cli::args::Connection;
use crate::cli::doctor::BOTH;
use crate::cli::doctor::keys::KeyFacts;
use crate::cli::doctor::reach::{Met, ReachFacts, Rights, Unmet, Way};
use crate::cli::link::{Greeted, Link};
use crate::config::{Config, TransportName};
use crate::devca;

/// How long one way may take, unless `--timeout` says otherwise: a little more than the transport gives itself, whose error says more.
const PATIENCE: Duration = Duration::from_secs(15);

/// What can be allowed.
const ACTIONS: [Action; 3] = [Action::Produce, Action::Consume, Action::Admin];

/// A broker to be dialled.
#[derive(Clone, Debug)]
pub(in crate::cli::doctor) struct Target {
    /// Its scheme is the way that must lead there.
    endpoint: Endpoint,
    ways: Vec<Scheme>,
    /// What its certificate must show, where that is not the host.
    name: Option<String>,
    /// The CA of its own certificate, where it made that itself.
    ca: Option<std::path::PathBuf>,
}

impl Target {
    /// The broker at a URL that was given.
    pub(in crate::cli::doctor) fn of_url(endpoint: Endpoint) -> Self {
        Self { endpoint, ways: BOTH.to_vec(), name: None, ca: None }
    }

    /// The broker that runs on this machine by this configuration.
    pub(in crate::cli::doctor) fn of_config(config: &Config, keys: &KeyFacts) -> Self {
        let scheme = |name: &TransportName| match name {
            TransportName::Tls => Scheme::Tls,
            TransportName::Quic => Scheme::Quic,
        };
        let ways: Vec<_> = config.transports.iter().map(scheme).collect();
        // The check has made sure that there is one of each.
        let address = config.listen.first().copied().map_or_else(|| ([127, 0, 0, 1], 0).into(), nearest);
        let first = ways.first().copied().unwrap_or(Scheme::Tls);
        let own = config.tls.cert.is_none();
        Self {
            endpoint: Endpoint::at(first, address),
            ways,
            name: if own { Some("localhost".to_owned()) } else { name_of(keys) },
            ca: own.then(|| devca::ca_path(&config.data_dir)).filter(|ca| ca.exists()),
        }
    }
}

/// A name that clients can ask for, of the certificate that is served to those who ask for none.
fn name_of(keys: &KeyFacts) -> Option<String> {
    let names = &keys.certificates.first()?.names;
    names
        .iter()
        .find_map(|name| name.strip_prefix("DNS:").or_else(|| name.strip_prefix("IP:")))
        .map(without_wildcard)
}

/// A name that `*.example` covers.
fn without_wildcard(name: &str) -> String {
    name.strip_prefix("*.").map_or_else(|| name.to_owned(), |parent| format!("any.{parent}"))
}

pub(in crate::cli::doctor) async fn dial(connection: &Connection, target: &Target) -> ReachFacts {
    let asked_for = target.endpoint.scheme;
    let (mut ways, mut rights) = (Vec::new(), None);
    for scheme in &target.ways {
        let endpoint = Endpoint { scheme: *scheme, ..target.endpoint.clone() };
        let url = endpoint.to_string();
        let link = match link(connection, target, &endpoint) {
            Ok(link) => link,
            // A file of ours: it is the same on every way.
            Err(failure) => {
                let way = Way {
                    scheme: asked_for,
                    url,
                    outcome: Err(Unmet { fault: failure.to_string(), silent: false }),
                };
                return ReachFacts { asked_for, ways: vec![way], rights: None };
            }
        };
        let outcome = match meet(connection, &endpoint, &link).await {
            Ok(greeted) => {
                rights = rights.or_else(|| rights_of(&greeted.welcome.identity, &greeted.answers));
                Ok(described(greeted))
            }
            Err(unmet) => Err(unmet),
        };
        ways.push(Way { scheme: *scheme, url, outcome });
    }
    ReachFacts { asked_for, ways, rights }
}

fn link(connection: &Connection, target: &Target, endpoint: &Endpoint) -> Result<Link, Failure> {
    let link = match &target.ca {
        Some(ca) if connection.ca.is_none() => Link::trusting(connection, endpoint, ca)?,
        _ => Link::new(connection, endpoint)?,
    };
    Ok(match &target.name {
        Some(name) => link.expecting(name.clone()),
        None => link,
    })
}

async fn meet(connection: &Connection, endpoint: &Endpoint, link: &Link) -> Result<Greeted, Unmet> {
    let patience = connection.timeout.map_or(PATIENCE, |span| span.0);
    let met = timeout(patience, link.hello_and_ask(questions())).await;
    // Before the process ends, or the broker hears nothing of the end.
    let _ = timeout(patience, link.drained()).await;
    let told = |failure: Failure, silent| Unmet { fault: failure.to_string(), silent };
    match met {
        Ok(Ok(greeted)) => Ok(greeted),
        Ok(Err(missed)) => Err(told(missed.failure, missed.silent)),
        // As the transport has it where its own deadline is the shorter one.
        Err(_) => {
            Err(told(ConnectError::TimedOut { target: endpoint.to_string(), after: patience }.into(), true))
        }
    }
}

fn described(greeted: Greeted) -> Met {
    let Greeted { connecting, answering, peer, welcome, .. } = greeted;
    let sealed_by = |negotiated: &Negotiated| match negotiated.group {
        Some(group) => format!("{} over {group}", negotiated.suite),
        None => negotiated.suite.to_owned(),
    };
    Met {
        connecting,
        answering,
        sealed_by: peer.negotiated.as_deref().map(sealed_by).unwrap_or_default(),
        not_after: peer.identity.map(|identity| identity.not_after),
        broker: welcome.broker,
        cluster: welcome.cluster,
        identity: welcome.identity,
    }
}

/// The questions whose answers are [`rights_of`].
fn questions() -> Vec<Message> {
    let ask =
        |action| Message::CheckAccess(CheckAccess { identity: String::new(), action, topic: "*".to_owned() });
    ACTIONS.into_iter().map(ask).collect()
}

/// What the broker's rules let us do with all topics.
fn rights_of(identity: &str, answers: &[Message]) -> Option<Rights> {
    let allowed = |answer: &Message| match answer {
        Message::AccessChecked(checked) => Some(checked.allowed),
        _ => None,
    };
    let actions = ACTIONS.iter().zip(answers).map(|(action, answer)| Some((action.name(), allowed(answer)?)));
    let actions: Vec<_> = actions.collect::<Option<_>>()?;
    (actions.len() == ACTIONS.len()).then(|| Rights { identity: identity.to_owned(), actions })
}
