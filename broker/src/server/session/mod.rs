//! A session: one stream, from the client's Hello to the goodbye.

pub(crate) mod heart;
mod hello;
mod identity;
pub(crate) mod inlet;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sealstream_client::wire::farewell::DRAIN_TIME;
use sealstream_client::wire::{FrameReader, FrameWriter, WireError, fail};
use sealstream_protocol::limits::MAX_HELLO;
use sealstream_protocol::message::hello::{Hello, Ping, SessionKind, Welcome};
use sealstream_protocol::message::{Fault, FaultCode, Message};
use sealstream_transport::{Peer, Stream};
use tokio::time::timeout;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use xxhash_rust::xxh3::xxh3_64;

use self::heart::Heart;
use self::identity::Identified;
pub(super) use self::identity::identify;
pub(super) use self::identity::text_of;
use self::inlet::Inlet;
use super::admission::Place;
use super::broker::Core;
use super::meters::Counted;
use super::options::Anonymous;
use super::presence::Present;
use super::rights::Rights;
use super::standing::Standing;
use super::trace::number;
use super::{admin, consume, group, produce};
use crate::access::audit::cut;
use crate::quotas::Allowance;
use crate::report;

/// 5 s: how long what was under way when a session ended may take.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(5);

/// 500 ms for the reason why a client is no longer trusted: a round trip around the world takes 300 ms, and within 600 ms the
/// connection is closed.
const LAST_WORD: Duration = Duration::from_millis(500);

/// 1 s: what a client that was refused for want of a place may wait before it comes again.
pub(super) const PLACE_RETRY: Duration = Duration::from_secs(1);

/// How a session came to its end.
#[derive(Debug)]
pub(crate) enum End {
    /// The client ended its side, between two frames.
    Finished,
    /// The broker is shutting down, and everything under way is done.
    Drained,
    /// The client has to be told this.
    Failed(Fault),
    /// Trust no longer covers the client, which is told this and waited for no longer.
    Fallen(Fault),
    /// The client told us this.
    Accused(Fault),
    /// The stream is of no use any more.
    Broken(WireError),
}

/// A session that was welcomed.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) core: Arc<Core>,
    pub(crate) inlet: Inlet,
    pub(crate) writer: FrameWriter,
    pub(crate) heart: Heart,
    pub(crate) standing: Standing,
    pub(crate) rights: Rights,
    /// What its client may spend: a session of any kind asks it before it carries out a request.
    pub(crate) allowance: Allowance,
    /// How its Hello named the client.
    pub(crate) client: String,
}

impl Session {
    /// The identity as the log keeps it for producers.
    pub(crate) fn identity_hash(&self) -> u64 {
        xxh3_64(self.rights.identity().as_bytes())
    }
}

/// Holds the session on a stream of a connection that came in on `local`, until its end or until all is aborted.
/// `standing` is the connection's.
pub(super) fn hold(
    core: Arc<Core>,
    stream: Stream,
    local: SocketAddr,
    standing: Standing,
) -> impl Future<Output = ()> + Send {
    let span = tracing::info_span!(
        "session",
        id = Empty,
        kind = Empty,
        client = Empty,
        identity = Empty,
        token = Empty
    );
    let aborted = core.aborted.clone();
    // In boxes: a session that goes on does not hold what its greeting and its goodbye need.
    let welcome = Box::pin(welcome(core, stream, local, standing, span.clone()));
    let session = Box::pin(converse(welcome));
    async move { aborted.run_until_cancelled(session).await.unwrap_or_default() }.instrument(span)
}

async fn converse(welcome: Pin<Box<impl Future<Output = Option<Welcomed>>>>) {
    let Some(Welcomed { mut session, kind, _guards }) = welcome.await else { return };
    let (end, unsettled) = match kind {
        SessionKind::Admin => (Box::pin(admin::serve(&mut session)).await, None),
        SessionKind::Consume => (Box::pin(consume::serve(&mut session)).await, None),
        SessionKind::Produce => {
            let (end, unsettled) = Box::pin(produce::serve(&mut session)).await;
            (end, Some(unsettled))
        }
        SessionKind::Group => (Box::pin(group::serve(&mut session)).await, None),
    };
    Box::pin(say_goodbye(session.inlet.into_reader(), session.writer, end)).await;
    if let Some(unsettled) = unsettled {
        Box::pin(unsettled.settle()).await;
    }
}

/// A session that begins.
struct Welcomed {
    session: Box<Session>,
    kind: SessionKind,
    /// Held while the session lasts: its place, and that it is counted and shown.
    _guards: (Place, Counted, Present),
}

/// Greets the client and makes its session; `None` if it was refused, and told so.
async fn welcome(
    core: Arc<Core>,
    stream: Stream,
    local: SocketAddr,
    standing: Standing,
    span: Span,
) -> Option<Welcomed> {
    let Stream { recv, send, peer } = stream;
    let mut reader = FrameReader::new(recv, MAX_HELLO);
    let mut writer = FrameWriter::new(send);
    let Some(greeting) = core.greetings.take() else {
        let text = "too many clients are saying Hello at this moment: try again later";
        let fault = Fault::new(FaultCode::Busy, text).retry_after(PLACE_RETRY);
        say_goodbye(reader, writer, End::Failed(fault)).await;
        return None;
    };
    let greeted = tokio::select! {
        biased;
        fault = standing.lost() => Err(End::Fallen(fault)),
        greeted = greet(&core, &mut reader, &peer, local) => greeted,
    };
    let Greeted { hello, welcome, who, place } = match greeted {
        Ok(greeted) => greeted,
        Err(end) => {
            say_goodbye(reader, writer, end).await;
            return None;
        }
    };
    drop(greeting);
    reader.set_max_frame(core.options.limits.frame);
    let inlet = Inlet::new(reader, core.arrivals.clone());
    let heart = Heart::new(Duration::from_millis(u64::from(welcome.idle_ms)));
    writer.feed(&Message::Welcome(welcome));
    let Identified { identity, badge } = who;
    let allowance = core.options.quotas.allowance(&identity, peer.remote_addr.ip());
    let rights = Rights::new(Arc::clone(&core.access), identity, peer.remote_addr);
    let (kind, client) = (hello.session, hello.client);
    let counted = core.meters.session(kind);
    let present = core.presence.session(&peer, kind, rights.identity(), &client);
    if !span.is_disabled() {
        span.record("id", number(present.number()));
        span.record("kind", report::kind(kind));
        span.record("client", cut(&client));
        span.record("identity", cut(rights.identity()));
        if let Some(badge) = &badge {
            span.record("token", badge.name());
        }
    }
    tracing::debug!("session opened");
    let standing = standing.with(badge);
    let session = Box::new(Session { core, inlet, writer, heart, standing, rights, allowance, client });
    Some(Welcomed { session, kind, _guards: (place, counted, present) })
}

/// A client that was let in.
struct Greeted {
    hello: Hello,
    welcome: Welcome,
    who: Identified,
    place: Place,
}

/// Reads the Hello and finds its answer, and a place under the limit of sessions.
async fn greet(
    core: &Core,
    reader: &mut FrameReader,
    peer: &Peer,
    local: SocketAddr,
) -> Result<Greeted, End> {
    let deadline = core.options.first_frame_deadline;
    let first = tokio::select! {
        first = timeout(deadline, reader.next()) => first,
        () = core.draining.cancelled() => return Err(End::Failed(shutting_down())),
    };
    let hello = match first {
        Ok(Ok(Some(Message::Hello(hello)))) => hello,
        Ok(Ok(Some(_))) => {
            let fault = Fault::new(FaultCode::UnexpectedFrame, "the first frame of a session must be Hello");
            return Err(End::Failed(fault));
        }
        Ok(Ok(None)) => return Err(End::Finished),
        Ok(Err(WireError::Malformed(error))) => return Err(End::Failed(Fault::from(&error))),
        Ok(Err(error)) => return Err(End::Broken(error)),
        Err(_) => {
            let text = format!("no Hello came within {deadline:?}: it must be the first frame of a session");
            return Err(End::Failed(Fault::new(FaultCode::Idle, text)));
        }
    };
    let who = identify(
        &core.access,
        hello.token.as_ref(),
        peer.identity.as_deref(),
        anonymous_allowed(core.options.anonymous, local),
        peer.remote_addr,
    );
    let (welcome, who) = hello::answer(&hello, who, &core.options, core.incarnation).map_err(End::Failed)?;
    let Some(place) = core.sessions.take() else {
        let text =
            format!("the broker holds {} sessions, its limit: try again later", core.options.max_sessions);
        return Err(End::Failed(Fault::new(FaultCode::Busy, text).retry_after(PLACE_RETRY)));
    };
    Ok(Greeted { hello, welcome, who, place })
}

pub(super) fn anonymous_allowed(rule: Anonymous, local: SocketAddr) -> bool {
    match rule {
        Anonymous::Never => false,
        Anonymous::OnLoopback => local.ip().to_canonical().is_loopback(),
        Anonymous::Everywhere => true,
    }
}

/// Runs the two futures of a session side by side, and watches over the client and its standing meanwhile: once that is lost,
/// neither goes on.
///
/// `incoming` ends the session. What it has handed over by then, `outgoing` may still write: within `last_words`, or
/// for as long as it takes where that is `None`; a client that has to be told a fault waits for it no longer than
/// [`LAST_WORDS`].
pub(crate) async fn side_by_side(
    heart: &Heart,
    standing: &Standing,
    ping: impl FnMut(Ping),
    incoming: Pin<&mut impl Future<Output = End>>,
    outgoing: Pin<&mut impl Future<Output = Result<(), WireError>>>,
    last_words: Option<Duration>,
) -> End {
    tokio::select! {
        biased;
        fault = standing.lost() => End::Fallen(fault),
        end = to_the_end(heart, ping, incoming, outgoing, last_words) => end,
    }
}

async fn to_the_end(
    heart: &Heart,
    ping: impl FnMut(Ping),
    incoming: Pin<&mut impl Future<Output = End>>,
    mut outgoing: Pin<&mut impl Future<Output = Result<(), WireError>>>,
    last_words: Option<Duration>,
) -> End {
    let end = tokio::select! {
        end = incoming => end,
        written = &mut outgoing => match written {
            Ok(()) => return End::Drained,
            Err(error) => return End::Broken(error),
        },
        fault = heart.watch(ping) => return End::Failed(fault),
    };
    if let End::Broken(_) | End::Accused(_) = end {
        return end;
    }
    let last_words = if let End::Failed(_) = end { Some(LAST_WORDS) } else { last_words };
    let written = match last_words {
        Some(time) => timeout(time, outgoing).await,
        None => Ok(outgoing.await),
    };
    match (written, end) {
        (Ok(Ok(())), end) | (Err(_), end @ End::Failed(_)) => end,
        (Ok(Err(error)), _) => End::Broken(error),
        (Err(_), _) => End::Broken(WireError::TimedOut),
    }
}

/// What a client is told that the broker is shutting down.
pub(crate) fn shutting_down() -> Fault {
    let text = "the broker is shutting down: connect again in a while";
    Fault::new(FaultCode::ShuttingDown, text).retry_after(PLACE_RETRY)
}

/// What a client is told that sends a frame which has no place in its session.
pub(crate) fn unexpected(message: &Message, session: &str) -> Fault {
    let text = format!("{:?} has no place in a session of kind {session}", message.kind());
    Fault::new(FaultCode::UnexpectedFrame, text)
}

/// The last frames, then the end of the stream, so that neither destroys the other.
async fn say_goodbye(reader: FrameReader, mut writer: FrameWriter, end: End) {
    match end {
        End::Finished | End::Drained => {
            if let Err(error) = writer.finish(DRAIN_TIME).await {
                tracing::debug!(%error, "the client did not take the end of its session");
            }
        }
        End::Failed(fault) => {
            tracing::info!(%fault, "session ended");
            if let Err(error) = fail(reader, writer, fault).await {
                tracing::debug!(%error, "the client did not take the reason");
            }
        }
        End::Fallen(fault) => match timeout(LAST_WORD, fail(reader, writer, fault)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the client did not take the reason"),
            Err(_) => tracing::debug!("the client did not take the reason in time"),
        },
        End::Accused(fault) => {
            tracing::info!(%fault, "the client ended its session with an error");
            // It may be gone already.
            let _ = writer.finish(DRAIN_TIME).await;
        }
        End::Broken(error) => tracing::debug!(%error, "session lost"),
    }
}
