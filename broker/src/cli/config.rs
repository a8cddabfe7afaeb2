//! `config check` and `config show`.

use std::collections::BTreeMap;

use sealstream_transport::tls::Snapshot;

use super::args::{ConfigArgs, ConfigSource};
use super::{Failure, output, style};
use crate::config::{Resolved, keys, load};
use crate::tls::material;

/// The configuration as `serve` would have it: file, environment, flags.
pub(super) fn resolve(
    source: &ConfigSource,
    flags: impl IntoIterator<Item = (String, toml::Value)>,
) -> Result<Resolved, Failure> {
    let data_dir = match &source.data_dir {
        None => None,
        Some(dir) => {
            let text = dir.to_str().ok_or_else(|| Failure::new("--data-dir must be UTF-8"))?;
            Some(("data_dir".to_owned(), toml::Value::String(text.to_owned())))
        }
    };
    let flags = data_dir.into_iter().chain(flags);
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(load(source.config.as_deref(), env, flags)?)
}

/// Checks the configuration and the certificates it names.
pub(super) fn check(args: &ConfigArgs) -> Result<(), Failure> {
    let resolved = resolve(&args.source, [])?;
    let tls = &resolved.config.tls;
    Snapshot::load(&material(&resolved.config, None))?;
    if let Some(shared) = resolved.config.quotas.shared(&resolved.config.cluster) {
        shared.redis.check().map_err(Failure::Message)?;
    }
    if args.json {
        return output::json(&serde_json::json!({ "ok": true }));
    }
    let certificate =
        if tls.cert.is_some() { "the TLS files are sound" } else { "a development certificate will be used" };
    let ok = style::out(style::GOOD, "ok:");
    output::line(format_args!("{ok} the configuration is valid, and {certificate}"))
}

/// Shows every key, its value and whence it came.
pub(super) fn show(args: &ConfigArgs) -> Result<(), Failure> {
    let resolved = resolve(&args.source, [])?;
    let table = toml::Table::try_from(&resolved.config)?;
    if args.json {
        let origins: BTreeMap<_, _> =
            resolved.origins.iter().map(|(key, origin)| (key, origin.to_string())).collect();
        return output::json(&serde_json::json!({ "config": table, "origins": origins }));
    }
    let (sections, plain): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_table());
    for (key, value) in plain {
        show_line(&resolved, "", key, value)?;
    }
    for (section, values) in sections {
        output::line(format_args!("\n[{section}]"))?;
        let prefix = format!("{section}.");
        for (key, value) in values.as_table().into_iter().flatten() {
            show_line(&resolved, &prefix, key, value)?;
        }
        let set = |key: &str| values.as_table().is_some_and(|table| table.contains_key(key));
        let names = keys().into_iter().filter_map(|key| key.strip_prefix(&prefix).map(ToOwned::to_owned));
        for key in names.filter(|key| !key.contains('.') && !set(key)) {
            output::line(format_args!("# {key} is not set"))?;
        }
    }
    Ok(())
}

/// One line of TOML, so that the whole can be used as a file; the origin stands behind it as a comment.
fn show_line(resolved: &Resolved, prefix: &str, key: &str, value: &toml::Value) -> Result<(), Failure> {
    let line = format!("{key} = {value}");
    output::line(format_args!("{line:<44} # {}", resolved.origin(&format!("{prefix}{key}"))))
}
