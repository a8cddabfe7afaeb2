//! What a program may tune about its connections: the application protocol, the deadlines, and how a dead peer is
//! noticed. Every default is a named constant that carries its arithmetic.

use std::net::IpAddr;
use std::time::Duration;

use crate::admission::Admission;
use crate::observe::Observers;
use crate::quic::QuicOptions;

/// Resolving a name and reaching an address. The kernel repeats a lost SYN after 1, 3 and 7 s: 10 s outlive three losses.
pub const DEFAULT_CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// The TLS handshake, from the first byte to the last. Two round trips over a satellite (0.6 s each), three lost
/// packets repeated after 1, 2 and 4 s, and a busy machine: below 10 s.
pub const DEFAULT_HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Opening a further stream. On TCP it spans connect and handshake, so it covers both of the above.
pub const DEFAULT_OPEN_DEADLINE: Duration = Duration::from_secs(20);

/// Closing: telling the peer and waiting until it knows. Three lost packets repeated after 0.2, 0.4 and 0.8 s and a
/// round trip fit into 3 s; a peer that has not heard by then is not going to.
pub const DEFAULT_CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// Silence after which a connection is probed. NATs of the clouds forget an idle TCP flow after 350 s (AWS) or 240 s
/// (Azure) and an idle UDP flow after 30 s: 15 s is half of the shortest.
pub const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How often an unanswered TCP keep-alive probe is repeated. With [`KEEP_ALIVE_PROBES`] a dead idle peer is noticed
/// 15 + 3 × 5 = 30 s after its last sign of life; where a user timeout is set, Linux lets that one decide instead.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How many TCP keep-alive probes go unanswered before the connection is given up.
pub const KEEP_ALIVE_PROBES: u32 = 3;

/// How long sent bytes, keep-alive probes among them, may stay unacknowledged (`TCP_USER_TIMEOUT`). Left to itself the
/// kernel sends data into the void for 15 minutes.
///
/// Linux counts the time that a live peer keeps its window closed as well (probed on 6.18), so this is also how long a
/// reader may pause before its writer gives up: minutes, then, and `None` for readers that may pause for longer.
pub const DEFAULT_TCP_USER_TIMEOUT: Duration = Duration::from_mins(5);

/// Connections that the kernel completes before we accept them. A reconnect storm of 1,000 clients within one
/// scheduling delay must not meet a full queue; the kernel clamps it to `net.core.somaxconn` (4096 by default).
pub const DEFAULT_ACCEPT_BACKLOG: u32 = 1024;

/// How long each step of a connection's life may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// Resolving the name and reaching an address; by default [`DEFAULT_CONNECT_DEADLINE`].
    pub connect: Duration,
    /// The TLS handshake, on either side; by default [`DEFAULT_HANDSHAKE_DEADLINE`].
    pub handshake: Duration,
    /// Opening a further stream; by default [`DEFAULT_OPEN_DEADLINE`].
    pub open: Duration,
    /// Telling the peer that a connection ends; by default [`DEFAULT_CLOSE_DEADLINE`].
    pub close: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: DEFAULT_CONNECT_DEADLINE,
            handshake: DEFAULT_HANDSHAKE_DEADLINE,
            open: DEFAULT_OPEN_DEADLINE,
            close: DEFAULT_CLOSE_DEADLINE,
        }
    }
}

/// What a program decides about its connections, on every backend: the defaults, and then field by field what is to be
/// different.
///
/// ```
/// use std::time::Duration;
///
/// use sealstream_transport::TransportOptions;
///
/// let mut options = TransportOptions::new("echo/1", 7007);
/// options.deadlines.connect = Duration::from_secs(3);
/// options.quic.gso = false;
/// # drop(options);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportOptions {
    /// The application protocol (RFC 7301) that both ends must agree on, 1 to 255 bytes, such as `sealstream/1`.
    pub alpn: Vec<u8>,
    /// The port of an endpoint URL that names none.
    pub default_port: u16,
    /// How long each step may take.
    pub deadlines: Deadlines,
    /// Silence after which a connection is probed; `None` never probes. [`DEFAULT_KEEP_ALIVE`] by default.
    pub keep_alive: Option<Duration>,
    /// How long bytes sent over TCP may stay unacknowledged, a reader that pauses included; `None` leaves it to the kernel.
    /// [`DEFAULT_TCP_USER_TIMEOUT`] by default.
    pub tcp_user_timeout: Option<Duration>,
    /// Where outgoing connections come from, on a machine with several addresses; by default the kernel chooses. Servers with
    /// addresses of the other family only cannot be reached from it.
    pub local_address: Option<IpAddr>,
    /// Connections that may wait in the kernel to be accepted; [`DEFAULT_ACCEPT_BACKLOG`] by default.
    pub accept_backlog: u32,
    /// Whom listeners let in, one for all of a process; by default one of its own, shared by clones of these options.
    pub admission: Admission,
    /// Who is told of every handshake; nobody by default.
    pub observers: Observers,
    /// Writes the secrets of every session to the file that the environment variable `SSLKEYLOGFILE` names, so that a
    /// packet capture can be decrypted. Whoever reads that file reads the traffic: off by default.
    pub key_log: bool,
    /// What a peer is answered that sends a plaintext HTTP request to a listener on TCP: a person with curl, a browser, a probe. One
    /// response with status 400 and this text, a sentence or two, and the connection is closed; it counts as a failed handshake. `None`,
    /// the default, closes it with the alert of TLS that no such client understands.
    pub http_answer: Option<String>,
    /// What concerns QUIC alone.
    pub quic: QuicOptions,
}

impl TransportOptions {
    /// The defaults for an application protocol and its port.
    pub fn new(alpn: impl Into<Vec<u8>>, default_port: u16) -> Self {
        Self {
            alpn: alpn.into(),
            default_port,
            deadlines: Deadlines::default(),
            keep_alive: Some(DEFAULT_KEEP_ALIVE),
            tcp_user_timeout: Some(DEFAULT_TCP_USER_TIMEOUT),
            local_address: None,
            accept_backlog: DEFAULT_ACCEPT_BACKLOG,
            admission: Admission::default(),
            observers: Observers::default(),
            key_log: false,
            http_answer: None,
            quic: QuicOptions::default(),
        }
    }
}
