//! The certificates of a broker and its clients, in files that are rotated while all of them run.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use sealstream_transport::testing::pki::{Authority, Leaf};

use crate::harness::{Broker, House};

/// The clients, by their common names.
pub(crate) const CLIENTS: [&str; 4] = ["producer", "reader", "member", OPERATOR];

/// Whoever may do everything.
pub(crate) const OPERATOR: &str = "operator";

/// The broker's configuration: nobody is let in without a certificate, and each client may do what it is there for.
const CONFIG: &str = r#"
[tls]
cert = "server.pem"
key = "server.key"
client_certificates = "required"
client_ca = "clients.pem"

[groups]
grace = "60s"

[[auth.rule]]
identity = "cn:operator"
actions = ["admin", "produce", "consume"]
topics = ["*"]

[[auth.rule]]
identity = "cn:producer"
actions = ["produce"]
topics = ["t"]

[[auth.rule]]
identity = "cn:reader"
actions = ["consume"]
topics = ["t"]

[[auth.rule]]
identity = "cn:member"
actions = ["consume"]
topics = ["t"]
"#;

/// All files, and who issues what is in them: `ca.pem` is what clients trust, `clients.pem` what the broker trusts.
pub(crate) struct Papers<'a> {
    house: &'a House,
    servers: Authority,
    clients: Authority,
}

impl<'a> Papers<'a> {
    /// The first of everything.
    pub(crate) fn new(house: &'a House, random: &mut StdRng) -> Self {
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let papers = Self { house, servers, clients };
        house.write("s.toml", CONFIG);
        house.write("ca.pem", papers.servers.pem());
        house.write("clients.pem", papers.clients.pem());
        papers.renew_server(random);
        for name in CLIENTS {
            papers.renew_client(name, random);
        }
        papers
    }

    /// Puts other bytes into a file, in place or by a rename.
    fn replace(&self, name: &str, content: &str, random: &mut StdRng) {
        if random.random() {
            self.house.write(name, content);
        } else {
            let next = self.house.write(&format!("{name}.next"), content);
            std::fs::rename(next, self.house.path(name)).unwrap();
        }
    }

    /// The broker gets another certificate of the same CA, and loads it by itself.
    pub(crate) fn renew_server(&self, random: &mut StdRng) {
        let issued = self.servers.issue(&Leaf::localhost());
        self.replace("server.pem", &issued.chain_pem(), random);
        self.replace("server.key", &issued.key_pem(), random);
    }

    /// A client gets another certificate of the same CA.
    pub(crate) fn renew_client(&self, name: &str, random: &mut StdRng) {
        let issued = self.clients.issue(&Leaf::new().common_name(name));
        self.replace(&format!("{name}.pem"), &issued.chain_pem(), random);
        // What comes in between finds a pair that does not fit.
        std::thread::sleep(Duration::from_millis(random.random_range(0..50)));
        self.replace(&format!("{name}.key"), &issued.key_pem(), random);
    }

    /// Another CA issues the broker's certificate: trusted beside the old one at first, then alone.
    pub(crate) fn move_servers(&mut self, broker: &Broker, random: &mut StdRng) {
        let next = Authority::new("servers");
        self.replace("ca.pem", &(self.servers.pem() + &next.pem()), random);
        self.servers = next;
        self.renew_server(random);
        self.reload(broker);
        self.replace("ca.pem", &self.servers.pem(), random);
    }

    /// Another CA issues the clients' certificates, the same way. Whoever is connected with one of the old CA is told so.
    pub(crate) fn move_clients(&mut self, broker: &Broker, random: &mut StdRng) {
        let next = Authority::new("clients");
        self.replace("clients.pem", &(self.clients.pem() + &next.pem()), random);
        self.reload(broker);
        self.clients = next;
        for name in CLIENTS {
            self.renew_client(name, random);
        }
        self.replace("clients.pem", &self.clients.pem(), random);
        self.reload(broker);
    }

    /// `tls reload`, straight to the broker.
    pub(crate) fn reload(&self, broker: &Broker) {
        let [cert, key] = ["pem", "key"].map(|kind| format!("{OPERATOR}.{kind}"));
        let url = broker.tls();
        let flags = ["--url", &url, "--ca", "ca.pem", "--cert", &cert, "--key", &key];
        self.house.run(["tls", "reload"].into_iter().chain(flags)).ok();
    }
}
