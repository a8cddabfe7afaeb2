//! Any message, for property tests.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use sealstream_protocol::message::{Fault, FaultClass, Message, admin, consume, hello, produce};
use uuid::Uuid;

pub(crate) fn text() -> impl Strategy<Value = String> {
    ".{0,12}"
}

pub(crate) fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn payload() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..100).prop_map(Bytes::from)
}

pub(crate) fn fault() -> impl Strategy<Value = Fault> {
    let class = prop_oneof![
        Just(FaultClass::Caller),
        Just(FaultClass::RetryLater),
        Just(FaultClass::RetryElsewhere),
        Just(FaultClass::Broker),
    ];
    (class, any::<u16>(), text(), of(any::<u32>()), of(text()), of(any::<u64>())).prop_map(
        |(class, code, text, retry_after_ms, url, offset)| Fault {
            class,
            code,
            text,
            retry_after_ms,
            url,
            offset,
        },
    )
}

fn durability() -> impl Strategy<Value = admin::Durability> {
    prop_oneof![Just(admin::Durability::Disk), Just(admin::Durability::Memory)]
}

fn options() -> impl Strategy<Value = admin::TopicOptions> {
    let number = || of(any::<u64>());
    (of(durability()), number(), number(), number(), number(), of(any::<u32>())).prop_map(
        |(durability, retention_ms, retention_bytes, segment_bytes, segment_ms, partitions)| {
            admin::TopicOptions {
                durability,
                retention_ms,
                retention_bytes,
                segment_bytes,
                segment_ms,
                partitions,
            }
        },
    )
}

fn topic() -> impl Strategy<Value = admin::Topic> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<i64>());
    (text(), uuid(), any::<u32>(), durability(), numbers).prop_map(
        |(name, id, partitions, durability, numbers)| {
            let (retention_ms, retention_bytes, segment_bytes, segment_ms, created_ms) = numbers;
            admin::Topic {
                name,
                id,
                partitions,
                durability,
                retention_ms,
                retention_bytes,
                segment_bytes,
                segment_ms,
                created_ms,
            }
        },
    )
}

fn partition() -> impl Strategy<Value = admin::Partition> {
    (any::<u32>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u64>(), any::<bool>()).prop_map(
        |(index, start, end, epoch, bytes, read_only)| admin::Partition {
            index,
            start,
            end,
            epoch,
            bytes,
            read_only,
        },
    )
}

fn certificate() -> impl Strategy<Value = admin::Certificate> {
    let staple = any::<(i64, i64, bool)>().prop_map(|(this_update, next_update, served)| admin::Staple {
        this_update,
        next_update,
        served,
    });
    let texts = (text(), vec(text(), 0..3), text(), text(), text());
    (texts, any::<(i64, i64, bool)>(), any::<[u8; 32]>(), of(staple)).prop_map(
        |((subject, names, issuer, serial, key), (not_before, not_after, default), spki_sha256, staple)| {
            admin::Certificate {
                subject,
                names,
                issuer,
                serial,
                not_before,
                not_after,
                key,
                spki_sha256,
                default,
                staple,
            }
        },
    )
}

fn trust_in_clients() -> impl Strategy<Value = admin::TrustInClients> {
    let list = (text(), any::<u32>(), of(any::<i64>()))
        .prop_map(|(issuer, revoked, next_update)| admin::RevocationList { issuer, revoked, next_update });
    (text(), any::<(u32, u32)>(), vec(list, 0..3)).prop_map(
        |(certificates, (authorities, pins), revocation_lists)| admin::TrustInClients {
            certificates,
            authorities,
            pins,
            revocation_lists,
        },
    )
}

fn reload() -> impl Strategy<Value = admin::TlsReload> {
    let outcome = prop_oneof![
        Just(admin::ReloadOutcome::Changed),
        Just(admin::ReloadOutcome::Unchanged),
        Just(admin::ReloadOutcome::Refused),
    ];
    (any::<(i64, bool)>(), text(), outcome, text()).prop_map(
        |((at_ms, trust_changed), trigger, outcome, text)| admin::TlsReload {
            at_ms,
            trigger,
            outcome,
            trust_changed,
            text,
        },
    )
}

fn tls() -> impl Strategy<Value = Message> {
    let status = (
        any::<[u8; 32]>(),
        vec(certificate(), 0..3),
        trust_in_clients(),
        text(),
        any::<(u64, u64)>(),
        of(reload()),
    );
    prop_oneof![
        Just(Message::ShowTls(admin::ShowTls {})),
        Just(Message::ReloadTls(admin::ReloadTls {})),
        status.prop_map(|(epoch, certificates, clients, resumption, reloads, last_reload)| {
            Message::TlsStatus(Box::new(admin::TlsStatus {
                epoch,
                certificates,
                clients,
                resumption,
                reloads_accepted: reloads.0,
                reloads_refused: reloads.1,
                last_reload,
            }))
        }),
        (reload(), any::<[u8; 32]>())
            .prop_map(|(reload, epoch)| Message::TlsReloaded(admin::TlsReloaded { reload, epoch })),
    ]
}

fn action() -> impl Strategy<Value = admin::Action> {
    prop_oneof![Just(admin::Action::Produce), Just(admin::Action::Consume), Just(admin::Action::Admin)]
}

fn token() -> impl Strategy<Value = admin::Token> {
    ((text(), text(), text()), uuid(), any::<i64>(), of(any::<i64>()), of(any::<i64>())).prop_map(
        |((name, identity, created_by), id, created_ms, expires_ms, last_used_ms)| admin::Token {
            name,
            id,
            identity,
            created_by,
            created_ms,
            expires_ms,
            last_used_ms,
        },
    )
}

fn access() -> impl Strategy<Value = Message> {
    let effect = prop_oneof![Just(admin::Effect::Allow), Just(admin::Effect::Deny)];
    let rule = (any::<u32>(), text(), vec(action(), 0..4), vec(text(), 0..3), effect).prop_map(
        |(number, identity, actions, topics, effect)| admin::AccessRule {
            number,
            identity,
            actions,
            topics,
            effect,
        },
    );
    prop_oneof![
        (text(), of(text()), of(any::<u64>())).prop_map(|(name, identity, lifetime_ms)| {
            Message::CreateToken(admin::CreateToken { name, identity, lifetime_ms })
        }),
        Just(Message::ListTokens(admin::ListTokens {})),
        text().prop_map(|name| Message::RevokeToken(admin::RevokeToken { name })),
        (text(), action(), text()).prop_map(|(identity, action, topic)| {
            Message::CheckAccess(admin::CheckAccess { identity, action, topic })
        }),
        (token(), text()).prop_map(|(token, secret)| {
            Message::TokenCreated(admin::TokenCreated { token, secret: hello::Secret(secret) })
        }),
        vec(token(), 0..3).prop_map(|tokens| Message::TokenList(admin::TokenList { tokens })),
        token().prop_map(|token| Message::TokenRevoked(admin::TokenRevoked { token })),
        (any::<bool>(), text(), of(rule)).prop_map(|(allowed, reason, rule)| {
            Message::AccessChecked(admin::AccessChecked { allowed, reason, rule })
        }),
    ]
}

fn session() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![
        Just(hello::SessionKind::Admin),
        Just(hello::SessionKind::Produce),
        Just(hello::SessionKind::Consume),
        Just(hello::SessionKind::Group),
    ];
    let numbers = any::<(u32, u32, u32, u32)>();
    prop_oneof![
        (any::<(u16, u16)>(), kind, any::<u32>(), text(), of(text()), of(text())).prop_map(
            |((version_min, version_max), session, idle_ms, client, token, cluster)| Message::Hello(
                hello::Hello {
                    version_min,
                    version_max,
                    session,
                    idle_ms,
                    client,
                    token: token.map(hello::Secret),
                    cluster
                }
            )
        ),
        (any::<u16>(), numbers, text(), text(), uuid(), text()).prop_map(
            |(version, numbers, broker, cluster, incarnation, identity)| Message::Welcome(hello::Welcome {
                version,
                idle_ms: numbers.0,
                max_frame: numbers.1,
                max_decompressed_batch: numbers.2,
                window: numbers.3,
                broker,
                cluster,
                incarnation,
                identity
            })
        ),
        fault().prop_map(Message::Error),
        fault().prop_map(Message::GoAway),
        any::<u64>().prop_map(|nonce| Message::Ping(hello::Ping { nonce })),
        any::<u64>().prop_map(|nonce| Message::Pong(hello::Pong { nonce })),
    ]
}

fn administration() -> impl Strategy<Value = Message> {
    prop_oneof![
        (text(), any::<u32>(), any::<bool>(), options()).prop_map(
            |(name, partitions, if_not_exists, options)| Message::CreateTopic(admin::CreateTopic {
                name,
                partitions,
                if_not_exists,
                options
            })
        ),
        (text(), any::<u32>())
            .prop_map(|(after, limit)| Message::ListTopics(admin::ListTopics { after, limit })),
        text().prop_map(|name| Message::DescribeTopic(admin::DescribeTopic { name })),
        (text(), options())
            .prop_map(|(name, options)| Message::AlterTopic(admin::AlterTopic { name, options })),
        text().prop_map(|name| Message::DeleteTopic(admin::DeleteTopic { name })),
        topic().prop_map(Message::Topic),
        (vec(topic(), 0..3), any::<bool>())
            .prop_map(|(topics, more)| Message::TopicList(admin::TopicList { topics, more })),
        (topic(), vec(partition(), 0..3)).prop_map(|(topic, partitions)| Message::TopicDescription(
            admin::TopicDescription { topic, partitions }
        )),
        uuid().prop_map(|id| Message::TopicDeleted(admin::TopicDeleted { id })),
        fault().prop_map(Message::RequestRefused),
    ]
}

fn production() -> impl Strategy<Value = Message> {
    prop_oneof![
        (any::<u32>(), text(), of(uuid()))
            .prop_map(|(handle, name, id)| Message::OpenTopic(produce::OpenTopic { handle, name, id })),
        (any::<u32>(), uuid(), any::<u32>()).prop_map(|(handle, id, partitions)| Message::TopicOpened(
            produce::TopicOpened { handle, id, partitions }
        )),
        (any::<u32>(), fault())
            .prop_map(|(handle, fault)| Message::OpenRefused(produce::OpenRefused { handle, fault })),
        (any::<u64>(), any::<u32>(), any::<u32>(), payload()).prop_map(
            |(request, handle, partition, batch)| Message::Produce(produce::Produce {
                request,
                handle,
                partition,
                batch
            })
        ),
        (any::<u64>(), any::<u64>(), any::<u32>(), any::<bool>()).prop_map(
            |(request, base_offset, epoch, duplicate)| Message::Ack(produce::Ack {
                request,
                base_offset,
                epoch,
                duplicate
            })
        ),
        (any::<u64>(), fault())
            .prop_map(|(request, fault)| Message::ProduceRefused(produce::ProduceRefused { request, fault })),
    ]
}

pub(crate) fn position() -> impl Strategy<Value = consume::Position> {
    prop_oneof![
        Just(consume::Position::Beginning),
        Just(consume::Position::End),
        any::<u64>().prop_map(consume::Position::Offset),
        any::<i64>().prop_map(consume::Position::Time),
    ]
}

fn consumption() -> impl Strategy<Value = Message> {
    let membership = (text(), uuid(), any::<u32>()).prop_map(|(group, member, epoch)| consume::Membership {
        group,
        member,
        epoch,
    });
    prop_oneof![
        (any::<(u32, u32)>(), text(), position(), of(uuid()), of(any::<u32>()), of(membership)).prop_map(
            |((subscription, partition), topic, position, topic_id, epoch, group)| Message::Subscribe(
                consume::Subscribe { subscription, topic, partition, position, topic_id, epoch, group }
            )
        ),
        (any::<u32>(), uuid(), any::<(u64, u64, u64)>(), any::<u32>()).prop_map(
            |(subscription, topic_id, (offset, start, end), epoch)| Message::Subscribed(
                consume::Subscribed { subscription, topic_id, offset, start, end, epoch }
            )
        ),
        any::<u32>().prop_map(|subscription| Message::Unsubscribe(consume::Unsubscribe { subscription })),
        (any::<u32>(), of(fault())).prop_map(|(subscription, fault)| Message::SubscriptionEnded(
            consume::SubscriptionEnded { subscription, fault }
        )),
        (any::<u32>(), payload())
            .prop_map(|(subscription, entries)| Message::Data(consume::Data { subscription, entries })),
    ]
}

/// Any of them. In boxes: all of their values in one place are more than the stack of a test's thread takes.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        session().boxed(),
        administration().boxed(),
        crate::groups::administration().boxed(),
        tls().boxed(),
        access().boxed(),
        crate::status::status().boxed(),
        production().boxed(),
        consumption().boxed(),
        crate::groups::membership().boxed(),
    ]
}
