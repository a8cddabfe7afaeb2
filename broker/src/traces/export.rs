//! The export: from the spans that end to the requests that a collector gets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use tokio::runtime::Handle;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use super::client::Client;
use super::environment::Environment;
use super::tally::{News, Tally};
use crate::config::{Collector, Config, TraceLevel};

/// 5 s for what is left when the broker stops.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Exports spans until it is [stopped](Self::stop).
#[derive(Debug)]
pub(crate) struct Exporter {
    provider: SdkTracerProvider,
    level: TraceLevel,
    url: String,
    tally: Arc<Tally>,
}

impl Exporter {
    /// One for the collector that the configuration and the environment name, if they name one. Its requests are tasks of `runtime`.
    pub(crate) fn start(config: &Config, name: &str, runtime: &Handle) -> Result<Option<Self>, String> {
        let read = |name: &str| std::env::var(name).ok();
        let environment = Environment(&read);
        let url = match &config.traces.otlp {
            Collector::Off => return Ok(None),
            _ if environment.is_off() => return Ok(None),
            Collector::Environment => environment.traces_url()?,
            Collector::At(url) => url.traces(),
        };
        environment.check()?;
        let (text, deadline) = (url.to_string(), environment.deadline()?);
        let client = Client::new(runtime.clone(), url, config.traces.files(), deadline)
            .map_err(|error| format!("the collector's TLS: {error}"))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client.clone())
            .with_endpoint(&text)
            .with_timeout(deadline)
            .build()
            .map_err(|error| format!("traces.otlp: {error}"))?;
        let tally = Arc::new(Tally::new(environment.queue()));
        let counted = Counted { exporter, client, url: text.clone(), tally: Arc::clone(&tally) };
        let batches = BatchConfigBuilder::default().with_max_queue_size(environment.queue()).build();
        let batches = BatchSpanProcessor::builder(counted).with_batch_config(batches).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Bounded { batches, tally: Arc::clone(&tally) })
            .with_resource(resource(config, name, &environment))
            .build();
        Ok(Some(Self { provider, level: config.traces.level, url: text, tally }))
    }

    /// Where spans go.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What hands spans over.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let level = match self.level {
            TraceLevel::Info => Level::INFO,
            TraceLevel::Debug => Level::DEBUG,
        };
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("sealstream"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(
                filter_fn(move |metadata| is_exported(metadata, level))
                    .with_max_level_hint(LevelFilter::from_level(level)),
            )
    }

    /// Sends what waits, for [`LAST_WORDS`] at most. Blocks.
    pub(crate) fn stop(self) {
        let flushed = self.provider.shutdown_with_timeout(LAST_WORDS);
        let (sent, lost, dropped) = self.tally.counts();
        if let Err(error) = flushed {
            tracing::warn!(url = self.url, %error, "the collector did not take the last traces in time");
        }
        tracing::debug!(url = self.url, sent, lost, dropped, "traces of this run");
    }
}

/// Ours alone: the spans of libraries say nothing of messages. Of events those that a log has by default.
fn is_exported(metadata: &Metadata<'_>, level: Level) -> bool {
    let most = if metadata.is_span() { level } else { Level::INFO };
    metadata.target().starts_with("sealstream") && *metadata.level() <= most
}

/// Who it is whose traces these are. What the environment says of it wins.
fn resource(config: &Config, name: &str, environment: &Environment<'_>) -> Resource {
    let resource = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "sealstream"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", name.to_owned()),
            KeyValue::new("sealstream.cluster", config.cluster.clone()),
        ])
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match environment.service_name() {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

/// The queue's bound, and what is over it.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    tally: Arc<Tally>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.tally.admit() {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// The exporter, and what came of its exports.
#[derive(Debug)]
struct Counted {
    exporter: SpanExporter,
    client: Client,
    url: String,
    tally: Arc<Tally>,
}

impl opentelemetry_sdk::trace::SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.tally.take(count);
        let exported = self.exporter.export(batch).await;
        let url = &*self.url;
        match self.tally.exported(count, exported.is_ok(), Instant::now()) {
            None => {}
            Some(News::Back { lost, dropped }) => {
                tracing::info!(url, lost, dropped, "the collector takes traces again");
            }
            Some(News::Losing { lost, dropped }) => {
                let trouble = || self.client.trouble();
                let reason =
                    exported.as_ref().err().map(|error| trouble().unwrap_or_else(|| error.to_string()));
                let reason = reason.as_deref().unwrap_or("more spans end than the collector takes");
                tracing::warn!(
                    url,
                    reason,
                    lost,
                    dropped,
                    "traces are lost: look at the collector and at traces.otlp; the broker serves on"
                );
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
