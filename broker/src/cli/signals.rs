//! What the process is told by signals.

use std::io::{self, IsTerminal as _};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// To end: the signal's name.
    Stop(&'static str),
    /// To load the TLS files anew.
    Reload,
}

/// The signals that `serve` listens to. Taken before anything starts, none is lost.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// Whether the log goes to a terminal: then SIGHUP may say that it was closed.
    on_terminal: bool,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            on_terminal: io::stderr().is_terminal(),
        })
    }

    /// The next one. Cancellation safe.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            // A broker whose terminal was closed would go on unseen, and hold its address and data directory.
            _ = self.hangup.recv() => {
                let closed = self.on_terminal && !io::stderr().is_terminal();
                if closed { Told::Stop("SIGHUP") } else { Told::Reload }
            }
        }
    }

    /// The next one that asks to stop: its name. One that asks for anything else waits. Cancellation safe.
    pub(super) async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
