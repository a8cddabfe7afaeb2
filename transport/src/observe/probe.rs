//! What a backend holds during one handshake, to tell the observers of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::event::{ClientHelloSeen, FailureCause, HandshakeEnd, HandshakeStart, Outcome, VerifiedSeen};
use super::{HandshakeObserver, Observers};
use crate::error::{ConnectError, HandshakeError};
use crate::peer::Handshake;
use crate::tls::{ServerHandshake, Verified};

/// One handshake under observation. Dropped before it was [`finish`](Self::finish)ed, it was abandoned.
#[derive(Debug)]
pub(crate) struct Probe(Option<Box<Watched>>);

#[derive(Debug)]
struct Watched {
    observers: Observers,
    start: HandshakeStart,
    begun: Instant,
    meter: Meter,
    server: Option<ServerHandshake>,
    ended: AtomicBool,
}

/// Notes what a handshake costs, wherever it is spent, and what it is about. Cheap to clone: clones share the counts. Off, it counts nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Option<Arc<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    cpu_nanos: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    server_name: OnceLock<String>,
}

impl Meter {
    /// Runs a step, and counts the processor's time that this thread spends in it: about 0.5 µs dearer than without.
    pub(crate) fn step<T>(&self, step: impl FnOnce() -> T) -> T {
        let Some(counts) = &self.0 else { return step() };
        let before = thread_cpu();
        let done = step();
        let spent = thread_cpu().saturating_sub(before);
        counts.cpu_nanos.fetch_add(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        done
    }

    /// Counts bytes of and for the peer.
    pub(crate) fn bytes(&self, received: u64, sent: u64) {
        if let Some(counts) = &self.0 {
            counts.received.fetch_add(received, Ordering::Relaxed);
            counts.sent.fetch_add(sent, Ordering::Relaxed);
        }
    }

    /// Keeps the name that the client asked for.
    pub(crate) fn asked_for(&self, server_name: Option<&str>) {
        if let (Some(counts), Some(name)) = (&self.0, server_name) {
            counts.server_name.get_or_init(|| name.to_owned());
        }
    }

    /// A future whose polls are steps.
    pub(crate) fn timed<F: Future + Unpin>(&self, future: F) -> Timed<F> {
        Timed { meter: self.clone(), future }
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}

/// See [`Meter::timed`].
pub(crate) struct Timed<F> {
    meter: Meter,
    future: F,
}

impl<F: Future + Unpin> Future for Timed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { meter, future } = &mut *self;
        meter.step(|| Pin::new(future).poll(cx))
    }
}

impl Probe {
    /// Tells the observers that a handshake begins. Free without any.
    pub(crate) fn begin(observers: &Observers, start: impl FnOnce() -> HandshakeStart) -> Self {
        if observers.is_empty() {
            return Self(None);
        }
        let start = start();
        observers.each(|observer| observer.start(&start));
        Self(Some(Box::new(Watched {
            observers: observers.clone(),
            start,
            begun: Instant::now(),
            meter: Meter(Some(Arc::default())),
            server: None,
            ended: AtomicBool::new(false),
        })))
    }

    /// What counts its cost.
    pub(crate) fn meter(&self) -> Meter {
        self.0.as_ref().map(|watched| watched.meter.clone()).unwrap_or_default()
    }

    /// A client said what it wants.
    pub(crate) fn client_hello(&mut self, hello: &ClientHelloSeen<'_>) {
        if let Some(watched) = &mut self.0 {
            watched.meter.asked_for(hello.server_name);
            watched.observers.each(|observer| observer.client_hello(&watched.start, hello));
        }
    }

    /// The context of the handshake on the accepting side.
    pub(crate) fn served_by(&mut self, context: &ServerHandshake) {
        if let Some(watched) = &mut self.0 {
            watched.server = Some(context.clone());
        }
    }

    /// Tells the observers that a dial failed. Said once: what is said after it is not told.
    pub(crate) fn failed(&self, error: &ConnectError) {
        if let Some(watched) = &self.0 {
            watched.failed(error);
        }
    }

    /// Tells the observers how it ended.
    pub(crate) fn finish(mut self, result: Result<&Verified, &HandshakeError>) {
        if let Some(watched) = self.0.take() {
            watched.finish(result);
        }
    }
}

impl Watched {
    fn failed(&self, error: &ConnectError) {
        match error {
            ConnectError::Handshake { source, .. } => self.finish(Err(source)),
            other => {
                let unreachable = HandshakeError::Disconnected { detail: other.to_string() };
                self.finish(Err(&unreachable));
            }
        }
    }

    fn finish(&self, result: Result<&Verified, &HandshakeError>) {
        let outcome = match result {
            Ok(verified) if verified.handshake == Handshake::Resumed => Outcome::Resumed,
            Ok(_) => Outcome::Full,
            Err(error) => Outcome::Failed(error.into()),
        };
        if let Ok(verified) = result {
            let seen = VerifiedSeen::new(verified.identity.as_deref());
            self.observers.each(|observer| observer.verified(&self.start, &seen));
        }
        let mut end = self.end(outcome);
        end.error = result.err();
        end.negotiated = result.ok().map(|verified| &*verified.negotiated);
        self.tell(&end);
    }

    fn end(&self, outcome: Outcome) -> HandshakeEnd<'_> {
        let mut end = HandshakeEnd::new(outcome, self.begun.elapsed());
        if let Some(counts) = &self.meter.0 {
            end.cpu = Duration::from_nanos(counts.cpu_nanos.load(Ordering::Relaxed));
            end.received = counts.received.load(Ordering::Relaxed);
            end.sent = counts.sent.load(Ordering::Relaxed);
            end.server_name = counts.server_name.get().map(String::as_str);
        }
        if let Some(context) = &self.server {
            (end.ticket, end.tickets_issued) = (context.ticket(), context.tickets_issued());
        }
        end
    }

    fn tell(&self, end: &HandshakeEnd<'_>) {
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        self.observers.each(|observer: &dyn HandshakeObserver| observer.finish(&self.start, end));
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(watched) = self.0.take() {
            watched.tell(&watched.end(Outcome::Failed(FailureCause::Abandoned)));
        }
    }
}
