//! The variables of OpenTelemetry that the library does not read, or reads and passes over where they say what cannot be done.
//!
//! It reads `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_SCHEDULE_DELAY`, `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`, the limits of
//! spans, and the sampler once this module has found it good.

use std::time::Duration;

use super::endpoint::CollectorUrl;

/// 2,048 spans wait at most, of about 1 KiB each: 2 MiB. What OpenTelemetry specifies.
const QUEUE: usize = 2048;

/// 65,536 spans at most, whatever `OTEL_BSP_MAX_QUEUE_SIZE` says: 64 MiB.
const MAX_QUEUE: usize = 1 << 16;

/// 10 s for an export, with its repeats. What OpenTelemetry specifies.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where a collector of this machine listens for OTLP over HTTP.
const USUAL: &str = "http://localhost:4318";

/// The samplers that there are.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// What the variables say.
pub(super) struct Environment<'a>(pub(super) &'a dyn Fn(&str) -> Option<String>);

impl Environment<'_> {
    /// A variable that is set, and not to nothing.
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.trim().is_empty())
    }

    /// That of traces alone, or else that of all signals, and its name.
    fn signal(&self, name: &str) -> Option<(String, String)> {
        [format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")]
            .into_iter()
            .find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    /// Whether OpenTelemetry is switched off as a whole.
    pub(super) fn is_off(&self) -> bool {
        self.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Where traces go.
    pub(super) fn traces_url(&self) -> Result<CollectorUrl, String> {
        let Some((name, text)) = self.signal("ENDPOINT") else {
            return USUAL.parse().map(|url: CollectorUrl| url.traces());
        };
        let url: CollectorUrl = text.parse().map_err(|error| format!("{name}: {error}"))?;
        // The variable of all signals is a base.
        Ok(if name.contains("TRACES") { url } else { url.traces() })
    }

    pub(super) fn deadline(&self) -> Result<Duration, String> {
        let Some((name, text)) = self.signal("TIMEOUT") else { return Ok(DEADLINE) };
        let millis = text.trim().parse().ok().filter(|millis| (1..=600_000).contains(millis));
        millis.map(Duration::from_millis).ok_or_else(|| {
            format!("{name} is {text:?}: it must be a number of milliseconds from 1 to 600000")
        })
    }

    /// How many spans may wait.
    pub(super) fn queue(&self) -> usize {
        let wanted = self.get("OTEL_BSP_MAX_QUEUE_SIZE").and_then(|text| text.trim().parse().ok());
        wanted.unwrap_or(QUEUE).clamp(1, MAX_QUEUE)
    }

    /// What the broker is called, where somebody says so.
    pub(super) fn service_name(&self) -> Option<String> {
        self.get("OTEL_SERVICE_NAME")
    }

    /// What cannot be done, and what to say instead.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some((name, protocol)) = self.signal("PROTOCOL").filter(|(_, value)| value != "http/protobuf")
        {
            return Err(format!(
                "{name} is {protocol:?}, and traces are sent by HTTP: set it to http/protobuf, and the collector's port to that of \
                 OTLP over HTTP, 4318"
            ));
        }
        if let Some((name, _)) = self.signal("COMPRESSION").filter(|(_, value)| value != "none") {
            return Err(format!(
                "{name} is set, and traces are not compressed: leave it out, or set it to none"
            ));
        }
        if let Some(sampler) = self.get("OTEL_TRACES_SAMPLER") {
            if !SAMPLERS.contains(&&*sampler) {
                return Err(format!(
                    "OTEL_TRACES_SAMPLER is {sampler:?}: it must be one of {}",
                    SAMPLERS.join(", ")
                ));
            }
            let ratio = self.get("OTEL_TRACES_SAMPLER_ARG").and_then(|text| text.trim().parse::<f64>().ok());
            if sampler.ends_with("ratio") && !ratio.is_some_and(|ratio| (0.0..=1.0).contains(&ratio)) {
                return Err(format!(
                    "OTEL_TRACES_SAMPLER is {sampler}: OTEL_TRACES_SAMPLER_ARG must say which part of the connections is traced, from 0 \
                     to 1"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(set: &[(&str, &str)], look: impl FnOnce(Environment<'_>) -> T) -> T {
        let get = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        look(Environment(&get))
    }

    #[test]
    fn the_variable_of_traces_wins_and_is_taken_as_it_stands() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c.example.org:4318");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t.example.org/x");
        for (set, url) in [
            (vec![], "http://localhost:4318/v1/traces"),
            (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "")], "http://localhost:4318/v1/traces"),
            (vec![base], "https://c.example.org:4318/v1/traces"),
            (vec![base, own], "https://t.example.org/x"),
        ] {
            assert_eq!(with(&set, |environment| environment.traces_url()).unwrap().to_string(), url);
        }
        let error = with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c.example.org")], |e| e.traces_url());
        let error = error.unwrap_err();
        assert!(error.contains("OTEL_EXPORTER_OTLP_ENDPOINT") && error.contains("https://"), "{error}");
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_the_remedy() {
        for (name, value, remedy) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "4318"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "none"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER", "traceidratio", "OTEL_TRACES_SAMPLER_ARG"),
        ] {
            let error = with(&[(name, value)], |environment| environment.check()).unwrap_err();
            assert!(error.contains(name) && error.contains(remedy), "{error}");
        }
        let good = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.1"),
        ];
        with(&good, |environment| environment.check()).unwrap();
    }

    #[test]
    fn what_waits_is_bounded_whatever_is_asked_for() {
        for (set, queue) in [(None, QUEUE), (Some("10"), 10), (Some("0"), 1), (Some("99999999"), MAX_QUEUE)] {
            let set: Vec<_> = set.map(|value| ("OTEL_BSP_MAX_QUEUE_SIZE", value)).into_iter().collect();
            assert_eq!(with(&set, |environment| environment.queue()), queue);
        }
        let deadline = with(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "250")], |e| e.deadline());
        assert_eq!(deadline, Ok(Duration::from_millis(250)));
        let error = with(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")], |e| e.deadline()).unwrap_err();
        assert!(error.contains("milliseconds"), "{error}");
    }
}
