//! The signs of life of a session, between the looks that its driver takes.

use std::time::Duration;

use sealstream_protocol::message::Message;
use tokio::time::Instant;

use crate::error::SessionError;
use crate::wire::{FrameReader, FrameWriter, Liveness, Pulse, Session};

/// What was heard and sent when a look was taken last, and for how long a session may be silent.
#[derive(Debug)]
pub(crate) struct Signs {
    liveness: Liveness,
    received: u64,
    written: u64,
    silence: Duration,
}

impl Signs {
    /// Those of a session that was just opened.
    pub(crate) fn of(session: &Session) -> Self {
        Self {
            liveness: session.liveness(),
            received: session.reader.received(),
            written: session.writer.written(),
            silence: Duration::from_millis(u64::from(session.welcome.idle_ms)),
        }
    }

    /// Gives the session up after so much silence, if not sooner.
    pub(crate) fn expect_within(&mut self, patience: Duration, now: Instant) {
        self.silence = self.silence.min(patience);
        self.liveness = Liveness::new(self.silence, now.into_std()).staggered(rand::random());
    }

    /// Whether something was heard since the last look.
    pub(crate) fn was_heard(&mut self, reader: &FrameReader, now: Instant) -> bool {
        let heard = reader.received() != self.received;
        if heard {
            self.excuse(reader, now);
        }
        heard
    }

    /// The broker cannot be heard, and is not to blame: nothing is read for reasons of our own.
    pub(crate) fn excuse(&mut self, reader: &FrameReader, now: Instant) {
        self.received = reader.received();
        self.liveness.heard(now.into_std());
    }

    /// Keeps the session with `target` alive by pings: when to look again, or that the broker is gone.
    pub(crate) fn keep(
        &mut self,
        writer: &mut FrameWriter,
        target: &str,
        now: Instant,
    ) -> Result<Instant, SessionError> {
        if writer.written() != self.written {
            self.written = writer.written();
            self.liveness.sent(now.into_std());
        }
        loop {
            match self.liveness.poll(now.into_std()) {
                Pulse::Quiet { until } => return Ok(Instant::from_std(until)),
                Pulse::Ping(ping) => writer.feed(&Message::Ping(ping)),
                Pulse::Gone => {
                    return Err(SessionError::Silent { target: target.to_owned(), after: self.silence });
                }
            }
        }
    }
}
