//! The messages of the four kinds of session, one frame each.
//!
//! Fields marked *tagged* travel in the tagged section and may be absent; everything else is fixed and in the order
//! given. Unknown tags are ignored, unknown kinds are an error.

pub mod admin;
pub mod consume;
pub mod fault;
pub mod group;
pub mod hello;
pub mod produce;

pub use fault::{Fault, FaultClass, FaultCode};

/// Any message. The number is its kind on the wire.
///
/// 0x01–0x0f belong to every session, 0x10–0x2f to Admin, 0x30–0x3f to Produce, 0x40–0x4f to Consume, 0x50–0x6f to
/// Group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each variant is documented by the type it holds")]
pub enum Message {
    Hello(hello::Hello) = 0x01,
    Welcome(hello::Welcome) = 0x02,
    /// Ends the session: what was wrong, for the whole of it.
    Error(Fault) = 0x03,
    Ping(hello::Ping) = 0x04,
    Pong(hello::Pong) = 0x05,
    /// The broker is about to end the session: send nothing new; what is under way is still answered.
    GoAway(Fault) = 0x06,

    CreateTopic(admin::CreateTopic) = 0x10,
    ListTopics(admin::ListTopics) = 0x11,
    DescribeTopic(admin::DescribeTopic) = 0x12,
    AlterTopic(admin::AlterTopic) = 0x13,
    DeleteTopic(admin::DeleteTopic) = 0x14,
    ShowTls(admin::ShowTls) = 0x15,
    Topic(admin::Topic) = 0x20,
    TopicList(admin::TopicList) = 0x21,
    TopicDescription(admin::TopicDescription) = 0x22,
    TopicDeleted(admin::TopicDeleted) = 0x23,
    TlsStatus(admin::TlsStatus) = 0x24,
    /// The answer to a request that could not be carried out; the session goes on.
    RequestRefused(Fault) = 0x2f,

    OpenTopic(produce::OpenTopic) = 0x30,
    TopicOpened(produce::TopicOpened) = 0x31,
    OpenRefused(produce::OpenRefused) = 0x32,
    Produce(produce::Produce) = 0x33,
    Ack(produce::Ack) = 0x34,
    ProduceRefused(produce::ProduceRefused) = 0x35,

    Subscribe(consume::Subscribe) = 0x40,
    Subscribed(consume::Subscribed) = 0x41,
    Unsubscribe(consume::Unsubscribe) = 0x42,
    SubscriptionEnded(consume::SubscriptionEnded) = 0x43,
    Data(consume::Data) = 0x44,

    JoinGroup(group::JoinGroup) = 0x50,
    Joined(group::Joined) = 0x51,
    Heartbeat(group::Heartbeat) = 0x52,
    Assign(group::Assign) = 0x53,
    Revoke(group::Revoke) = 0x54,
    Released(group::Released) = 0x55,
    Commit(group::Commit) = 0x56,
    Committed(group::Committed) = 0x57,
    LeaveGroup(group::LeaveGroup) = 0x58,
    Left(group::Left) = 0x59,
}
