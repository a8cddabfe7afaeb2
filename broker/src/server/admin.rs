//! Admin sessions: one request, one response, in order.

use std::future::Future;
use std::sync::Arc;

use sealstream_client::wire::FrameReader;
use sealstream_protocol::message::admin::{SeekGroup, TopicDeleted};
use sealstream_protocol::message::hello::Pong;
use sealstream_protocol::message::{Fault, FaultCode, Message};
use tokio::sync::mpsc;

use super::broker::Core;
use super::group::operate;
use super::options::TlsControl;
use super::session::heart::Heart;
use super::session::{End, LAST_WORDS, Session, shutting_down, side_by_side, unexpected};
use super::writing::{Item, Outgoing};
use crate::topics::TopicError;

/// 16 answers that the client has not taken yet: each of 60 KiB at most, but for lists of topics (330 KB).
const ANSWERS: usize = 16;

/// Serves requests until the session ends.
pub(super) async fn serve(session: &mut Session) -> End {
    let Session { core, reader, writer, heart, standing, identity, .. } = session;
    let heart = &*heart;
    let (answers, items) = mpsc::channel(ANSWERS);
    let pings = answers.downgrade();
    let incoming = answer_all(core, heart, identity, reader, answers);
    let ping = |ping| {
        if let Some(answers) = pings.upgrade() {
            // Full: there is something to be written already, which is as good as a ping.
            let _ = answers.try_send(Item::Frame(Message::Ping(ping)));
        }
    };
    let outgoing = Outgoing::new(writer, heart).write(items);
    side_by_side(heart, standing, ping, incoming, outgoing, Some(LAST_WORDS)).await
}

async fn answer_all(
    core: &Arc<Core>,
    heart: &Heart,
    identity: &str,
    reader: &mut FrameReader,
    answers: mpsc::Sender<Item>,
) -> End {
    loop {
        let next = tokio::select! {
            biased;
            () = core.draining.cancelled() => {
                // Refused only if the writing half is gone already.
                let _ = answers.send(Item::Frame(Message::GoAway(shutting_down()))).await;
                return End::Drained;
            }
            next = heart.next(reader) => next,
        };
        let answer = match next {
            Ok(Message::Ping(ping)) => Message::Pong(Pong { nonce: ping.nonce }),
            Ok(Message::Pong(_)) => continue,
            Ok(request) => match carry_out(core, heart, identity, request).await {
                Ok(answer) => answer,
                Err(fault) => return End::Failed(fault),
            },
            Err(end) => return end,
        };
        if heart.while_busy(answers.send(Item::Frame(answer))).await.is_err() {
            return End::Finished;
        }
    }
}

/// The answer to a request; the error ends the session.
async fn carry_out(
    core: &Arc<Core>,
    heart: &Heart,
    identity: &str,
    request: Message,
) -> Result<Message, Fault> {
    let topics = Arc::clone(&core.topics);
    let answer = match request {
        Message::CreateTopic(request) => {
            let create = async move { topics.create(request).await };
            finish(core, heart, create).await.map(|topic| Message::Topic(topic.to_message()))
        }
        Message::AlterTopic(request) => {
            let alter = async move { topics.alter(request).await };
            finish(core, heart, alter).await.map(|topic| Message::Topic(topic.to_message()))
        }
        Message::DeleteTopic(request) => {
            tracing::info!(identity, topic = request.name, "asked to delete a topic");
            let delete = async move { topics.delete(&request.name).await };
            finish(core, heart, delete).await.map(|id| Message::TopicDeleted(TopicDeleted { id }))
        }
        Message::ListTopics(request) => Ok(Message::TopicList(topics.list(&request))),
        Message::DescribeTopic(request) => topics
            .describe(&request.name)
            .map(Message::TopicDescription)
            .map_err(TopicError::from)
            .map_err(Fault::from),
        Message::ShowTls(_) => tls_of(core).map(|tls| Message::TlsStatus(tls.status().into())),
        Message::ReloadTls(_) => match tls_of(core) {
            Ok(tls) => {
                tracing::info!(identity, "asked to load the TLS files anew");
                let reload = async move { Ok::<_, Fault>(tls.reload().await) };
                finish(core, heart, reload).await.map(Message::TlsReloaded)
            }
            Err(fault) => Err(fault),
        },
        other => return carry_out_for_groups(core, heart, identity, other).await,
    };
    Ok(answer.unwrap_or_else(Message::RequestRefused))
}

/// The answer to a request about groups; the error ends the session.
async fn carry_out_for_groups(
    core: &Arc<Core>,
    heart: &Heart,
    identity: &str,
    request: Message,
) -> Result<Message, Fault> {
    let shared = Arc::clone(core);
    let answer = match request {
        Message::ListGroups(request) => Ok(Message::GroupList(core.groups.list(&request))),
        Message::DescribeGroup(request) => {
            finish(core, heart, operate::describe(shared, request)).await.map(Message::GroupDescription)
        }
        Message::SeekGroup(request) => {
            let SeekGroup { group, topic, force, .. } = &request;
            tracing::info!(identity, group, topic, force, "asked to move a group");
            finish(core, heart, operate::seek(shared, request)).await.map(Message::GroupSought)
        }
        Message::DeleteGroup(request) => {
            tracing::info!(identity, group = request.name, force = request.force, "asked to delete a group");
            finish(core, heart, operate::delete(shared, request)).await.map(Message::GroupDeleted)
        }
        other => return Err(unexpected(&other, "Admin")),
    };
    Ok(answer.unwrap_or_else(Message::RequestRefused))
}

fn tls_of(core: &Core) -> Result<Arc<dyn TlsControl>, Fault> {
    core.options.tls.clone().ok_or_else(|| {
        let text = "this broker tells nothing of its certificates, and does not load them anew";
        Fault::new(FaultCode::Unsupported, text)
    })
}

/// Carries a change out in a task of its own: a client that goes away does not leave it half done.
async fn finish<T, E>(
    core: &Arc<Core>,
    heart: &Heart,
    change: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, Fault>
where
    T: Send + 'static,
    E: Send + 'static,
    Fault: From<E>,
{
    let aborted = core.aborted.clone();
    let change = core.tasks.spawn(async move { aborted.run_until_cancelled(change).await });
    match heart.while_busy(change).await {
        Ok(Some(outcome)) => outcome.map_err(Fault::from),
        Ok(None) => Err(shutting_down()),
        Err(error) => {
            tracing::error!(%error, "a change panicked");
            Err(Fault::new(
                FaultCode::Internal,
                "the broker failed: its log says more, and the change may be half done",
            ))
        }
    }
}
