//! How far a long command is: a line on stderr that moves on a terminal, and nothing in a pipe.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;

/// How often the line is drawn at most, in times a second: enough for the eye, nothing for the processor.
const HERTZ: u8 = 5;

/// From so many bytes on their speed is worth telling.
const SPEED_FROM: u64 = 1_000_000;

/// Counts what went by, and shows it.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    start: Instant,
    records: u64,
    bytes: u64,
}

impl Progress {
    /// Shows the way to `total` bytes, or without an end just the way. `quiet` shows nothing.
    pub(super) fn new(total: Option<u64>, quiet: bool) -> Self {
        // indicatif draws nothing by itself where stderr is no terminal.
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(HERTZ) };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = match total {
            Some(_) => "{bytes}/{total_bytes} {bytes_per_sec} {msg} eta {eta} {wide_bar}",
            None => "{spinner} {bytes} {bytes_per_sec} {msg} {elapsed}",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
        Self { bar, start: Instant::now(), records: 0, bytes: 0 }
    }

    /// So many more went by.
    pub(super) fn advance(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
        self.bar.set_position(self.bytes);
        if !self.bar.is_hidden() {
            self.bar.set_message(format!("{} records", self.records));
        }
    }

    /// What a thread needs that ends the process meanwhile.
    pub(super) fn view(&self) -> View {
        View(self.bar.clone())
    }

    /// Clears the line and says what was counted.
    pub(super) fn finish(self) -> Total {
        self.bar.finish_and_clear();
        Total { records: self.records, bytes: self.bytes, elapsed: self.start.elapsed() }
    }
}

/// A second look at the same progress.
#[derive(Debug)]
pub(super) struct View(ProgressBar);

impl View {
    /// Clears the line: how many bytes went by, for people.
    pub(super) fn clear(self) -> String {
        self.0.finish_and_clear();
        output::bytes(self.0.position())
    }
}

/// What went by in all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Total {
    pub(super) records: u64,
    /// Bytes of values.
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
}

impl Total {
    /// Bytes of values per second.
    pub(super) fn bytes_per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a speed is shown with three digits")]
        let bytes = self.bytes as f64;
        bytes / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl std::fmt::Display for Total {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { records, bytes, elapsed } = self;
        let noun = if *records == 1 { "record" } else { "records" };
        write!(f, "{records} {noun}, {} in {:.1} s", output::bytes(*bytes), elapsed.as_secs_f64())?;
        // Of a few bytes the speed says how long the connection took.
        if *bytes >= SPEED_FROM { write!(f, " ({})", output::speed(self.bytes_per_second())) } else { Ok(()) }
    }
}
