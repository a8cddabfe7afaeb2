//! Where log lines go: stderr, as text or as JSON, filtered by `SEALSTREAM_LOG`.

use std::io;

use tracing_subscriber::EnvFilter;

use super::{Failure, progress, style};

/// Starts logging. `default` holds where `SEALSTREAM_LOG` is not set.
pub(super) fn start(default: &str, json: bool) -> Result<(), Failure> {
    let text = std::env::var("SEALSTREAM_LOG").unwrap_or_default();
    let text = if text.is_empty() { default } else { &text };
    let filter = EnvFilter::try_new(text).map_err(|error| {
        Failure::new(format!(
            "SEALSTREAM_LOG: {error}: use error, warn, info, debug or a filter such as info,quinn=debug"
        ))
    })?;
    // A line that cannot be written (the terminal was closed) is lost: to complain of it on stderr would panic.
    let builder =
        tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter).with_writer(|| Lines);
    if json {
        builder.json().init();
    } else {
        builder.with_ansi(style::on_stderr()).init();
    }
    Ok(())
}

/// A panic becomes a line of the log, for whoever reads nothing else, with where it was: it ends its session (or the
/// batch that was being validated), and nothing beside it.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a value that is no text");
        let place = panic.location().map(ToString::to_string);
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(message, place, %backtrace, "panicked: this is a fault of the broker, please report it");
    }));
}

/// Log lines, each in one call, beside which a line of progress steps aside.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        progress::aside(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
