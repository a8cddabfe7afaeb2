//! Topics, consumer groups, tokens, what certificates the broker serves, and what it holds: one request, one answer.

mod access;
mod error;
mod groups;
mod session;

use std::sync::Arc;
use std::time::Duration;

pub use access::NewToken;
pub use error::AdminError;
use sealstream_protocol::message::Message;
pub use sealstream_protocol::message::admin::{
    AccessChecked, AccessRule, Action, BrokerStatus, Certificate, Durability, Effect, GroupDescription,
    GroupList, GroupMember, GroupPartition, GroupSummary, Level, LogStatus, Owner, Partition, QuotaCount,
    QuotaStatus, RedisStatus, ReloadOutcome, RevocationList, SessionUse, SoughtOffset, Staple, TlsReload,
    TlsReloaded, TlsStatus, Token, TokenCreated, Topic, TopicDescription, TopicList, TopicOptions, TopicUse,
    TrustInClients,
};
use sealstream_protocol::message::admin::{
    AlterTopic, CreateTopic, DeleteTopic, DescribeTopic, ListTopics, ReloadTls, ShowStatus, ShowTls,
};
pub use sealstream_protocol::message::consume::Position;
use uuid::Uuid;

use crate::connection::Connections;
use session::{Repeat, Requests};

/// A topic to be made. What is not said is left to the broker.
///
/// ```
/// use sealstream_client::admin::NewTopic;
///
/// let topic = NewTopic::new("measurements").partitions(8).if_not_exists();
/// # drop(topic);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a topic is made by `Admin::create_topic`"]
pub struct NewTopic {
    create: CreateTopic,
}

impl NewTopic {
    /// A topic of this name: 1 to 255 of `a-z A-Z 0-9 . _ -`.
    pub fn new(name: impl Into<String>) -> Self {
        let create = CreateTopic {
            name: name.into(),
            partitions: 0,
            if_not_exists: false,
            options: TopicOptions::default(),
        };
        Self { create }
    }

    /// How many partitions it has; more can be added later, none removed.
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.create.partitions = partitions;
        self
    }

    /// What an acknowledgement promises.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.create.options.durability = Some(durability);
        self
    }

    /// Lets records older than this be deleted; zero keeps them for ever.
    pub fn retention(mut self, age: Duration) -> Self {
        self.create.options.retention_ms = Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Lets the oldest records beyond so many bytes of a partition be deleted; 0 keeps all.
    pub fn retention_bytes(mut self, bytes: u64) -> Self {
        self.create.options.retention_bytes = Some(bytes);
        self
    }

    /// Begins a new segment from this size on, 1 MiB to 1 GiB; 0 is as the broker has it. Retention lets go of whole segments.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.create.options.segment_bytes = Some(bytes);
        self
    }

    /// Begins a new segment when the last one is so old; zero never does.
    pub fn segment_age(mut self, age: Duration) -> Self {
        self.create.options.segment_ms = Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Takes a topic of that name that is there already, as it is, for the answer.
    pub fn if_not_exists(mut self) -> Self {
        self.create.if_not_exists = true;
        self
    }
}

/// Asks a broker for things about topics. Cheap to clone; clones share a session, on which requests wait for each
/// other.
///
/// A request that time may cure is repeated within the client's retry policy. So is one whose answer was lost with its
/// session, if repeating it cannot do anything else; if it can, it ends as [`AdminError::OutcomeUnknown`].
///
/// A request whose future is dropped may be carried out or not; the next one opens another session.
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::admin::NewTopic;
///
/// let admin = client.admin();
/// admin.create_topic(NewTopic::new("measurements").partitions(8).if_not_exists()).await?;
/// for topic in admin.list_topics().await? {
///     println!("{} has {} partitions", topic.name, topic.partitions);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    requests: Arc<Requests>,
}

impl Admin {
    pub(crate) fn new(connections: Arc<Connections>) -> Self {
        Self { requests: Arc::new(Requests::new(connections)) }
    }

    /// Makes a topic.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<Topic, AdminError> {
        let request = format!("create topic {}", topic.create.name);
        let repeat = if topic.create.if_not_exists { Repeat::Safely } else { Repeat::Never };
        self.requests.ask(&request, Message::CreateTopic(topic.create), repeat, topic_of).await
    }

    /// All topics, in the order of their names.
    pub async fn list_topics(&self) -> Result<Vec<Topic>, AdminError> {
        let mut all: Vec<Topic> = Vec::new();
        loop {
            let after = all.last().map(|topic| topic.name.clone()).unwrap_or_default();
            let page = self.list_topics_after(&after, 0).await?;
            // A page that brings nothing, or begins again, would never end.
            let goes_on = page.more && page.topics.last().is_some_and(|last| last.name > after);
            all.extend(page.topics);
            if !goes_on {
                return Ok(all);
            }
        }
    }

    /// At most `limit` topics (0 leaves it to the broker) whose names come after `after`, in their order.
    pub async fn list_topics_after(&self, after: &str, limit: u32) -> Result<TopicList, AdminError> {
        let list = ListTopics { after: after.to_owned(), limit };
        let answer = |message| match message {
            Message::TopicList(list) => Some(list),
            _ => None,
        };
        self.requests.ask("list topics", Message::ListTopics(list), Repeat::Safely, answer).await
    }

    /// A topic and its partitions as they stand.
    pub async fn describe_topic(&self, name: &str) -> Result<TopicDescription, AdminError> {
        let describe = Message::DescribeTopic(DescribeTopic { name: name.to_owned() });
        let answer = |message| match message {
            Message::TopicDescription(description) => Some(description),
            _ => None,
        };
        self.requests.ask(&format!("describe topic {name}"), describe, Repeat::Safely, answer).await
    }

    /// Changes how a topic is kept; what is `None` stays as it is.
    pub async fn alter_topic(&self, name: &str, options: TopicOptions) -> Result<Topic, AdminError> {
        let alter = Message::AlterTopic(AlterTopic { name: name.to_owned(), options });
        self.requests.ask(&format!("alter topic {name}"), alter, Repeat::Safely, topic_of).await
    }

    /// Deletes a topic and all its records. Returns which one it was.
    pub async fn delete_topic(&self, name: &str) -> Result<Uuid, AdminError> {
        let delete = Message::DeleteTopic(DeleteTopic { name: name.to_owned() });
        let answer = |message| match message {
            Message::TopicDeleted(deleted) => Some(deleted.id),
            _ => None,
        };
        self.requests.ask(&format!("delete topic {name}"), delete, Repeat::Never, answer).await
    }

    /// What the broker holds at this moment, in memory and on its disk, and what bounds it.
    ///
    /// ```no_run
    /// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let status = client.admin().show_status().await?;
    /// println!("{} of {} bytes of batches are under way", status.produce.now, status.produce.limit);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn show_status(&self) -> Result<BrokerStatus, AdminError> {
        let answer = |message| match message {
            Message::BrokerStatus(status) => Some(*status),
            _ => None,
        };
        self.requests.ask("show status", Message::ShowStatus(ShowStatus {}), Repeat::Safely, answer).await
    }

    /// What certificates the broker serves, whom it trusts, and how its last reload went.
    pub async fn show_tls(&self) -> Result<TlsStatus, AdminError> {
        let answer = |message| match message {
            Message::TlsStatus(status) => Some(*status),
            _ => None,
        };
        self.requests.ask("show TLS", Message::ShowTls(ShowTls {}), Repeat::Safely, answer).await
    }

    /// Has the broker load its certificates, keys and trust anew from their files: all of them, or on any fault none.
    ///
    /// A file at fault is not an error of the request: the answer's [`ReloadOutcome`] is `Refused`, its text names file and
    /// fault, and the broker serves what it served before. Where the new trust no longer covers this very client, the answer
    /// may be lost with the session.
    ///
    /// ```no_run
    /// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use sealstream_client::admin::ReloadOutcome;
    ///
    /// let reloaded = client.admin().reload_tls().await?;
    /// assert_ne!(reloaded.reload.outcome, ReloadOutcome::Refused, "{}", reloaded.reload.text);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reload_tls(&self) -> Result<TlsReloaded, AdminError> {
        let answer = |message| match message {
            Message::TlsReloaded(reloaded) => Some(reloaded),
            _ => None,
        };
        self.requests.ask("reload TLS", Message::ReloadTls(ReloadTls {}), Repeat::Safely, answer).await
    }

    /// Ends the session cleanly, if there is one; the next request opens another.
    pub async fn close(&self) {
        self.requests.close().await;
    }
}

fn topic_of(message: Message) -> Option<Topic> {
    match message {
        Message::Topic(topic) => Some(topic),
        _ => None,
    }
}
