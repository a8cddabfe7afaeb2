//! Connections: how many there are, how long they take, and what is read of a request before it is understood.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sealstream_transport::Identity;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Watched;
use super::door::{Caller, Door};
use super::routes;

/// 64 connections at once, on all addresses together: a few scrapers, probes and browsers. Beyond it a connection is closed at once.
pub(super) const PLACES: usize = 64;

/// 5 s for the head of a request, and for the next one on a connection that is kept.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// 16 KiB of a head, a bearer token and the cookies of other services on localhost included.
const HEAD_BYTES: usize = 16 << 10;

/// 64 header fields: a browser sends about 15.
const HEAD_FIELDS: usize = 64;

/// 2 min of a connection: a browser comes again, and who reads a byte a second holds a place for no longer.
const LIFE: Duration = Duration::from_mins(2);

/// 2 s to take the last answer.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// 100 ms without accepting when the machine has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Places for connections, shared by all addresses.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PLACES)))
    }
}

/// Who asks, and where.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    /// The monitor's own address.
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// Whether it came over TLS.
    pub(super) sealed: bool,
    /// By its certificate.
    pub(super) identity: Option<Arc<Identity>>,
}

/// Takes connections until the monitor stops. Never waits for a handshake.
pub(super) async fn accept(
    door: Door,
    watched: Arc<Watched>,
    places: Places,
    tasks: TaskTracker,
    stopping: CancellationToken,
) {
    let local = door.local_addr();
    while let Some(accepted) = stopping.run_until_cancelled(door.accept()).await {
        let caller = match accepted {
            Ok(Some(caller)) => caller,
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%local, %error, "the monitor cannot accept");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places.0).try_acquire_owned() else {
            tracing::debug!(%local, "the monitor has no place left: a connection is closed");
            continue;
        };
        tasks.spawn(attend(caller, local, Arc::clone(&watched), place, stopping.clone()));
    }
    door.close().await;
}

async fn attend(
    caller: Caller,
    local: SocketAddr,
    watched: Arc<Watched>,
    _place: OwnedSemaphorePermit,
    stopping: CancellationToken,
) {
    match caller {
        Caller::Plain(stream, remote) => {
            // Answers are small, and leave in one piece.
            let _ = stream.set_nodelay(true);
            let asking = Asking { local, remote, sealed: false, identity: None };
            converse(stream, asking, watched, &stopping).await;
        }
        Caller::Sealed(incoming) => {
            let Some(Ok(inbound)) = stopping.run_until_cancelled(incoming.handshake()).await else { return };
            let peer = inbound.peer();
            let (remote, identity) = (peer.remote_addr, peer.identity.clone());
            let serving = async {
                let Ok(Some(stream)) = timeout(HEAD_TIME, inbound.accept()).await else { return };
                let asking = Asking { local, remote, sealed: true, identity };
                let stream = tokio::io::join(stream.recv, stream.send);
                converse(stream, asking, watched, &stopping).await;
            };
            tokio::select! {
                biased;
                fallen = inbound.standing() => {
                    tracing::info!(%remote, reason = %fallen.cause, "a client of the monitor is no longer trusted");
                }
                () = serving => {}
            }
            inbound.close(0).await;
        }
    }
}

/// Answers the requests of a connection.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    asking: Asking,
    watched: Arc<Watched>,
    stopping: &CancellationToken,
) {
    let service = service_fn(move |request| {
        let (asking, watched) = (asking.clone(), Arc::clone(&watched));
        async move { Ok::<_, Infallible>(routes::answer(&request, &asking, &watched).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection of the monitor broke");
            }
            return;
        }
        () = stopping.cancelled() => {}
        () = sleep(LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    // Who does not take it by then goes without.
    let _ = timeout(LAST_ANSWER, connection).await;
}
