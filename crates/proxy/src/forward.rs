//! One request: to a replica and back.

use std::rc::Rc;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};

use crate::body::{AnswerBody, AnswerSource, InFlightGuard, Payload};
use crate::page;
use crate::prompt::Route;
use crate::replica::LiveReplica;
use crate::state::ProxyState;
use crate::upstream::SendError;

/// Which replica answered: `ADDRESS:PORT`.
const REPLICA: HeaderName = HeaderName::from_static("x-weir-replica");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Of one connection only (RFC 9110, section 7.6.1). hyper writes its own, and has answered
/// `expect` when the body was read.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Errors are answers, so that the connection goes on.
pub(crate) async fn answer(
    state: Rc<ProxyState>,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let path = request.uri().path();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match path {
        "/health" if is_read => health(&state),
        "/metrics" if is_read => page::metrics(&state),
        "/reset_prefix_cache" => to_all(&state, request).await,
        _ => match Route::of(path).filter(|_| *request.method() == Method::POST) {
            Some(route) => generate(&state, route, request).await,
            None => to_any(&state, request).await,
        },
    }
}

/// As a load balancer asks it: whether anybody would answer.
fn health(state: &ProxyState) -> Response<AnswerBody> {
    if state.shared.replicas.iter().any(LiveReplica::is_up) {
        return own(StatusCode::OK, Bytes::new());
    }
    no_replica()
}

async fn generate(
    state: &Rc<ProxyState>,
    route: Route,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let (mut head, body) = request.into_parts();
    let body = match read(state, body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let id = head.headers.get(&REQUEST_ID).and_then(|it| it.to_str().ok()).map(str::to_owned);
    let id = id.unwrap_or_else(|| {
        let id = state.new_request_id();
        let value = HeaderValue::from_str(&id).expect("letters and digits");
        head.headers.insert(REQUEST_ID, value);
        id
    });
    let mut looked = state.look_up(route, &body).await;
    let Some(first) = state.decide(&id, &mut looked, None) else { return no_replica() };
    let whole = || Payload::Whole(body.clone());
    let error = match send(state, first.replica, &head, whole()).await {
        Ok(response) => return response,
        Err(error) => error,
    };
    if !error.is_unsent() {
        return failed(state, first.replica, &error);
    }
    state.shared.replicas[usize::from(first.replica)].set_up(false);
    state.shared.counters.retried.add(1);
    let Some(second) = state.decide(&id, &mut looked, Some(first.replica)) else {
        return no_replica();
    };
    send(state, second.replica, &head, whole())
        .await
        .unwrap_or_else(|error| failed(state, second.replica, &error))
}

async fn to_any(state: &Rc<ProxyState>, request: Request<Incoming>) -> Response<AnswerBody> {
    let Some(replica) = state.any_replica() else { return no_replica() };
    let (head, body) = request.into_parts();
    let body =
        if body.is_end_stream() { Payload::Whole(Bytes::new()) } else { Payload::Stream(body) };
    send(state, replica, &head, body).await.unwrap_or_else(|error| failed(state, replica, &error))
}

/// Every replica has a cache to reset. The first refusal is the answer.
async fn to_all(state: &Rc<ProxyState>, request: Request<Incoming>) -> Response<AnswerBody> {
    let (head, body) = request.into_parts();
    let body = match read(state, body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let mut last = None;
    for at in 0..state.upstreams.len() as u16 {
        if !state.shared.replicas[usize::from(at)].is_up() {
            continue;
        }
        match send(state, at, &head, Payload::Whole(body.clone())).await {
            Ok(response) if response.status().is_success() => last = Some(response),
            Ok(response) => return response,
            Err(error) => return failed(state, at, &error),
        }
    }
    last.unwrap_or_else(no_replica)
}

async fn read(state: &ProxyState, body: Incoming) -> Result<Bytes, Response<AnswerBody>> {
    match Limited::new(body, state.body_limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let limit = state.body_limit;
            let message = format!("the body is longer than {limit} bytes, the proxy's limit");
            Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, &message))
        }
        Err(error) => {
            Err(refusal(StatusCode::BAD_REQUEST, &format!("the body broke off: {error}")))
        }
    }
}

async fn send(
    state: &Rc<ProxyState>,
    replica: u16,
    head: &Parts,
    body: Payload,
) -> Result<Response<AnswerBody>, SendError> {
    let upstream = &state.upstreams[usize::from(replica)];
    let path = head.uri.path_and_query().map_or("/", |it| it.as_str());
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    let target = upstream.target(path).parse::<Uri>();
    *request.uri_mut() = target.expect("a path that came as a URI is one behind a prefix");
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = head.headers.clone();
    strip(request.headers_mut());
    let in_flight = InFlightGuard::new(&state.shared, replica);
    let (response, sender) = upstream.send(request).await?;
    let (mut head, body) = response.into_parts();
    strip(&mut head.headers);
    let id = HeaderValue::from_str(&state.shared.replicas[usize::from(replica)].id);
    head.headers.insert(REPLICA, id.expect("a URL's host has no control characters"));
    // The client's connection has its own version.
    head.version = Version::HTTP_11;
    let source = AnswerSource { sender, upstream: Rc::clone(upstream), in_flight };
    Ok(Response::from_parts(head, AnswerBody::through(body, source)))
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn no_replica() -> Response<AnswerBody> {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "no replica answers; start one, or wait for one")
}

fn failed(state: &ProxyState, replica: u16, error: &SendError) -> Response<AnswerBody> {
    let replica = &state.shared.replicas[usize::from(replica)];
    if error.is_unsent() {
        replica.set_up(false);
    }
    refusal(StatusCode::BAD_GATEWAY, &format!("replica {}: {error}", replica.id))
}

/// In the form of `OpenAI`'s errors.
fn refusal(status: StatusCode, message: &str) -> Response<AnswerBody> {
    let error = serde_json::json!({
        "error": { "message": message, "type": "router_error", "param": null,
                   "code": status.as_u16() }
    });
    let mut response = own(status, Bytes::from(error.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

pub(crate) fn own(status: StatusCode, body: Bytes) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Own(body));
    *response.status_mut() = status;
    response
}
