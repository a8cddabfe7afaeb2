//! Asking, by bare sockets, and the bounds of whoever asks.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{House, PATIENCE, feed};

/// An answer.
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Self { code, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
}

/// Sends what is given, and reads until the connection ends.
pub(super) fn send(addr: &str, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        // A connection that is refused in the middle of a request.
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

/// One request by HTTP/1.1.
pub(super) fn ask(addr: &str, method: &str, path: &str) -> io::Result<Answer> {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    send(addr, &request).map(|text| Answer::parse(&text))
}

/// What a path has.
#[track_caller]
pub(crate) fn get(addr: &str, path: &str) -> String {
    let answer = ask(addr, "GET", path).unwrap();
    assert_eq!(answer.code, 200, "{path}: {}", answer.body);
    answer.body
}

/// `/v1/status`.
#[track_caller]
pub(super) fn status(addr: &str) -> Value {
    serde_json::from_str(&get(addr, "/v1/status")).unwrap()
}

/// Asks again until `holds`.
#[track_caller]
pub(crate) fn until<T>(mut ask: impl FnMut() -> T, holds: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if holds(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "it did not come to hold in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_status_has_who_is_connected_and_what_went_through() {
    let house = House::new();
    let broker = house.serve();
    let (url, monitor) = (broker.quic(), broker.monitor());
    house.run(["topic", "create", "events", "--partitions", "3", "--url", &url]).ok();
    feed(house.command(["produce", "events", "--url", &url]), b"one\ntwo\nthree\n".to_vec()).ok();
    house.run(["consume", "events", "--group", "readers", "--count", "2", "--url", &url]).ok();
    let mut follower = house
        .command(["consume", "events", "--follow", "--url", &url])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let consuming = |status: &Value| status["sessions"]["consume"]["now"] == 1;
    let status = until(|| status(&monitor), consuming);
    follower.kill().unwrap();
    follower.wait().unwrap();

    let connections = status["connections"].as_array().unwrap();
    let connection = connections.iter().find(|c| c["sessions"][0]["kind"] == "consume").unwrap();
    assert_eq!((&connection["transport"], &connection["identity"]), (&"quic".into(), &"anonymous".into()));
    assert!(connection["suite"].as_str().unwrap().starts_with("TLS_"), "{connection}");
    assert!(connection["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(connection["resumed"].is_boolean());
    assert_eq!(connection["sessions"][0]["client"], "sealstream command line");
    let topic = &status["topics"][0];
    assert_eq!((&topic["name"], &topic["partitions"]), (&"events".into(), &3.into()));
    assert_eq!((&topic["records"], &topic["produced_records"]), (&3.into(), &3.into()));
    let group = &status["groups"][0];
    assert_eq!((&group["name"], &group["lag"], &group["members"]), (&"readers".into(), &1.into(), &0.into()));
    assert_eq!(status["status"]["largest_topics"][0]["name"], "events");
    assert_eq!(status["tls"]["certificates"][0]["subject"], "CN=localhost");
    assert!(status["disk"]["free"].as_u64().unwrap() > 0);
    assert_eq!(status["ready"], true);
    broker.stop();
}

#[test]
fn nothing_but_get_and_head_is_answered_and_nothing_but_this_machines_names() {
    let house = House::new();
    let broker = house.serve();
    let monitor = broker.monitor();
    let refused = ask(&monitor, "POST", "/metrics").unwrap();
    assert_eq!(refused.code, 405);
    assert!(refused.head.contains("allow: get, head"), "{}", refused.head);
    let head = ask(&monitor, "HEAD", "/metrics").unwrap();
    assert_eq!((head.code, head.body.as_str()), (200, ""));
    assert_eq!(ask(&monitor, "GET", "/nothing").unwrap().code, 404);
    // A page in a browser whose name was made to point at this machine.
    let rebound =
        send(&monitor, "GET /v1/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert_eq!(Answer::parse(&rebound.unwrap()).code, 421);
    let long = format!("GET / HTTP/1.1\r\nHost: {monitor}\r\nCookie: {}\r\n\r\n", "c".repeat(64 << 10));
    // The answer may be lost with the connection; what may not be is an answer of another kind.
    if let Ok(answer) = send(&monitor, &long) {
        assert!(answer.is_empty() || Answer::parse(&answer).code == 431, "{answer}");
    }
    let noise = send(&monitor, "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n").unwrap_or_default();
    assert!(noise.is_empty() || Answer::parse(&noise).code == 400, "{noise}");
    assert_eq!(get(&monitor, "/healthz"), "ok\n");
    broker.stop();
}

#[test]
fn beyond_64_connections_one_is_closed_and_who_says_nothing_loses_its_place() {
    let house = House::new();
    let broker = house.serve();
    let monitor = broker.monitor();
    let silent: Vec<_> = (0..64).map(|_| TcpStream::connect(&monitor).unwrap()).collect();
    // All of them are taken, in their order, before the next one.
    let refused = |answer: &io::Result<Answer>| answer.as_ref().map_or(true, |answer| answer.code == 0);
    drop(until(|| ask(&monitor, "GET", "/healthz"), refused));
    // Their heads are due within 5 s, and then there is room again, though they hold on.
    let answered = |answer: &io::Result<Answer>| answer.as_ref().is_ok_and(|answer| answer.code == 200);
    drop(until(|| ask(&monitor, "GET", "/healthz"), answered));
    drop(silent);
    broker.stop();
}
