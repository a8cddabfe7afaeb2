//! Whether the broker should be sent clients, and why not. A pure decision over what was observed.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Watched;
use super::reading::Disk;
use crate::log::LEAST_ROOM;

/// A minute after the last failure a disk gets another chance: nobody may have written meanwhile.
const DISK_FAILED: Duration = Duration::from_mins(1);

/// For so long after a batch found no room the disk is full, whatever the file system says of its room (a quota is not in that): twice as long
/// as whoever was refused waits before the next attempt.
const NO_ROOM: Duration = Duration::from_secs(10);

/// The last day of a certificate; of one that is issued for less than ten days the last tenth, or it would never be ready.
const LAST_DAY: i64 = 24 * 3600;
const LAST_PART: i64 = 10;

/// What decides.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// Whether the log is open and clients are served.
    pub(super) serving: bool,
    pub(super) draining: bool,
    /// Whether the room that is kept for deletions and commits is in use.
    pub(super) reserve_in_use: bool,
    /// The last batch that found no room.
    pub(super) refused: Option<NoRoom>,
    /// How long ago the disk last failed.
    pub(super) disk_failed_ago: Option<Duration>,
    pub(super) certificates: Vec<Validity>,
    /// Seconds since the Unix epoch.
    pub(super) now: i64,
}

/// A batch that found no room on the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoRoom {
    pub(super) ago: Duration,
    /// Whether there is room for a batch by now, as the file system says.
    pub(super) room: bool,
}

/// A certificate that is served, in seconds since the Unix epoch.
#[derive(Clone, Debug, Default)]
pub(super) struct Validity {
    /// Whence it was loaded.
    pub(super) origin: String,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

/// Why it is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    /// One of [`CODES`].
    pub(super) code: &'static str,
    pub(super) text: String,
}

/// Every reason that there is.
pub(super) const CODES: [&str; 6] =
    ["starting", "draining", "disk_full", "disk_failing", "certificate_ending", "certificate_expired"];

/// Looks at what decides. Does not block, but for a question to the file system once a batch has found no room.
pub(super) fn observe(watched: &Watched) -> Observed {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let snapshot = watched.tls.receiver().current();
    let validity = |identity: &std::sync::Arc<sealstream_transport::tls::ServedIdentity>| {
        let (_, leaf) = X509Certificate::from_der(identity.chain().first()?).ok()?;
        let validity = leaf.validity();
        Some(Validity {
            origin: identity.origin().to_owned(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    };
    let certificates = snapshot.identities().iter().filter_map(validity).collect();
    let Some(view) = watched.view.get() else { return Observed { certificates, now, ..Observed::default() } };
    let log = view.log().unwrap_or_default();
    let failed = [log.sync_failed_ago, view.meters().storage_failed_ago()];
    let room = || Disk::of(&watched.data_dir).is_none_or(|disk| disk.free >= LEAST_ROOM);
    Observed {
        serving: true,
        draining: view.is_draining(),
        reserve_in_use: log.reserve_in_use,
        refused: view.meters().no_room_ago().map(|ago| NoRoom { ago, room: room() }),
        disk_failed_ago: failed.into_iter().flatten().min(),
        certificates,
        now,
    }
}

/// Why it is not ready; nothing if it is.
pub(super) fn reasons(observed: &Observed) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut say = |code, text: String| reasons.push(Reason { code, text });
    if !observed.serving {
        say("starting", "the log is being opened: wait, or see the broker's log".into());
    }
    if observed.draining {
        say("draining", "the broker is shutting down: clients are to go to another".into());
    }
    let no_room = observed.refused.filter(|refused| refused.ago < NO_ROOM || !refused.room);
    if observed.reserve_in_use {
        let text = "the disk is full and its reserve is in use: no batch is taken until there is room again; free some space, delete topics, or shorten \
                    their retention";
        say("disk_full", text.into());
    } else if let Some(NoRoom { ago, .. }) = no_room {
        let text = format!(
            "the disk is full, a batch found no room {} s ago: free some space, delete topics, or shorten their retention",
            ago.as_secs()
        );
        say("disk_full", text);
    }
    if let Some(ago) = observed.disk_failed_ago.filter(|ago| *ago < DISK_FAILED) {
        let text = format!(
            "the disk failed {} s ago: see the broker's log, and the machine's (dmesg)",
            ago.as_secs()
        );
        say("disk_failing", text);
    }
    for Validity { origin, not_before, not_after } in &observed.certificates {
        let left = not_after.saturating_sub(observed.now);
        let last = LAST_DAY.min(not_after.saturating_sub(*not_before) / LAST_PART);
        if left < 0 {
            let text = format!("the certificate {origin} expired {} s ago: renew it", left.unsigned_abs());
            say("certificate_expired", text);
        } else if left < last {
            say("certificate_ending", format!("the certificate {origin} expires in {left} s: renew it"));
        }
    }
    reasons
}

/// As lines, the first of which says it in short.
pub(super) fn text(reasons: &[Reason]) -> String {
    let Some(_) = reasons.first() else { return "ready".into() };
    let lines = reasons.iter().map(|Reason { code, text }| format!("\n{code}: {text}"));
    lines.fold("not ready".into(), |all: String, line| all + &line)
}

/// As JSON.
pub(super) fn json(reasons: &[Reason]) -> Value {
    reasons.iter().map(|Reason { code, text }| json!({ "code": code, "text": text })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = LAST_DAY;

    fn well() -> Observed {
        let certificate = Validity { origin: "server.pem".into(), not_before: 0, not_after: 90 * DAY };
        Observed { serving: true, certificates: vec![certificate], now: 10 * DAY, ..Observed::default() }
    }

    fn codes(observed: &Observed) -> Vec<&'static str> {
        let reasons = reasons(observed);
        assert!(reasons.iter().all(|reason| CODES.contains(&reason.code)), "{reasons:?}");
        reasons.iter().map(|reason| reason.code).collect()
    }

    #[test]
    fn a_broker_that_is_well_is_ready_and_each_ill_is_named() {
        assert!(codes(&well()).is_empty());
        assert_eq!(codes(&Observed { serving: false, ..well() }), ["starting"]);
        assert_eq!(codes(&Observed { draining: true, ..well() }), ["draining"]);
        assert_eq!(codes(&Observed { reserve_in_use: true, ..well() }), ["disk_full"]);
        let failed = |ago| Observed { disk_failed_ago: Some(Duration::from_secs(ago)), ..well() };
        assert_eq!(codes(&failed(59)), ["disk_failing"]);
        assert!(codes(&failed(60)).is_empty());
        let both = Observed { draining: true, reserve_in_use: true, ..well() };
        assert_eq!(codes(&both), ["draining", "disk_full"]);
        assert!(text(&reasons(&both)).starts_with("not ready\ndraining: "));
    }

    #[test]
    fn a_disk_that_had_no_room_for_a_batch_is_full_until_there_is_room_and_for_ten_seconds_at_least() {
        let refused = |ago, room| Some(NoRoom { ago: Duration::from_secs(ago), room });
        let found = |ago, room| codes(&Observed { refused: refused(ago, room), ..well() });
        assert_eq!(found(9, true), ["disk_full"]);
        assert!(found(10, true).is_empty());
        assert_eq!(found(3600, false), ["disk_full"]);
        let twice = Observed { reserve_in_use: true, refused: refused(0, false), ..well() };
        assert_eq!(codes(&twice), ["disk_full"], "one reason for one thing");
    }

    #[test]
    fn a_certificate_counts_in_its_last_day_or_tenth_and_once_it_has_expired() {
        let at = |now| codes(&Observed { now, ..well() });
        assert!(at(89 * DAY).is_empty());
        assert_eq!(at(89 * DAY + 1), ["certificate_ending"]);
        assert_eq!(at(90 * DAY), ["certificate_ending"]);
        assert_eq!(at(90 * DAY + 1), ["certificate_expired"]);
        let hour = Validity { origin: "svid.pem".into(), not_before: 0, not_after: 3600 };
        let at = |now| codes(&Observed { now, certificates: vec![hour.clone()], ..well() });
        assert!(at(3240).is_empty());
        assert_eq!(at(3241), ["certificate_ending"]);
    }
}
