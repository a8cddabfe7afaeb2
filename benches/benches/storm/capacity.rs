//! How many full handshakes a second the broker completes, if it does nothing else.

use std::time::{Duration, Instant};

use sealstream_benches::broker::Broker;
use sealstream_protocol::{ALPN, DEFAULT_PORT};
use sealstream_transport::tls::{Material, Store, TrustSource};
use sealstream_transport::{Connector, Scheme, Server as Target, TransportOptions};
use tokio::task::JoinSet;

/// How long handshakes are counted.
const COUNTED: Duration = Duration::from_secs(3);

/// Clients at once.
const CLIENTS: usize = 8;

/// Handshakes per second of the broker's processor time. Nobody resumes: each client comes once.
pub(crate) async fn per_second(server: &Broker, scheme: Scheme) -> f64 {
    let end = Instant::now() + COUNTED;
    let cpu = server.cpu();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (url, ca) = (server.url(scheme), server.ca());
        clients.spawn(async move {
            let mut completed = 0_u32;
            while Instant::now() < end {
                let material = Material::new().with_roots([TrustSource::File(ca.clone())]);
                let trust = Store::new(&material).expect("a CA").receiver();
                let connector = Connector::new(&trust, &TransportOptions::new(ALPN, DEFAULT_PORT));
                let target = Target::named(connector.endpoint(&url).expect("a URL"));
                let connected = connector.connect(&target).await.expect("a connection");
                connected.close(0).await;
                completed += 1;
            }
            completed
        });
    }
    let completed: u32 = clients.join_all().await.iter().sum();
    f64::from(completed) / server.cpu().saturating_sub(cpu).as_secs_f64()
}
