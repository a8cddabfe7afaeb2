//! The lines about contexts, completions, tokens, permissions and groups, and those of the command line's own benchmarks.

use super::{Shell, block};
use crate::harness::{House, feed};
use crate::mistakes::{Authority, free_port};

const PAGE: &str = "docs/operations.md";

/// A house with a broker for development, which a shell in it finds.
macro_rules! served {
    ($house:ident, $broker:ident, $shell:ident) => {
        let $house = House::new();
        let $broker = $house.serve();
        let $shell = Shell::new(&$house).with("SEALSTREAM_URL", $broker.tls());
    };
}

#[test]
fn the_lines_about_contexts_run_as_they_stand() {
    let house = House::new();
    let broker = house.serve();
    let shell = Shell::new(&house);
    let url = broker.tls();
    shell.run(&format!(
        "sealstream token create prod --url {url} > prod.token; cp sealstream-data/dev-ca/ca.pem ca.pem"
    ));
    let shown = shell.run(&block(PAGE, "contexts").replace("tls://broker.example.org", &url));
    assert!(shown.contains("which answers") && shown.contains("prod.token"), "{shown}");
    assert_eq!(shell.run("sealstream context list --json"), "", "the last line removes it");
    broker.stop();
}

#[test]
fn the_lines_about_completions_and_man_pages_run_as_they_stand() {
    let house = House::new();
    let lines = block(PAGE, "completions");
    let usr = format!("{}/", house.path("usr").display());
    let dirs =
        ["share/bash-completion/completions", "local/share/zsh/site-functions", "local/share/man/man1"];
    for dir in dirs
        .map(|dir| house.path("usr").join(dir))
        .into_iter()
        .chain([house.path(".config/fish/completions")])
    {
        std::fs::create_dir_all(dir).unwrap();
    }
    Shell::new(&house).run(&lines.replace("/usr/", &usr));
    for file in [
        "usr/share/bash-completion/completions/sealstream",
        "usr/local/share/zsh/site-functions/_sealstream",
        ".config/fish/completions/sealstream.fish",
        "usr/local/share/man/man1/sealstream-produce.1",
    ] {
        assert!(std::fs::metadata(house.path(file)).unwrap().len() > 100, "{file}");
    }
}

#[test]
fn the_lines_about_tokens_run_as_they_stand() {
    served!(house, broker, shell);
    let shown = shell.run(&block(PAGE, "tokens"));
    assert!(shown.starts_with("slt1_") && shown.contains("token:I"), "{shown}");
    shell.run("sealstream token create billing --identity token:billing > billing.token; cp billing.token first.token");
    shell.run(&block(PAGE, "token-replaced"));
    let health = ["health", "--url", &broker.tls(), "--token-file"];
    let with = |file| house.run(health.into_iter().chain([file]));
    assert!(with("billing.token").ok().contains("token:billing"));
    with("first.token").failed();
    broker.stop();
}

#[test]
fn the_rules_of_the_page_let_the_first_token_be_made_and_decide_as_it_shows() {
    let house = House::new();
    let authority = Authority::new(&house);
    let issued = authority.issue("localhost", -60, 3600);
    house.write("server.pem", issued.certificate.pem());
    house.write("server.key", issued.key.serialize_pem());
    house.write("clients-ca.pem", std::fs::read(house.path("ca.pem")).unwrap());
    let (all, local) = (free_port(), free_port());
    let here = format!("{}/", house.path("").display().to_string().trim_end_matches('/'));
    let in_house = |text: &str| {
        let text =
            text.replace("0.0.0.0:7420", &format!("127.0.0.1:{all}")).replace("/etc/sealstream/", &here);
        text.replace("127.0.0.1:7421", &format!("127.0.0.1:{local}"))
            .replace("localhost:7421", &format!("localhost:{local}"))
    };
    house.write("sealstream.toml", in_house(&block(PAGE, "rules")));
    let broker = house.serve_sealed("sealstream.toml");
    Shell::new(&house).walk(&in_house(&block(PAGE, "first-token")));
    let url = format!("tls://localhost:{all}");
    let health = house.run(["health", "--url", &url, "--ca", "ca.pem", "--token-file", "partner.token"]);
    assert!(health.ok().contains("token:partner"));
    broker.stop();
}

#[test]
fn the_lines_about_groups_run_as_they_stand() {
    served!(house, broker, shell);
    let url = broker.tls();
    house.run(["topic", "create", "orders", "--partitions", "4", "--url", &url]).ok();
    let lines = "order\n".repeat(50).into_bytes();
    feed(house.command(["produce", "orders", "--partition", "3", "--url", &url]), lines).ok();
    house.run(["consume", "orders", "--group", "billing", "--url", &url]).ok();
    let shown = shell.run(&block(PAGE, "groups"));
    assert!(shown.contains("billing") && shown.contains("orders"), "{shown}");
    assert!(!shell.run("sealstream group list").contains("billing"), "the last line deletes it");
    broker.stop();
}

#[test]
fn the_benchmarks_of_the_command_line_run_at_a_small_size() {
    served!(house, broker, shell);
    let lines = block("docs/benchmarks.md", "bench");
    let small: Vec<String> = lines
        .lines()
        .map(|line| {
            let line = line.split('#').next().unwrap().trim_end().to_owned();
            let line = line.replace("5GiB", "1MiB").replace("--rate 5000", "--rate 200").replace("30s", "1s");
            let line = line.replace("auto://localhost", &format!("auto://localhost:{}", broker.port));
            let line = line.replace("--connections 5000", "--connections 10");
            let whole = line.ends_with("produce") || line.ends_with("consume");
            if whole { line + " --bytes 1MiB --no-baseline" } else { line }
        })
        .collect();
    assert_eq!(small.len(), 6, "{small:?}");
    let shown = shell.run(&small.join("\n"));
    for part in ["produced 1024 records", "consumed 1024 records", "acknowledged", "resumed"] {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
    broker.stop();
}
