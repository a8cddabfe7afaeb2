//! Records that a program cannot work off, put aside in a topic of their own.

use std::fmt::Display;
use std::time::Duration;

use super::error::GroupError;
use super::record::GroupRecord;
use crate::backoff::jittered;
use crate::bounds::{OptionError, at_least, no_longer};
use crate::producer::{DeliveryError, Producer, Record, RecordMetadata, SendError};

/// Attempts at a record unless told otherwise.
pub const DEFAULT_ATTEMPTS: u32 = 3;

/// The wait before the second attempt; it doubles with each, and is jittered.
pub const DEFAULT_BACKOFF: Duration = Duration::from_millis(100);

/// The longest wait between two attempts: the partition stands still meanwhile.
pub const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Bytes of an error's text that are kept in a dead letter.
const MAX_ERROR: usize = 1024;

/// Names of the headers that a dead letter has besides those of its record; their values are text.
pub mod headers {
    /// The group whose member gave up.
    pub const GROUP: &str = "sealstream-dead-letter-group";
    /// The topic that the record came from.
    pub const TOPIC: &str = "sealstream-dead-letter-topic";
    /// Its partition.
    pub const PARTITION: &str = "sealstream-dead-letter-partition";
    /// Its offset.
    pub const OFFSET: &str = "sealstream-dead-letter-offset";
    /// What the last attempt said: at most 1,024 bytes of it.
    pub const ERROR: &str = "sealstream-dead-letter-error";
    /// How many attempts there were.
    pub const ATTEMPTS: &str = "sealstream-dead-letter-attempts";
}

/// Where records go that a program cannot work off, and how often it tries. Used by
/// [`GroupConsumer::process`](super::GroupConsumer::process).
///
/// A dead letter has its record's key, value, headers and timestamp, and says in further [`headers`] where that came from and
/// what went wrong. Put aside under at-least-once: a record may come to be there twice. Who reads the dead letters knows such
/// twins by the topic, partition and offset in their headers.
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use sealstream_client::group::DeadLetters;
///
/// let failed = client.producer("orders.failed").open().await?;
/// let dead_letters = DeadLetters::builder(failed).attempts(5).backoff(Duration::from_millis(200)).build()?;
/// # drop(dead_letters);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DeadLetters {
    producer: Producer,
    attempts: u32,
    backoff: Duration,
}

/// What became of a record: there is no third.
///
/// ```no_run
/// # async fn example(mut consumer: sealstream_client::GroupConsumer, dead_letters: sealstream_client::group::DeadLetters) -> Result<(), Box<dyn std::error::Error>> {
/// # async fn charge(_: &[u8]) -> Result<(), std::io::Error> { Ok(()) }
/// use sealstream_client::group::Processed;
///
/// match consumer.process(&dead_letters, async |record| charge(&record.value).await).await.transpose()? {
///     Some(Processed::Done { attempts }) => println!("done with attempt {attempts}"),
///     Some(Processed::DeadLettered { error, stored, .. }) => println!("at {}: {error}", stored.offset),
///     None => println!("the end"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Processed {
    /// It was worked off, with the attempt of this number, from 1.
    Done {
        /// Which.
        attempts: u32,
    },
    /// Every attempt failed, and it is stored in the dead-letter topic.
    DeadLettered {
        /// How many there were.
        attempts: u32,
        /// What the last one said.
        error: String,
        /// Where it is stored.
        stored: RecordMetadata,
    },
}

/// Why a record was neither worked off nor put aside. If it was there, it is not done with: it is handed out again.
///
/// ```no_run
/// # async fn example(mut consumer: sealstream_client::GroupConsumer, dead_letters: sealstream_client::group::DeadLetters) -> Result<(), Box<dyn std::error::Error>> {
/// # async fn charge(_: &[u8]) -> Result<(), std::io::Error> { Ok(()) }
/// use sealstream_client::group::ProcessError;
///
/// while let Some(processed) = consumer.process(&dead_letters, async |record| charge(&record.value).await).await {
///     match processed {
///         Ok(_) => {}
///         Err(ProcessError::Group(error)) if error.is_final() => return Err(error.into()),
///         // The record is handed out again.
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// There is no record to be had.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The dead-letter topic is one that the group reads: what cannot be worked off would come round for ever.
    #[error("the dead-letter topic {topic} is one that the group itself reads: take another")]
    OwnTopic {
        /// The topic.
        topic: String,
    },
    /// The record failed every attempt, and cannot be sent to the dead-letter topic.
    #[error(
        "topic {topic} partition {partition} offset {offset} failed ({error}) and cannot be put aside: {source}"
    )]
    Send {
        /// The record's topic.
        topic: String,
        /// Its partition.
        partition: u32,
        /// Its offset.
        offset: u64,
        /// What the last attempt said.
        error: String,
        /// Why.
        source: SendError,
    },
    /// The record failed every attempt, and the dead-letter topic did not take it.
    #[error(
        "topic {topic} partition {partition} offset {offset} failed ({error}) and was not put aside: {source}"
    )]
    Delivery {
        /// The record's topic.
        topic: String,
        /// Its partition.
        partition: u32,
        /// Its offset.
        offset: u64,
        /// What the last attempt said.
        error: String,
        /// Why.
        source: DeliveryError,
    },
}

/// Builds [`DeadLetters`].
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::group::DeadLetters;
///
/// let failed = client.producer("orders.failed").open().await?;
/// let refused = DeadLetters::builder(failed).attempts(0).build().unwrap_err();
/// assert_eq!(refused.to_string(), "the option attempts is 0: it must be at least 1");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct DeadLettersBuilder(DeadLetters);

impl DeadLettersBuilder {
    /// How often a record is tried, at least once; [`DEFAULT_ATTEMPTS`] by default. Attempts of an earlier delivery of the
    /// same record, before a restart or in another member, do not count.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// How long to wait before the second attempt, at most [`MAX_BACKOFF`]; [`DEFAULT_BACKOFF`] by default. It doubles with
    /// each attempt, up to [`MAX_BACKOFF`], and is jittered. Zero tries again at once.
    pub fn backoff(mut self, wait: Duration) -> Self {
        self.0.backoff = wait;
        self
    }

    /// Checks every option.
    pub fn build(self) -> Result<DeadLetters, OptionError> {
        at_least("attempts", self.0.attempts, 1)?;
        no_longer("backoff", self.0.backoff, MAX_BACKOFF)?;
        Ok(self.0)
    }
}

impl DeadLetters {
    /// Puts records aside by this producer, whose topic the group must not read itself.
    pub fn builder(producer: Producer) -> DeadLettersBuilder {
        DeadLettersBuilder(Self { producer, attempts: DEFAULT_ATTEMPTS, backoff: DEFAULT_BACKOFF })
    }

    /// The topic that records are put aside in.
    pub fn topic(&self) -> &str {
        self.producer.topic()
    }

    /// Tries `work` on a record as often as may be. `Err` has what the last attempt said.
    pub(super) async fn try_out<E: Display>(
        &self,
        record: &GroupRecord,
        work: &mut impl AsyncFnMut(&GroupRecord) -> Result<(), E>,
    ) -> Result<u32, String> {
        let mut wait = self.backoff;
        let mut attempt = 1;
        loop {
            let error = match work(record).await {
                Ok(()) => return Ok(attempt),
                Err(error) => error.to_string(),
            };
            let (topic, partition, offset) = (&record.topic, record.partition, record.offset);
            tracing::debug!(%topic, partition, offset, attempt, error, "a record could not be worked off");
            if attempt == self.attempts {
                return Err(error);
            }
            attempt += 1;
            tokio::time::sleep(jittered(wait).min(MAX_BACKOFF)).await;
            wait = (wait * 2).min(MAX_BACKOFF);
        }
    }

    /// Stores a record that failed, and waits until it is stored.
    pub(super) async fn put_aside(
        &self,
        group: &str,
        record: &GroupRecord,
        error: String,
    ) -> Result<Processed, ProcessError> {
        let attempts = self.attempts;
        let (partition, offset) = (record.partition.to_string(), record.offset.to_string());
        let tried = attempts.to_string();
        let text = &error.as_bytes()[..error.floor_char_boundary(MAX_ERROR)];
        let own: Vec<_> = record.headers.clone().collect();
        let mut all: Vec<(&str, &[u8])> =
            own.iter().map(|header| (header.name(), header.value.as_ref())).collect();
        all.extend([
            (headers::GROUP, group.as_bytes()),
            (headers::TOPIC, record.topic.as_bytes()),
            (headers::PARTITION, partition.as_bytes()),
            (headers::OFFSET, offset.as_bytes()),
            (headers::ERROR, text),
            (headers::ATTEMPTS, tried.as_bytes()),
        ]);
        let mut letter = Record::new(&record.value).headers(&all).timestamp(record.timestamp);
        if let Some(key) = &record.key {
            letter = letter.key(key);
        }
        let (topic, partition, offset) = (record.topic.to_string(), record.partition, record.offset);
        let delivery = match self.producer.send(letter).await {
            Ok(delivery) => delivery,
            Err(source) => return Err(ProcessError::Send { topic, partition, offset, error, source }),
        };
        match delivery.await {
            Ok(stored) => {
                tracing::warn!(topic, partition, offset, error, "a record was put aside");
                Ok(Processed::DeadLettered { attempts, error, stored })
            }
            Err(source) => Err(ProcessError::Delivery { topic, partition, offset, error, source }),
        }
    }
}
