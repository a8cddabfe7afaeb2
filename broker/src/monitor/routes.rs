//! What is asked for, by whom, and what is answered.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use sealstream_protocol::message::hello::Secret;
use serde_json::json;

use super::http::Asking;
use super::reading::Reading;
use super::{Watched, metrics, page, readiness, status};
use crate::server::NotAViewer;

/// What answers are made of.
type Answer = Response<Full<Bytes>>;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The answer to a request; its body is not read.
pub(super) async fn answer<B>(request: &Request<B>, asking: &Asking, watched: &Watched) -> Answer {
    if !asking.sealed && !is_of_this_machine(request) {
        let text = "on loopback the monitor answers to localhost, 127.0.0.1 and [::1] only: ask it by one of these names";
        return plain(StatusCode::MISDIRECTED_REQUEST, text);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer =
            plain(StatusCode::METHOD_NOT_ALLOWED, "the monitor changes nothing: GET and HEAD only");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match request.uri().path() {
        "/healthz" => plain(StatusCode::OK, "ok"),
        "/readyz" => ready(watched),
        path @ ("/" | "/metrics" | "/v1/status") => match refusal(request, asking, watched) {
            None => show(path, watched).await,
            Some(refused) => refused,
        },
        _ => plain(StatusCode::NOT_FOUND, "there is /, /healthz, /readyz, /metrics and /v1/status"),
    }
}

/// Whether a request on loopback names this machine: a page of a browser, whose name was made to point here, does not.
fn is_of_this_machine<B>(request: &Request<B>) -> bool {
    let named = match (request.uri().host(), request.headers().get(header::HOST)) {
        (Some(host), _) => Some(host),
        // HTTP/1.0 knows no Host, and no browser speaks it.
        (None, None) => return true,
        (None, Some(value)) => value.to_str().ok().map(without_port),
    };
    let Some(named) = named else { return false };
    let bare = named.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(named);
    bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn without_port(host: &str) -> &str {
    match host.rfind([':', ']']) {
        Some(at) if host.as_bytes().get(at) == Some(&b':') => &host[..at],
        _ => host,
    }
}

fn ready(watched: &Watched) -> Answer {
    let reasons = readiness::reasons(&readiness::observe(watched));
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    plain(code, &readiness::text(&reasons))
}

/// What somebody is answered who may not see what is not for everybody.
fn refusal<B>(request: &Request<B>, asking: &Asking, watched: &Watched) -> Option<Answer> {
    if !asking.sealed {
        return None;
    }
    let Some(view) = watched.view.get() else {
        return Some(plain(StatusCode::SERVICE_UNAVAILABLE, "the log is being opened: ask again in a while"));
    };
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|text| text.strip_prefix("Bearer "));
    let token = bearer.map(|text| Secret(text.trim().to_owned()));
    let certificate = asking.identity.as_deref();
    match view.may_watch(token.as_ref(), certificate, asking.local, asking.remote, &watched.viewers) {
        Ok(()) => None,
        Err(NotAViewer::Nobody(text)) => {
            let mut answer = plain(StatusCode::UNAUTHORIZED, &text);
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            Some(answer)
        }
        Err(NotAViewer::Forbidden(text)) => Some(plain(StatusCode::FORBIDDEN, &text)),
    }
}

async fn show(path: &str, watched: &Watched) -> Answer {
    if path == "/" {
        let mut answer = of_type(StatusCode::OK, "text/html; charset=utf-8", page::HTML);
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, page::policy());
        return answer;
    }
    let reading = match watched.view.get() {
        Some(view) => Some(Reading::take(view, watched).await),
        None => None,
    };
    if path == "/metrics" {
        return match metrics::text(watched, reading) {
            Ok(text) => of_type(StatusCode::OK, metrics::CONTENT_TYPE, text),
            Err(error) => {
                tracing::error!(%error, "the metrics could not be written");
                plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the metrics could not be written: the log says more",
                )
            }
        };
    }
    let status = match &reading {
        Some(reading) => status::json(reading),
        None => {
            json!({ "ready": false, "reasons": readiness::json(&readiness::reasons(&readiness::observe(watched))) })
        }
    };
    of_type(StatusCode::OK, JSON, status.to_string())
}

fn plain(code: StatusCode, text: &str) -> Answer {
    of_type(code, TEXT, format!("{text}\n"))
}

fn of_type(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_has_made_to_point_here_is_not_this_machine() {
        let asked = |host: Option<&str>, uri: &str| {
            let mut request = Request::builder().uri(uri);
            if let Some(host) = host {
                request = request.header(header::HOST, host);
            }
            is_of_this_machine(&request.body(()).unwrap())
        };
        for host in ["localhost", "LOCALHOST:7421", "127.0.0.1:7421", "127.9.9.9", "[::1]:7421", "[::1]"] {
            assert!(asked(Some(host), "/metrics"), "{host}");
        }
        for host in ["evil.example", "evil.example:7421", "localhost.evil.example", "192.0.2.1", "", "::1]:x"]
        {
            assert!(!asked(Some(host), "/metrics"), "{host}");
        }
        assert!(asked(None, "/metrics"));
        assert!(!asked(Some("localhost"), "http://evil.example/metrics"));
    }
}
