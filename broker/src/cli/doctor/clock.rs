//! Whether the clock can be right, and runs evenly. Certificates are judged by it, and records are kept by it. The protocol does not
//! show a broker's clock: what there is to compare with are the dates of certificates, and what was written last.

use std::path::PathBuf;
use std::time::Duration;

use super::date;
use super::finding::Finding;

const CHECK: &str = "clock";

/// 2026-01-01, in seconds since the Unix epoch: this program is younger.
const EARLIEST: i64 = 1_767_225_600;

/// How far the clock may run from the monotonic one while it is looked at: it is slewed by half a thousandth, and a
/// busy machine keeps the look waiting. More is a step.
const STEP: Duration = Duration::from_millis(50);

/// Files from a later time than this many seconds from now were written under another clock.
const AHEAD: i64 = 60;

/// What was found.
#[derive(Debug)]
pub(super) struct ClockFacts {
    /// How far the clock moved from the monotonic one, and in how long a time.
    pub(super) drift: Duration,
    pub(super) watched_for: Duration,
    /// What in the data directory was written last, and when, in seconds since the Unix epoch.
    pub(super) last_write: Option<(PathBuf, i64)>,
}

/// `now` is in seconds since the Unix epoch.
pub(super) fn judge(facts: &ClockFacts, now: i64) -> Vec<Finding> {
    let set = "set the clock, and keep it by NTP or PTP";
    let mut findings = Vec::new();
    if now < EARLIEST {
        let text = format!(
            "the clock says {}, before this program was made: every certificate looks not yet valid",
            date(now)
        );
        findings.push(Finding::fail(CHECK, text, Some(set)));
    }
    if let Some((file, at)) = facts.last_write.as_ref().filter(|(_, at)| *at > now + AHEAD) {
        let text = format!(
            "the clock says {}, but {} was written on {}: it has gone back",
            date(now),
            file.display(),
            date(*at)
        );
        findings.push(Finding::warn(CHECK, text, set));
    }
    if facts.drift > STEP {
        let text = format!(
            "the clock moved by {:?} against the monotonic one within {:?}",
            facts.drift, facts.watched_for
        );
        findings.push(Finding::warn(
            CHECK,
            text,
            "see what sets it: two time services, or a hypervisor besides one",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("it says {}, and runs evenly", date(now))));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    const NOW: i64 = EARLIEST + 1000;

    fn level(now: i64, drift_ms: u64, last_write: Option<i64>) -> Level {
        let facts = ClockFacts {
            drift: Duration::from_millis(drift_ms),
            watched_for: Duration::from_millis(100),
            last_write: last_write.map(|at| ("segment".into(), at)),
        };
        let findings = judge(&facts, now);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings[0].level
    }

    #[test]
    fn a_clock_that_cannot_be_right_fails_and_one_that_jumps_is_warned_of() {
        assert_eq!(level(NOW, 1, Some(NOW)), Level::Ok);
        assert_eq!(level(NOW, 1, None), Level::Ok);
        assert_eq!(level(100, 1, None), Level::Fail);
        assert_eq!(level(NOW, 90, None), Level::Warn);
        assert_eq!(level(NOW, 1, Some(NOW + 3600)), Level::Warn);
    }
}
