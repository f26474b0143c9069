//! One call to the API server: sent, retried within bounds, noted, judged.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use http::header::{ACCEPT, CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{Method, Request};
use http_body_util::{BodyExt, Limited};
use jiff::{SignedDuration, Timestamp};
use kube::client::{AuthError, Body};

use crate::answer::{MOST_TRIES, Next, judge, wait};
use crate::error::{KubernetesError, chain};
use crate::facts::ClockSkew;
use crate::journal::{ApiCall, CallJournal, warnings};
use crate::resource::{CallSubject, escaped};

/// `rustls` begins so what it has against a certificate.
const UNTRUSTED: &str = "invalid peer certificate";
/// The server's own limit is 60 s; a list of a large namespace takes seconds.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// The API server accepts objects of 1.5 MB; a list has up to `PAGE` of them, mostly small.
const MOST_BYTES: usize = 256 << 20;

pub(crate) const JSON: &str = "application/json";

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) what: CallSubject,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<(&'static str, Vec<u8>)>,
    pub(crate) accept: &'static str,
}

impl Call {
    pub(crate) fn get(what: CallSubject, path: String) -> Self {
        let (query, accept) = (Vec::new(), JSON);
        Self { what, method: Method::GET, path, query, body: None, accept }
    }

    pub(crate) fn with_body(
        what: CallSubject,
        method: Method,
        path: String,
        body: (&'static str, Vec<u8>),
    ) -> Self {
        Self { method, body: Some(body), ..Self::get(what, path) }
    }

    fn target(&self) -> String {
        let mut target = self.path.clone();
        for (n, (key, value)) in self.query.iter().enumerate() {
            let sign = if n == 0 { '?' } else { '&' };
            let _ = write!(target, "{sign}{key}={}", escaped(value));
        }
        target
    }

    fn request(&self) -> Result<Request<Body>, KubernetesError> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(self.target())
            .header(ACCEPT, self.accept);
        let mut bytes = Vec::new();
        if let Some((kind, body)) = &self.body {
            request = request.header(CONTENT_TYPE, *kind);
            bytes.clone_from(body);
        }
        request.body(Body::from(bytes)).map_err(|error| KubernetesError::Refused {
            what: Box::new(self.what.clone()),
            code: 0,
            message: error.to_string(),
        })
    }
}

#[derive(Debug)]
pub(crate) struct ApiAnswer {
    pub(crate) code: u16,
    pub(crate) body: Vec<u8>,
    /// The server's clock, in whole seconds.
    pub(crate) date: Option<String>,
    pub(crate) took: Duration,
}

#[derive(Clone)]
pub(crate) struct Transport {
    pub(crate) client: kube::Client,
    pub(crate) journal: CallJournal,
    pub(crate) server: String,
    pub(crate) clock: ServerClock,
}

/// By how many milliseconds the server's clock is ahead, as its last answer said.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerClock(Arc<AtomicI64>);

impl ServerClock {
    fn set(&self, answer: &ApiAnswer) {
        if let Some(skew) = ClockSkew::of(answer, Timestamp::now()) {
            self.0.store(skew.ahead_ms, Ordering::Relaxed);
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.0.load(Ordering::Relaxed));
        Timestamp::now().saturating_add(ahead).expect("a duration without calendar units")
    }
}

impl Transport {
    /// Of a call that the client library made.
    pub(crate) fn refusal(
        &self,
        what: &CallSubject,
        status: &kube::core::Status,
    ) -> KubernetesError {
        let body = serde_json::to_vec(status).unwrap_or_default();
        match judge(what, &self.server, status.code, &body, None, MOST_TRIES) {
            Next::Fail(error) => error,
            Next::Again(_) => unreachable!("there is no try after the last"),
        }
    }

    /// All calls may be repeated: they set a state, or the answer says that it is set already.
    pub(crate) async fn send(&self, call: &Call) -> Result<ApiAnswer, KubernetesError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let pause = match self.once(call, tries).await? {
                Ok(answer) => return Ok(answer),
                Err(pause) => pause,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// An answer, or how long to wait before the next try.
    async fn once(
        &self,
        call: &Call,
        tries: u32,
    ) -> Result<Result<ApiAnswer, Duration>, KubernetesError> {
        let begun = Instant::now();
        let exchanged = tokio::time::timeout(CALL_TIMEOUT, self.exchange(call.request()?)).await;
        let took = begun.elapsed();
        let got = exchanged.as_ref().ok().and_then(|done| done.as_ref().ok());
        self.journal.add(ApiCall {
            verb: call.what.verb,
            path: call.target(),
            status: got.map(|got| got.0),
            ms: took.as_millis() as u64,
            warnings: got.map(|got| warnings(&got.1)).unwrap_or_default(),
        });
        let lost = |cause: String| KubernetesError::Unreachable {
            server: self.server.clone(),
            what: Box::new(call.what.clone()),
            cause,
        };
        let (code, head, body) = match exchanged {
            Ok(Ok(got)) => got,
            Ok(Err(Failure::Final(error))) => return Err(error),
            Ok(Err(Failure::Untrusted(cause))) => {
                return Err(KubernetesError::Untrusted { server: self.server.clone(), cause });
            }
            Ok(Err(Failure::Passing(_))) if tries < MOST_TRIES => {
                return Ok(Err(wait(tries, None)));
            }
            Ok(Err(Failure::Passing(cause))) => return Err(lost(cause)),
            Err(_) => {
                return Err(lost(format!("no answer in {} s", CALL_TIMEOUT.as_secs())));
            }
        };
        let header = |name| head.get(name).and_then(|value| value.to_str().ok());
        if code < 400 {
            let date = header(DATE).map(str::to_owned);
            let answer = ApiAnswer { code, body, date, took };
            self.clock.set(&answer);
            return Ok(Ok(answer));
        }
        match judge(&call.what, &self.server, code, &body, header(RETRY_AFTER), tries) {
            Next::Again(pause) => Ok(Err(pause)),
            Next::Fail(error) => Err(error),
        }
    }

    async fn exchange(
        &self,
        request: Request<Body>,
    ) -> Result<(u16, http::HeaderMap, Vec<u8>), Failure> {
        let response = self.client.send(request).await.map_err(Failure::of)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await;
        let body = body.map_err(|error| Failure::Passing(error.to_string()))?;
        Ok((head.status.as_u16(), head.headers, body.to_bytes().to_vec()))
    }
}

enum Failure {
    /// The connection: it may come back.
    Passing(String),
    /// The server's certificate.
    Untrusted(String),
    /// The login.
    Final(KubernetesError),
}

impl Failure {
    fn of(error: kube::Error) -> Self {
        let told = chain(&error);
        if told.contains(UNTRUSTED) {
            return Self::Untrusted(told);
        }
        match error {
            kube::Error::Auth(error) => Self::Final(login_error(&error)),
            kube::Error::Service(error) => match error.downcast_ref::<AuthError>() {
                Some(error) => Self::Final(login_error(error)),
                None => Self::Passing(told),
            },
            _ => Self::Passing(told),
        }
    }
}

/// Without what a login program printed: that may be a token.
pub(crate) fn login_error(error: &AuthError) -> KubernetesError {
    let cause = match error {
        AuthError::AuthExecRun { cmd, out } => {
            let program = cmd.split_whitespace().next().unwrap_or_default();
            format!("the login program {program} failed with {}; run it by hand", out.status)
        }
        AuthError::AuthExecParse(_) | AuthError::ParseTokenKey(_) => {
            "the login program's answer must be an ExecCredential".to_owned()
        }
        other => chain(other),
    };
    KubernetesError::Login { cause }
}
