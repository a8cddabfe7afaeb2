//! Admin sessions: one request, one response, in order.

mod groups;
pub(super) mod status;
mod tokens;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use sealstream_protocol::message::admin::{ReloadOutcome, TopicDeleted};
use sealstream_protocol::message::hello::Pong;
use sealstream_protocol::message::{Fault, FaultCode, Message};
use tokio::sync::mpsc;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::broker::Core;
use super::options::TlsControl;
use super::rights::Rights;
use super::session::heart::Heart;
use super::session::inlet::Inlet;
use super::session::{End, LAST_WORDS, Session, shutting_down, side_by_side, unexpected};
use super::trace::Trace;
use super::writing::{Item, Outgoing};
use crate::access::{ALL_TOPICS, Action};
use crate::quotas::Allowance;
use crate::topics::TopicError;

/// 16 answers that the client has not taken yet: each of 60 KiB at most, but for lists of topics (330 KB).
const ANSWERS: usize = 16;

/// Serves requests until the session ends.
pub(super) async fn serve(session: &mut Session) -> End {
    let Session { core, inlet, writer, heart, standing, rights, allowance, .. } = session;
    let heart = &*heart;
    let (answers, items) = mpsc::channel(ANSWERS);
    let pings = answers.downgrade();
    let incoming = pin!(answer_all(core, heart, rights, allowance, inlet, answers));
    let ping = |ping| {
        if let Some(answers) = pings.upgrade() {
            // Full: there is something to be written already, which is as good as a ping.
            let _ = answers.try_send(Item::frame(Message::Ping(ping)));
        }
    };
    let outgoing = pin!(Outgoing::new(writer, heart).write(items));
    side_by_side(heart, standing, ping, incoming, outgoing, Some(LAST_WORDS)).await
}

async fn answer_all(
    core: &Arc<Core>,
    heart: &Heart,
    rights: &Rights,
    allowance: &mut Allowance,
    inlet: &mut Inlet,
    answers: mpsc::Sender<Item>,
) -> End {
    loop {
        let next = tokio::select! {
            biased;
            () = core.draining.cancelled() => {
                // Refused only if the writing half is gone already.
                let _ = answers.send(Item::frame(Message::GoAway(shutting_down()))).await;
                return End::Drained;
            }
            next = heart.next(inlet) => next,
        };
        let answer = match next {
            Ok(Message::Ping(ping)) => Message::Pong(Pong { nonce: ping.nonce }),
            Ok(Message::Pong(_)) => continue,
            Ok(request) => {
                // Until it is carried out, and not while the client does not take the answer.
                let _charge = inlet.take_charge();
                let trace = Trace::new(tracing::debug_span!(
                    "admin",
                    request = ?request.kind(),
                    outcome = Empty,
                    otel.status_code = Empty
                ));
                // Rare and large: a session that waits does not hold it.
                let carried = Box::pin(async {
                    match heart.while_busy(allowance.request()).await {
                        Ok(()) => carry_out(core, heart, rights, request).await,
                        Err(denied) => Ok(Message::RequestRefused(denied.into())),
                    }
                });
                match carried.instrument(trace.span()).await {
                    Ok(answer) => {
                        match &answer {
                            Message::RequestRefused(fault) => trace.refused(fault),
                            _ => trace.done("done"),
                        }
                        answer
                    }
                    Err(fault) => {
                        trace.refused(&fault);
                        return End::Failed(fault);
                    }
                }
            }
            Err(end) => return end,
        };
        if heart.while_busy(answers.send(Item::frame(answer))).await.is_err() {
            return End::Finished;
        }
    }
}

/// The answer to a request; the error ends the session.
async fn carry_out(
    core: &Arc<Core>,
    heart: &Heart,
    rights: &Rights,
    request: Message,
) -> Result<Message, Fault> {
    let answer = match request {
        Message::CreateTopic(_) | Message::AlterTopic(_) | Message::DeleteTopic(_) => {
            change_topic(core, heart, rights, request).await
        }
        Message::ListTopics(request) => {
            Ok(Message::TopicList(core.topics.list(&request, |name| rights.shows(name))))
        }
        Message::DescribeTopic(request) => rights.demand_sight(&request.name).and_then(|()| {
            let described = core.topics.describe(&request.name).map_err(TopicError::from)?;
            Ok(Message::TopicDescription(described))
        }),
        Message::ShowTls(_) => rights
            .demand(Action::Admin, ALL_TOPICS)
            .and_then(|()| tls_of(core))
            .map(|tls| Message::TlsStatus(tls.status().into())),
        Message::ReloadTls(_) => reload(core, heart, rights).await,
        Message::CreateToken(request) => tokens::create(core, heart, rights, request).await,
        Message::ListTokens(_) => tokens::list(core, rights),
        Message::RevokeToken(request) => tokens::revoke(core, heart, rights, request).await,
        Message::ShowStatus(_) => match rights.demand(Action::Admin, ALL_TOPICS) {
            Ok(()) => status::show(core, heart, rights).await,
            Err(fault) => Err(fault),
        },
        Message::CheckAccess(request) => tokens::check(rights, &request),
        other => groups::carry_out(core, heart, rights, other).await?,
    };
    Ok(answer.unwrap_or_else(Message::RequestRefused))
}

/// Makes, alters or deletes a topic.
async fn change_topic(
    core: &Arc<Core>,
    heart: &Heart,
    rights: &Rights,
    request: Message,
) -> Result<Message, Fault> {
    let topics = Arc::clone(&core.topics);
    let (what, name) = match &request {
        Message::CreateTopic(request) => ("create topic", request.name.clone()),
        Message::AlterTopic(request) => ("alter topic", request.name.clone()),
        Message::DeleteTopic(request) => ("delete topic", request.name.clone()),
        other => return Err(unexpected(other, "Admin")),
    };
    rights.demand(Action::Admin, &name)?;
    let change = async move {
        match request {
            Message::CreateTopic(request) => {
                topics.create(request).await.map(|topic| Message::Topic(topic.to_message()))
            }
            Message::AlterTopic(request) => {
                topics.alter(request).await.map(|topic| Message::Topic(topic.to_message()))
            }
            Message::DeleteTopic(request) => {
                topics.delete(&request.name).await.map(|id| Message::TopicDeleted(TopicDeleted { id }))
            }
            other => unreachable!("{:?} changes no topic", other.kind()),
        }
    };
    recorded(core, heart, rights, what, name, change).await
}

/// Has the TLS files and the rules loaded anew.
async fn reload(core: &Arc<Core>, heart: &Heart, rights: &Rights) -> Result<Message, Fault> {
    rights.demand(Action::Admin, ALL_TOPICS)?;
    let tls = tls_of(core)?;
    let rights = rights.clone();
    let reload = async move {
        let reloaded = tls.reload().await;
        let outcome = match reloaded.reload.outcome {
            ReloadOutcome::Refused => Err(&reloaded.reload.text),
            ReloadOutcome::Changed | ReloadOutcome::Unchanged => Ok(()),
        };
        rights.record("reload TLS", "tls", &outcome);
        Ok::<_, Fault>(Message::TlsReloaded(reloaded))
    };
    finish(core, heart, reload).await
}

fn tls_of(core: &Core) -> Result<Arc<dyn TlsControl>, Fault> {
    core.options.tls.clone().ok_or_else(|| {
        let text = "this broker tells nothing of its certificates, and does not load them anew";
        Fault::new(FaultCode::Unsupported, text)
    })
}

/// Like [`finish`], with an audit line about what came of it, also if the client is gone by then.
async fn recorded<T, E>(
    core: &Arc<Core>,
    heart: &Heart,
    rights: &Rights,
    what: &'static str,
    thing: String,
    change: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, Fault>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
    Fault: From<E>,
{
    let rights = rights.clone();
    let change = async move {
        let outcome = change.await;
        rights.record(what, &thing, &outcome);
        outcome
    };
    finish(core, heart, change).await
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
    let change = async move { aborted.run_until_cancelled(change).await };
    let change = core.tasks.spawn(change.in_current_span());
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
