//! The `[traces]` section: where spans are sent, besides the log lines that have them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[cfg(feature = "otlp")]
use crate::traces::CollectorFiles;
use crate::traces::{CollectorUrl, EXPORTS};

/// Traces. Without a collector there are none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// Where the collector is.
    pub otlp: Collector,
    /// What is traced.
    pub level: TraceLevel,
    /// The CAs of the collector's certificate, in PEM.
    pub ca: Option<PathBuf>,
    /// A certificate to show to the collector, and its key, in PEM.
    pub cert: Option<PathBuf>,
    /// The key of `cert`.
    pub key: Option<PathBuf>,
}

/// Where the collector is: `off`, `environment`, or a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Collector {
    /// Nowhere.
    #[default]
    Off,
    /// Where the variables of OpenTelemetry say, or at its usual port of this machine.
    Environment,
    /// Here.
    At(CollectorUrl),
}

/// What is traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceLevel {
    /// Connections and sessions.
    Info,
    /// Requests as well.
    #[default]
    Debug,
}

impl Traces {
    /// The files that the collector is reached by.
    #[cfg(feature = "otlp")]
    pub(crate) fn files(&self) -> CollectorFiles {
        CollectorFiles { ca: self.ca.clone(), identity: self.cert.clone().zip(self.key.clone()) }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.cert.is_some() != self.key.is_some() {
            return Err("traces.cert and traces.key go together: set both or neither".into());
        }
        let files = self.ca.is_some() || self.cert.is_some();
        match &self.otlp {
            Collector::Off if files => {
                Err("traces.ca or traces.cert is set, and traces.otlp is not: set it to the URL of the collector".into())
            }
            Collector::At(url) if files && !url.is_sealed() => {
                Err("traces.ca and traces.cert are for https://, and traces.otlp begins with http://".into())
            }
            Collector::Environment | Collector::At(_) if !EXPORTS => Err(
                "traces.otlp is set, and this binary was built without the export of traces: build one with it (cargo build --release \
                 -p sealstream-broker --features otlp; for the image --build-arg FEATURES=otlp), or set traces.otlp to \"off\""
                    .into(),
            ),
            _ => Ok(()),
        }
    }
}

impl FromStr for Collector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "off" | "" => Ok(Self::Off),
            "environment" => Ok(Self::Environment),
            url => url.parse().map(Self::At),
        }
    }
}

impl TryFrom<String> for Collector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Collector> for String {
    fn from(collector: Collector) -> Self {
        collector.to_string()
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Environment => f.write_str("environment"),
            Self::At(url) => url.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Traces, String> {
        let traces: Traces = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        traces.check().map(|()| traces)
    }

    #[test]
    fn what_is_shown_of_a_collector_can_be_used() {
        for text in ["off", "environment", "https://collector.example.org:4318/"] {
            let collector: Collector = text.parse().unwrap();
            assert_eq!(collector.to_string(), text);
        }
        assert_eq!(read("").unwrap(), Traces::default());
        assert_eq!(read("otlp = \"off\"\nlevel = \"info\"").unwrap().level, TraceLevel::Info);
    }

    #[test]
    fn files_that_nothing_is_reached_by_are_told() {
        assert!(read("ca = \"a\"").unwrap_err().contains("traces.otlp"));
        assert!(read("cert = \"a\"").unwrap_err().contains("traces.key"));
        let error = read("otlp = \"http://localhost:4318\"\nca = \"a\"").unwrap_err();
        assert!(error.contains("https://"), "{error}");
        let error = read("otlp = \"http://collector:4318\"").unwrap_err();
        assert!(error.contains("unsealed"), "{error}");
    }

    #[test]
    #[cfg(not(feature = "otlp"))]
    fn a_binary_that_cannot_export_says_how_to_get_one_that_can() {
        for collector in ["environment", "https://collector.example.org"] {
            let error = read(&format!("otlp = \"{collector}\"")).unwrap_err();
            assert!(error.contains("--features otlp") && error.contains("\"off\""), "{error}");
        }
    }
}
