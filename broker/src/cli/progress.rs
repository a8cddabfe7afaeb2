//! How far a long command is: a line on stderr that moves on a terminal, and nothing in a pipe.
//!
//! The line is drawn over itself and ends where its text does, so that the `^C` of an interrupt stands behind it and goes with it. There
//! is one at the most, drawn by a thread of its [`Progress`] that ends with it; whoever else writes to stderr has it step [`aside`].

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::output;

/// How often the line is drawn: enough for the eye, nothing for the processor.
const EVERY: Duration = Duration::from_millis(200);

/// Columns of the terminal that are left free: the cursor's, and two for `^C`.
const FREE: usize = 3;

/// The width where the terminal does not tell.
const COLUMNS: usize = 80;

/// Columns of the bar, where there is an end to come to.
const BAR: u8 = 20;

/// From so many bytes on their speed is worth telling.
const SPEED_FROM: u64 = 1_000_000;

/// The line as it stands on the terminal; empty if there is none.
static LINE: Mutex<String> = Mutex::new(String::new());

/// Writes to stderr without a line of progress in the way.
pub(super) fn aside<T>(write: impl FnOnce() -> T) -> T {
    let line = LINE.lock().unwrap_or_else(PoisonError::into_inner);
    if line.is_empty() {
        return write();
    }
    put("");
    let written = write();
    put(&line);
    written
}

fn show(text: String) {
    let mut line = LINE.lock().unwrap_or_else(PoisonError::into_inner);
    if !(line.is_empty() && text.is_empty()) {
        put(&text);
        *line = text;
    }
}

/// Over what stands in the line; a terminal that is gone shows nothing.
fn put(text: &str) {
    let _ = write!(io::stderr(), "\r{text}\x1b[K");
}

/// Counts what went by, and shows it.
#[derive(Debug)]
pub(super) struct Progress {
    count: Arc<Count>,
    /// Draws, also while nothing goes by; none where nothing is shown.
    drawer: Option<JoinHandle<()>>,
}

/// What went by so far, of how much, since when.
#[derive(Debug)]
struct Count {
    total: Option<u64>,
    start: Instant,
    records: AtomicU64,
    bytes: AtomicU64,
    done: AtomicBool,
}

impl Progress {
    /// Shows the way to `total` bytes, or without an end just the way. `quiet` shows nothing.
    pub(super) fn new(total: Option<u64>, quiet: bool) -> Self {
        let (records, bytes, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let count = Arc::new(Count { total, start: Instant::now(), records, bytes, done });
        let moves = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let drawn = Arc::clone(&count);
        // Without a thread there is no line, and the work goes on.
        let draw = || thread::Builder::new().name("progress".into()).spawn(move || drawn.draw()).ok();
        Self { count, drawer: if moves && !quiet { draw() } else { None } }
    }

    /// So many more went by.
    pub(super) fn advance(&mut self, records: u64, bytes: u64) {
        self.count.records.fetch_add(records, Ordering::Relaxed);
        self.count.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What a thread needs that ends the process meanwhile.
    pub(super) fn view(&self) -> View {
        View(Arc::clone(&self.count))
    }

    /// Clears the line and says what was counted.
    pub(super) fn finish(mut self) -> Total {
        self.clear();
        self.count.so_far()
    }

    fn clear(&mut self) {
        self.count.done.store(true, Ordering::Relaxed);
        if let Some(drawer) = self.drawer.take() {
            drawer.thread().unpark();
            // It has nothing to say but the line.
            let _ = drawer.join();
        }
        show(String::new());
    }
}

/// Work that failed leaves no line either.
impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Count {
    fn draw(&self) {
        loop {
            thread::park_timeout(EVERY);
            if self.done.load(Ordering::Relaxed) {
                return;
            }
            show(self.line().chars().take(columns().saturating_sub(FREE)).collect());
        }
    }

    fn so_far(&self) -> Total {
        let (records, bytes) = (self.records.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        Total { records, bytes, elapsed: self.start.elapsed() }
    }

    fn line(&self) -> String {
        let so_far = self.so_far();
        let records =
            if so_far.records == 0 { String::new() } else { format!(", {} records", so_far.records) };
        let speed = output::speed(so_far.bytes_per_second());
        let Some(total) = self.total.filter(|total| *total > 0) else {
            let (bytes, seconds) = (output::bytes(so_far.bytes), so_far.elapsed.as_secs());
            return format!("{bytes}{records}, {speed}, {seconds} s");
        };
        let done = so_far.bytes.min(total);
        let part =
            |of: u64| u64::try_from(u128::from(done) * u128::from(of) / u128::from(total)).unwrap_or(of);
        let full = usize::try_from(part(BAR.into())).unwrap_or(0);
        let (percent, left, total) = (part(100), so_far.time_for(total - done), output::bytes(total));
        let bar = format!("{:<width$}", "=".repeat(full), width = usize::from(BAR));
        format!("[{bar}] {percent:>3} % of {total}{records}, {speed}, {left} s left")
    }
}

fn columns() -> usize {
    let told = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    if told == 0 { COLUMNS } else { told }
}

/// A second look at the same progress.
#[derive(Debug)]
pub(super) struct View(Arc<Count>);

impl View {
    /// Clears the line, for good: how many bytes went by, for people.
    pub(super) fn clear(self) -> String {
        self.0.done.store(true, Ordering::Relaxed);
        show(String::new());
        output::bytes(self.0.so_far().bytes)
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

    /// Whole seconds that so many bytes more take at the speed so far.
    fn time_for(&self, bytes: u64) -> u128 {
        self.elapsed.as_millis() * u128::from(bytes) / u128::from(self.bytes.max(1)) / 1000
    }
}

impl std::fmt::Display for Total {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { records, bytes, elapsed } = self;
        let records = output::counted(*records, "record", "records");
        write!(f, "{records}, {} in {:.1} s", output::bytes(*bytes), elapsed.as_secs_f64())?;
        // Of a few bytes the speed says how long the connection took.
        if *bytes >= SPEED_FROM { write!(f, " ({})", output::speed(self.bytes_per_second())) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_the_share_of_an_end_that_is_known_and_fits_a_terminal() {
        let progress = |total, records, bytes| {
            let start = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
            let (records, bytes) = (AtomicU64::new(records), AtomicU64::new(bytes));
            Count { total, start, records, bytes, done: AtomicBool::new(false) }.line()
        };
        let known = progress(Some(1 << 30), 262_144, 1 << 28);
        assert!(
            known.starts_with("[=====               ]  25 % of 1.0 GiB, 262144 records, 27 MB/s, "),
            "{known}"
        );
        assert!(known.ends_with(" s left") && known.len() <= COLUMNS - FREE, "{known}");
        assert_eq!(progress(None, 0, 5 << 20), "5.0 MiB, 524 kB/s, 10 s");
        assert!(progress(Some(10), 1, 20).contains("100 %"), "a file that has grown");
        assert!(progress(Some(0), 0, 0).starts_with("0 B"), "an empty file");
    }
}
