//! Scrapes one endpoint's metrics over HTTP, within a budget.
//!
//! Prefers `OpenMetrics`, the only format with creation times and legal exemplars; accepts
//! Prometheus text. The answer's `Content-Type` decides.

use std::time::Duration;

use weir_http::{Fetch, FetchError, TlsClient, Url, fetch};
use weir_model::Nanos;

use crate::clock::{UnixNanos, UtcClock};
use crate::exposition::Format;
use crate::selection::Selection;
use crate::snapshot::{Snapshot, SnapshotError};

/// Best first.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

/// vLLM's text is 45 to 60 KB per engine, a large exporter's some megabytes.
const MAX_BODY_BYTES: usize = 16 << 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScrapeError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(
        "{endpoint} answered with {content_type}, not with metrics text; check the port and the \
         path (vLLM: /metrics on its API port)"
    )]
    NotMetrics { endpoint: String, content_type: String },
    #[error(transparent)]
    Text(#[from] SnapshotError),
}

#[derive(Debug, Clone)]
pub struct Scraper {
    request: Fetch,
    endpoint: String,
    selection: Selection,
}

impl Scraper {
    /// Keeps the families of the selection. `path` is usually `/metrics`.
    pub fn new(url: &Url, path: &str, selection: Selection) -> Self {
        let mut request = Fetch::get(url, path);
        request.headers.push(("Accept".to_owned(), ACCEPT.to_owned()));
        request.max_body_bytes = MAX_BODY_BYTES;
        let scheme = if url.scheme_is_tls { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}{}", url.authority(), request.target);
        Self { request, endpoint, selection }
    }

    #[must_use]
    pub fn with_bearer(mut self, token: &str) -> Self {
        self.request.headers.push(("Authorization".to_owned(), format!("Bearer {token}")));
        self
    }

    /// With certificates other than the system's.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsClient) -> Self {
        self.request.tls = Some(tls);
        self
    }

    /// The full address, also the name of its snapshots and series.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns within the budget.
    pub fn scrape(&self, clock: &UtcClock, budget: Duration) -> Result<Snapshot, ScrapeError> {
        let mut request = self.request.clone();
        request.timeout = budget;
        request.connect_timeout = request.connect_timeout.min(budget);
        let begin = clock.now();
        let fetched = fetch(&request)?;
        let moment = middle(begin, clock.now());
        let fetched = fetched.success()?;
        let content_type = fetched.head.content_type.as_deref();
        let Some(format) = Format::of_content_type(content_type) else {
            return Err(ScrapeError::NotMetrics {
                endpoint: self.endpoint.clone(),
                content_type: content_type.unwrap_or_default().to_owned(),
            });
        };
        Ok(Snapshot::parse(&self.endpoint, moment, &fetched.body, format, &self.selection)?)
    }
}

/// The middle of a scrape and its length: the source read its counters somewhere in between.
fn middle(begin: UnixNanos, end: UnixNanos) -> (UnixNanos, Nanos) {
    let took = end.since(begin).unwrap_or_default();
    (begin.after(Nanos(took.0 / 2)), took)
}
