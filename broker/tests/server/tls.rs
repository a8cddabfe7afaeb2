//! What Admin sessions are told about TLS, and have done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sealstream_broker::server::{BrokerOptions, TlsControl};
use sealstream_client::Client;
use sealstream_protocol::message::admin::{
    ReloadOutcome, ReloadTls, ShowTls, TlsReload, TlsReloaded, TlsStatus, TrustInClients,
};
use sealstream_protocol::message::{FaultCode, Message};
use sealstream_transport::BoxFuture;
use tokio::sync::Semaphore;

use crate::harness::{TestBroker, assert_code, eventually};

/// Counts reloads; each waits until it is let go on.
#[derive(Debug)]
struct Counting {
    begun: AtomicU64,
    done: AtomicU64,
    gate: Semaphore,
}

impl Counting {
    fn new(open: usize) -> Arc<Self> {
        Arc::new(Self { begun: AtomicU64::new(0), done: AtomicU64::new(0), gate: Semaphore::new(open) })
    }
}

impl TlsControl for Counting {
    fn status(&self) -> TlsStatus {
        TlsStatus {
            epoch: [7; 32],
            certificates: Vec::new(),
            clients: TrustInClients {
                certificates: "optional".into(),
                authorities: 1,
                pins: 0,
                revocation_lists: Vec::new(),
            },
            resumption: "tickets".into(),
            reloads_accepted: self.done.load(Ordering::Relaxed),
            reloads_refused: 0,
            last_reload: None,
        }
    }

    fn reload(&self) -> BoxFuture<'_, TlsReloaded> {
        Box::pin(async {
            self.begun.fetch_add(1, Ordering::Relaxed);
            self.gate.acquire().await.expect("never closed").forget();
            self.done.fetch_add(1, Ordering::Relaxed);
            let reload = TlsReload {
                at_ms: 0,
                trigger: "request".into(),
                outcome: ReloadOutcome::Refused,
                trust_changed: false,
                text: "tls/server.pem: no certificate in it".into(),
            };
            TlsReloaded { reload, epoch: [7; 32] }
        })
    }
}

async fn broker(tls: &Arc<Counting>) -> TestBroker {
    let tls: Arc<dyn TlsControl> = tls.clone();
    TestBroker::with(BrokerOptions { tls: Some(tls), ..BrokerOptions::default() }).await
}

#[tokio::test]
async fn a_broker_that_was_given_no_say_in_tls_says_so_and_the_session_goes_on() {
    let broker = TestBroker::start().await;
    let mut admin = broker.admin().await;
    for request in [Message::ShowTls(ShowTls {}), Message::ReloadTls(ReloadTls {})] {
        admin.send(request).await;
        let Message::RequestRefused(fault) = admin.recv().await else { panic!("a refusal was due") };
        assert_code(&fault, FaultCode::Unsupported);
    }
    admin.create("events", 1).await;
    broker.stop().await;
}

#[tokio::test]
async fn what_is_served_and_what_came_of_a_reload_reaches_the_sdk() {
    let tls = Counting::new(1);
    let broker = broker(&tls).await;
    let client = Client::builder()
        .url(format!("tls://{}", broker.addr()))
        .transport(Arc::new(broker.network.clone()))
        .build()
        .unwrap();
    let admin = client.admin();
    let reloaded = admin.reload_tls().await.unwrap();
    assert_eq!(reloaded.reload.outcome, ReloadOutcome::Refused);
    assert_eq!(reloaded.reload.text, "tls/server.pem: no certificate in it");
    assert_eq!(admin.show_tls().await.unwrap(), tls.status());
    assert_eq!(tls.status().reloads_accepted, 1);
    broker.stop().await;
}

#[tokio::test]
async fn a_reload_goes_on_although_the_client_that_asked_for_it_is_gone() {
    let tls = Counting::new(0);
    let broker = broker(&tls).await;
    let mut admin = broker.admin().await;
    admin.send(Message::ReloadTls(ReloadTls {})).await;
    eventually("begun", async || tls.begun.load(Ordering::Relaxed) == 1).await;
    drop(admin);
    // Another session is served meanwhile, and so the loss of the first was noticed.
    broker.create("events", 1).await;
    tls.gate.add_permits(1);
    eventually("done", async || tls.done.load(Ordering::Relaxed) == 1).await;
    broker.stop().await;
}
