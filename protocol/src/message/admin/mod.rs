//! Admin sessions: one request, one response, in order. What cannot be done is answered by `RequestRefused`.

mod groups;
mod tls;
mod topics;

pub use groups::{
    DeleteGroup, DescribeGroup, GroupDeleted, GroupDescription, GroupList, GroupMember, GroupPartition,
    GroupSought, GroupSummary, ListGroups, Owner, SeekGroup, SoughtOffset,
};
pub use tls::{
    Certificate, ReloadOutcome, ReloadTls, RevocationList, ShowTls, Staple, TlsReload, TlsReloaded,
    TlsStatus, TrustInClients,
};
pub use topics::{
    AlterTopic, CreateTopic, DeleteTopic, DescribeTopic, Durability, ListTopics, Partition, Topic,
    TopicDeleted, TopicDescription, TopicList, TopicOptions,
};
