//! An independent TLS implementation looks at the broker's handshake.

use std::process::{Command, Stdio};

use crate::harness::{Broker, House, Ran};

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
