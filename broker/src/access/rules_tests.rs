//! What rules say, and which texts are rules.

use proptest::prelude::*;

use super::{
    ALL_TOPICS, Action, Because, Effect, Emptied, MAX_RULES, Pattern, Rule, RuleBook, RuleError, Rules,
};

const EVERY: [Action; 3] = Action::ALL;

fn rule(effect: Effect, identity: &str, actions: &[Action], topics: &[&str]) -> Rule {
    Rule::new(identity, actions.iter().copied(), topics, effect).unwrap()
}

fn allow(identity: &str, actions: &[Action], topics: &[&str]) -> Rule {
    rule(Effect::Allow, identity, actions, topics)
}

fn deny(identity: &str, actions: &[Action], topics: &[&str]) -> Rule {
    rule(Effect::Deny, identity, actions, topics)
}

fn rules(rules: impl IntoIterator<Item = Rule>) -> Rules {
    Rules::new(rules, [""; 0]).unwrap()
}

/// The number of the rule that decides, and what it decides.
fn decided(rules: &Rules, identity: &str, action: Action, topic: &str) -> (bool, Option<usize>) {
    let decision = rules.decide(identity, action, topic);
    let number = match decision.because {
        Because::Rule { number, .. } => Some(number),
        Because::NoRule | Because::Unrestricted => None,
    };
    (decision.allowed, number)
}

#[test]
fn without_rules_everybody_may_do_everything_and_the_reason_says_so() {
    let decision = Rules::default().decide("anonymous", Action::Admin, ALL_TOPICS);
    assert!(decision.allowed);
    assert_eq!(decision.because, Because::Unrestricted);
}

#[test]
fn with_any_rule_what_none_allows_is_denied() {
    let rules = rules([deny("dns:a", &[Action::Produce], &["x"])]);
    for action in EVERY {
        assert_eq!(decided(&rules, "dns:b", action, "x"), (false, None));
    }
}

#[test]
fn a_rule_needs_all_of_identity_action_and_topic() {
    let rules = rules([allow("dns:a", &[Action::Produce, Action::Consume], &["x", "y"])]);
    for (identity, action, topic, expected) in [
        ("dns:a", Action::Produce, "x", true),
        ("dns:a", Action::Consume, "y", true),
        ("dns:a", Action::Admin, "x", false),
        ("dns:a", Action::Produce, "z", false),
        ("dns:b", Action::Produce, "x", false),
        ("dns:ab", Action::Produce, "x", false),
        ("dns:a", Action::Produce, "xx", false),
        ("dns:a", Action::Produce, ALL_TOPICS, false),
    ] {
        assert_eq!(rules.decide(identity, action, topic).allowed, expected, "{identity} {action:?} {topic}");
    }
}

#[test]
fn deny_wins_wherever_it_stands() {
    let yes = || allow("*", &EVERY, &["*"]);
    let no = || deny("dns:a", &[Action::Produce], &["secret.*"]);
    for (rules, denying) in [(rules([yes(), no()]), 2), (rules([no(), yes()]), 1)] {
        assert_eq!(decided(&rules, "dns:a", Action::Produce, "secret.x"), (false, Some(denying)));
        assert_eq!(decided(&rules, "dns:a", Action::Produce, "open"), (true, Some(3 - denying)));
        assert_eq!(decided(&rules, "dns:a", Action::Consume, "secret.x"), (true, Some(3 - denying)));
        assert_eq!(decided(&rules, "dns:b", Action::Produce, "secret.x"), (true, Some(3 - denying)));
    }
}

#[test]
fn the_first_rule_that_decides_is_named() {
    let all = || allow("*", &EVERY, &["*"]);
    assert_eq!(decided(&rules([all(), all()]), "dns:a", Action::Admin, "x"), (true, Some(1)));
    let none = || deny("*", &EVERY, &["*"]);
    assert_eq!(decided(&rules([all(), none(), none()]), "dns:a", Action::Admin, "x"), (false, Some(2)));
}

#[test]
fn the_broker_itself_is_administered_by_whom_a_star_allows_and_by_nobody_else() {
    let rules = rules([
        allow("dns:topics", &[Action::Admin], &["a*", "b.*"]),
        allow("dns:ops", &[Action::Admin], &["*"]),
    ]);
    assert!(!rules.decide("dns:topics", Action::Admin, ALL_TOPICS).allowed);
    assert!(rules.decide("dns:ops", Action::Admin, ALL_TOPICS).allowed);
    assert!(!rules.decide("dns:ops", Action::Consume, ALL_TOPICS).allowed);
}

#[test]
fn a_pattern_is_exact_or_a_beginning() {
    for (pattern, fits, does_not) in [
        ("orders", &["orders"][..], &["orders.eu", "order", "", "Orders"][..]),
        ("orders.*", &["orders.", "orders.eu", "orders.eu.1"], &["orders", "orders-eu"]),
        ("*", &["", "a", "*"], &[]),
        ("spiffe://a/*", &["spiffe://a/x", "spiffe://a/x/y"], &["spiffe://a", "spiffe://ab/x"]),
    ] {
        let parsed: Pattern = pattern.parse().unwrap();
        assert_eq!(parsed.to_string(), pattern);
        assert!(fits.iter().all(|text| parsed.matches(text)), "{pattern}");
        assert!(!does_not.iter().any(|text| parsed.matches(text)), "{pattern}");
    }
    for wrong in ["", "*.eu", "a*b", "**", "a**"] {
        assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
    }
    assert!("x".repeat(2049).parse::<Pattern>().is_err());
}

#[test]
fn a_rule_that_could_never_fit_is_none() {
    let identity = |text: &str| Rule::new(text, [Action::Consume], ["x"], Effect::Deny);
    for good in
        ["*", "anonymous", "anon*", "spiffe://a/b", "spiffe*", "s*", "dns:a.b", "dns:*", "token:x", "cn:*"]
    {
        assert!(identity(good).is_ok(), "{good}");
    }
    for bad in ["alice", "alice*", "dns:", "spiffe://", "token:", "anonymous2", "Dns:a", "dns"] {
        assert!(matches!(identity(bad), Err(RuleError::Identity(_))), "{bad}");
    }
    let topic = |text: &str| Rule::new("*", [Action::Consume], [text], Effect::Deny);
    for good in ["*", "a", "a.*", ".*", "..*", &"x".repeat(255)] {
        assert!(topic(good).is_ok(), "{good}");
    }
    for bad in [".", "..", "a/b", "a b*", "é*", &"x".repeat(256), &format!("{}*", "x".repeat(256))] {
        assert!(matches!(topic(bad), Err(RuleError::Topic { .. })), "{bad}");
    }
    assert_eq!(Rule::new("*", [], ["x"], Effect::Allow), Err(RuleError::Nothing("actions")));
    assert_eq!(Rule::new("*", [Action::Admin], [""; 0], Effect::Allow), Err(RuleError::Nothing("topics")));
    let many = vec!["x"; 65];
    assert_eq!(Rule::new("*", [Action::Admin], many, Effect::Allow), Err(RuleError::TooManyTopics(65)));
    let many = vec![allow("*", &EVERY, &["*"]); MAX_RULES + 1];
    assert_eq!(Rules::new(many, [""; 0]), Err(RuleError::TooMany(MAX_RULES + 1)));
}

#[test]
fn a_dns_name_is_the_same_in_capitals() {
    let rules = rules([allow("dns:Billing.Example.ORG", &[Action::Produce], &["x"])]);
    assert!(rules.decide("dns:billing.example.org", Action::Produce, "x").allowed);
}

#[test]
fn a_topic_is_shown_to_whom_may_do_anything_with_it() {
    for action in EVERY {
        let rules = rules([allow("dns:a", &[action], &["x"])]);
        assert!(rules.shows("dns:a", "x") && !rules.shows("dns:a", "y") && !rules.shows("dns:b", "x"));
    }
    let rules = rules([allow("*", &EVERY, &["*"]), deny("dns:a", &EVERY, &["x"])]);
    assert!(!rules.shows("dns:a", "x") && rules.shows("dns:b", "x"));
}

#[test]
fn tokens_are_taken_for_certificates_only_where_the_configuration_says_so() {
    let strict = Rules::default();
    assert!(strict.lets_tokens_be("token:a"));
    for other in ["spiffe://a/b", "dns:a", "anonymous", "*", "tokens:a", ""] {
        assert!(!strict.lets_tokens_be(other), "{other}");
    }
    let lenient = Rules::new([], ["spiffe://a/*"]).unwrap();
    assert!(lenient.lets_tokens_be("spiffe://a/b") && !lenient.lets_tokens_be("spiffe://b/b"));
    assert!(lenient.lets_tokens_be("token:a"));
}

#[test]
fn rules_that_were_there_do_not_vanish_while_the_broker_runs() {
    let some = rules([allow("*", &EVERY, &["*"])]);
    let book = RuleBook::default();
    assert_eq!(book.check(&Rules::default()), Ok(()));
    assert!(book.publish(some.clone()));
    assert!(!book.publish(some.clone()));
    assert_eq!(book.check(&Rules::default()), Err(Emptied));
    assert_eq!(*book.current(), some);
}

#[test]
fn a_reason_is_the_rule_as_it_was_written() {
    let rules = rules([deny("dns:a", &[Action::Admin, Action::Produce], &["x", "y.*"])]);
    let decision = rules.decide("dns:a", Action::Admin, "x");
    assert_eq!(decision.because.to_string(), "rule 1: deny dns:a to produce, admin x, y.*");
    let shown = decision.because.rule().unwrap();
    assert_eq!((shown.number, shown.topics), (1, vec!["x".to_owned(), "y.*".to_owned()]));
}

/// Rules of a small world, so that they often meet.
fn any_rules() -> impl Strategy<Value = Vec<(bool, String, Vec<Action>, String)>> {
    let identity = prop_oneof![Just("*"), Just("dns:*"), Just("dns:a"), Just("dns:ab"), Just("cn:a")];
    let topic = prop_oneof![Just("*"), Just("x*"), Just("x"), Just("xy"), Just("y")];
    let actions = prop::sample::subsequence(EVERY.to_vec(), 1..=3);
    let rule = (any::<bool>(), identity.prop_map(str::to_owned), actions, topic.prop_map(str::to_owned));
    prop::collection::vec(rule, 1..8)
}

/// As the page for operators says it, word by word.
fn by_the_page(
    rules: &[(bool, String, Vec<Action>, String)],
    who: &str,
    action: Action,
    topic: &str,
) -> bool {
    let fits = |pattern: &str, text: &str| match pattern.strip_suffix('*') {
        Some(beginning) => text.len() >= beginning.len() && &text[..beginning.len()] == beginning,
        None => pattern == text,
    };
    let fitting: Vec<_> = rules
        .iter()
        .filter(|(_, identity, actions, topics)| {
            fits(identity, who) && actions.contains(&action) && fits(topics, topic)
        })
        .collect();
    !fitting.is_empty() && fitting.iter().all(|(allows, ..)| *allows)
}

proptest! {
    #[test]
    fn what_rules_say_is_what_the_page_says_and_their_order_does_not_matter(rules in any_rules()) {
        let built = |rules: &[(bool, String, Vec<Action>, String)]| {
            let build = |(allows, identity, actions, topic): &(bool, String, Vec<Action>, String)| {
                let effect = if *allows { Effect::Allow } else { Effect::Deny };
                rule(effect, identity, actions, &[topic])
            };
            self::rules(rules.iter().map(build))
        };
        let reversed: Vec<_> = rules.iter().rev().cloned().collect();
        for who in ["dns:a", "dns:ab", "cn:a", "anonymous"] {
            for topic in ["x", "xy", "y", ALL_TOPICS] {
                let any = EVERY.iter().any(|action| by_the_page(&rules, who, *action, topic));
                prop_assert_eq!(built(&rules).shows(who, topic), any);
                for action in EVERY {
                    let expected = by_the_page(&rules, who, action, topic);
                    prop_assert_eq!(built(&rules).decide(who, action, topic).allowed, expected);
                    prop_assert_eq!(built(&reversed).decide(who, action, topic).allowed, expected);
                }
            }
        }
    }
}
