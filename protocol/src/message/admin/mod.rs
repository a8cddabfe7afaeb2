//! Admin sessions: one request, one response, in order. What cannot be done is answered by `RequestRefused`.

mod access;
mod groups;
mod status;
mod tls;
mod topics;

pub use access::{
    AccessChecked, AccessRule, Action, CheckAccess, CreateToken, Effect, ListTokens, RevokeToken, Token,
    TokenCreated, TokenList, TokenRevoked,
};
pub use groups::{
    DeleteGroup, DescribeGroup, GroupDeleted, GroupDescription, GroupList, GroupMember, GroupPartition,
    GroupSought, GroupSummary, ListGroups, Owner, SeekGroup, SoughtOffset,
};
pub use status::{
    BrokerStatus, Level, LogStatus, QuotaCount, QuotaStatus, RedisStatus, SessionUse, ShowStatus, TopicUse,
};
pub use tls::{
    Certificate, ReloadOutcome, ReloadTls, RevocationList, ShowTls, Staple, TlsReload, TlsReloaded,
    TlsStatus, TrustInClients,
};
pub use topics::{
    AlterTopic, CreateTopic, DeleteTopic, DescribeTopic, Durability, ListTopics, Partition, Topic,
    TopicDeleted, TopicDescription, TopicList, TopicOptions,
};
