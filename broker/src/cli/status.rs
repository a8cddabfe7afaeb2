//! `status`: what a broker holds at this moment, and what bounds it.

use sealstream_client::Client;
use sealstream_protocol::message::admin::{
    BrokerStatus, Level, LogStatus, QuotaCount, QuotaStatus, RedisStatus,
};

use super::args::Status;
use super::connect::{SHORT, with_client};
use super::output::bytes;
use super::{Failure, output};
use crate::report;

/// `status`.
pub(super) fn run(args: &Status) -> Result<(), Failure> {
    let json = args.connection.json;
    with_client(&args.connection, SHORT, |client: Client| async move {
        let status = client.admin().show_status().await?;
        if json {
            return output::json(&report::status(&status));
        }
        lines(&status).into_iter().try_for_each(output::line)?;
        if !status.largest_sessions.is_empty() {
            output::line("")?;
            output::table(&sessions(&status))?;
        }
        if !status.largest_topics.is_empty() {
            output::line("")?;
            output::table(&topics(&status))?;
        }
        Ok(())
    })
}

/// What is shown to people, but for the tables.
fn lines(status: &BrokerStatus) -> Vec<String> {
    let number = |level: Level| format!("{} of {}", level.now, level.limit);
    let memory = |level: Level| format!("{} of {}", bytes(level.now), bytes(level.limit));
    let mut lines = vec![
        format!("up             {}", up(status.uptime_ms)),
        format!("incarnation    {}", status.incarnation),
    ];
    lines.extend(status.connections.map(|level| format!("connections    {}", number(level))));
    lines.extend([
        format!("awaited Hello  {}", number(status.greetings)),
        format!("sessions       {}", number(status.sessions)),
        format!("groups         {}", number(status.groups)),
    ]);
    lines.extend(status.arriving.map(|level| format!("arriving       {}", memory(level))));
    lines.extend([
        format!("produce        {}; {} a session", memory(status.produce), bytes(status.produce_window)),
        format!("consume        {}; {} a session", memory(status.consume), bytes(status.consume_window)),
        format!("tail cache     {}", memory(status.cache)),
    ]);
    lines.extend(status.log.as_ref().map(log_line));
    lines.extend(quota_lines(&status.quotas));
    lines
}

fn log_line(log: &LogStatus) -> String {
    let full = if log.reserve_in_use { "; the disk is full: no batch is taken" } else { "" };
    format!(
        "log            {} batches, {}, in {} rounds by {} syncs{full}",
        log.batches,
        bytes(log.bytes),
        log.rounds,
        log.syncs
    )
}

/// Of quotas that were ever asked.
fn quota_lines(quotas: &QuotaStatus) -> Vec<String> {
    let mut lines = Vec::new();
    let counts =
        [("produced", quotas.produced), ("consumed", quotas.consumed), ("requests", quotas.requests)];
    for (name, count) in counts {
        if count != QuotaCount::default() {
            let admitted =
                if name == "requests" { count.admitted.to_string() } else { bytes(count.admitted) };
            lines.push(format!(
                "quota          {name}: {admitted} let pass, {} times refused or paced, {} times by policy",
                count.refused, count.by_policy
            ));
        }
    }
    lines.extend(quotas.redis.map(|RedisStatus { away, losses, recoveries, .. }| {
        let now = if away { "away: the policy decides" } else { "there" };
        format!("quota store    {now}; lost {losses} times, found {recoveries} times")
    }));
    lines
}

fn sessions(status: &BrokerStatus) -> Vec<Vec<String>> {
    let mut rows = vec![vec!["SESSION OF".into(), "KIND".into(), "HOLDS".into()]];
    rows.extend(status.largest_sessions.iter().map(|session| {
        vec![session.identity.clone(), report::kind(session.kind).into(), bytes(session.bytes)]
    }));
    rows
}

fn topics(status: &BrokerStatus) -> Vec<Vec<String>> {
    let mut rows = vec![vec!["TOPIC".into(), "PARTITIONS".into(), "CACHED".into(), "ON DISK".into()]];
    rows.extend(status.largest_topics.iter().map(|topic| {
        vec![topic.name.clone(), topic.partitions.to_string(), bytes(topic.cached), bytes(topic.bytes)]
    }));
    rows
}

/// The two largest units of a time.
fn up(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_by_its_two_largest_units() {
        let shown = [(999, "0s"), (61_000, "1m 1s"), (3_660_000, "1h 1m"), (90_000_000, "1d 1h")];
        for (ms, text) in shown {
            assert_eq!(up(ms), text);
        }
    }

    #[test]
    fn a_quota_is_shown_once_it_was_asked_and_its_store_with_where_it_is() {
        assert!(quota_lines(&QuotaStatus::default()).is_empty());
        let requests = QuotaCount { admitted: 12_000, refused: 3, by_policy: 1 };
        let redis = RedisStatus { away: true, losses: 2, recoveries: 2, unanswered: 0 };
        let quotas = QuotaStatus { requests, redis: Some(redis), ..QuotaStatus::default() };
        let [requests, store] = &quota_lines(&quotas)[..] else { panic!("two lines were due") };
        assert!(requests.contains("requests: 12000 let pass, 3 times refused or paced, 1 times by policy"));
        assert!(store.contains("away: the policy decides; lost 2 times"));
    }
}
