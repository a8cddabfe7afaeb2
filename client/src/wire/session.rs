//! How a client begins a session: Hello out, Welcome in, under one deadline.

use std::time::Duration;

use sealstream_protocol::Buffers;
use sealstream_protocol::limits::VERSION;
use sealstream_protocol::message::hello::{Hello, SessionKind, Welcome};
use sealstream_protocol::message::{Fault, FaultClass, Message};
use sealstream_transport::{Peer, Stream};
use tokio::time::{Instant, timeout_at};

use super::{FrameReader, FrameWriter, Liveness, WireError, fail, finish};

/// 4 MiB of buffers that wait for their next frame: what a consumer gives back at once that keeps a few frames of 1 MiB.
const KEPT: usize = 4 << 20;

/// A session that the broker has welcomed.
///
/// ```no_run
/// # async fn example(stream: sealstream_transport::Stream) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use sealstream_client::wire::session;
/// use sealstream_protocol::Limits;
/// use sealstream_protocol::message::hello::SessionKind;
///
/// let hello = session::hello(SessionKind::Admin, "my program".to_owned(), Duration::from_secs(15));
/// let session = session::open(stream, hello, Limits::MAX_FRAME, Duration::from_secs(10)).await?;
/// println!("{} welcomes {}", session.welcome.broker, session.welcome.identity);
/// session.finish(Duration::from_secs(3)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Session {
    /// What the broker said.
    pub welcome: Welcome,
    /// What it says from here on.
    pub reader: FrameReader,
    /// What it is told.
    pub writer: FrameWriter,
    /// Who it is.
    pub peer: Peer,
}

/// Why a session could not be opened.
///
/// ```no_run
/// # async fn example(stream: sealstream_transport::Stream) -> Result<(), Box<dyn std::error::Error>> {
/// # use std::time::Duration;
/// use sealstream_client::wire::{OpenSessionError, session};
/// # use sealstream_protocol::message::hello::SessionKind;
///
/// # let hello = session::hello(SessionKind::Admin, String::new(), Duration::from_secs(15));
/// match session::open(stream, hello, 1 << 20, Duration::from_secs(10)).await {
///     Ok(session) => println!("{}", session.welcome.broker),
///     Err(OpenSessionError::Refused(fault)) => println!("the broker says: {fault}"),
///     Err(error) => println!("{error}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenSessionError {
    /// The broker said no.
    #[error("{0}")]
    Refused(Fault),
    /// The broker did not answer in time.
    #[error("the broker did not answer Hello within {after:?}")]
    TimedOut {
        /// The deadline.
        after: Duration,
    },
    /// The broker ended the stream without an answer.
    #[error("the broker ended the session without answering Hello")]
    Ended,
    /// The broker answered with something that cannot be.
    #[error("the broker answered Hello with {answer}: is it a Sealstream broker of version {VERSION}?")]
    BadAnswer {
        /// What it was.
        answer: String,
    },
    /// The stream failed.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl OpenSessionError {
    /// Whether the same attempt may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(fault) => fault.class != FaultClass::Caller,
            Self::TimedOut { .. } | Self::Ended => true,
            Self::BadAnswer { .. } => false,
            Self::Wire(error) => !error.is_permanent(),
        }
    }
}

/// Says Hello on a fresh stream and awaits the Welcome, all within `deadline`. Frames of at most `max_frame` bytes
/// are accepted afterwards.
///
/// Dropping the future drops the stream, which aborts it.
pub async fn open(
    stream: Stream,
    hello: Hello,
    max_frame: u32,
    deadline: Duration,
) -> Result<Session, OpenSessionError> {
    let Stream { recv, send, peer } = stream;
    let mut reader = FrameReader::new(recv, max_frame);
    reader.set_buffers(Buffers::new(KEPT));
    let mut writer = FrameWriter::new(send);
    let versions = hello.version_min..=hello.version_max;
    let until = Instant::now() + deadline;
    writer.feed(&Message::Hello(hello));
    let timed_out = |_| OpenSessionError::TimedOut { after: deadline };
    // A broker that turns the client away may close its reading side before it has read the Hello: its answer counts
    // for more than the failure to write.
    let written = timeout_at(until, writer.flush()).await.map_err(timed_out)?;
    let answer = match (timeout_at(until, reader.next()).await.map_err(timed_out)?, written) {
        (Ok(Some(answer)), _) => answer,
        (Ok(None), Ok(())) => return Err(OpenSessionError::Ended),
        // Why nothing can be read says more than why nothing could be written: a refused identity is told that way.
        (Err(error), _) | (Ok(None), Err(error)) => return Err(error.into()),
    };
    match answer {
        Message::Welcome(welcome) if versions.contains(&welcome.version) => {
            Ok(Session { welcome, reader, writer, peer })
        }
        Message::Welcome(welcome) => {
            Err(OpenSessionError::BadAnswer { answer: format!("protocol version {}", welcome.version) })
        }
        Message::Error(fault) | Message::GoAway(fault) => Err(OpenSessionError::Refused(fault)),
        other => Err(OpenSessionError::BadAnswer { answer: format!("a {} frame", other.kind().name()) }),
    }
}

impl Session {
    /// Watches over this session from now on, by the deadline that the Welcome set. Pings of sessions that begin together are
    /// [staggered](Liveness::staggered).
    pub fn liveness(&self) -> Liveness {
        let idle = Duration::from_millis(u64::from(self.welcome.idle_ms));
        Liveness::new(idle, Instant::now().into_std()).staggered(rand::random())
    }

    /// Tells the broker what is wrong and closes the stream: see [`fail`].
    pub async fn fail(self, fault: Fault) -> Result<(), WireError> {
        fail(self.reader, self.writer, fault).await
    }

    /// Ends the session cleanly within `deadline`: see [`finish`].
    pub async fn finish(self, deadline: Duration) -> Result<(), WireError> {
        finish(self.reader, self.writer, deadline).await
    }
}

/// A Hello for `session` with nothing but what every session needs.
pub fn hello(session: SessionKind, client: String, idle: Duration) -> Hello {
    Hello {
        version_min: VERSION,
        version_max: VERSION,
        session,
        idle_ms: u32::try_from(idle.as_millis()).unwrap_or(u32::MAX),
        client,
        token: None,
        cluster: None,
    }
}
