//! Quotas as an operator sets them: checked, shown, changed while the broker runs, and shared.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Broker, House, PATIENCE, Process, Ran};

fn serve(house: &House, config: &str) -> Broker {
    house.write("s.toml", config);
    let mut process =
        Process::start(&mut house.command(["serve", "--config", "s.toml", "--listen", "127.0.0.1:0"]));
    let line = process.wait_for("listening on tls://");
    let port = line.trim_end().rsplit(':').next().unwrap().parse().unwrap();
    process.wait_for("no permissions are configured");
    Broker { process, port }
}

fn list(house: &House, broker: &Broker) -> Ran {
    house.run(["topic", "list", "--timeout", "1s", "--url", &broker.tls()])
}

#[test]
fn a_burst_below_the_largest_frame_is_told_with_the_remedy_before_anything_is_served() {
    let house = House::new();
    house.write("s.toml", "[quotas]\nproduced = \"1MiB/s\"\nproduced_burst = \"1MiB\"\n");
    for command in [["config", "check", "--config", "s.toml"].as_slice(), &["serve", "--config", "s.toml"]] {
        let error = house.run(command.iter().copied()).failed();
        assert!(error.contains("quotas.produced_burst is 1MiB"), "{error}");
        assert!(error.contains("raise the former to 16MiB") && error.contains("limits.frame"), "{error}");
    }
    house.write(
        "s.toml",
        "[limits]\nframe = \"1MiB\"\n[quotas]\nproduced = \"1MiB/s\"\nproduced_burst = \"1MiB\"\n",
    );
    house.run(["config", "check", "--config", "s.toml"]).ok();
}

#[test]
fn what_is_shown_of_quotas_can_be_used_as_a_file() {
    let house = House::new();
    let config = "[quotas]\nproduced = \"10MiB/s\"\nrequests = \"600/min\"\nstore = \"redis://127.0.0.1:6379/2\"\n\
                  [quotas.address]\nrequests = \"100/s\"\n[[quotas.identity]]\npattern = \"dns:batch*\"\nproduced = \"0\"\n";
    house.write("s.toml", config);
    let shown = house.run(["config", "show", "--config", "s.toml"]).ok();
    assert!(shown.contains("10MiB/s") && shown.contains("dns:batch*"), "{shown}");
    house.write("again.toml", &shown);
    let again = house.run(["config", "show", "--config", "again.toml"]).ok();
    assert!(again.contains("100/s") && again.contains("redis://127.0.0.1:6379/2"), "{again}");
}

#[test]
fn quotas_are_read_anew_by_a_hangup() {
    let house = House::new();
    let mut broker = serve(&house, "[quotas]\nrequests = \"1/h\"\n");
    list(&house, &broker).ok();
    let error = list(&house, &broker).failed();
    assert!(error.contains("quota-exceeded (60)") && error.contains("1 in 3600s"), "{error}");
    house.write("s.toml", "[quotas]\nrequests = \"1000/s\"\n");
    broker.process.signal("HUP");
    broker.process.wait_for("reloaded");
    for _ in 0..3 {
        list(&house, &broker).ok();
    }
    broker.stop();
}

/// Ends with the test.
struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        // Killed by the test already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn redis(house: &House) -> (Redis, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(house.path("."))
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let redis = Redis(child);
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < PATIENCE, "redis-server takes no connections");
        std::thread::sleep(Duration::from_millis(5));
    }
    (redis, port)
}

#[test]
#[ignore = "needs redis-server"]
fn two_brokers_with_one_redis_share_a_quota_and_say_when_it_is_away() {
    let (first_house, second_house) = (House::new(), House::new());
    let (redis, port) = redis(&first_house);
    let config = format!(
        "[quotas]\nrequests = \"3/h\"\nrequests_burst = 3\nstore = \"redis://127.0.0.1:{port}\"\non_redis_loss = \"open\"\n"
    );
    let mut first = serve(&first_house, &config);
    let second = serve(&second_house, &config);
    list(&first_house, &first).ok();
    list(&second_house, &second).ok();
    list(&first_house, &first).ok();
    for (house, broker) in [(&first_house, &first), (&second_house, &second)] {
        let error = list(house, broker).failed();
        assert!(error.contains("quota-exceeded (60)"), "{error}");
    }
    drop(redis);
    let said = first.process.wait_for("Redis is away");
    assert!(said.contains("open"), "{said}");
    for _ in 0..5 {
        list(&first_house, &first).ok();
    }
    first.stop();
    second.stop();
}

#[test]
#[ignore = "needs redis-server"]
fn what_exceeds_a_shared_quota_of_bytes_arrives_whole_and_in_order_all_the_same() {
    let house = House::new();
    let (_redis, port) = redis(&house);
    let config = format!(
        "[limits]\nframe = \"64KiB\"\n[quotas]\nproduced = \"100KiB/s\"\nproduced_burst = \"64KiB\"\n\
         consumed = \"100KiB/s\"\nconsumed_burst = \"64KiB\"\nstore = \"redis://127.0.0.1:{port}\"\n"
    );
    let broker = serve(&house, &config);
    house.run(["topic", "create", "events", "--url", &broker.tls()]).ok();
    let lines = (0..20_000).map(|line| format!("line {line}\n")).collect::<Vec<_>>().concat();
    house.write("lines", &lines);
    house.run(["produce", "events", "--file", "lines", "--batch-bytes", "8192", "--url", &broker.tls()]).ok();
    let found = house.run(["consume", "events", "--url", &broker.tls()]).ok();
    assert!(found == lines, "{} bytes of {}", found.len(), lines.len());
    broker.stop();
}

#[test]
fn a_reload_tells_that_quotas_have_changed_and_which_keys_wait_for_the_next_start() {
    let house = House::new();
    let mut broker = serve(&house, "[tls]\nwatch = false\n[quotas]\nrequests = \"1000/s\"\n");
    let url = broker.tls();
    let reload = || house.run(["tls", "reload", "--url", &url]).ok();
    assert!(reload().contains("unchanged: the TLS files say what they said before\n"));
    let config =
        "[tls]\nwatch = false\n[quotas]\nrequests = \"2000/s\"\n[limits]\nidle = \"2h\"\nhandshakes = 500\n";
    house.write("s.toml", config);
    let said = reload();
    for part in [
        "changed: published: quotas and limits have changed",
        "limits.idle has changed and waits for the next start",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let shown = house.run(["tls", "show", "--url", &broker.tls()]).ok();
    assert!(shown.contains("quotas and limits have changed"), "{shown}");
    let line = broker.process.wait_for("quotas, limits");
    assert!(line.contains("limits.idle"), "{line}");
    let again = reload();
    assert!(again.contains("unchanged: ") && again.contains("limits.idle has changed"), "{again}");
    broker.stop();
}

#[test]
fn a_producer_that_a_quota_holds_back_is_told_so_once_and_in_units() {
    let house = House::new();
    let broker = serve(
        &house,
        "[limits]\nframe = \"64KiB\"\n[quotas]\nproduced = \"256KiB/s\"\nproduced_burst = \"256KiB\"\n",
    );
    house.run(["topic", "create", "t", "--url", &broker.tls()]).ok();
    let input = house.write("lines", format!("{}\n", "x".repeat(999)).repeat(1200));
    let produce =
        ["produce", "t", "--batch-bytes", "32KiB", "--file", input.to_str().unwrap(), "--url", &broker.tls()];
    let ran = house.run(produce);
    assert!(ran.status.success(), "{}", ran.stderr);
    let told = ran.stderr.matches("a quota holds this producer back").count();
    assert_eq!(told, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("256.0 KiB in 1s"), "{}", ran.stderr);
    broker.stop();
}
