//! What is told of one request: a span at level debug, and where its time went.
//!
//! Where nobody listens at that level a [`Trace`] is a few words on the stack, and each call on it one comparison: no clock is read, and
//! nothing is allocated or formatted.

use std::fmt::Display;
use std::time::{Duration, Instant};

use sealstream_protocol::message::Fault;
use tracing::Span;

/// The span of a request, which ends with [`done`](Self::done) or [`refused`](Self::refused), or where this is dropped.
#[derive(Debug)]
pub(super) struct Trace {
    span: Span,
    /// When the last step was done; `None` if nobody listens.
    since: Option<Instant>,
}

impl Trace {
    /// Of a request that begins now. The span needs the fields of every step that is noted, and `outcome`.
    pub(super) fn new(span: Span) -> Self {
        let since = (!span.is_disabled()).then(Instant::now);
        Self { span, since }
    }

    /// The span, for what is to happen within it.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// A step is done: `field` is how long it took, in microseconds.
    pub(super) fn step(&mut self, field: &str) {
        if self.since.is_some() {
            self.step_at(field, Instant::now());
        }
    }

    /// A step was done at `now`.
    pub(super) fn step_at(&mut self, field: &str, now: Instant) {
        if let Some(since) = &mut self.since {
            self.span.record(field, micros(now.saturating_duration_since(*since)));
            *since = now.max(*since);
        }
    }

    /// Records a number.
    pub(super) fn number(&self, field: &str, value: impl TryInto<i64>) {
        if self.since.is_some() {
            self.span.record(field, number(value));
        }
    }

    /// It was carried out.
    pub(super) fn done(self, outcome: &str) {
        self.end(outcome, false);
    }

    /// It was refused, with this fault.
    pub(super) fn refused(self, fault: &Fault) {
        self.end(outcome_of(fault), true);
    }

    fn end(self, outcome: &str, failed: bool) {
        if self.since.is_none() {
            return;
        }
        self.span.record("outcome", outcome);
        if failed {
            // A trace's viewer shows by it what went wrong.
            self.span.record("otel.status_code", "ERROR");
        }
        // A span that is exported ends when it was left last.
        self.span.in_scope(|| ());
    }
}

/// The name of a fault, as the page of the protocol has it.
fn outcome_of(fault: &Fault) -> &'static str {
    fault.code_known().map_or("unknown", sealstream_protocol::message::FaultCode::name)
}

/// A number as spans take it: what is exported knows signed ones only, and would make a text of any other.
pub(super) fn number(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

fn micros(time: Duration) -> i64 {
    number(time.as_micros())
}

/// Records what is known of a connection or session only after its span began.
pub(super) fn note(span: &Span, field: &str, value: impl Display) {
    if !span.is_disabled() {
        span.record(field, tracing::field::display(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_nobody_listens_to_reads_no_clock() {
        let mut trace = Trace::new(Span::none());
        assert!(trace.since.is_none());
        trace.step("read_us");
        trace.number("records", u64::MAX);
        trace.done("stored");
    }

    #[test]
    fn a_number_that_is_too_large_is_the_largest() {
        assert_eq!((number(7_u32), number(u64::MAX)), (7, i64::MAX));
        assert_eq!(micros(Duration::MAX), i64::MAX);
    }
}
