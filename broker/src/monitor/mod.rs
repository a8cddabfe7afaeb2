//! The monitor: health, readiness, metrics, status and a page for people, over HTTP.
//!
//! ```text
//! /healthz     the process lives                           anybody
//! /readyz      whether it should be sent clients, and why not
//! /metrics     OpenMetrics                                 on loopback anybody; elsewhere a viewer
//! /v1/status   JSON
//! /            the status page, which reads /v1/status
//! ```
//!
//! On loopback it speaks HTTP, and answers only what is asked of this machine by name, so that no page of a browser can read it under a name
//! of its own. Anywhere else it speaks HTTPS by the transport's listener, with the broker's live identity, trust and tickets; who is not a viewer
//! (`monitor.viewers`, or admin on `*`) learns there whether the broker lives and is ready, and nothing else.
//!
//! # States and tasks
//!
//! ```text
//! Monitor     starting (no broker yet: not ready) ─► watching (a View) ─► stopped
//! ├─ accept loop    one an address; never waits for a handshake or a request
//! └─ connection     one a connection; at most PLACES, each for LIFE at most
//! ```
//!
//! It starts before the log is recovered and stops after it is sealed: readiness is told all along. It reads everything when it is asked for it,
//! one reading at a time, and changes nothing.
//!
//! # Bounds
//!
//! Connections, the time for a head, its size, the time of a connection (`http`); topics, groups and connections that are shown (`reading`);
//! series by topic and by group (`metrics`).

mod door;
mod http;
mod metrics;
mod page;
mod readiness;
mod reading;
mod routes;
mod status;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use sealstream_transport::ListenError;
use sealstream_transport::observe::HandshakeMetrics;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::metrics::{names, reference};

use self::door::Door;
use self::http::Places;
use crate::access::Pattern;
use crate::server::View;
use crate::tls::ServedTls;

/// What the monitor looks at.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The broker, once its log is open.
    view: OnceLock<View>,
    tls: Arc<ServedTls>,
    handshakes: HandshakeMetrics,
    data_dir: PathBuf,
    viewers: Vec<Pattern>,
    /// One reading at a time: it walks over every partition.
    turn: Mutex<()>,
}

impl Watched {
    pub(crate) fn new(
        tls: Arc<ServedTls>,
        handshakes: HandshakeMetrics,
        data_dir: PathBuf,
        viewers: Vec<Pattern>,
    ) -> Self {
        Self { view: OnceLock::new(), tls, handshakes, data_dir, viewers, turn: Mutex::new(()) }
    }
}

/// Why the monitor does not listen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MonitorError {
    /// Another socket holds the address.
    #[error(
        "the monitor's address {0} is in use, perhaps by another broker on this machine: set monitor.listen \
         (SEALSTREAM_MONITOR_LISTEN) to another address, or to \"off\""
    )]
    InUse(SocketAddr),
    /// Anything else.
    #[error("monitor.listen: {0}")]
    Listen(#[from] ListenError),
    /// What the machine said.
    #[error("monitor.listen: cannot listen on {0}: {1}")]
    Io(SocketAddr, io::Error),
}

/// A monitor that listens. [`stop`](Self::stop) it; dropped without, its tasks end by themselves.
#[derive(Debug)]
pub(crate) struct Monitor {
    watched: Arc<Watched>,
    addresses: Vec<SocketAddr>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Monitor {
    /// Listens on each address.
    pub(crate) async fn start(watched: Watched, listen: &[SocketAddr]) -> Result<Self, MonitorError> {
        let mut doors = Vec::new();
        for addr in listen {
            doors.push(Door::open(*addr, &watched.tls.receiver()).await?);
        }
        let watched = Arc::new(watched);
        let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
        let addresses = doors.iter().map(Door::local_addr).collect();
        let places = Places::default();
        for door in doors {
            let serving =
                http::accept(door, Arc::clone(&watched), places.clone(), tasks.clone(), stopping.clone());
            tasks.spawn(serving);
        }
        Ok(Self { watched, addresses, tasks, stopping })
    }

    /// Where it is to be found, as URLs.
    pub(crate) fn urls(&self) -> impl Iterator<Item = String> {
        self.addresses.iter().map(|addr| {
            let scheme = if door::is_plain(*addr) { "http" } else { "https" };
            format!("{scheme}://{addr}/")
        })
    }

    /// From here on it watches this broker.
    pub(crate) fn watch(&self, view: View) {
        // There is one broker in a process's life.
        let _ = self.watched.view.set(view);
    }

    /// Accepts nothing more, and waits until what is under way is answered, or its time is over.
    pub(crate) async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}
