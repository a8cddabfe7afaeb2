//! The `[quotas]` section: how much each identity and each address may spend, and where that is counted.

mod rate;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use sealstream_transport::gcra::Limit;

pub use self::rate::Rate;
use super::{Size, Span};
use crate::access::identity_pattern;
use crate::quotas::redis::{DEFAULT_DEADLINE, RedisFiles, RedisOptions, RedisUrl};
use crate::quotas::{self, MAX_OVERRIDES, Override, Rates, Rules, Said, SharedOptions};

/// 100 ms: so soon the policy for a lost Redis has to be entered.
const LONGEST_DEADLINE: Duration = Duration::from_millis(100);

/// 4 MiB: half of what a session may have unanswered, so that a producer at full speed finds the next lease there.
const LEASE: Size = Size::mib(4);

/// Quotas. Without any, nothing is limited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Bytes of batches that each identity may produce.
    pub produced: Option<Rate>,
    /// How many of them at once.
    pub produced_burst: Option<Size>,
    /// Bytes of entries that are pushed to each identity.
    pub consumed: Option<Rate>,
    /// How many of them at once.
    pub consumed_burst: Option<Size>,
    /// Requests of each identity.
    pub requests: Option<Rate>,
    /// How many of them at once.
    pub requests_burst: Option<u64>,
    /// The same for each address, besides.
    pub address: AddressQuota,
    /// Other limits for identities that a pattern fits.
    pub identity: Vec<IdentityQuota>,
    /// Where it is counted.
    pub store: StoreName,
    /// The CAs of Redis' certificate, in PEM.
    pub redis_ca: Option<PathBuf>,
    /// A certificate to show to Redis, and its key, in PEM.
    pub redis_cert: Option<PathBuf>,
    /// The key of `redis_cert`.
    pub redis_key: Option<PathBuf>,
    /// Holds Redis' password.
    pub redis_password_file: Option<PathBuf>,
    /// How long an answer of Redis is waited for.
    pub redis_deadline: Span,
    /// What holds while Redis is away.
    pub on_redis_loss: OnRedisLoss,
    /// What a broker takes of a quota of bytes in advance.
    pub lease: Size,
}

/// The limits of each address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AddressQuota {
    /// Bytes of batches.
    pub produced: Option<Rate>,
    /// How many of them at once.
    pub produced_burst: Option<Size>,
    /// Bytes of entries.
    pub consumed: Option<Rate>,
    /// How many of them at once.
    pub consumed_burst: Option<Size>,
    /// Requests.
    pub requests: Option<Rate>,
    /// How many of them at once.
    pub requests_burst: Option<u64>,
}

/// The limits of each identity that a pattern fits; what is not said is as in the section itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityQuota {
    /// Exact, or ending in `*`.
    pub pattern: String,
    /// Bytes of batches.
    pub produced: Option<Rate>,
    /// How many of them at once.
    pub produced_burst: Option<Size>,
    /// Bytes of entries.
    pub consumed: Option<Rate>,
    /// How many of them at once.
    pub consumed_burst: Option<Size>,
    /// Requests.
    pub requests: Option<Rate>,
    /// How many of them at once.
    pub requests_burst: Option<u64>,
}

/// Where quotas are counted: `memory`, or the URL of a Redis that brokers share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StoreName {
    /// In each broker by itself.
    #[default]
    Memory,
    /// In this Redis.
    Redis(RedisUrl),
}

/// What holds while Redis is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRedisLoss {
    /// Everything passes.
    Open,
    /// Nothing passes.
    Closed,
    /// Each broker counts by itself.
    #[default]
    Local,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            produced: None,
            produced_burst: None,
            consumed: None,
            consumed_burst: None,
            requests: None,
            requests_burst: None,
            address: AddressQuota::default(),
            identity: Vec::new(),
            store: StoreName::Memory,
            redis_ca: None,
            redis_cert: None,
            redis_key: None,
            redis_password_file: None,
            redis_deadline: Span(DEFAULT_DEADLINE),
            on_redis_loss: OnRedisLoss::default(),
            lease: LEASE,
        }
    }
}

/// A rate and a burst as one place of the configuration has them, with what its keys begin with.
struct Stated<'a> {
    key: String,
    rate: Option<&'a Rate>,
    burst: Option<u64>,
    /// A burst of bytes must cover this.
    least: Option<Size>,
}

impl Stated<'_> {
    /// What is said here, with `inherited` for a burst or a rate that is said there alone.
    fn said(&self, inherited: Option<&Stated<'_>>) -> Result<Said, String> {
        let key = &self.key;
        let (rate, burst) = match (self.rate, self.burst) {
            (None, None) => return Ok(Said::Nothing),
            (Some(rate), burst) => (Some(rate), burst),
            (None, burst) => (inherited.and_then(|from| from.rate), burst),
        };
        let Some(rate) = rate else {
            return Err(format!("quotas.{key}_burst is set, but no rate: set quotas.{key} as well"));
        };
        if rate.count == 0 {
            return Ok(Said::Unlimited);
        }
        let a_second = rate.a_second();
        let (burst, by_default) = match burst {
            Some(burst) => (burst, false),
            None => (a_second.max(self.least.map_or(1, |least| least.0)), true),
        };
        if let Some(least) = self.least.filter(|least| burst < least.0) {
            return Err(format!(
                "quotas.{key}_burst is {}, and the largest frame {least} (limits.frame): such a frame could never pass; raise \
                 the former to {least} or more, or lower the latter",
                Size(burst)
            ));
        }
        Limit::new(rate.count, rate.period, burst).map(Said::Limited).map_err(|error| {
            let burst = if by_default { ", with the burst that it has by default" } else { "" };
            format!("quotas.{key}{burst}: {error}")
        })
    }
}

/// The three of one place.
macro_rules! stated {
    ($place:expr, $prefix:expr, $frame:expr) => {{
        let place = $place;
        let prefix: &str = $prefix;
        let bytes = |name: &str, rate, burst: Option<Size>| Stated {
            key: format!("{prefix}{name}"),
            rate,
            burst: burst.map(|burst| burst.0),
            least: Some($frame),
        };
        [
            bytes("produced", place.produced.as_ref(), place.produced_burst),
            bytes("consumed", place.consumed.as_ref(), place.consumed_burst),
            Stated {
                key: format!("{prefix}requests"),
                rate: place.requests.as_ref(),
                burst: place.requests_burst,
                least: None,
            },
        ]
    }};
}

impl Quotas {
    /// The limits, with `frame` as the largest frame that must be able to pass. The error names the key and the remedy.
    pub fn rules(&self, frame: Size) -> Result<Rules, String> {
        let defaults = stated!(self, "", frame);
        let mut overrides: Vec<Override> = Vec::with_capacity(self.identity.len());
        if self.identity.len() > MAX_OVERRIDES {
            return Err(format!(
                "quotas.identity has {} patterns: at most {MAX_OVERRIDES}",
                self.identity.len()
            ));
        }
        for quota in &self.identity {
            let pattern =
                identity_pattern(&quota.pattern).map_err(|error| format!("quotas.identity: {error}"))?;
            let pattern = &pattern.to_string();
            if overrides.iter().any(|known| known.pattern == *pattern) {
                return Err(format!("quotas.identity: pattern {pattern:?} is there twice: keep one"));
            }
            let [produced, consumed, requests] = stated!(quota, &format!("identity ({pattern}): "), frame);
            overrides.push(Override {
                pattern: pattern.clone(),
                produced: produced.said(Some(&defaults[0]))?,
                consumed: consumed.said(Some(&defaults[1]))?,
                requests: requests.said(Some(&defaults[2]))?,
            });
        }
        let rates = |[produced, consumed, requests]: &[Stated<'_>; 3]| {
            let limit = |stated: &Stated<'_>| match stated.said(None) {
                Ok(Said::Limited(limit)) => Ok(Some(limit)),
                Ok(_) => Ok(None),
                Err(error) => Err(error),
            };
            Ok::<_, String>(Rates {
                produced: limit(produced)?,
                consumed: limit(consumed)?,
                requests: limit(requests)?,
            })
        };
        let address = rates(&stated!(&self.address, "address.", frame))?;
        Ok(Rules { defaults: rates(&defaults)?, overrides, address })
    }

    /// How they are shared with other brokers of the cluster, if they are.
    pub fn shared(&self, cluster: &str) -> Option<SharedOptions> {
        let StoreName::Redis(url) = &self.store else { return None };
        let on_loss = match self.on_redis_loss {
            OnRedisLoss::Open => quotas::OnLoss::Open,
            OnRedisLoss::Closed => quotas::OnLoss::Closed,
            OnRedisLoss::Local => quotas::OnLoss::Local,
        };
        let redis = RedisOptions {
            url: url.clone(),
            files: RedisFiles {
                ca: self.redis_ca.clone(),
                identity: self.redis_cert.clone().zip(self.redis_key.clone()),
                password: self.redis_password_file.clone(),
            },
            prefix: format!("sealstream:{cluster}:quota:"),
            deadline: self.redis_deadline.0,
            policy: on_loss.name(),
        };
        Some(SharedOptions { redis, on_loss, lease: self.lease.0 })
    }

    /// What the types cannot say.
    pub(super) fn check(&self, frame: Size) -> Result<(), String> {
        self.rules(frame)?;
        super::within("quotas.lease", self.lease, Size(1 << 10), Size::mib(1024))?;
        let moment = Span(Duration::from_millis(1));
        super::within("quotas.redis_deadline", self.redis_deadline, moment, Span(LONGEST_DEADLINE))?;
        if self.redis_cert.is_some() != self.redis_key.is_some() {
            return Err("quotas.redis_cert and quotas.redis_key go together: set both or neither".into());
        }
        let files = [&self.redis_ca, &self.redis_cert, &self.redis_password_file];
        match &self.store {
            StoreName::Memory if files.iter().any(|file| file.is_some()) => {
                Err("quotas.redis_… is set, and quotas.store is not: set it to the URL of Redis".into())
            }
            StoreName::Redis(url) if !url.tls && (self.redis_ca.is_some() || self.redis_cert.is_some()) => {
                Err("quotas.redis_ca and quotas.redis_cert are for rediss://, and quotas.store begins with redis://"
                    .into())
            }
            _ => Ok(()),
        }
    }
}

impl TryFrom<String> for StoreName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "memory" { Ok(Self::Memory) } else { text.parse().map(Self::Redis) }
    }
}

impl From<StoreName> for String {
    fn from(store: StoreName) -> Self {
        match store {
            StoreName::Memory => "memory".into(),
            StoreName::Redis(url) => url.to_string(),
        }
    }
}

/// One of everything, so that every key is known.
pub(super) fn example() -> Quotas {
    let rate = || Some("1/s".parse().expect("a rate"));
    let (size, path) = (Some(Size(1)), || Some(PathBuf::new()));
    let address = AddressQuota {
        produced: rate(),
        produced_burst: size,
        consumed: rate(),
        consumed_burst: size,
        requests: rate(),
        requests_burst: Some(1),
    };
    let AddressQuota { produced, produced_burst, consumed, consumed_burst, requests, requests_burst } =
        address.clone();
    let identity = IdentityQuota {
        pattern: String::new(),
        produced,
        produced_burst,
        consumed,
        consumed_burst,
        requests,
        requests_burst,
    };
    Quotas {
        produced: rate(),
        produced_burst: size,
        consumed: rate(),
        consumed_burst: size,
        requests: rate(),
        requests_burst: Some(1),
        address,
        identity: vec![identity],
        redis_ca: path(),
        redis_cert: path(),
        redis_key: path(),
        redis_password_file: path(),
        ..Quotas::default()
    }
}
