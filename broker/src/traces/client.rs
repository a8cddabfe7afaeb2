//! The HTTP client of the exporter: one connection, kept while the collector keeps it, over TLS 1.3 by the same rustls as everything else.
//!
//! The exporter calls from a thread of its own, where there is no runtime: what talks are tasks of the broker's. Each exchange has a deadline; its
//! task ends with it, and that of a connection when nobody can send on it any more.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::endpoint::{CollectorFiles, CollectorUrl};
use crate::dial::client_config;

/// 64 KiB of an answer: it says how many spans were refused, and why.
const MAX_ANSWER: usize = 64 << 10;

type Idle = Option<SendRequest<Full<Bytes>>>;

/// Sends requests to one collector.
#[derive(Clone)]
pub(super) struct Client {
    runtime: Handle,
    shared: Arc<Shared>,
}

struct Shared {
    url: CollectorUrl,
    files: CollectorFiles,
    deadline: Duration,
    /// A connection that is free.
    idle: Mutex<Idle>,
    /// Why the last exchange gave no answer: the exporter's own errors do not say it.
    trouble: Mutex<Option<String>>,
}

impl Client {
    pub(super) fn new(
        runtime: Handle,
        url: CollectorUrl,
        files: CollectorFiles,
        deadline: Duration,
    ) -> Result<Self, String> {
        // Files at fault are told before anything is served.
        tls(&url, &files)?;
        let (idle, trouble) = (Mutex::new(None), Mutex::new(None));
        Ok(Self { runtime, shared: Arc::new(Shared { url, files, deadline, idle, trouble }) })
    }

    /// Why the last exchange gave no answer, if it gave none.
    pub(super) fn trouble(&self) -> Option<String> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.shared.url).finish()
    }
}

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let shared = Arc::clone(&self.shared);
        let runtime = self.runtime.clone();
        let exchange = self.runtime.spawn(async move {
            let exchanged = timeout(shared.deadline, shared.exchange(&runtime, request)).await;
            let outcome =
                exchanged.unwrap_or_else(|_| Err(format!("no answer within {:?}", shared.deadline)));
            *shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = outcome.as_ref().err().cloned();
            outcome
        });
        // Cancelled where the runtime ends.
        Box::pin(
            async move { exchange.await.unwrap_or_else(|error| Err(error.to_string())).map_err(Into::into) },
        )
    }
}

impl Shared {
    async fn exchange(&self, runtime: &Handle, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let mut sender = self.connection(runtime).await?;
        let answer =
            sender.send_request(self.addressed(request)?).await.map_err(|error| error.to_string())?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| error.to_string())?;
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    /// As HTTP/1.1 has it on a connection: the path alone, and the host beside it.
    fn addressed(&self, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, String> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let (host, port) = self.url.host();
        let host = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        head.headers.insert(HOST, HeaderValue::from_str(&host).map_err(|error| error.to_string())?);
        head.uri = path.parse().map_err(|error| format!("{path}: {error}"))?;
        Ok(Request::from_parts(head, Full::new(body)))
    }

    /// The connection that is free, if it still serves, or a new one.
    async fn connection(&self, runtime: &Handle) -> Result<SendRequest<Full<Bytes>>, String> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut sender) = idle
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let (host, port) = self.url.host();
        let stream = TcpStream::connect((&*host, port)).await.map_err(|error| error.to_string())?;
        let (url, files) = (self.url.clone(), self.files.clone());
        // At each connection: whatever is renewed counts from the next one on.
        let read = runtime.spawn_blocking(move || tls(&url, &files));
        match read.await.map_err(|error| error.to_string())?? {
            None => speak(runtime, stream).await,
            Some(connector) => {
                let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
                speak(runtime, connector.connect(name, stream).await.map_err(|error| error.to_string())?)
                    .await
            }
        }
    }
}

/// Reads the files, if there is TLS. Blocks.
fn tls(url: &CollectorUrl, files: &CollectorFiles) -> Result<Option<TlsConnector>, String> {
    if !url.is_sealed() {
        return Ok(None);
    }
    let identity = files.identity.as_ref().map(|(chain, key)| (&**chain, &**key));
    let config = client_config(files.ca.as_deref(), identity)?;
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

async fn speak(
    runtime: &Handle,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, String> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Whoever sends on it is told what goes wrong.
    runtime.spawn(async move { drop(connection.await) });
    Ok(sender)
}
