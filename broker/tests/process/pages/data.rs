//! The lines about configuration, data, copies and upgrades: `F`, `DATA`, `COPY` and `T` are what they are called in the house.

use super::{Shell, block};
use crate::harness::{House, feed};
use crate::mistakes::free_port;

const PAGE: &str = "docs/operations.md";

fn configured() -> House {
    let house = House::new();
    house.write("F", format!("data_dir = \"DATA\"\nlisten = [\"127.0.0.1:{}\"]\n", free_port()));
    house
}

#[test]
fn the_lines_about_configuration_logs_and_upgrades_run_as_they_stand() {
    let house = configured();
    let shell = Shell::new(&house);
    let broker = house.serve_by("F");
    let shown = shell.run(&block(PAGE, "configuration"));
    for part in ["F is valid", "is held by a Sealstream broker", "data_dir = \"DATA\""] {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
    let url = broker.tls();
    let there = ["--url", &url, "--ca", "DATA/dev-ca/ca.pem"];
    let client = |args: &[&'static str]| house.command(args.iter().copied().chain(there));
    feed(client(&["topic", "create", "T"]), Vec::new()).ok();
    feed(client(&["produce", "T"]), b"one\ntwo\n".to_vec()).ok();
    let asked =
        shell.run(&block(PAGE, "doctor").replace("tls://HOST", &format!("{url} --ca DATA/dev-ca/ca.pem")));
    assert!(asked.contains("ok    disk") && asked.contains("ok    reach"), "{asked}");
    let upgrade = shell.run(&block(PAGE, "upgrade"));
    assert!(upgrade.contains("1 partition with 2 records, checked and sound"), "{upgrade}");
    broker.stop();

    std::fs::remove_dir_all(house.path("COPY")).unwrap();
    let shown = shell.run(&block(PAGE, "log"));
    for part in ["\"one\"", "\"two\"", "1 partition with 2 records, checked and sound"] {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
}

#[test]
fn the_lines_about_backup_give_a_directory_that_serves_what_was_acknowledged() {
    let house = configured();
    let broker = house.serve_by("F");
    let url = broker.tls();
    let there = ["--url", &url, "--ca", "DATA/dev-ca/ca.pem"];
    let client = |args: &[&'static str]| house.command(args.iter().copied().chain(there));
    feed(client(&["topic", "create", "T"]), Vec::new()).ok();
    feed(client(&["produce", "T"]), b"in the copy\n".to_vec()).ok();
    let lines = block(PAGE, "backup");
    let (copy, restore) =
        lines.split_once("# the broker is stopped").expect("the page says when it is stopped");
    let shell = Shell::new(&house);
    shell.run(copy);
    feed(client(&["produce", "T"]), b"behind it\n".to_vec()).ok();
    broker.stop();
    shell.run(restore);
    let broker = house.serve_by("F");
    assert_eq!(feed(client(&["consume", "T"]), Vec::new()).ok(), "in the copy\n");
    let secret = |dir: &str| std::fs::read(house.path(dir).join("tickets.secret")).unwrap();
    assert_eq!(secret("DATA"), secret("DATA.before"), "tickets hold on");
    broker.stop();
}
