//! Where log lines go: stderr, as text or as JSON, filtered by `SEALSTREAM_LOG`.

use std::io;

use tokio::runtime::Handle;
use tracing_subscriber::EnvFilter;

use super::{Failure, progress, style};
use crate::config::Config;

/// What a server logs where `SEALSTREAM_LOG` is not set.
const SERVER: &str = "info";

/// Starts logging. `default` holds where `SEALSTREAM_LOG` is not set.
pub(super) fn start(default: &str, json: bool) -> Result<(), Failure> {
    let filter = filter(default)?;
    // A line that cannot be written (the terminal was closed) is lost: to complain of it on stderr would panic.
    let builder =
        tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter).with_writer(|| Lines);
    if json {
        // The list of spans has the innermost one as well.
        builder.json().with_current_span(false).init();
    } else {
        builder.with_ansi(style::on_stderr()).init();
    }
    Ok(())
}

/// Like [`start`], and has spans exported as well: these are not under `SEALSTREAM_LOG`.
#[cfg(feature = "otlp")]
pub(super) fn start_with(
    default: &str,
    json: bool,
    exporter: &crate::traces::Exporter,
) -> Result<(), Failure> {
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    let filter = filter(default)?;
    let lines = tracing_subscriber::fmt::layer().log_internal_errors(false).with_writer(|| Lines);
    let lines = if json {
        lines.json().with_current_span(false).with_filter(filter).boxed()
    } else {
        lines.with_ansi(style::on_stderr()).with_filter(filter).boxed()
    };
    tracing_subscriber::registry().with(lines).with(exporter.layer()).init();
    Ok(())
}

fn filter(default: &str) -> Result<EnvFilter, Failure> {
    let text = std::env::var("SEALSTREAM_LOG").unwrap_or_default();
    let text = if text.is_empty() { default } else { &text };
    if let Some(word) = text.split(',').map(str::trim).find(|word| means_nothing(word)) {
        return Err(Failure::new(format!(
            "SEALSTREAM_LOG: `{word}` is no level, and nothing logs under such a name: use error, warn, info, debug or a filter such \
             as info,quinn=debug"
        )));
    }
    EnvFilter::try_new(text).map_err(|error| {
        Failure::new(format!(
            "SEALSTREAM_LOG: {error}: use error, warn, info, debug or a filter such as info,quinn=debug"
        ))
    })
}

/// Whether a word of a filter would turn off all that is logged: a target by itself that nobody has.
fn means_nothing(word: &str) -> bool {
    /// What logs here: ours, and the libraries that do.
    const LOGGING: [&str; 8] =
        ["sealstream", "quinn", "rustls", "hyper", "redis", "notify", "opentelemetry", "tokio"];

    let plain = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "_-:".contains(c));
    plain
        && word.parse::<tracing_subscriber::filter::LevelFilter>().is_err()
        && !LOGGING.iter().any(|name| word.starts_with(name))
}

/// What a server tells of itself: log lines, and traces if a collector is to have them.
pub(super) struct Telling {
    #[cfg(feature = "otlp")]
    exporter: Option<crate::traces::Exporter>,
}

impl Telling {
    /// Starts both. Requests to the collector are tasks of `runtime`.
    #[cfg(feature = "otlp")]
    pub(super) fn start(config: &Config, name: &str, json: bool, runtime: &Handle) -> Result<Self, Failure> {
        let exporter = crate::traces::Exporter::start(config, name, runtime).map_err(Failure::Message)?;
        match &exporter {
            None => start(SERVER, json)?,
            Some(exporter) => {
                start_with(SERVER, json, exporter)?;
                tracing::info!("traces go to {}", exporter.url());
            }
        }
        Ok(Self { exporter })
    }

    /// Starts logging: a configuration that names a collector was refused.
    #[cfg(not(feature = "otlp"))]
    pub(super) fn start(_: &Config, _: &str, json: bool, _: &Handle) -> Result<Self, Failure> {
        start(SERVER, json)?;
        Ok(Self {})
    }

    /// Sends the last traces. Blocks, for some seconds at most.
    #[cfg_attr(not(feature = "otlp"), expect(clippy::unused_self, reason = "there is nothing to send"))]
    pub(super) fn stop(self) {
        #[cfg(feature = "otlp")]
        if let Some(exporter) = self.exporter {
            exporter.stop();
        }
    }
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

#[cfg(test)]
mod tests {
    use super::means_nothing;

    #[test]
    fn a_word_that_is_no_level_and_nobody_s_name_is_told() {
        for word in ["blah", "verbose", "information"] {
            assert!(means_nothing(word), "{word}");
        }
        for word in [
            "",
            "info",
            "WARN",
            "off",
            "sealstream",
            "sealstream::audit",
            "quinn=debug",
            "[session]=debug",
            "3",
        ] {
            assert!(!means_nothing(word), "{word}");
        }
    }
}
