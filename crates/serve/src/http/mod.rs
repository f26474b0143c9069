//! The HTTP interface: vLLM's routes, bodies and errors.
//!
//! The generation routes are handled here, on the server's thread; axum handles all others.

mod body;
mod control;
mod error;
mod exchange;
mod request;
mod response;

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use axum::Router;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::service::TowerToHyperService;

use self::body::{Body, check_content_type};
pub(crate) use self::control::{ControlState, router};
use self::error::{ApiError, detail, json_response};
use self::exchange::Exchange;
use self::request::Api;
use self::response::TokenStream;
use crate::state::ServerState;

const X_REQUEST_ID: &str = "x-request-id";
const X_SESSION_ID: &str = "x-session-id";

pub(crate) async fn answer(
    state: Rc<ServerState>,
    control: TowerToHyperService<Router>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    let api = match request.uri().path() {
        "/v1/completions" => Api::Completions,
        "/v1/chat/completions" => Api::Chat,
        _ => {
            let Ok(response) = control.call(request).await;
            return Ok(response.map(Reply::Control));
        }
    };
    if request.method() != Method::POST {
        let mut response = detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(response.map(Reply::Whole));
    }
    Ok(match generate(&state, api, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.map(Reply::Whole),
    })
}

async fn generate(
    state: &Rc<ServerState>,
    api: Api,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Response<Full<Bytes>>> {
    let refuse = |error: ApiError| error.response();
    if state.connections.are_closing() {
        return Err(ApiError::stopping().response());
    }
    check_content_type(request.headers()).map_err(refuse)?;
    let (head, incoming) = request.into_parts();
    let info = &state.info;
    let bytes = read(incoming, info.body_limit).await?;
    let body = Body::read(&bytes).map_err(|error| error.response())?;
    drop(bytes);
    let checked = match api {
        Api::Completions => request::completion(body, info),
        Api::Chat => request::chat(&body, info),
    };
    let mut checked = checked.map_err(refuse)?;
    if let Some(session) = header(&head.headers, X_SESSION_ID) {
        checked.session.get_or_insert(xxhash_rust::xxh3::xxh3_64(session.as_bytes()));
    }
    let id = header(&head.headers, X_REQUEST_ID);
    let exchange = Exchange::start(state, checked, id).map_err(refuse)?;
    if exchange.options.stream {
        let mut response = Response::new(Reply::Stream(TokenStream::new(exchange)));
        let stream = HeaderValue::from_static("text/event-stream; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, stream);
        return Ok(response);
    }
    exchange.ended().await.map_err(refuse)?;
    let body = response::answer(&exchange);
    Ok(json_response(StatusCode::OK, body).map(Reply::Whole))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

async fn read(incoming: Incoming, limit: usize) -> Result<Bytes, Response<Full<Bytes>>> {
    let length = HttpBody::size_hint(&incoming).lower();
    if length > limit as u64 {
        return Err(ApiError::too_large(limit).response());
    }
    match Limited::new(incoming, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(limit).response()),
        // The client disconnected while sending its body, so nobody reads this response.
        Err(_) => Err(detail(StatusCode::BAD_REQUEST, "There was an error parsing the body")),
    }
}

pub(crate) enum Reply {
    Whole(Full<Bytes>),
    Stream(TokenStream),
    Control(axum::body::Body),
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Stream(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Control(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
            Self::Control(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
            Self::Control(body) => body.size_hint(),
        }
    }
}
