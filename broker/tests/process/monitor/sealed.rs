//! The monitor on an address that is not loopback: HTTPS by the broker's identity, and who may read what.

use sealstream_transport::testing::pki::{Authority, Leaf};
use sealstream_transport::tls::{Material, Store};
use sealstream_transport::{Endpoint, Server, TcpTransport, Transport as _, TransportOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::http::{Answer, send};
use crate::harness::{House, Process};

/// One may administer the broker, others only look, and everybody may produce.
const CONFIG: &str = r#"
[tls]
cert = "server.pem"
key = "server.key"
client_certificates = "optional"
client_ca = "ca.pem"
watch = false

[monitor]
listen = "off"
viewers = ["spiffe://example.org/prometheus", "token:scraper"]

[[auth.rule]]
identity = "*"
actions = ["produce"]
topics = ["*"]

[[auth.rule]]
identity = "cn:admin"
actions = ["admin"]
topics = ["*"]
"#;

/// A broker whose monitor listens on all addresses.
struct World {
    house: House,
    authority: Authority,
    process: Process,
    /// Of the broker.
    url: String,
    /// Of the monitor.
    port: String,
}

impl World {
    fn new() -> Self {
        let house = House::new();
        let authority = Authority::new("CA");
        house.write("ca.pem", authority.pem());
        house.write("s.toml", CONFIG);
        issue(&house, &authority, "server", &Leaf::localhost());
        issue(&house, &authority, "admin", &Leaf::new().common_name("admin").for_clients());
        let mut command = house.command(["serve", "--config", "s.toml", "--listen", "127.0.0.1:0"]);
        let mut process = Process::start(command.env("SEALSTREAM_MONITOR_LISTEN", "0.0.0.0:0"));
        let line = process.wait_for("listening on tls://");
        process.wait_for("permissions are configured");
        let url = format!("tls://localhost:{}", line.trim_end().rsplit(':').next().unwrap());
        let port = process.monitor("https://0.0.0.0:");
        Self { house, authority, process, url, port }
    }

    /// A client that trusts the broker's CA and shows a certificate, or none.
    fn client(&self, leaf: Option<Leaf>) -> TcpTransport {
        let mut material = Material::new().with_roots([self.authority.trust()]);
        if let Some(leaf) = leaf {
            material = material.with_client_identity(self.authority.issue(&leaf.for_clients()).identity());
        }
        TcpTransport::new(Store::new(&material).unwrap().receiver(), TransportOptions::new("http/1.1", 443))
    }

    /// What a path has for a client, with a header of its own.
    fn ask(&self, client: &TcpTransport, path: &str, header: &str) -> Answer {
        let server = Server::named(Endpoint::parse(&format!("tls://localhost:{}", self.port), 443).unwrap());
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: broker.example\r\nConnection: close\r\n{header}\r\n");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let text = runtime.block_on(async {
            let outbound = client.connect(&server).await.unwrap();
            let mut stream = outbound.open().await.unwrap();
            stream.send.write_all(request.as_bytes()).await.unwrap();
            stream.send.flush().await.unwrap();
            let mut text = String::new();
            stream.recv.read_to_string(&mut text).await.unwrap();
            text
        });
        Answer::parse(&text)
    }
}

fn issue(house: &House, authority: &Authority, name: &str, leaf: &Leaf) -> Vec<u8> {
    let issued = authority.issue(leaf);
    house.write(&format!("{name}.key"), issued.key_pem());
    house.write(&format!("{name}.pem"), issued.chain_pem());
    issued.serial()
}

#[test]
fn away_from_loopback_all_is_sealed_and_only_viewers_see_more_than_readiness() {
    let world = World::new();
    // In plaintext there is nothing to be had.
    let plain =
        send(&format!("127.0.0.1:{}", world.port), "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(!plain.is_ok_and(|text| text.contains("200")), "HTTP was spoken");

    let nobody = world.client(None);
    assert_eq!(world.ask(&nobody, "/healthz", "").body, "ok\n");
    assert_eq!(world.ask(&nobody, "/readyz", "").body, "ready\n");
    for path in ["/metrics", "/v1/status", "/"] {
        let refused = world.ask(&nobody, path, "");
        assert_eq!(refused.code, 401, "{path}: {}", refused.body);
        assert!(refused.head.contains("www-authenticate: bearer"), "{}", refused.head);
    }
    let stranger = world.client(Some(Leaf::new().common_name("stranger")));
    let refused = world.ask(&stranger, "/metrics", "");
    assert_eq!(refused.code, 403);
    assert!(
        refused.body.contains("cn:stranger") && refused.body.contains("monitor.viewers"),
        "{}",
        refused.body
    );
    for leaf in [Leaf::new().uri("spiffe://example.org/prometheus"), Leaf::new().common_name("admin")] {
        let viewer = world.client(Some(leaf));
        let answer = world.ask(&viewer, "/metrics", "");
        assert!(answer.code == 200 && answer.body.contains("sealstream_ready 1\n"), "{}", answer.body);
        assert_eq!(world.ask(&viewer, "/v1/status", "").code, 200);
    }
}

#[test]
fn a_bearer_token_makes_a_viewer_and_a_bad_one_does_not() {
    let world = World::new();
    let admin = ["--ca", "ca.pem", "--cert", "admin.pem", "--key", "admin.key", "--url", &world.url];
    let create = |name| {
        let args = ["token", "create", name].into_iter().chain(admin);
        world.house.run(args).ok().trim().to_owned()
    };
    let (scraper, other) = (create("scraper"), create("other"));
    let nobody = world.client(None);
    let with =
        |token: &str| world.ask(&nobody, "/metrics", &format!("Authorization: Bearer {token}\r\n")).code;
    assert_eq!((with(&scraper), with(&other), with("slt1_wrong")), (200, 403, 401));
}

#[test]
fn a_renewed_certificate_is_shown_by_the_monitor_too() {
    let world = World::new();
    let viewer = world.client(Some(Leaf::new().common_name("admin")));
    let shown = || world.ask(&viewer, "/metrics", "").body;
    let serial = issue(&world.house, &world.authority, "server", &Leaf::localhost());
    let serial = serial.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    assert!(!shown().contains(&serial));
    world.process.signal("HUP");
    super::http::until(shown, |text| text.contains(&format!("serial=\"{serial}\"")));
}
