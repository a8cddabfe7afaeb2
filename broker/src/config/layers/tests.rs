//! What a bad value is told, and which layer wins.

use super::*;
use crate::config::{DurabilityName, Size};

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sealstream.toml");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn from_file(text: &str) -> Result<Resolved, ConfigError> {
    let (_dir, path) = file(text);
    load(Some(&path), [], [])
}

fn from_env(name: &str, text: &str) -> Result<Resolved, ConfigError> {
    load(None, [(name.to_owned(), text.to_owned())], [])
}

#[test]
fn nothing_set_is_the_default() {
    assert_eq!(load(None, [], []).unwrap().config, Config::default());
}

#[test]
fn later_layers_win_and_are_named_as_the_origin() {
    let (_dir, path) = file("cluster = \"file\"\n[topics]\npartitions = 2\ndurability = \"memory\"\n");
    let env = [
        ("SEALSTREAM_CLUSTER".to_owned(), "env".to_owned()),
        ("SEALSTREAM_TOPICS_PARTITIONS".to_owned(), "3".to_owned()),
    ];
    let flags = [("cluster".to_owned(), Value::String("flag".into()))];
    let resolved = load(Some(&path), env, flags).unwrap();
    assert_eq!(resolved.config.cluster, "flag");
    assert_eq!(resolved.config.topics.partitions, 3);
    assert_eq!(resolved.config.topics.durability, DurabilityName::Memory);
    assert_eq!(resolved.origin("cluster"), Origin::Flag);
    assert_eq!(
        resolved.origin("topics.partitions"),
        Origin::Environment("SEALSTREAM_TOPICS_PARTITIONS".into())
    );
    assert_eq!(resolved.origin("topics.durability"), Origin::File(path));
    assert_eq!(resolved.origin("log.shards"), Origin::Default);
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let error = from_file("[tls]\ncrt = \"x\"\n").unwrap_err().to_string();
    assert!(error.contains("`tls.crt`") && error.contains("did you mean `tls.cert`?"), "{error}");
    let error = from_env("SEALSTREAM_LISTN", "127.0.0.1:1").unwrap_err().to_string();
    assert!(error.contains("SEALSTREAM_LISTEN"), "{error}");
    let error = from_file("zzzz = 1\n").unwrap_err().to_string();
    assert!(error.contains("`zzzz`") && !error.contains("did you mean"), "{error}");
}

#[test]
fn a_bad_value_names_its_place() {
    let error = from_file("\n[limits]\nframe = \"much\"\n").unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains("64KiB"), "{error}");
    let error = from_env("SEALSTREAM_LOG_SHARDS", "four").unwrap_err().to_string();
    assert!(error.contains("SEALSTREAM_LOG_SHARDS") && error.contains("whole number"), "{error}");
    let error = from_env("SEALSTREAM_TOPICS_DURABILITY", "maybe").unwrap_err().to_string();
    assert!(error.contains("memory"), "{error}");
}

#[test]
fn what_is_wrong_with_a_file_is_told_without_showing_the_line() {
    for (text, place) in [
        ("[quotas]\nstore = \"rediss://:hunter2@r.example.org\"\n", "line 2, column 9"),
        ("[quotas]\n  store = \"rediss://:hunter2@\n", "line "),
    ] {
        let error = from_file(text).unwrap_err().to_string();
        assert!(error.contains(place) && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn variables_of_kubernetes_and_of_the_client_are_no_keys() {
    for name in ["SEALSTREAM_SERVICE_HOST", "SEALSTREAM_PORT_7420_TCP", "SEALSTREAM_URL", "SEALSTREAM_TOKEN"]
    {
        from_env(name, "anything").unwrap();
    }
}

#[test]
fn lists_in_variables_are_separated_by_commas() {
    let config = from_env("SEALSTREAM_LISTEN", "127.0.0.1:1, [::1]:2").unwrap().config;
    assert_eq!(config.listen.len(), 2);
}

#[test]
fn values_out_of_bounds_are_refused() {
    let error = from_file("[log]\nshards = 0\n").unwrap_err().to_string();
    assert!(error.contains("log.shards") && error.contains("64"), "{error}");
    let error = from_file("[limits]\nframe = \"17MiB\"\n").unwrap_err().to_string();
    assert!(error.contains("16MiB"), "{error}");
    let error = from_file("[limits]\nhandshakes = 100\nretry_above = 101\n").unwrap_err().to_string();
    assert!(error.contains("limits.retry_above") && error.contains("limits.handshakes"), "{error}");
    for key in ["connections", "sessions", "handshakes", "address_burst", "unvalidated_burst"] {
        let error = from_file(&format!("[limits]\n{key} = 0\nretry_above = 0\n")).unwrap_err().to_string();
        assert!(error.contains(&format!("limits.{key}")), "{error}");
    }
    from_file("[limits]\naddress_rate = 0\nunvalidated_rate = 0\nretry_above = 0\n").unwrap();
    assert_eq!(from_file("[limits]\nframe = \"1MiB\"\n").unwrap().config.limits.frame, Size::mib(1));
}

#[test]
fn what_is_out_of_bounds_or_does_not_fit_says_where_it_stands() {
    let (_dir, path) = file("[log]\nshards = 0\n");
    let error = load(Some(&path), [], []).unwrap_err().to_string();
    assert_eq!(error, format!("{}: log.shards is 0: it must be from 1 to 64", path.display()));
    let error = from_env("SEALSTREAM_LOG_SHARDS", "99").unwrap_err().to_string();
    assert!(error.starts_with("SEALSTREAM_LOG_SHARDS: log.shards is 99"), "{error}");
    let error = from_env("SEALSTREAM_LISTEN", "somewhere").unwrap_err().to_string();
    assert!(error.contains("an address such as 127.0.0.1:7420"), "{error}");
    let error = from_file("[limits]\nidle = 10\n").unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("\"10s\""), "{error}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (text, says) in [
        ("listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n", "listen names 127.0.0.1:1 twice"),
        ("data_dir = \"\"\n", "data_dir is empty"),
        ("[monitor]\nviewers = [\"bob\"]\n", "monitor.viewers: no identity is like `bob`"),
        ("[[quotas.identity]]\npattern = \"foo\"\n", "quotas.identity: no identity is like `foo`"),
    ] {
        let error = from_file(text).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    from_file("listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n").unwrap();
}

#[test]
fn a_development_certificate_is_for_loopback_only() {
    let error = from_file("listen = [\"0.0.0.0:7420\"]\n").unwrap_err().to_string();
    assert!(error.contains("tls.cert"), "{error}");
}
