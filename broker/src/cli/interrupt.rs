//! Ctrl-C, for commands that take long: the first asks for an end in order, the second is at once.
//!
//! Two states, held by the watcher that the command owns: nothing was asked; an end was asked, by the number of a signal, SIGINT or
//! SIGTERM. From the first the second follows, and from that, by a further signal, the end of the process where it stands: whatever
//! hangs, a reader of stdout or a broker, cannot keep it.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Failure;

/// What shells make of a process that a signal has ended: 128 and the signal's number.
const BY_SIGNAL: u8 = 128;
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// A signal that asked a command to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted(u8);

impl Interrupted {
    /// The exit code: 130 for SIGINT, 143 for SIGTERM.
    pub(super) fn exit_code(self) -> ExitCode {
        ExitCode::from(BY_SIGNAL + self.0)
    }

    fn exit_at_once(self) -> ! {
        std::process::exit(i32::from(BY_SIGNAL + self.0))
    }
}

/// Watches for signals until it is dropped.
#[derive(Debug)]
pub(super) struct Interrupt {
    asked: CancellationToken,
    by: Arc<AtomicU8>,
    _watch: JoinSet<()>,
}

impl Interrupt {
    /// Starts to watch, on the runtime that this is called in.
    pub(super) fn watch() -> Result<Self, Failure> {
        let mut signals = Signals::new()?;
        let (asked, by) = (CancellationToken::new(), Arc::new(AtomicU8::new(SIGINT)));
        let (token, number) = (asked.clone(), Arc::clone(&by));
        let mut watch = JoinSet::new();
        watch.spawn(async move {
            let first = signals.next().await;
            number.store(first.0, Ordering::Relaxed);
            token.cancel();
            signals.next().await.exit_at_once();
        });
        Ok(Self { asked, by, _watch: watch })
    }

    /// Resolves once an end was asked. Cancellation safe.
    pub(super) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Whether an end was asked.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// For a thread that looks now and then whether an end was asked.
    pub(super) fn token(&self) -> CancellationToken {
        self.asked.clone()
    }

    /// What comes of a command: if an end was asked, that, now that what was done so far is told.
    pub(super) fn outcome(&self) -> Result<(), Failure> {
        if self.is_asked() { Err(self.failure()) } else { Ok(()) }
    }

    /// How the command ends that was asked to.
    pub(super) fn failure(&self) -> Failure {
        Failure::Interrupted(Interrupted(self.by.load(Ordering::Relaxed)))
    }
}

/// For a command that blocks in its one thread: at the first signal `last_words` says what was done so far, and the process ends.
pub(super) fn end_with(last_words: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    thread::Builder::new().name("signals".into()).spawn(move || {
        let told = runtime.block_on(signals.next());
        last_words();
        told.exit_at_once();
    })?;
    Ok(())
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Interrupted {
        tokio::select! {
            _ = self.interrupt.recv() => Interrupted(SIGINT),
            _ = self.terminate.recv() => Interrupted(SIGTERM),
        }
    }
}
