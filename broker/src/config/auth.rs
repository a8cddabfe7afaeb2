//! The `[auth]` section: who is let in, and who may do what.

use serde::{Deserialize, Serialize};

use crate::access::{Action, Effect, Rule, RuleError, Rules};

/// Who is let in, and who may do what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Where a client without certificate and token is let in.
    pub anonymous: Anonymous,
    /// Patterns of identities that tokens may be made for, besides `token:*`.
    pub token_identities: Vec<String>,
    /// Who may do what. Without rules everybody who is let in may do everything.
    pub rule: Vec<AuthRule>,
}

/// Where a client without credentials is let in, as `anonymous`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// Nowhere.
    Never,
    /// From this machine: when the client's address and the one it reached are loopback.
    Loopback,
    /// Everywhere.
    Always,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthRule {
    /// Whom it fits: exact, or the beginning and `*`.
    pub identity: String,
    /// What it is about.
    pub actions: Vec<ActionName>,
    /// Which topics: exact, or the beginning and `*`.
    pub topics: Vec<String>,
    /// What it does.
    #[serde(default)]
    pub effect: EffectName,
}

/// An action, as the configuration and the command line name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ActionName {
    /// Write records.
    Produce,
    /// Read records.
    Consume,
    /// Make, alter and delete topics; on `*` tokens, TLS and groups too.
    Admin,
}

/// An effect, as the configuration names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EffectName {
    /// Lets it be done.
    #[default]
    Allow,
    /// Lets it not be done, whatever other rules allow.
    Deny,
}

impl Default for Auth {
    fn default() -> Self {
        Self { anonymous: Anonymous::Loopback, token_identities: Vec::new(), rule: Vec::new() }
    }
}

impl Auth {
    /// The rules. The error names the rule at fault by its place.
    pub fn rules(&self) -> Result<Rules, String> {
        let rules = self.rule.iter().enumerate().map(|(index, rule)| {
            rule.to_rule().map_err(|error| format!("auth.rule, number {}: {error}", index + 1))
        });
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        Rules::new(rules, &self.token_identities).map_err(|error| match error {
            RuleError::TooMany(_) => format!("auth.rule: {error}"),
            error => format!("auth.token_identities: {error}"),
        })
    }
}

impl AuthRule {
    fn to_rule(&self) -> Result<Rule, RuleError> {
        let effect = match self.effect {
            EffectName::Allow => Effect::Allow,
            EffectName::Deny => Effect::Deny,
        };
        Rule::new(&self.identity, self.actions.iter().map(|name| name.action()), &self.topics, effect)
    }
}

impl ActionName {
    /// The action.
    pub fn action(self) -> Action {
        match self {
            Self::Produce => Action::Produce,
            Self::Consume => Action::Consume,
            Self::Admin => Action::Admin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, load};

    fn parse(section: &str) -> Result<Auth, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.toml");
        std::fs::write(&path, section).unwrap();
        load(Some(&path), [], []).map(|resolved| resolved.config.auth).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(section: &str, names: &[&str]) {
        let error = parse(section).unwrap_err();
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
    }

    const RULE: &str = "[[auth.rule]]\nidentity = \"spiffe://example.org/*\"\nactions = [\"produce\"]\ntopics = [\"orders.*\"]\n";

    #[test]
    fn a_rule_allows_unless_it_says_otherwise() {
        let auth = parse(&format!("{RULE}{RULE}effect = \"deny\"\n")).unwrap();
        let effects: Vec<_> = auth.rule.iter().map(|rule| rule.effect).collect();
        assert_eq!(effects, [EffectName::Allow, EffectName::Deny]);
        let decision = auth.rules().unwrap().decide("spiffe://example.org/a", Action::Produce, "orders.x");
        assert!(!decision.allowed);
    }

    #[test]
    fn a_rule_at_fault_is_named_by_its_place_and_what_is_wrong() {
        refused(
            &format!("{RULE}{}", RULE.replace("spiffe://example.org/*", "alice")),
            &["number 2", "alice"],
        );
        refused(&RULE.replace("orders.*", "orders/*"), &["number 1", "orders/*"]);
        refused(&RULE.replace("orders.*", "*.eu"), &["number 1", "`*` before its end"]);
        refused(&RULE.replace("\"produce\"", ""), &["number 1", "no actions"]);
        refused(&RULE.replace("\"produce\"", "\"write\""), &["write", "produce"]);
        refused(&RULE.replace("topics", "topic"), &["auth.rule.topic", "auth.rule.topics"]);
        refused("[auth]\ntoken_identities = [\"bob\"]\n", &["auth.token_identities", "bob"]);
    }

    #[test]
    fn rules_come_from_a_file_only() {
        let env = [("SEALSTREAM_AUTH_RULE_IDENTITY".to_owned(), "*".to_owned())];
        let error = load(None, env, []).unwrap_err().to_string();
        assert!(error.contains("auth.rule") && error.contains("file"), "{error}");
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        let section = format!("[auth]\ntoken_identities = [\"dns:*\"]\n{RULE}effect = \"deny\"\n");
        let config = Config { auth: parse(&section).unwrap(), ..Config::default() };
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
    }
}
