//! How the layers of the configuration are read, checked and laid over one another.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::words::in_words;
use super::{AuthRule, Config, EffectName, TlsIdentity};

/// Environment variables of this prefix set keys: `SEALSTREAM_TLS_CERT` is `tls.cert`, lists are separated by commas.
const PREFIX: &str = "SEALSTREAM_";

/// Variables of the prefix that mean something else: the command line reads them.
const NOT_KEYS: [&str; 9] = ["URL", "CA", "CERT", "KEY", "TOKEN", "CONTEXT", "CONFIG", "LOG", "LOG_FORMAT"];

/// Lists of tables: only a file can hold them.
const FILE_ONLY: [&str; 3] = ["tls.identity", "auth.rule", "quotas.identity"];

/// A name this near (Jaro–Winkler, 0 to 1) is offered as what was meant.
const NEAR: f64 = 0.75;

/// Whence a value came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// This file.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the machine said.
        source: std::io::Error,
    },
    /// The file is not TOML, or a value in it is of the wrong kind.
    #[error("{}: {reason}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column and what is wrong.
        reason: String,
    },
    /// A key that means nothing.
    #[error("{origin}: unknown key `{key}`{}", .nearest.as_ref().map(|n| format!(": did you mean `{n}`?")).unwrap_or_default())]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key, dotted.
        key: String,
        /// The known key that is nearest to it.
        nearest: Option<String>,
    },
    /// A value that a variable or flag cannot have.
    #[error("{origin}: `{key}`: {reason}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// The key, dotted.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// Values that do not go together, or are out of bounds.
    #[error("{0}")]
    Invalid(String),
}

/// The configuration, and whence each of its values came.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The configuration.
    pub config: Config,
    /// Every key, dotted, that is not a default.
    pub origins: BTreeMap<String, Origin>,
}

impl Resolved {
    /// Whence the value of a dotted key came.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

/// Reads `file`, lays the variables in `env` over it and `flags` (dotted keys) over these, and checks the whole.
pub fn load(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    flags: impl IntoIterator<Item = (String, Value)>,
) -> Result<Resolved, ConfigError> {
    let schema = schema();
    let mut layers = Layers { table: Table::new(), origins: BTreeMap::new() };
    if let Some(path) = file {
        layers.file(path, &schema)?;
    }
    for (name, text) in env {
        layers.variable(&name, &text, &schema)?;
    }
    for (key, value) in flags {
        layers.set(&key, value, Origin::Flag)?;
    }
    let config =
        Config::deserialize(layers.table).map_err(|e| ConfigError::Invalid(in_words(e.message())))?;
    config.check().map_err(|fault| ConfigError::Invalid(layers_of(fault, &layers.origins)))?;
    Ok(Resolved { config, origins: layers.origins })
}

/// What is wrong, and where the value stands of which that is said first.
fn layers_of(fault: String, origins: &BTreeMap<String, Origin>) -> String {
    let part_of_a_key = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
    let place = |key: &str| {
        let (at, _) = fault.match_indices(key).find(|(at, _)| {
            !fault[..*at].ends_with(part_of_a_key) && !fault[at + key.len()..].starts_with(part_of_a_key)
        })?;
        Some(at)
    };
    let named = origins.iter().filter_map(|(key, origin)| Some((place(key)?, origin)));
    match named.min_by_key(|(at, _)| *at) {
        Some((_, origin)) => format!("{origin}: {fault}"),
        None => fault,
    }
}

struct Layers {
    table: Table,
    origins: BTreeMap<String, Origin>,
}

impl Layers {
    fn file(&mut self, path: &Path, schema: &BTreeMap<String, Value>) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let parse = |e: toml::de::Error| ConfigError::Parse { path: path.into(), reason: placed(&e, &text) };
        let table: Table = toml::from_str(&text).map_err(parse)?;
        for key in flatten(&table).into_keys() {
            let origin = Origin::File(path.into());
            if !schema.contains_key(&key) {
                return Err(unknown(origin, key, schema));
            }
            self.origins.insert(key, origin);
        }
        // Once more as what it is meant to be: this error knows line and column.
        toml::from_str::<Config>(&text).map_err(parse)?;
        self.table = table;
        Ok(())
    }

    fn variable(
        &mut self,
        name: &str,
        text: &str,
        schema: &BTreeMap<String, Value>,
    ) -> Result<(), ConfigError> {
        let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(()) };
        if NOT_KEYS.contains(&rest) || is_of_kubernetes(rest) {
            return Ok(());
        }
        let origin = Origin::Environment(name.to_owned());
        let Some((key, example)) = schema.iter().find(|(key, _)| variable_of(key) == rest) else {
            let names = schema.keys().map(|key| (variable_of(key), format!("{PREFIX}{}", variable_of(key))));
            return Err(ConfigError::UnknownKey {
                origin,
                key: name.to_owned(),
                nearest: nearest(rest, names),
            });
        };
        if let Some(list) = FILE_ONLY.iter().find(|list| key.starts_with(*list)) {
            let reason = format!("`{list}` is a list of tables: name it in a configuration file");
            return Err(ConfigError::Value { origin, key: key.clone(), reason });
        }
        let value = typed(text, example).map_err(|reason| ConfigError::Value {
            origin: origin.clone(),
            key: key.clone(),
            reason,
        })?;
        self.set(key, value, origin)
    }

    /// Sets one key and makes sure that its value can be what the key wants.
    fn set(&mut self, key: &str, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let mut alone = Table::new();
        insert(&mut alone, key, value.clone());
        Config::deserialize(alone).map_err(|e| ConfigError::Value {
            origin: origin.clone(),
            key: key.to_owned(),
            reason: in_words(e.message()),
        })?;
        insert(&mut self.table, key, value);
        self.origins.insert(key.to_owned(), origin);
        Ok(())
    }
}

/// What is wrong with a file and where. Without the line itself, which the error would show: a password may be in it.
fn placed(error: &toml::de::Error, text: &str) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return in_words(error.message());
    };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    format!("line {line}, column {column}: {}", in_words(error.message()))
}

/// Every key with a value of its kind.
fn schema() -> BTreeMap<String, Value> {
    let mut all = Config::default();
    all.tls.cert = Some(PathBuf::new());
    all.tls.key = Some(PathBuf::new());
    all.tls.staple = Some(PathBuf::new());
    all.tls.ticket_secret = Some(PathBuf::new());
    let path = PathBuf::new;
    all.tls.identity = vec![TlsIdentity { cert: path(), key: path(), staple: Some(path()) }];
    let effect = EffectName::Allow;
    let (actions, topics) = (Vec::new(), Vec::new());
    all.auth.rule = vec![AuthRule { identity: String::new(), actions, topics, effect }];
    all.quotas = super::quotas::example();
    all.traces.ca = Some(path());
    all.traces.cert = Some(path());
    all.traces.key = Some(path());
    flatten(&Table::try_from(all).expect("the configuration is made of what TOML has"))
}

/// Every key, dotted.
pub fn keys() -> Vec<String> {
    schema().into_keys().collect()
}

/// The leaves of a table by their dotted keys. The tables of a list have their keys in common, beside the list's own.
pub(super) fn flatten(table: &Table) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    for (key, value) in table {
        let tables = match value {
            Value::Table(inner) => vec![inner],
            Value::Array(items) => items.iter().filter_map(Value::as_table).collect(),
            _ => Vec::new(),
        };
        for inner in tables {
            leaves.extend(flatten(inner).into_iter().map(|(rest, value)| (format!("{key}.{rest}"), value)));
        }
        if !value.is_table() {
            leaves.insert(key.clone(), value.clone());
        }
    }
    leaves
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

fn variable_of(key: &str) -> String {
    key.replace('.', "_").to_uppercase()
}

/// Kubernetes sets these in every container for a service that is named `sealstream`.
fn is_of_kubernetes(rest: &str) -> bool {
    rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_")
}

fn typed(text: &str, example: &Value) -> Result<Value, String> {
    match example {
        Value::Integer(_) => {
            text.parse().map(Value::Integer).map_err(|_| format!("`{text}` is not a whole number"))
        }
        Value::Boolean(_) => {
            text.parse().map(Value::Boolean).map_err(|_| format!("`{text}` is neither true nor false"))
        }
        Value::Array(_) => {
            Ok(Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect()))
        }
        _ => Ok(Value::String(text.to_owned())),
    }
}

fn unknown(origin: Origin, key: String, schema: &BTreeMap<String, Value>) -> ConfigError {
    let nearest = nearest(&key, schema.keys().map(|known| (known.clone(), known.clone())));
    ConfigError::UnknownKey { origin, key, nearest }
}

/// Of known names, each with how it is shown, the one that is nearest to `key`, if any is near.
pub(crate) fn nearest(key: &str, known: impl Iterator<Item = (String, String)>) -> Option<String> {
    known
        .map(|(name, shown)| (strsim::jaro_winkler(key, &name), shown))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, shown)| shown)
}
