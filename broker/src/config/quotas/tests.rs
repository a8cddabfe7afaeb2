//! What may be said of quotas, and how it is told when it may not.

use super::*;

const FRAME: Size = Size::mib(16);

fn quotas(text: &str) -> Quotas {
    toml::from_str(text).unwrap()
}

fn refused(text: &str) -> String {
    quotas(text).check(FRAME).unwrap_err()
}

#[test]
fn without_any_quota_nothing_is_limited() {
    assert!(Quotas::default().rules(FRAME).unwrap().is_unlimited());
    assert_eq!(Quotas::default().check(FRAME), Ok(()));
    assert!(quotas("produced = \"0\"").rules(FRAME).unwrap().is_unlimited());
}

#[test]
fn a_rate_has_a_count_and_a_time() {
    let rules = quotas("requests = \"600/min\"\nrequests_burst = 5\nproduced = \"64MiB/s\"\n").rules(FRAME);
    let rules = rules.unwrap();
    assert_eq!(rules.defaults.requests, Some(Limit::new(600, Duration::from_mins(1), 5).unwrap()));
    assert_eq!(
        rules.defaults.produced,
        Some(Limit::new(64 << 20, Duration::from_secs(1), 64 << 20).unwrap())
    );
    for text in ["10", "10/day", "/s", "x/s", "-1/s", ""] {
        assert!(text.parse::<Rate>().unwrap_err().contains("10MiB/s"), "{text}");
    }
    assert_eq!("10MiB/s".parse::<Rate>().unwrap().to_string(), "10MiB/s");
}

#[test]
fn a_burst_that_nobody_set_lets_a_second_pass_and_the_largest_frame() {
    let rules = quotas("produced = \"1MiB/s\"\nrequests = \"1000/h\"\n").rules(FRAME).unwrap();
    assert_eq!(rules.defaults.produced.unwrap().burst(), FRAME.0);
    assert_eq!(rules.defaults.requests.unwrap().burst(), 1);
}

#[test]
fn a_burst_below_the_largest_frame_is_refused_with_the_remedy_wherever_it_stands() {
    for (text, key) in [
        ("produced = \"1MiB/s\"\nproduced_burst = \"15MiB\"", "quotas.produced_burst"),
        ("consumed = \"1MiB/s\"\nconsumed_burst = \"1\"", "quotas.consumed_burst"),
        ("[address]\nproduced = \"1MiB/s\"\nproduced_burst = \"1MiB\"", "quotas.address.produced_burst"),
        ("[[identity]]\npattern = \"a*\"\nproduced = \"1MiB/s\"\nproduced_burst = \"1MiB\"", "a*"),
    ] {
        let error = refused(text);
        assert!(error.contains(key) && error.contains("limits.frame") && error.contains("16MiB"), "{error}");
    }
    let lower = quotas("produced = \"1MiB/s\"\nproduced_burst = \"15MiB\"");
    assert_eq!(lower.check(Size::mib(8)), Ok(()));
}

#[test]
fn what_makes_no_sense_is_refused_with_its_key() {
    for (text, says) in [
        ("requests_burst = 5", "set quotas.requests as well"),
        ("[[identity]]\nrequests = \"1/s\"", "the pattern is empty"),
        ("[[identity]]\npattern = \"cn:a*b\"", "ends in one `*`"),
        ("[[identity]]\npattern = \"cn:a\"\n[[identity]]\npattern = \"cn:a\"", "twice"),
        ("requests = \"1/h\"\nrequests_burst = 900000000", "quotas.requests"),
        ("redis_deadline = \"1s\"", "quotas.redis_deadline"),
        ("redis_ca = \"ca.pem\"", "quotas.store"),
        ("redis_cert = \"c.pem\"", "go together"),
        ("store = \"redis://localhost\"\nredis_ca = \"ca.pem\"", "rediss://"),
    ] {
        let error = refused(text);
        assert!(error.contains(says), "{error}");
    }
    assert!(toml::from_str::<Quotas>("store = \"redis://192.0.2.1\"").is_err());
}

#[test]
fn a_pattern_may_change_the_burst_alone() {
    let rules = quotas(
        "requests = \"10/s\"\n[[identity]]\npattern = \"cn:a\"\nrequests_burst = 3\n[[identity]]\npattern = \"cn:b\"\nrequests = \"0\"",
    );
    let rules = rules.rules(FRAME).unwrap();
    assert_eq!(rules.of("cn:a").requests, Some(Limit::new(10, Duration::from_secs(1), 3).unwrap()));
    assert_eq!(rules.of("cn:b").requests, None);
    assert_eq!(rules.of("cn:c").requests.unwrap().burst(), 10);
}
