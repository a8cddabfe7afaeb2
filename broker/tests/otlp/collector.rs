//! The other end: a collector that takes, refuses or keeps waiting, by HTTP and by HTTPS.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rustls::ServerConfig;
use sealstream_transport::testing::pki::Issued;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::harness::PATIENCE;

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    Fails,
    /// Reads, and never answers.
    Stalls,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Lives as long as this does.
pub(crate) struct Collector {
    pub(crate) port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    mood: Arc<Mutex<Mood>>,
    _runtime: Runtime,
}

impl Collector {
    pub(crate) fn start(mood: Mood) -> Self {
        Self::serve(mood, None)
    }

    /// By TLS 1.3, with this certificate.
    pub(crate) fn sealed(issued: &Issued) -> Self {
        let provider = sealstream_transport::tls::provider();
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(issued.chain(), issued.key_der())
            .unwrap();
        Self::serve(Mood::Takes, Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn serve(mood: Mood, tls: Option<TlsAcceptor>) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (received, mood) = (Arc::default(), Arc::new(Mutex::new(mood)));
        let (to, how) = (Arc::clone(&received), Arc::clone(&mood));
        runtime.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (to, how, tls) = (Arc::clone(&to), Arc::clone(&how), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => answer(stream, to, how).await,
                        Some(tls) => {
                            // Who does not trust it goes away.
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, to, how).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, received, mood, _runtime: runtime }
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// What came so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// All bodies, one after the other.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.received().into_iter().flat_map(|received| received.body).collect()
    }

    pub(crate) fn traces(&self) -> Traces {
        let requests = self.received();
        let decoded =
            requests.iter().map(|received| ExportTraceServiceRequest::decode(&*received.body).unwrap());
        Traces { resources: decoded.flat_map(|request| request.resource_spans).collect() }
    }

    /// Waits until what came holds something.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Traces) -> bool) -> Traces {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let traces = self.traces();
            if holds(&traces) {
                return traces;
            }
            assert!(Instant::now() < deadline, "{what} did not come");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    received: Arc<Mutex<Vec<Received>>>,
    mood: Arc<Mutex<Mood>>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (received, mood) = (Arc::clone(&received), Arc::clone(&mood));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
            let authorization =
                head.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
            let mood = *mood.lock().unwrap();
            let status = match mood {
                Mood::Takes => StatusCode::OK,
                Mood::Fails => StatusCode::INTERNAL_SERVER_ERROR,
                Mood::Stalls => pending().await,
            };
            if mood == Mood::Takes {
                assert_eq!(head.headers["content-type"], "application/x-protobuf");
                received.lock().unwrap().push(Received {
                    path: head.uri.path().to_owned(),
                    authorization,
                    body,
                });
            }
            let answer = Response::builder().status(status).body(Full::<Bytes>::default()).unwrap();
            Ok::<_, Infallible>(answer)
        }
    });
    // The client may go away.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// What a collector got.
pub(crate) struct Traces {
    resources: Vec<opentelemetry_proto::tonic::trace::v1::ResourceSpans>,
}

impl Traces {
    pub(crate) fn spans(&self) -> impl Iterator<Item = &Span> {
        self.resources.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans)
    }

    /// Those of a name whose attributes are as given.
    pub(crate) fn named(&self, name: &str, with: &[(&str, &str)]) -> Vec<&Span> {
        let fits = |span: &&Span| {
            span.name == name && with.iter().all(|(key, value)| text(span, key).as_deref() == Some(value))
        };
        self.spans().filter(fits).collect()
    }

    /// The one that there is.
    #[track_caller]
    pub(crate) fn one(&self, name: &str, with: &[(&str, &str)]) -> &Span {
        let found = self.named(name, with);
        assert_eq!(found.len(), 1, "{name} with {with:?} among {:#?}", self.spans().collect::<Vec<_>>());
        found[0]
    }

    #[track_caller]
    pub(crate) fn parent(&self, span: &Span) -> &Span {
        self.spans().find(|other| other.span_id == span.parent_span_id).expect("a span's parent comes too")
    }

    /// An attribute of whoever sent them, which all requests agree about.
    #[track_caller]
    pub(crate) fn resource(&self, key: &str) -> String {
        let values = self.resources.iter().map(|resource| {
            let resource = resource.resource.as_ref().unwrap();
            shown(find(&resource.attributes, key).unwrap_or_else(|| panic!("{key} is not said")))
        });
        let mut values: Vec<String> = values.collect();
        values.dedup();
        assert_eq!(values.len(), 1, "{key}: {values:?}");
        values.remove(0)
    }
}

fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a AnyValue> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()
}

fn shown(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => panic!("{other:?} is no attribute of ours"),
    }
}

/// An attribute as a text.
pub(crate) fn text(span: &Span, key: &str) -> Option<String> {
    find(&span.attributes, key).map(shown)
}

/// An attribute that is a number, and not a text that shows one.
#[track_caller]
pub(crate) fn number(span: &Span, key: &str) -> i64 {
    match find(&span.attributes, key).and_then(|value| value.value.as_ref()) {
        Some(Value::IntValue(number)) => *number,
        other => panic!("{key} of {}: {other:?}", span.name),
    }
}
