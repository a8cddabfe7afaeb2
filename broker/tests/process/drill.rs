//! A fault of the broker's own, brought about on purpose: it ends one session and nothing else.

use crate::harness::{House, feed};

#[test]
fn a_panic_ends_its_session_alone_and_is_a_line_of_the_log() {
    let house = House::new();
    house.write("s.toml", "[drill]\npanic_topic = \"fire\"\n");
    let mut broker = house.serve_with("s.toml");
    house.run(["topic", "create", "fire", "--url", &broker.tls()]).ok();
    for (url, calm) in [(broker.tls(), "calm"), (broker.quic(), "calmer")] {
        house.run(["topic", "create", calm, "--url", &url]).ok();

        let mut bystander = house.command(["consume", calm, "--follow", "--count", "2", "--url", &url]);
        let bystander = bystander.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let bystander = bystander.spawn().unwrap();
        feed(house.command(["produce", calm, "--url", &url]), b"before\n".to_vec()).ok();
        let burnt = house.command(["produce", "fire", "--url", &url, "--timeout", "2s"]);
        feed(burnt, b"lost\n".to_vec()).failed();
        broker.process.wait_for("panicked");
        feed(house.command(["produce", calm, "--url", &url]), b"after\n".to_vec()).ok();
        let followed = bystander.wait_with_output().unwrap();
        assert!(followed.status.success(), "{}", String::from_utf8_lossy(&followed.stderr));
    }
    assert!(broker.process.said.contains("a drill: \"fire\""), "{}", broker.process.said);
    broker.stop();
}
