//! One closed-loop stream: a request, its answer, the next request, on one connection.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::net::TcpStream;
use weir_bench_load::clock::monotonic_ns;

pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    pub(crate) body: Bytes,
    pub(crate) events_besides_tokens: u32,
    pub(crate) output_tokens: u32,
    pub(crate) requests: u64,
    pub(crate) stop_ns: u64,
}

/// On the monotonic clock.
pub(crate) struct Row {
    pub(crate) request: u64,
    pub(crate) start_ns: u64,
    pub(crate) first_token_ns: u64,
    /// Time of the event before the finish event.
    pub(crate) last_token_ns: u64,
    pub(crate) tokens: u32,
    pub(crate) max_gap_ns: u64,
}

pub(crate) struct Seen {
    pub(crate) issued: u64,
    pub(crate) rows: Vec<Row>,
    pub(crate) gaps: Histogram<u64>,
}

impl Seen {
    pub(crate) fn new(gaps: Histogram<u64>) -> Self {
        Self { issued: 0, rows: Vec::new(), gaps }
    }
}

pub(crate) async fn run(plan: Rc<Plan>, seen: Rc<RefCell<Seen>>) -> Result<()> {
    let mut sender = connect(plan.address).await?;
    let finder = memmem::Finder::new(b"\n\n");
    loop {
        let number = {
            let mut seen = seen.borrow_mut();
            if seen.issued >= plan.requests || monotonic_ns() >= plan.stop_ns {
                return Ok(());
            }
            seen.issued += 1;
            seen.issued - 1
        };
        if sender.ready().await.is_err() {
            sender = connect(plan.address).await?;
        }
        let request = Request::post(plan.path)
            .header("host", "mock")
            .header("content-type", "application/json")
            .header("x-request-id", format!("bare-{number}"))
            .body(Full::new(plan.body.clone()))
            .context("the request's head")?;
        let start_ns = monotonic_ns();
        let answer = sender.send_request(request).await.context("no answer")?;
        ensure!(answer.status().is_success(), "the server answered {}", answer.status());
        let row = read(&plan, &seen, answer.into_body(), &finder, number, start_ns).await?;
        seen.borrow_mut().rows.push(row);
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let socket =
        TcpStream::connect(address).await.with_context(|| format!("{address}: no connection"))?;
    socket.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(socket)).await.context("no handshake")?;
    tokio::task::spawn_local(async move {
        // The sender reports its end.
        let _ = connection.await;
    });
    Ok(sender)
}

/// Splits the body at blank lines and records times.
async fn read(
    plan: &Plan,
    seen: &RefCell<Seen>,
    mut body: Incoming,
    finder: &memmem::Finder<'_>,
    request: u64,
    start_ns: u64,
) -> Result<Row> {
    let mut row =
        Row { request, start_ns, first_token_ns: 0, last_token_ns: 0, tokens: 0, max_gap_ns: 0 };
    let leading = plan.events_besides_tokens - 3;
    let mut events = 0;
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the stream broke")?;
        let Some(data) = frame.data_ref() else { continue };
        let now = monotonic_ns();
        let before = events;
        events += count(finder, &mut rest, data);
        if events == before {
            continue;
        }
        if before <= leading && events > leading {
            row.first_token_ns = now;
            row.last_token_ns = now;
        } else if events > leading && events <= leading + plan.output_tokens {
            let gap = now - row.last_token_ns;
            seen.borrow_mut().gaps.saturating_record(gap.max(1));
            row.max_gap_ns = row.max_gap_ns.max(gap);
            row.last_token_ns = now;
        }
    }
    row.tokens = events.saturating_sub(plan.events_besides_tokens);
    ensure!(
        row.tokens == plan.output_tokens,
        "request {request} got {} tokens instead of {}",
        row.tokens,
        plan.output_tokens
    );
    Ok(row)
}

/// Events that end in `data`. Keeps the rest after the last one; whole events are not copied.
fn count(finder: &memmem::Finder<'_>, rest: &mut Vec<u8>, data: &[u8]) -> u32 {
    if rest.is_empty() {
        let mut events = 0;
        let mut end = 0;
        for at in finder.find_iter(data) {
            events += 1;
            end = at + 2;
        }
        rest.extend_from_slice(&data[end..]);
        return events;
    }
    rest.extend_from_slice(data);
    let whole = std::mem::take(rest);
    count(finder, rest, &whole)
}

#[cfg(test)]
mod tests {
    use memchr::memmem;

    use super::count;

    #[test]
    fn events_are_counted_wherever_they_are_cut() {
        let text = b"data: a\n\ndata: b\n\ndata: [DONE]\n\n";
        let finder = memmem::Finder::new(b"\n\n");
        for cut in 0..=text.len() {
            let mut rest = Vec::new();
            let (front, back) = text.split_at(cut);
            let events = count(&finder, &mut rest, front) + count(&finder, &mut rest, back);
            assert_eq!((events, rest.len()), (3, 0), "cut at {cut}");
        }
    }
}
