//! Rules, and what they say: pure, without a clock.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use sealstream_protocol::limits::MAX_NAME;
use sealstream_protocol::message::admin::AccessRule;
pub use sealstream_protocol::message::admin::{Action, Effect};
use sealstream_protocol::name;

use super::pattern::{Pattern, PatternError};

/// 1,000 rules: to go through all of them takes 10 µs, once for each topic that a session opens and once for each change.
pub const MAX_RULES: usize = 1000;

/// 64 topics a rule: with names of full length (16 KiB) a rule can be shown in one frame.
pub const MAX_RULE_TOPICS: usize = 64;

/// The topic that stands for the broker itself: no topic has this name, and no pattern but `*` fits it.
pub const ALL_TOPICS: &str = "*";

/// What an identity can begin with, but for `anonymous`.
const KINDS: [&str; 5] = ["spiffe://", "dns:", "email:", "cn:", TOKENS];

/// Whoever shows neither certificate nor token, or a certificate without a name.
pub(crate) const ANONYMOUS: &str = "anonymous";

/// What identities begin with that are for tokens alone: no certificate has one.
pub(super) const TOKENS: &str = "token:";

/// Allows or denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    identity: Pattern,
    actions: Vec<Action>,
    topics: Vec<Pattern>,
    effect: Effect,
}

/// Why a rule is none: it could never fit, or says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// A pattern is none.
    #[error("{0}")]
    Pattern(#[from] PatternError),
    /// No identity begins like this.
    #[error(
        "no identity is like `{0}`: they are `anonymous`, or begin with spiffe://, dns:, email:, cn: or token:"
    )]
    Identity(String),
    /// No topic is named like this.
    #[error("no topic is like `{topic}`: {reason}")]
    Topic {
        /// The pattern.
        topic: String,
        /// Why not.
        reason: String,
    },
    /// It is about nothing.
    #[error("it names no {0}")]
    Nothing(&'static str),
    /// It names more topics than a rule may.
    #[error("it names {0} topics: at most {MAX_RULE_TOPICS} are allowed, so split it")]
    TooManyTopics(usize),
    /// There are more rules than may be.
    #[error("there are {0} rules: at most {MAX_RULES} are allowed")]
    TooMany(usize),
}

impl Rule {
    /// A rule of these patterns. It is checked that there can be somebody and something which it fits: a rule that denies
    /// and has a typing error would otherwise deny nothing, in silence.
    pub fn new(
        identity: &str,
        actions: impl IntoIterator<Item = Action>,
        topics: impl IntoIterator<Item = impl AsRef<str>>,
        effect: Effect,
    ) -> Result<Self, RuleError> {
        let identity = identity_pattern(identity)?;
        let mut actions: Vec<_> = actions.into_iter().collect();
        actions.sort_unstable_by_key(|action| *action as u8);
        actions.dedup();
        let topics: Vec<_> =
            topics.into_iter().map(|topic| topic_pattern(topic.as_ref())).collect::<Result<_, _>>()?;
        if actions.is_empty() {
            return Err(RuleError::Nothing("actions"));
        }
        if topics.is_empty() {
            return Err(RuleError::Nothing("topics"));
        }
        if topics.len() > MAX_RULE_TOPICS {
            return Err(RuleError::TooManyTopics(topics.len()));
        }
        Ok(Self { identity, actions, topics, effect })
    }

    fn fits(&self, identity: &str, action: Action, topic: &str) -> bool {
        self.actions.contains(&action) && self.is_about(identity, topic)
    }

    fn is_about(&self, identity: &str, topic: &str) -> bool {
        self.identity.matches(identity) && self.topics.iter().any(|pattern| pattern.matches(topic))
    }
}

/// As identities are written: names of DNS in lower case.
pub fn as_written(identity: &str) -> Cow<'_, str> {
    if identity.starts_with("dns:") { identity.to_ascii_lowercase().into() } else { identity.into() }
}

/// The pattern of an identity that there can be.
pub(crate) fn identity_pattern(text: &str) -> Result<Pattern, RuleError> {
    let pattern: Pattern = as_written(text).parse()?;
    let beginning = pattern.text();
    let possible = KINDS.iter().any(|kind| {
        (beginning.len() > kind.len() && beginning.starts_with(kind))
            || (pattern.is_open() && (kind.starts_with(beginning) || beginning.starts_with(kind)))
    }) || beginning == ANONYMOUS
        || (pattern.is_open() && ANONYMOUS.starts_with(beginning));
    if possible { Ok(pattern) } else { Err(RuleError::Identity(text.to_owned())) }
}

/// The pattern of an identity that a token may have besides those that are for tokens alone.
pub(super) fn token_identity(text: &str) -> Result<Pattern, RuleError> {
    identity_pattern(text)
}

/// Whether somebody can be called so.
pub fn known_identity(text: &str) -> Result<(), RuleError> {
    identity_pattern(text).map(drop)
}

/// The pattern of a topic that there can be.
fn topic_pattern(text: &str) -> Result<Pattern, RuleError> {
    let pattern: Pattern = text.parse()?;
    let beginning = pattern.text();
    let possible = match (pattern.is_open(), beginning) {
        (true, "" | "." | "..") => Ok(()),
        _ if beginning.len() > MAX_NAME => Err(format!("a name has at most {MAX_NAME} bytes")),
        _ => name::check_topic(beginning).map_err(|error| error.to_string()),
    };
    match possible {
        Ok(()) => Ok(pattern),
        Err(reason) => Err(RuleError::Topic { topic: text.to_owned(), reason }),
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions: Vec<_> = self.actions.iter().map(|action| action.name()).collect();
        let topics: Vec<_> = self.topics.iter().map(ToString::to_string).collect();
        let (effect, identity) = (self.effect.name(), &self.identity);
        write!(f, "{effect} {identity} to {} {}", actions.join(", "), topics.join(", "))
    }
}

/// All rules at one moment. None at all lets everybody do everything who is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Arc<Rule>>,
    token_identities: Vec<Pattern>,
}

impl Rules {
    /// These rules, in their order. `token_identities` are patterns of what tokens may be taken for, besides `token:*`.
    pub fn new(
        rules: impl IntoIterator<Item = Rule>,
        token_identities: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, RuleError> {
        let rules: Vec<_> = rules.into_iter().map(Arc::new).collect();
        if rules.len() > MAX_RULES {
            return Err(RuleError::TooMany(rules.len()));
        }
        let token_identities = token_identities
            .into_iter()
            .map(|text| token_identity(text.as_ref()))
            .collect::<Result<_, _>>()?;
        Ok(Self { rules, token_identities })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none, and everything is allowed.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether `identity` may do `action` with `topic`, and why: the first rule that denies it, else the first that allows
    /// it, else no.
    pub fn decide(&self, identity: &str, action: Action, topic: &str) -> Decision {
        if self.rules.is_empty() {
            return Decision { allowed: true, because: Because::Unrestricted };
        }
        let mut allowing = None;
        for (index, rule) in self.rules.iter().enumerate() {
            let wanted = rule.effect == Effect::Deny || allowing.is_none();
            if !wanted || !rule.fits(identity, action, topic) {
                continue;
            }
            let because = Because::Rule { number: index + 1, rule: Arc::clone(rule) };
            if rule.effect == Effect::Deny {
                return Decision { allowed: false, because };
            }
            allowing = Some(because);
        }
        match allowing {
            Some(because) => Decision { allowed: true, because },
            None => Decision { allowed: false, because: Because::NoRule },
        }
    }

    /// Whether `identity` may do anything at all with `topic`, and so know that it is there.
    pub fn shows(&self, identity: &str, topic: &str) -> bool {
        if self.rules.is_empty() {
            return true;
        }
        // Once through the rules for all actions: a list of topics asks for each of a thousand.
        let (mut allowed, mut denied) = ([false; Action::ALL.len()], [false; Action::ALL.len()]);
        for rule in self.rules.iter().filter(|rule| rule.is_about(identity, topic)) {
            let decided = if rule.effect == Effect::Deny { &mut denied } else { &mut allowed };
            for (decided, action) in decided.iter_mut().zip(Action::ALL) {
                *decided |= rule.actions.contains(&action);
            }
        }
        allowed.iter().zip(denied).any(|(allowed, denied)| *allowed && !denied)
    }

    /// Whether a token may be taken for `identity`: one of `token:`, or one that the configuration names.
    pub fn lets_tokens_be(&self, identity: &str) -> bool {
        identity.starts_with(TOKENS) || self.token_identities.iter().any(|pattern| pattern.matches(identity))
    }
}

/// What the rules say of one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Why.
    pub because: Because,
}

/// Why something may be done or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// There are no rules.
    Unrestricted,
    /// There are rules, and none fits.
    NoRule,
    /// A rule fits.
    Rule {
        /// Its place in the configuration, from 1.
        number: usize,
        /// What it says.
        rule: Arc<Rule>,
    },
}

impl Because {
    /// The rule, as the protocol shows it.
    pub(crate) fn rule(&self) -> Option<AccessRule> {
        let Self::Rule { number, rule } = self else { return None };
        Some(AccessRule {
            number: u32::try_from(*number).unwrap_or(u32::MAX),
            identity: rule.identity.to_string(),
            actions: rule.actions.clone(),
            topics: rule.topics.iter().map(ToString::to_string).collect(),
            effect: rule.effect,
        })
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrestricted => f.write_str("no rules are configured"),
            Self::NoRule => f.write_str("no rule allows it"),
            Self::Rule { number, rule } => write!(f, "rule {number}: {rule}"),
        }
    }
}
