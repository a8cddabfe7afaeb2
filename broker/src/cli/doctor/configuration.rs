//! What a configuration that is valid may still do to its operator.

use std::path::Path;

use super::finding::Finding;
use crate::config::{Anonymous, Config, DurabilityName};

const CHECK: &str = "configuration";

/// `quotas` is what the files say that quotas need.
pub(super) fn judge(config: &Config, file: Option<&Path>, quotas: Result<(), String>) -> Vec<Finding> {
    let whence = match file {
        Some(file) => format!("{} is valid", file.display()),
        None => "no file is named: keys have their defaults, or what the environment says".to_owned(),
    };
    let mut findings = vec![Finding::ok(CHECK, whence)];
    if let Err(fault) = quotas {
        findings.push(Finding::fail(CHECK, fault, None));
    }
    let topics = &config.topics;
    if topics.retention.0.is_zero() && topics.retention_bytes.0 == 0 {
        let text = "topics keep their records for ever, unless their creator says otherwise".to_owned();
        findings.push(Finding::warn(
            CHECK,
            text,
            "set topics.retention or topics.retention_bytes, or watch the disk",
        ));
    }
    if topics.durability == DurabilityName::Memory {
        let text = "topics.durability is memory: what was acknowledged survives the end of the process, not power loss".to_owned();
        findings.push(Finding::warn(CHECK, text, "set it to disk, unless that is what is meant"));
    }
    if config.log.reserve.0 == 0 {
        let text = "log.reserve is 0: on a full disk nothing can be deleted or committed".to_owned();
        findings.push(Finding::warn(CHECK, text, "set it to 64MiB"));
    }
    findings.extend(permissions(config));
    findings
}

/// Who may do everything, where that is somebody beyond this machine.
fn permissions(config: &Config) -> Option<Finding> {
    let open =
        config.listen.iter().find(|addr| !addr.ip().is_loopback()).filter(|_| config.auth.rule.is_empty())?;
    let (whom, remedy) = match config.auth.anonymous {
        Anonymous::Always => (
            "anybody who can connect",
            "set auth.anonymous to loopback or never, and say in auth.rule who may do what",
        ),
        Anonymous::Loopback | Anonymous::Never => {
            ("whoever has a certificate or token", "say in auth.rule who may do what")
        }
    };
    let text = format!("without rules {whom} may do everything on {open}");
    Some(Finding::warn(CHECK, text, remedy))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::config::{Size, Span};

    fn warned(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        let findings = judge(&config, None, Ok(()));
        findings.into_iter().filter(|found| found.level != Level::Ok).map(|found| found.to_string()).collect()
    }

    #[test]
    fn what_will_surprise_is_warned_of_and_the_defaults_are_not() {
        assert!(warned(|_| {}).is_empty());
        for (change, key) in [
            (
                &(|config: &mut Config| config.topics.retention = Span::secs(0)) as &dyn Fn(&mut Config),
                "topics.retention",
            ),
            (&|config| config.topics.durability = DurabilityName::Memory, "topics.durability"),
            (&|config| config.log.reserve = Size(0), "log.reserve"),
            (&|config| config.listen = vec!["0.0.0.0:7420".parse().unwrap()], "auth.rule"),
        ] {
            let found = warned(change);
            assert!(found.len() == 1 && found[0].contains(key), "{key}: {found:?}");
        }
        let open = warned(|config| {
            config.listen = vec!["0.0.0.0:7420".parse().unwrap()];
            config.auth.anonymous = Anonymous::Always;
        });
        assert!(open[0].contains("anybody"), "{open:?}");
    }

    #[test]
    fn files_that_quotas_need_and_lack_are_a_failure() {
        let findings = judge(&Config::default(), Some(Path::new("s.toml")), Err("no ca".into()));
        assert!(findings.iter().any(|found| found.level == Level::Fail && found.text == "no ca"));
    }
}
