//! Closed connections whose peer has not taken the last bytes yet.
//!
//! A socket that is closed with unread input, or that gets input after it was closed, answers with RST, and RST destroys
//! what the peer has not read: the last records of a stream, or the alert that says why a handshake was refused. So a
//! socket that ends in good order reads on for a moment, to nowhere, until its peer closes too.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time;
use tokio_util::task::TaskTracker;

use super::socket;

/// Bytes read to nowhere before the peer is cut off: a window's worth that was on its way when we closed.
pub const LINGER_BYTES: usize = 256 * 1024;

/// How long the peer may take to close its side: a few round trips of the longest path.
pub const LINGER_TIME: Duration = Duration::from_secs(1);

/// Sockets that linger at once; beyond them a socket is closed without. Each costs a task of 1 KB and a buffer of
/// 4 KB, 1,024 × 5 KB = 5 MB, and ends after at most a second.
pub const MAX_LINGERING: usize = 1024;

/// Discarded in pieces of this size.
const SCRATCH_BYTES: usize = 4096;

/// The owner of the tasks in which closed connections linger.
#[derive(Clone, Debug)]
pub(super) struct Lingering {
    tasks: TaskTracker,
    slots: Arc<Semaphore>,
}

impl Lingering {
    pub(super) fn new() -> Self {
        let tasks = TaskTracker::new();
        // A closed tracker still takes tasks; it only lets `wait` resolve whenever there are none.
        tasks.close();
        Self { tasks, slots: Arc::new(Semaphore::new(MAX_LINGERING)) }
    }

    /// The owner of whatever a transport's connections leave to be done.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Sends FIN and closes the socket once its peer has done so too, or has had its time.
    ///
    /// The task belongs to the transport; its handle is for those who want to wait for the end.
    pub(super) fn close(&self, stream: TcpStream) -> Option<JoinHandle<()>> {
        socket::finish_writing(&stream);
        let runtime = Handle::try_current().ok()?;
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        let drained = async move {
            drain(stream).await;
            drop(slot);
        };
        Some(self.tasks.spawn_on(drained, &runtime))
    }

    pub(super) async fn drained(&self) {
        self.tasks.wait().await;
    }
}

/// Reads to nowhere until the peer's FIN, a broken connection, or a bound.
async fn drain(mut stream: TcpStream) {
    let to_the_end = async {
        let mut scratch = [0; SCRATCH_BYTES];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut scratch).await {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    };
    let _ = time::timeout(LINGER_TIME, to_the_end).await;
}
