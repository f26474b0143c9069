//! Bodies on their way: a request that was read, one that is passed through, an answer.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;

use crate::known::SharedState;
use crate::upstream::Upstream;

/// What goes to a replica.
#[derive(Debug)]
pub(crate) enum Payload {
    Whole(Bytes),
    Stream(Incoming),
}

impl Body for Payload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

/// A request that a replica has and has not ended.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    shared: Arc<SharedState>,
    replica: u16,
}

impl InFlightGuard {
    pub(crate) fn new(shared: &Arc<SharedState>, replica: u16) -> Self {
        shared.replicas[usize::from(replica)].begin_request();
        Self { shared: Arc::clone(shared), replica }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.shared.replicas[usize::from(self.replica)].end_request();
    }
}

/// The connection that an answer comes from. It is kept if the answer ends, and otherwise closed,
/// which ends the request at the replica.
#[derive(Debug)]
pub(crate) struct AnswerSource {
    pub(crate) sender: SendRequest<Payload>,
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) in_flight: InFlightGuard,
}

/// What goes to a client.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    Own(Bytes),
    Through { body: Incoming, source: Option<AnswerSource> },
}

impl AnswerBody {
    pub(crate) fn through(body: Incoming, source: AnswerSource) -> Self {
        let mut source = Some(source);
        if body.is_end_stream() {
            keep(&mut source);
        }
        Self::Through { body, source }
    }
}

fn keep(source: &mut Option<AnswerSource>) {
    if let Some(AnswerSource { sender, upstream, in_flight }) = source.take() {
        upstream.keep(sender);
        drop(in_flight);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Through { body, source } => {
                let frame = Pin::new(&mut *body).poll_frame(context);
                // With a known length the server asks no further than the last byte.
                let is_over = matches!(frame, Poll::Ready(None))
                    || (matches!(frame, Poll::Ready(Some(Ok(_)))) && body.is_end_stream());
                if is_over {
                    keep(source);
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_empty(),
            Self::Through { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Through { body, .. } => body.size_hint(),
        }
    }
}
