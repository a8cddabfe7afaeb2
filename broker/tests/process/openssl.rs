//! An independent TLS implementation looks at the broker's handshake.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sealstream_transport::testing::pki::{Authority, Leaf};

use crate::harness::{Broker, House, PATIENCE, Process, Ran};

fn s_client(house: &House, broker: &Broker, args: &[&str]) -> Ran {
    let ca = house.path("sealstream-data/dev-ca/ca.pem");
    Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{}", broker.port), "-CAfile"])
        .arg(ca)
        .args(["-verify_return_error", "-servername", "localhost"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed")
        .into()
}

#[test]
#[ignore = "needs openssl"]
fn openssl_sees_tls_1_3_and_a_verified_chain() {
    let house = House::new();
    let broker = house.serve();
    let said = s_client(&house, &broker, &["-alpn", "sealstream/1", "-verify_hostname", "localhost"]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.contains("TLSv1.3"), "{text}");
    assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
    assert!(text.contains("ALPN protocol: sealstream/1"), "{text}");
    broker.stop();
}

#[test]
#[ignore = "needs openssl"]
fn openssl_is_refused_with_tls_1_2_and_without_alpn() {
    let house = House::new();
    let broker = house.serve();
    let old = s_client(&house, &broker, &["-tls1_2", "-alpn", "sealstream/1"]);
    assert!(!old.status.success());
    assert!(old.stderr.contains("protocol version"), "{}", old.stderr);
    for args in [&[][..], &["-alpn", "h2"]] {
        let refused = s_client(&house, &broker, args);
        assert!(!refused.status.success(), "{args:?}: {}", refused.stderr);
        assert!(refused.stderr.contains("no application protocol"), "{args:?}: {}", refused.stderr);
    }
    broker.stop();
}

/// A broker with certificates of ours, which asks its clients for one.
struct Resuming {
    house: House,
    servers: Authority,
}

impl Resuming {
    fn new() -> Self {
        let (house, servers) = (House::new(), Authority::new("Servers"));
        house.write("ca.pem", servers.pem());
        house.write("clients.pem", Authority::new("Clients").pem());
        let config = "[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\nclient_certificates = \"optional\"\n\
                      client_ca = \"clients.pem\"\nwatch = false\n";
        house.write("s.toml", config);
        let resuming = Self { house, servers };
        resuming.renew();
        resuming
    }

    fn renew(&self) {
        let issued = self.servers.issue(&Leaf::localhost());
        self.house.write("server.pem", issued.chain_pem());
        self.house.write("server.key", issued.key_pem());
    }

    fn serve(&self) -> Broker {
        let args = ["serve", "--config", "s.toml", "--listen", "127.0.0.1:0"];
        let mut process = Process::start(&mut self.house.command(args));
        let line = process.wait_for("listening on tls://");
        let port = line.trim_end().rsplit(':').next().unwrap().parse().unwrap();
        process.wait_for("no permissions are configured");
        Broker { process, port }
    }

    fn client(&self, broker: &Broker, args: &[&str]) -> Command {
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-connect", &format!("127.0.0.1:{}", broker.port), "-CAfile"])
            .arg(self.house.path("ca.pem"))
            .args(["-verify_return_error", "-servername", "localhost", "-alpn", "sealstream/1"])
            .args(args);
        command
    }

    /// Connects in full, and keeps the session that it is given.
    fn session(&self, broker: &Broker) -> PathBuf {
        let file = self.house.path("session.pem");
        drop(std::fs::remove_file(&file));
        let mut command = self.client(broker, &["-sess_out", file.to_str().unwrap()]);
        let quiet = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = quiet.spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains("-----END")) {
            assert!(Instant::now() < deadline, "no ticket came");
            thread::sleep(Duration::from_millis(10));
        }
        drop(child.stdin.take());
        child.wait().unwrap();
        file
    }

    /// How a connection that offers the session is made: `New` or `Reused`.
    fn resumed(&self, broker: &Broker, session: &Path) -> String {
        let mut command = self.client(broker, &["-sess_in", session.to_str().unwrap()]);
        let said = command.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let line = text.lines().find(|line| line.contains(", TLSv1.3")).expect(&text);
        line.split(',').next().unwrap().to_owned()
    }
}

#[test]
#[ignore = "needs openssl"]
fn openssl_resumes_after_a_restart_and_a_renewal_and_not_after_a_change_of_ca() {
    let world = Resuming::new();
    let broker = world.serve();
    let session = world.session(&broker);
    assert_eq!(world.resumed(&broker, &session), "Reused", "a reconnect");
    broker.stop();

    let broker = world.serve();
    assert_eq!(world.resumed(&broker, &session), "Reused", "after a restart");
    world.renew();
    let url = broker.tls();
    let reload = || world.house.run(["tls", "reload", "--ca", "ca.pem", "--url", &url]).ok();
    reload();
    assert_eq!(world.resumed(&broker, &session), "Reused", "after a renewal");

    world.house.write("clients.pem", Authority::new("Other clients").pem());
    reload();
    assert_eq!(world.resumed(&broker, &session), "New", "after a change of CA");
    let session = world.session(&broker);
    assert_eq!(world.resumed(&broker, &session), "Reused");
    broker.stop();
    world.house.write("clients.pem", Authority::new("Yet others").pem());
    let broker = world.serve();
    assert_eq!(world.resumed(&broker, &session), "New", "after a change of CA while the broker was down");
    broker.stop();
}
