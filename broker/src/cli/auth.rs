//! `auth check`: what the rules say, by the running broker or by a configuration file.

use std::path::Path;

use sealstream_client::Client;
use sealstream_client::admin::{AccessChecked, AccessRule};
use serde_json::json;

use super::args::{AuthCheck, ConfigSource};
use super::config::resolve;
use super::connect::{SHORT, with_client};
use super::{Failure, output};
use crate::access::as_written;

/// `auth check`.
pub(super) fn check(args: &AuthCheck) -> Result<(), Failure> {
    let json = args.connection.json;
    if let Some(file) = &args.config {
        return show(args, &look_up(args, file)?, json);
    }
    with_client(&args.connection, SHORT, |client: Client| async move {
        let action = args.action.action();
        let checked = client.admin().check_access(&args.identity, action, &args.topic).await?;
        show(args, &checked, json)
    })
}

/// The answer that a broker with this configuration would give.
fn look_up(args: &AuthCheck, file: &Path) -> Result<AccessChecked, Failure> {
    let source = ConfigSource { config: Some(file.to_owned()), data_dir: None };
    let rules = resolve(&source, [])?.config.auth.rules().map_err(Failure::Message)?;
    let decision = rules.decide(&as_written(&args.identity), args.action.action(), &args.topic);
    Ok(AccessChecked {
        allowed: decision.allowed,
        reason: decision.because.to_string(),
        rule: decision.because.rule(),
    })
}

fn show(args: &AuthCheck, checked: &AccessChecked, json: bool) -> Result<(), Failure> {
    let AuthCheck { identity, action, topic, .. } = args;
    let action = action.action().name();
    let AccessChecked { allowed, reason, rule } = checked;
    if json {
        return output::json(&json!({
            "identity": identity, "action": action, "topic": topic, "allowed": allowed, "reason": reason,
            "rule": rule.as_ref().map(rule_json),
        }));
    }
    let answer = if *allowed { "allowed" } else { "denied" };
    output::line(format_args!("{answer}: {identity} {action} {topic}: {reason}"))
}

fn rule_json(rule: &AccessRule) -> serde_json::Value {
    let actions: Vec<_> = rule.actions.iter().map(|action| action.name()).collect();
    json!({
        "number": rule.number, "identity": rule.identity, "actions": actions, "topics": rule.topics,
        "effect": rule.effect.name(),
    })
}
