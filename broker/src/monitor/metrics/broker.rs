//! One reading, written family by family.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry;
use sealstream_protocol::message::admin::GroupPartition;
use sealstream_transport::TransportKind;

use super::families::{self as of, Family, Kind, Unit};
use super::labels::OTHER_TOPICS;
use crate::log::Durability;
use crate::meter::{BOUNDS, TimeCounts};
use crate::monitor::readiness;
use crate::monitor::reading::Reading;
use crate::server::{Meters, TopicMeter};

/// The families of the broker; their descriptions alone where there is no reading.
#[derive(Debug)]
pub(super) struct BrokerMetrics(pub(super) Option<Reading>);

impl Collector for BrokerMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder };
        let reading = self.0.as_ref();
        process(&mut page, reading)?;
        connections(&mut page, reading)?;
        traffic(&mut page, reading)?;
        topics(&mut page, reading)?;
        log(&mut page, reading)?;
        memory(&mut page, reading)?;
        groups(&mut page, reading)?;
        quotas(&mut page, reading)
    }
}

/// The values of a family's labels, and a value.
type Series<T> = (Vec<String>, T);

/// Where families are written.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    /// One number without labels, or none.
    fn one(&mut self, family: &Family, value: Option<u64>) -> fmt::Result {
        self.many(family, value.map(|value| (Vec::new(), value)))
    }

    /// A number for each set of labels.
    fn many(&mut self, family: &Family, series: impl IntoIterator<Item = Series<u64>>) -> fmt::Result {
        let counts = family.kind == Kind::Counter;
        self.write(family, series, |value, encoder| {
            if counts {
                return ConstCounter::new(value).encode(encoder);
            }
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder)
        })
    }

    /// How long things took, for each set of labels.
    fn times(
        &mut self,
        family: &Family,
        series: impl IntoIterator<Item = Series<TimeCounts>>,
    ) -> fmt::Result {
        self.write(family, series, |times, mut encoder| {
            let bound = |index| TimeCounts::bound(index).map_or(f64::INFINITY, in_seconds);
            let buckets: [_; BOUNDS + 1] = std::array::from_fn(|index| (bound(index), times.buckets[index]));
            encoder.encode_histogram::<NoLabelSet>(times.total.as_secs_f64(), times.count(), &buckets, None)
        })
    }

    fn write<T>(
        &mut self,
        family: &Family,
        series: impl IntoIterator<Item = Series<T>>,
        write: impl Fn(T, prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let kind = match family.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let unit = match family.unit {
            Unit::Named("seconds") => Some(registry::Unit::Seconds),
            Unit::Named("bytes") => Some(registry::Unit::Bytes),
            Unit::Named(other) => Some(registry::Unit::Other(other.to_owned())),
            Unit::Things(_) => None,
        };
        let mut encoder = self.encoder.encode_descriptor(family.name, family.help, unit.as_ref(), kind)?;
        for (values, value) in series {
            assert_eq!(values.len(), family.labels.len(), "the labels of {}", family.name);
            if values.is_empty() {
                // There is one such series.
                return write(value, encoder);
            }
            let labels: Vec<(&str, String)> = family.labels.iter().copied().zip(values).collect();
            write(value, encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Without the digits that a sum of seconds and their parts would add: it is a label.
fn in_seconds(bound: Duration) -> f64 {
    let micros = u32::try_from(bound.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1e6
}

/// A series with one label.
fn by<T>(label: impl Into<String>, value: T) -> Series<T> {
    (vec![label.into()], value)
}

fn process(page: &mut Page<'_>, reading: Option<&Reading>) -> fmt::Result {
    page.many(&of::BUILD, [by(env!("CARGO_PKG_VERSION"), 1)])?;
    page.one(&of::UPTIME, reading.map(|reading| reading.view.uptime().as_secs()))?;
    page.one(&of::READY, Some(reading.is_some_and(Reading::is_ready).into()))?;
    let holds = |code: &str| match reading {
        Some(reading) => reading.reasons.iter().any(|reason| reason.code == code),
        None => code == "starting",
    };
    page.many(&of::NOT_READY, readiness::CODES.map(|code| by(code, holds(code).into())))
}

fn connections(page: &mut Page<'_>, reading: Option<&Reading>) -> fmt::Result {
    let counts = reading.into_iter().flat_map(|reading| reading.connections);
    // The backend in memory is for tests.
    let counts = counts.filter(|(kind, count)| *kind != TransportKind::Memory || *count > 0);
    page.many(&of::CONNECTIONS, counts.map(|(kind, count)| by(kind.to_string(), count)))?;
    let limit = reading.and_then(|reading| Some(reading.status.connections?.limit));
    page.one(&of::CONNECTIONS_LIMIT, limit)?;
    let sessions: Vec<_> = reading.into_iter().flat_map(|reading| reading.view.meters().sessions()).collect();
    page.many(&of::SESSIONS, sessions.iter().map(|(kind, now, _)| by(*kind, *now)))?;
    page.one(&of::SESSIONS_LIMIT, reading.map(|reading| reading.status.sessions.limit))?;
    page.many(&of::SESSIONS_OPENED, sessions.iter().map(|(kind, _, opened)| by(*kind, *opened)))?;
    page.one(&of::GREETINGS, reading.map(|reading| reading.status.greetings.now))
}

fn traffic(page: &mut Page<'_>, reading: Option<&Reading>) -> fmt::Result {
    let mut metered = |family: &Family, value: fn(&TopicMeter) -> u64| {
        let all = reading.into_iter().flat_map(|reading| {
            let others = (OTHER_TOPICS, &reading.other_topics);
            reading.meters.iter().map(|(name, meter)| (&**name, meter)).chain([others])
        });
        page.many(family, all.map(|(name, meter)| by(name, value(meter))))
    };
    metered(&of::PRODUCED_BATCHES, |meter| meter.produced_batches.get())?;
    metered(&of::PRODUCED_RECORDS, |meter| meter.produced_records.get())?;
    metered(&of::PRODUCED_BYTES, |meter| meter.produced_bytes.get())?;
    metered(&of::CONSUMED_RECORDS, |meter| meter.consumed_records.get())?;
    metered(&of::CONSUMED_BYTES, |meter| meter.consumed_bytes.get())?;
    let meters = reading.map(|reading| reading.view.meters());
    page.one(&of::DUPLICATES, meters.map(Meters::duplicates))?;
    let refusals = meters.into_iter().flat_map(Meters::refusals);
    page.many(&of::REFUSED, refusals.map(|(code, count)| by(code, count)))?;
    let times = meters.into_iter().flat_map(|meters| {
        let of = |name, durability| by(name, meters.ack_times(durability));
        [of("disk", Durability::Disk), of("memory", Durability::Memory)]
    });
    page.times(&of::ACKS, times)
}

fn topics(page: &mut Page<'_>, reading: Option<&Reading>) -> fmt::Result {
    let topics = reading.map(|reading| &reading.topics);
    page.one(&of::TOPICS, topics.map(|topics| topics.len() as u64))?;
    let all = topics.map(|topics| topics.iter().map(|(topic, _)| u64::from(topic.partitions)).sum::<u64>());
    let open = topics.map(|topics| topics.iter().map(|(_, partitions)| partitions.len() as u64).sum::<u64>());
    page.one(&of::PARTITIONS, all)?;
    let read_only = topics.map(|topics| {
        let partitions = topics.iter().flat_map(|(_, partitions)| partitions);
        partitions.filter(|partition| partition.read_only).count() as u64
    });
    page.one(&of::PARTITIONS_READ_ONLY, read_only)?;
    let unavailable = all.zip(open).map(|(all, open)| all.saturating_sub(open));
    page.one(&of::PARTITIONS_UNAVAILABLE, unavailable)?;
    page.many(&of::TOPIC_BYTES, reading.into_iter().flat_map(sizes))
}

/// What each topic with numbers of its own takes, and all others together.
fn sizes(reading: &Reading) -> Vec<Series<u64>> {
    let mut known: HashMap<&str, u64> = reading.meters.iter().map(|(name, _)| (&**name, 0)).collect();
    let mut others = 0;
    for (topic, partitions) in &reading.topics {
        let bytes: u64 = partitions.iter().map(|partition| partition.bytes).sum();
        *known.get_mut(&*topic.name).unwrap_or(&mut others) += bytes;
    }
    let mut sizes: Vec<_> = known.into_iter().map(|(name, bytes)| by(name, bytes)).collect();
    sizes.sort_unstable();
    sizes.push(by(OTHER_TOPICS, others));
    sizes
}

fn log(page: &mut Page<'_>, reading: Option<&Reading>) -> fmt::Result {
    let log = reading.and_then(|reading| reading.log.as_ref());
    page.one(&of::ROUNDS, log.map(|log| log.rounds))?;
    page.one(&of::LOG_BATCHES, log.map(|log| log.batches))?;
    page.one(&of::LOG_BYTES, log.map(|log| log.bytes))?;
    page.one(&of::SYNCS, log.map(|log| log.syncs))?;
    page.one(&of::JOURNAL_RECORDS, log.map(|log| log.journal_records))?;
    page.one(&of::METADATA_SYNCS, log.map(|log| log.metadata_syncs))?;
    let times = log.into_iter().flat_map(|log| {
        let times = log.sync_times;
        [by("segments", times.segments), by("journal", times.journals), by("metadata", times.metadata)]
    });
    page.times(&of::SYNC_TIMES, times)?;
    page.one(&of::SYNC_FAILURES, log.map(|log| log.sync_failures))?;
    page.one(&of::SEGMENTS, reading.map(|reading| reading.segments))?;
    page.one(&of::RESERVE_IN_USE, log.map(|log| log.reserve_in_use.into()))?;
    let disk = reading.and_then(|reading| reading.disk);
    page.one(&of::DISK_FREE, disk.map(|disk| disk.free))?;
    page.one(&of::DISK_SIZE, disk.map(|disk| disk.total))
}

fn memory(page: &mut Page<'_>, reading: Option<&Reading>) -> fmt::Result {
    let budgets = || reading.into_iter().flat_map(|reading| &reading.budgets);
    page.many(&of::BUDGET_HELD, budgets().map(|(name, level)| by(*name, level.now)))?;
    page.many(&of::BUDGET_LIMIT, budgets().map(|(name, level)| by(*name, level.limit)))
}

fn groups(page: &mut Page<'_>, reading: Option<&Reading>) -> fmt::Result {
    page.one(&of::GROUPS, reading.map(|reading| reading.status.groups.now))?;
    page.one(&of::GROUPS_LIMIT, reading.map(|reading| reading.status.groups.limit))?;
    let shown = || reading.into_iter().flat_map(|reading| &reading.groups);
    let described =
        || shown().filter_map(|group| Some((&*group.name, &group.described.as_ref()?.partitions)));
    page.many(&of::GROUP_MEMBERS, shown().map(|group| by(&*group.name, group.members.into())))?;
    page.many(&of::GROUP_PARTITIONS, described().map(|(name, at)| by(name, at.len() as u64)))?;
    let lag = |(name, at): (&str, &Vec<GroupPartition>)| by(name, at.iter().map(GroupPartition::lag).sum());
    page.many(&of::GROUP_LAG, described().map(lag))?;
    page.many(&of::GROUP_REBALANCES, shown().map(|group| by(&*group.name, group.rebalances)))
}

fn quotas(page: &mut Page<'_>, reading: Option<&Reading>) -> fmt::Result {
    let quotas = reading.map(|reading| &reading.status.quotas);
    let resources = || {
        quotas.into_iter().flat_map(|quotas| {
            [("produced", quotas.produced), ("consumed", quotas.consumed), ("requests", quotas.requests)]
        })
    };
    page.many(&of::QUOTA_ADMITTED, resources().map(|(name, count)| by(name, count.admitted)))?;
    page.many(&of::QUOTA_REFUSED, resources().map(|(name, count)| by(name, count.refused)))?;
    page.many(&of::QUOTA_BY_POLICY, resources().map(|(name, count)| by(name, count.by_policy)))?;
    let redis = quotas.and_then(|quotas| quotas.redis);
    page.one(&of::REDIS_AWAY, redis.map(|redis| redis.away.into()))?;
    page.one(&of::REDIS_LOSSES, redis.map(|redis| redis.losses))?;
    page.one(&of::REDIS_RECOVERIES, redis.map(|redis| redis.recoveries))?;
    page.one(&of::REDIS_UNANSWERED, redis.map(|redis| redis.unanswered))
}
