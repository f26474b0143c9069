//! The tokenizer service that llm-d-inference-scheduler 0.7 asks for the tokens of a prompt: gRPC
//! on a Unix socket, answered by the engines' own `/tokenize`.
//!
//! llm-d deploys a service of its own beside the picker. An engine's tokens are the right ones by
//! construction: its KV events have them.

mod engine;
mod messages;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixListener;

pub(crate) use engine::Engines;
use messages::{
    Initialized, RenderChatRequest, RenderRequest, RenderedChat, RenderedPrompt, TokenizeRequest,
    Tokenized,
};

const SERVICE: &str = "/tokenization.TokenizationService/";
/// Codes of gRPC.
const OK: &str = "0";
const INVALID_ARGUMENT: &str = "3";
const UNIMPLEMENTED: &str = "12";
/// Flag and length before a message.
const PREFIX: usize = 5;

type Frames = std::iter::Map<
    std::vec::IntoIter<Frame<Bytes>>,
    fn(Frame<Bytes>) -> Result<Frame<Bytes>, std::convert::Infallible>,
>;
type ResponseBody = StreamBody<futures_util::stream::Iter<Frames>>;

pub(crate) async fn serve(listener: UnixListener, engines: Arc<Engines>) {
    // An error of accept is that of one connection, or of too many files: the client asks again.
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        let engines = Arc::clone(&engines);
        let service = hyper::service::service_fn(move |request| {
            let engines = Arc::clone(&engines);
            async move { Ok::<_, std::convert::Infallible>(answer(request, engines).await) }
        });
        tokio::spawn(async move {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // A connection that ends in an error ends: the client opens another.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, engines: Arc<Engines>) -> Response<ResponseBody> {
    let method = request.uri().path().strip_prefix(SERVICE).unwrap_or_default().to_owned();
    let Ok(body) = request.into_body().collect().await else {
        return response(None, INVALID_ARGUMENT);
    };
    let body = body.to_bytes();
    let Some(message) = body.get(PREFIX..) else { return response(None, INVALID_ARGUMENT) };
    let message = Bytes::copy_from_slice(message);
    // The engines are asked by blocking calls.
    let done = tokio::task::spawn_blocking(move || call(&method, message, &engines)).await;
    match done {
        Ok(Ok(Some(message))) => response(Some(message), OK),
        Ok(Ok(None)) => response(None, UNIMPLEMENTED),
        Ok(Err(_)) | Err(_) => response(None, INVALID_ARGUMENT),
    }
}

/// None for an unknown method.
fn call(
    method: &str,
    message: Bytes,
    engines: &Engines,
) -> Result<Option<Vec<u8>>, prost::DecodeError> {
    let answer = match method {
        "InitializeTokenizer" => {
            Initialized { success: true, error_message: String::new() }.encode_to_vec()
        }
        "RenderCompletion" => {
            let asked = RenderRequest::decode(message)?;
            RenderedPrompt::of(engines.prompt(&asked.prompt)).encode_to_vec()
        }
        "RenderChatCompletion" => {
            let asked = RenderChatRequest::decode(message)?;
            RenderedChat::of(engines.chat(&asked)).encode_to_vec()
        }
        "Tokenize" => {
            let asked = TokenizeRequest::decode(message)?;
            Tokenized::of(engines.prompt(&asked.input)).encode_to_vec()
        }
        _ => return Ok(None),
    };
    Ok(Some(answer))
}

fn response(message: Option<Vec<u8>>, status: &'static str) -> Response<ResponseBody> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    let mut frames = Vec::new();
    if let Some(message) = message {
        let mut framed = Vec::with_capacity(PREFIX + message.len());
        framed.push(0);
        framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
        framed.extend_from_slice(&message);
        frames.push(Frame::data(Bytes::from(framed)));
    }
    frames.push(Frame::trailers(trailers));
    let ok: fn(Frame<Bytes>) -> Result<Frame<Bytes>, std::convert::Infallible> = Ok;
    let body = StreamBody::new(futures_util::stream::iter(frames.into_iter().map(ok)));
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
