//! What can go wrong with producing: opening, sending, delivering.

use std::time::Duration;

use sealstream_protocol::message::{Fault, FaultClass};

use crate::bounds::OptionError;
use crate::error::SessionError;

/// Why a producer could not be opened.
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) {
/// match client.producer("measurements").open().await {
///     Ok(producer) => println!("{} partitions", producer.partitions()),
///     Err(error) if error.is_retryable() => eprintln!("try again later: {error}"),
///     Err(error) => eprintln!("{error}"),
/// }
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenProducerError {
    /// There is no session with a broker.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The broker does not let this topic be produced to.
    #[error("cannot produce to topic {topic}: {fault}")]
    Refused {
        /// The topic.
        topic: String,
        /// What the broker said.
        fault: Fault,
    },
    /// An option has a value that it cannot have.
    #[error(transparent)]
    Option(#[from] OptionError),
}

impl OpenProducerError {
    /// Whether the same may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Session(error) => error.is_retryable(),
            Self::Refused { fault, .. } => fault.class != FaultClass::Caller,
            Self::Option(_) => false,
        }
    }
}

/// Why a record was not taken. Nothing of it was sent.
///
/// ```
/// use sealstream_client::SendError;
///
/// let error = SendError::UnknownPartition { partition: 8, partitions: 8 };
/// assert_eq!(error.to_string(), "partition 8 does not exist: the topic has 8, from 0");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The record can never be sent.
    #[error(
        "a record of up to {size} bytes as encoded exceeds the broker's limit of {limit}: make it smaller"
    )]
    TooLarge {
        /// An upper bound of its encoded size, in bytes.
        size: usize,
        /// What a batch may hold, in bytes.
        limit: usize,
    },
    /// The record is larger than what was reserved for it.
    #[error("a record of up to {size} bytes as encoded exceeds the permit of {reserved}: reserve its `size`")]
    ExceedsPermit {
        /// An upper bound of its encoded size, in bytes.
        size: usize,
        /// What was reserved, in bytes.
        reserved: usize,
    },
    /// The topic has no such partition.
    #[error("partition {partition} does not exist: the topic has {partitions}, from 0")]
    UnknownPartition {
        /// The partition asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// The producer was closed, or failed for good.
    #[error("the producer is closed: {0}")]
    Closed(DeliveryError),
}

/// Why a record was not taken at once. Nothing of it was sent.
///
/// ```no_run
/// # fn example(producer: sealstream_client::Producer) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::Record;
/// use sealstream_client::producer::TrySendError;
///
/// match producer.try_send(Record::new("18.4")) {
///     Ok(delivery) => println!("to partition {}", delivery.partition()),
///     Err(TrySendError::WindowFull) => println!("dropped: the broker is slower than we are"),
///     Err(TrySendError::Refused(error)) => return Err(error.into()),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// The window is full: wait for deliveries, or use [`send`](super::Producer::send), which waits.
    #[error("the producer's window is full")]
    WindowFull,
    /// It would not be taken later either.
    #[error(transparent)]
    Refused(#[from] SendError),
}

/// Why a record was not delivered, as far as the producer knows. Cheap to clone: all records of a batch share it.
/// [`retry`](Self::retry) says what comes of sending it again.
///
/// ```
/// use sealstream_client::DeliveryError;
///
/// let error = DeliveryError::Closed { maybe_stored: true };
/// assert!(error.to_string().ends_with("an earlier attempt may have stored it"));
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The broker refused the batch for good.
    #[error("refused: {fault}{}", doubt(*.maybe_stored))]
    Refused {
        /// What the broker said.
        fault: Fault,
        /// Whether an earlier attempt, whose answer was lost, may have stored it.
        maybe_stored: bool,
    },
    /// The delivery timeout passed.
    #[error("not delivered within {after:?}{}{}", refusal_of(.refusal.as_deref()), doubt(*.maybe_stored))]
    TimedOut {
        /// The delivery timeout.
        after: Duration,
        /// Why the broker took none of the partition's batches when it last answered, if it did not.
        refusal: Option<Box<Fault>>,
        /// Whether an attempt whose answer is missing may have stored it.
        maybe_stored: bool,
    },
    /// A batch before it in its partition failed while the answer to this one was missing: sending it again could
    /// store it twice.
    #[error("a batch before it failed, and whether this one was stored is unknown")]
    Indeterminate,
    /// The session with the broker was lost for good.
    #[error("{source}{}", doubt(*.maybe_stored))]
    Session {
        /// Why.
        source: SessionError,
        /// Whether an attempt whose answer is missing may have stored it.
        maybe_stored: bool,
    },
    /// The producer was closed or dropped before the record was delivered.
    #[error("the producer was closed before the record was delivered{}", doubt(*.maybe_stored))]
    Closed {
        /// Whether an attempt whose answer is missing may have stored it.
        maybe_stored: bool,
    },
}

/// What comes of sending a record again whose delivery failed.
///
/// ```no_run
/// # async fn example(producer: sealstream_client::Producer) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::Record;
/// use sealstream_client::producer::Retry;
///
/// let record = Record::new("18.4");
/// if let Err(error) = producer.send(record).await?.await {
///     match error.retry() {
///         Retry::Safe => drop(producer.send(record).await?),
///         Retry::MayDuplicate => println!("look whether it is there: {error}"),
///         Retry::Useless => println!("{error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is not stored: sent again it is there once, if that succeeds.
    Safe,
    /// It may succeed, and may be stored already: it could be there twice. Look whether it is there, give consumers
    /// something to tell a repetition by, or live with it.
    MayDuplicate,
    /// It will fail again: the record or the producer is at fault, not the moment.
    Useless,
}

impl DeliveryError {
    /// Whether the record is to be sent again. The producer has tried by itself for as long as the delivery timeout.
    ///
    /// ```
    /// use sealstream_client::DeliveryError;
    /// use sealstream_client::producer::Retry;
    /// use std::time::Duration;
    ///
    /// let error = DeliveryError::TimedOut { after: Duration::from_secs(120), maybe_stored: false, refusal: None };
    /// assert_eq!(error.retry(), Retry::Safe);
    /// assert_eq!(DeliveryError::Indeterminate.retry(), Retry::MayDuplicate);
    /// ```
    pub fn retry(&self) -> Retry {
        match (self.is_retryable(), self.maybe_stored()) {
            (false, _) => Retry::Useless,
            (true, false) => Retry::Safe,
            (true, true) => Retry::MayDuplicate,
        }
    }

    /// Whether sending the record again may succeed. If it [may be stored](Self::maybe_stored) already, it may then
    /// be there twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { fault, .. } => fault.class != FaultClass::Caller,
            Self::TimedOut { .. } | Self::Indeterminate => true,
            Self::Session { source, .. } => source.is_retryable(),
            Self::Closed { .. } => false,
        }
    }

    /// Whether the record may be stored all the same.
    pub fn maybe_stored(&self) -> bool {
        match self {
            Self::Refused { maybe_stored, .. }
            | Self::TimedOut { maybe_stored, .. }
            | Self::Session { maybe_stored, .. }
            | Self::Closed { maybe_stored } => *maybe_stored,
            Self::Indeterminate => true,
        }
    }

    /// The same, of a batch whose outcome is in doubt or not.
    pub(super) fn with_doubt(mut self, in_doubt: bool) -> Self {
        match &mut self {
            Self::Refused { maybe_stored, .. }
            | Self::TimedOut { maybe_stored, .. }
            | Self::Session { maybe_stored, .. }
            | Self::Closed { maybe_stored } => *maybe_stored = in_doubt,
            Self::Indeterminate => {}
        }
        self
    }
}

/// Records that were not acknowledged, as far as nobody was told of them by an earlier error of this kind.
///
/// ```no_run
/// # async fn example(producer: sealstream_client::Producer) {
/// if let Err(lost) = producer.close().await {
///     eprintln!("{lost}");
///     eprintln!("send again from record {} on, of which {} may be there", lost.from, lost.maybe_stored);
/// }
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{records} {} not acknowledged{}: {first}",
    if *.records == 1 { "record was" } else { "records were" },
    if *.maybe_stored == 0 { String::new() } else { format!(", of which {maybe_stored} may be stored") }
)]
#[non_exhaustive]
pub struct NotAcknowledged {
    /// How many.
    pub records: u64,
    /// How many of them may be stored all the same.
    pub maybe_stored: u64,
    /// The [number](super::Delivery::number) of the first of them: everything before it that was sent since the last such
    /// error is stored.
    pub from: u64,
    /// Why the one failed that failed first.
    #[source]
    pub first: DeliveryError,
}

impl NotAcknowledged {
    /// Counts the records of a batch that failed.
    pub(super) fn add(all: &mut Option<Self>, from: u64, records: u64, error: &DeliveryError) {
        let none = || Self { records: 0, maybe_stored: 0, from, first: error.clone() };
        let all = all.get_or_insert_with(none);
        all.records += records;
        all.maybe_stored += if error.maybe_stored() { records } else { 0 };
        all.from = all.from.min(from);
    }
}

fn refusal_of(refusal: Option<&Fault>) -> String {
    refusal.map(|fault| format!("; the broker said last: {fault}")).unwrap_or_default()
}

fn doubt(maybe_stored: bool) -> &'static str {
    if maybe_stored { "; an earlier attempt may have stored it" } else { "" }
}
