//! Certificates and CAs in files that are replaced while a client lives, over the real transports.

use std::path::PathBuf;
use std::time::Duration;

use sealstream_client::{Client, ClientEvent, ClientEvents, RetryPolicy};
use sealstream_protocol::limits::{ALPN, DEFAULT_PORT};
use sealstream_transport::memory::MemoryNetwork;
use sealstream_transport::testing::pki::{Authority, Leaf};
use sealstream_transport::tls::{ClientAuth, Material, Store};
use sealstream_transport::{QuicTransport, TcpTransport, Transport, TransportOptions};

use crate::fake::{Fake, Peer};

const SCHEMES: [&str; 2] = ["tls", "quic"];

/// A broker that asks for certificates, and the files of a client.
struct Bench {
    dir: tempfile::TempDir,
    scheme: &'static str,
    fake: Fake,
    store: Store,
    servers: Authority,
    clients: Authority,
}

impl Bench {
    async fn new(scheme: &'static str) -> Self {
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let store = Store::new(&serving(&servers, &clients)).unwrap();
        let options = TransportOptions::new(ALPN, DEFAULT_PORT);
        let transport: Box<dyn Transport> = match scheme {
            "quic" => Box::new(QuicTransport::new(store.receiver(), options)),
            _ => Box::new(TcpTransport::new(store.receiver(), options)),
        };
        let listener = transport.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let fake = Fake::behind(MemoryNetwork::new(), listener);
        let bench = Self { dir: tempfile::tempdir().unwrap(), scheme, fake, store, servers, clients };
        bench.write("ca.pem", &bench.servers.pem());
        bench.issue("first");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Puts a certificate of this name into the client's files.
    fn issue(&self, name: &str) {
        let issued = self.clients.issue(&Leaf::new().common_name(name));
        self.write("me.pem", &issued.chain_pem());
        self.write("me.key", &issued.key_pem());
    }

    fn client(&self) -> Client {
        let builder = Client::builder()
            .url(format!("{}://localhost:{}", self.scheme, self.fake.addr.port()))
            .ca_file(self.path("ca.pem"))
            .identity_files(self.path("me.pem"), self.path("me.key"))
            .retry(RetryPolicy::default().retry_for(Duration::from_secs(10)));
        builder.build().unwrap()
    }

    /// Has the client open a session on a new connection: by which name the broker knows it.
    async fn known_anew_as(&mut self, client: &Client) -> String {
        client.close().await;
        self.known_as(client).await
    }

    /// Has the client open a session: by which name the broker knows it.
    async fn known_as(&mut self, client: &Client) -> String {
        let play = async {
            let stream = self.fake.stream().await;
            let identity = stream.peer.identity.as_ref().unwrap().common_name.clone().unwrap();
            let mut peer = Peer::new(stream);
            peer.welcome(|_| {}).await;
            peer.finish().await;
            identity
        };
        let hello = async { client.hello().await.unwrap() };
        tokio::join!(hello, play).1
    }
}

fn serving(servers: &Authority, clients: &Authority) -> Material {
    let identity = servers.issue(&Leaf::localhost()).identity();
    Material::new().with_server_identity(identity).with_client_auth(ClientAuth::Required, [clients.trust()])
}

/// The next event of credentials.
async fn told(events: &mut ClientEvents) -> ClientEvent {
    loop {
        let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await.unwrap().unwrap();
        if let ClientEvent::CredentialsRenewed | ClientEvent::CredentialsRefused { .. } = event {
            return event;
        }
    }
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_shown_by_the_next_connection() {
    for scheme in SCHEMES {
        let mut bench = Bench::new(scheme).await;
        let client = bench.client();
        let mut events = client.events();
        assert_eq!(bench.known_anew_as(&client).await, "first", "{scheme}");
        bench.issue("second");
        assert_eq!(bench.known_anew_as(&client).await, "second", "{scheme}");
        assert!(matches!(told(&mut events).await, ClientEvent::CredentialsRenewed));
    }
}

#[tokio::test]
async fn files_at_fault_leave_the_old_certificate_in_use_and_say_so() {
    for scheme in SCHEMES {
        let mut bench = Bench::new(scheme).await;
        let client = bench.client();
        let mut events = client.events();
        // A certificate whose key has not come yet.
        let issued = bench.clients.issue(&Leaf::new().common_name("second"));
        bench.write("me.pem", &issued.chain_pem());
        for _ in 0..2 {
            assert_eq!(bench.known_anew_as(&client).await, "first", "{scheme}");
        }
        let ClientEvent::CredentialsRefused { fault } = told(&mut events).await else {
            panic!("a fault was due")
        };
        assert!(fault.contains("me.pem") && fault.contains("me.key"), "{fault}");
        bench.write("me.key", &issued.key_pem());
        assert_eq!(bench.known_anew_as(&client).await, "second", "{scheme}");
        // Nothing in between: a fault is told once.
        assert!(matches!(told(&mut events).await, ClientEvent::CredentialsRenewed));
        std::fs::remove_file(bench.path("me.pem")).unwrap();
        assert_eq!(bench.known_anew_as(&client).await, "second", "{scheme}");
        assert!(matches!(told(&mut events).await, ClientEvent::CredentialsRefused { .. }));
    }
}

#[tokio::test]
async fn a_ca_that_is_replaced_is_trusted_from_the_next_connection_on() {
    for scheme in SCHEMES {
        let mut bench = Bench::new(scheme).await;
        let client = bench.client();
        let next = Authority::new("next");
        bench.store.publish(&serving(&next, &bench.clients)).unwrap();
        let error = client.hello().await.expect_err("nobody vouches for it yet");
        assert!(!error.is_retryable(), "{scheme}: {error}");
        bench.write("ca.pem", &next.pem());
        assert_eq!(bench.known_anew_as(&client).await, "first", "{scheme}");
        bench.write("ca.pem", &bench.servers.pem());
        let error = client.hello().await.expect_err("nobody vouches for it any more");
        assert!(!error.is_retryable(), "{scheme}: {error}");
    }
}

#[tokio::test]
async fn a_connection_that_fell_with_an_old_ca_is_replaced_by_one_under_the_new() {
    for scheme in SCHEMES {
        let mut bench = Bench::new(scheme).await;
        let client = bench.client();
        let next = Authority::new("next");
        bench.write("ca.pem", &(bench.servers.pem() + &next.pem()));
        assert_eq!(bench.known_as(&client).await, "first", "{scheme}");
        bench.store.publish(&serving(&next, &bench.clients)).unwrap();
        assert_eq!(bench.known_as(&client).await, "first", "{scheme}");
        bench.write("ca.pem", &next.pem());
        assert_eq!(bench.known_as(&client).await, "first", "{scheme}");
    }
}

#[tokio::test]
async fn a_failure_for_good_waits_for_files_that_are_being_replaced() {
    for scheme in SCHEMES {
        let mut bench = Bench::new(scheme).await;
        let client = bench.client();
        let mut events = client.events();
        let next = Authority::new("next");
        bench.store.publish(&serving(&next, &bench.clients)).unwrap();
        // The broker's CA is another already; with a key that does not fit yet, nothing of it is taken.
        let issued = bench.clients.issue(&Leaf::new().common_name("second"));
        bench.write("ca.pem", &next.pem());
        bench.write("me.pem", &issued.chain_pem());
        let key = bench.path("me.key");
        let complete = async {
            assert!(matches!(told(&mut events).await, ClientEvent::CredentialsRefused { .. }));
            std::fs::write(key, issued.key_pem()).unwrap();
        };
        let (identity, ()) = tokio::join!(bench.known_as(&client), complete);
        assert_eq!(identity, "second", "{scheme}");
    }
}

#[tokio::test]
async fn a_session_gets_no_connection_that_was_made_with_an_older_certificate() {
    for scheme in SCHEMES {
        let mut bench = Bench::new(scheme).await;
        let client = bench.client();
        assert_eq!(bench.known_as(&client).await, "first", "{scheme}");
        bench.issue("second");
        assert_eq!(bench.known_as(&client).await, "second", "{scheme}");
        // But one is shared by all that come under the same.
        let connections = bench.fake.connections();
        assert_eq!(bench.known_as(&client).await, "second", "{scheme}");
        assert!(scheme == "tls" || bench.fake.connections() == connections, "{scheme}");
    }
}
