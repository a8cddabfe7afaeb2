//! A TCP path that can be cut: both of its sockets are closed under the conversation, as the kernel does when a
//! process dies.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Forwards every connection to one address until it is cut or dropped.
#[derive(Debug)]
pub struct TcpProxy {
    entrance: SocketAddr,
    forwarder: AbortHandle,
    _task: JoinSet<()>,
}

impl TcpProxy {
    /// A path to `target`.
    pub async fn new(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let entrance = listener.local_addr()?;
        let mut task = JoinSet::new();
        let forwarder = task.spawn(async move {
            // Dropped with this future, and their sockets with them.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(forward(client, target));
            }
        });
        Ok(Self { entrance, forwarder, _task: task })
    }

    /// Where the path begins.
    pub fn entrance(&self) -> SocketAddr {
        self.entrance
    }

    /// Closes every socket of the path, whatever is in it.
    pub fn cut(&self) {
        self.forwarder.abort();
    }
}

async fn forward(mut client: TcpStream, target: SocketAddr) {
    if let Ok(mut server) = TcpStream::connect(target).await {
        // How it ends is the business of the two at its ends.
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
