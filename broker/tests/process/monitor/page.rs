//! The status page in a real browser.

use std::process::{Command, Stdio};

use super::http::{ask, get, until};
use crate::harness::{House, PATIENCE, feed};

#[test]
fn the_page_comes_with_a_policy_that_lets_it_do_nothing_but_ask_its_own_broker() {
    let house = House::new();
    let broker = house.serve();
    let page = ask(&broker.monitor(), "GET", "/").unwrap();
    assert_eq!(page.code, 200);
    assert!(
        page.head.contains("content-security-policy: default-src 'none'; style-src 'sha256-"),
        "{}",
        page.head
    );
    assert!(page.head.contains("connect-src 'self'") && page.head.contains("cache-control: no-store"));
    assert!(!page.body.contains("https://"), "the page needs nothing from elsewhere");
    broker.stop();
}

/// What stands in the element of an id, as the browser has it.
#[track_caller]
fn shown<'a>(dom: &'a str, id: &str) -> &'a str {
    let rest = dom.split(&format!("id=\"{id}\"")).nth(1).unwrap_or_else(|| panic!("{id} is not in {dom}"));
    rest.split_once('>').and_then(|(_, inside)| inside.split('<').next()).unwrap()
}

#[test]
#[ignore = "needs chromium"]
fn a_browser_shows_what_the_broker_has_at_this_moment() {
    let house = House::new();
    let broker = house.serve();
    let (url, monitor) = (broker.tls(), broker.monitor());
    let hostile = "<img src=x onerror=document.title='taken'>";
    house.run(["topic", "create", "live.events", "--partitions", "3", "--url", &url]).ok();
    feed(house.command(["produce", "live.events", "--url", &url]), b"line\n".repeat(1234)).ok();
    house.run(["consume", "live.events", "--group", hostile, "--count", "1000", "--url", &url]).ok();
    until(|| get(&monitor, "/metrics"), |text| text.contains("} 234\n"));

    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=8000"]);
    browser.arg(format!("--user-data-dir={}", house.path("profile").display()));
    // What is enough for a page of its own: a machine without a home for settings has none of the browser's either.
    browser.env("HOME", house.path("")).arg(format!("http://{monitor}/"));
    let child = browser.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id().to_string();
    let (done, ended) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let output = ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        drop(Command::new("kill").arg(id).status());
        panic!("the browser did not end in time")
    });
    let output = output.unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    assert_eq!(shown(&dom, "ready"), "ready");
    assert_eq!(shown(&dom, "produced-records"), "1,234", "{dom}");
    assert_eq!((shown(&dom, "lag"), shown(&dom, "groups-count")), ("234", "1"));
    assert_eq!((shown(&dom, "fresh"), shown(&dom, "sync-failures")), ("live", "0"));
    assert!(dom.contains(">live.events</td>") && dom.contains("CN=localhost"), "{dom}");
    // Polled more than once: a line has several points.
    let chart = dom.split("id=\"lag-chart\"").nth(1).unwrap().split("</svg>").next().unwrap();
    let points = chart.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(points.split(' ').count() >= 2, "{chart}");
    // Names are text, whatever is in them.
    assert!(dom.contains("&lt;img src=x onerror") && !dom.contains("<img"), "{dom}");
    assert!(!dom.contains("<title>taken"));
    broker.stop();
}
