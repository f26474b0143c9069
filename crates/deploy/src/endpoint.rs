//! Unmeasured requests to an OpenAI-compatible endpoint: models, health, emptying, warm-up.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use weir_http::{Fetch, Fetched, TlsClient, TlsConfig, Url, fetch_unless, request};
use weir_observe::facts::CACHE_CONFIG;
use weir_observe::{Labels, Scraper, Selection, UtcClock};
use weir_spec::EndpointLimits;
use weir_spec::plan::{EndpointTarget, HeaderValue};

use crate::error::DeployError;

/// Of a server's text in an error.
const SAID_CHARACTERS_MAX: usize = 300;
/// Shorter header values (`1`, `on`) are no secrets, and appear in every other message.
const SECRET_MIN: usize = 6;

const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// Field of a vLLM request that salts the hashes of its blocks.
pub const CACHE_SALT: &str = "cache_salt";

/// What every request to an endpoint carries.
#[derive(Debug, Clone, Default)]
pub struct Access {
    pub bearer: Option<String>,
    pub headers: Vec<(String, String)>,
    pub tls: TlsConfig,
    /// Loaded once; None where no URL is `https`.
    pub client: Option<TlsClient>,
    /// Upper limit for requests of any kind.
    pub timeout: Option<Duration>,
    /// Salts the keys of all stored prompts.
    pub cache_salt: Option<String>,
}

impl Access {
    /// Reads token and certificates. `timeout` limits every request.
    pub fn of(target: &EndpointTarget, timeout: Duration) -> Result<Self, DeployError> {
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in &target.headers {
            let value = match value {
                HeaderValue::Text(value) => value.clone(),
                HeaderValue::Environment { from_env } => {
                    std::env::var(from_env).map_err(|error| DeployError::Setting {
                        key: format!("target.endpoint.headers.{name}"),
                        problem: format!("from_env {from_env}: {error}; set the variable"),
                    })?
                }
            };
            request::check(name, &value)
                .map_err(|source| DeployError::Header { name: name.clone(), source })?;
            headers.push((name.clone(), value));
        }
        let mut bearer = None;
        if let Some(path) = &target.bearer_file {
            let what = "the bearer token";
            let failed = |source| DeployError::File { what, path: path.clone(), source };
            let token = fs::read_to_string(path).map_err(failed)?.trim().to_owned();
            let name = "Authorization".to_owned();
            request::check(&name, &format!("Bearer {token}"))
                .map_err(|source| DeployError::Header { name, source })?;
            bearer = Some(token);
        }
        let ca_file = target.ca_file.as_ref().map(Into::into);
        let tls = TlsConfig { ca_file, insecure: target.insecure };
        let all = target.url.0.iter().chain(target.arms.values().flat_map(|urls| &urls.0));
        let needs_tls = all.chain(target.metrics.iter().flat_map(|urls| &urls.0));
        let client = if needs_tls.into_iter().any(|url| url.starts_with("https:")) {
            Some(TlsClient::new(&tls)?)
        } else {
            None
        };
        Ok(Self { bearer, headers, tls, client, timeout: Some(timeout), cache_salt: None })
    }

    pub fn scraper(&self, url: &Url, path: &str, selection: Selection) -> Scraper {
        let mut scraper = Scraper::new(url, path, selection);
        if let Some(token) = &self.bearer {
            scraper = scraper.with_bearer(token);
        }
        match &self.client {
            Some(tls) => scraper.with_tls(tls.clone()),
            None => scraper,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub id: String,
    /// None where the endpoint does not report it.
    pub max_model_len: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    Done,
    /// Unknown path (vLLM outside of its development mode).
    Unknown,
    /// vLLM refuses while requests run.
    Refused,
}

#[derive(Debug, Clone)]
pub struct EngineEndpoint {
    url: Url,
    access: Access,
}

impl EngineEndpoint {
    /// A path that ends in `/v1`, as in clients' settings, is the same as its base.
    pub fn new(text: &str, access: Access) -> Result<Self, DeployError> {
        let mut url = Url::parse(text)?;
        if let Some(base) = url.path.strip_suffix("/v1") {
            url.path = base.to_owned();
        }
        Ok(Self { url, access })
    }

    pub const fn url(&self) -> &Url {
        &self.url
    }

    pub const fn access(&self) -> &Access {
        &self.access
    }

    fn models(&self, stopped: &dyn Fn() -> bool) -> Result<Vec<Served>, ModelsError> {
        let wrong = |problem: String| {
            let url = format!("{}/v1/models", self.url);
            let remedy = "check that the URL is that of an OpenAI-compatible server".to_owned();
            DeployError::Answer { url, problem, remedy }
        };
        let answer = self.send(Fetch::get(&self.url, "/v1/models"), stopped)?;
        let status = answer.head.status;
        if let Some(place) = answer.head.redirect() {
            return Err(ModelsError::NoAnswer(DeployError::Answer {
                url: format!("{}/v1/models", self.url),
                problem: format!("HTTP {status}, a redirect to {place}"),
                remedy: "redirects are not followed: give that address, without /v1/models"
                    .to_owned(),
            }));
        }
        if status != 200 {
            return Err(ModelsError::NoList(wrong(format!(
                "HTTP {status}{}",
                self.said(&answer.body)
            ))));
        }
        let unlisted = |problem: &str| ModelsError::NoList(wrong(problem.to_owned()));
        let body: Value =
            serde_json::from_slice(&answer.body).map_err(|_| unlisted("the answer is not JSON"))?;
        let list = body["data"].as_array().filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| unlisted("the answer lists no models"))?;
        let served = |model: &Value| {
            let longest = model["max_model_len"].as_u64().and_then(|len| u32::try_from(len).ok());
            Some(Served { id: model["id"].as_str()?.to_owned(), max_model_len: longest })
        };
        Ok(list.iter().filter_map(served).collect())
    }

    /// The named model, or the only one. A server without a list (some gateways hide it) is taken
    /// to serve the named one; its first answer shows whether it does.
    pub fn choose(
        &self,
        model: Option<&str>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Served, DeployError> {
        let mut served = match (self.models(stopped), model) {
            (Ok(served), _) => served,
            (Err(ModelsError::NoList(_)), Some(name)) => {
                return Ok(Served { id: name.to_owned(), max_model_len: None });
            }
            (Err(ModelsError::NoList(error)), None) => return Err(error.without_a_name()),
            (Err(ModelsError::NoAnswer(error)), _) => return Err(error),
        };
        let names: Vec<String> = served.iter().map(|model| format!("`{}`", model.id)).collect();
        match model {
            None if served.len() == 1 => Ok(served.remove(0)),
            None => Err(DeployError::Answer {
                url: self.url.to_string(),
                problem: format!("it serves {} models", served.len()),
                remedy: format!("name one of them: {}", names.join(", ")),
            }),
            Some(name) => served.into_iter().find(|model| model.id == name).ok_or_else(|| {
                let url = self.url.to_string();
                DeployError::Model { url, model: name.to_owned(), served: names.join(", ") }
            }),
        }
    }

    /// vLLM's `/version`; None where the server has none.
    pub(crate) fn version(&self) -> Option<String> {
        let said: Value = serde_json::from_str(&self.text("/version")?).ok()?;
        said["version"].as_str().map(str::to_owned)
    }

    pub(crate) fn listed(&self, model: &str) -> Option<Served> {
        self.models(&|| false).ok()?.into_iter().find(|served| served.id == model)
    }

    /// With the same access.
    pub(crate) fn beside(&self, url: &Url) -> Self {
        Self { url: url.clone(), access: self.access.clone() }
    }

    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let mut request = Fetch::get(&self.url, path);
        request.timeout = SCRAPE_TIMEOUT;
        let answer = self.send(request, &|| false).ok()?;
        (answer.head.status == 200).then(|| answer.text().into_owned())
    }

    /// From the engines' metrics, least of all engines; empty without such metrics.
    pub fn cache_limits(&self) -> EndpointLimits {
        let selection = Selection::of(&[CACHE_CONFIG]);
        let scraper = self.access.scraper(&self.url, "/metrics", selection);
        let Ok(snapshot) = scraper.scrape(&UtcClock::anchored(), SCRAPE_TIMEOUT) else {
            return EndpointLimits::default();
        };
        let number = |labels: &Labels, name| labels.get(name)?.parse::<u64>().ok();
        let one = |labels: &Labels| {
            let block = number(labels, "block_size").filter(|size| *size > 0);
            // vLLM's null block holds nothing.
            let blocks = number(labels, "num_gpu_blocks").filter(|blocks| *blocks > 1);
            let blocks = blocks.map(|blocks| blocks - 1);
            EndpointLimits {
                max_model_len: None,
                kv_tokens: blocks.zip(block).map(|(blocks, block)| blocks * block),
                block_size: block.and_then(|size| u32::try_from(size).ok()),
            }
        };
        let engines = snapshot.series(CACHE_CONFIG).map(|series| series.keys().map(one));
        engines.into_iter().flatten().reduce(EndpointLimits::least).unwrap_or_default()
    }

    /// Empties the prefix cache, and with `external` also what the connector stores.
    pub fn flush(&self, external: bool, stopped: &dyn Fn() -> bool) -> Result<Flush, DeployError> {
        let path = if external {
            "/reset_prefix_cache?reset_external=true"
        } else {
            "/reset_prefix_cache"
        };
        let request = Fetch::post(&self.url, path, "application/json", Vec::new());
        let answer = self.send(request, stopped)?;
        // vLLM's body has the result; before about 0.15 it had none.
        let said: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let refused = said.is_some_and(|said| said["success"] == Value::Bool(false));
        Ok(match answer.head.status {
            200 if refused => Flush::Refused,
            200 => Flush::Done,
            404 | 405 => Flush::Unknown,
            _ => Flush::Refused,
        })
    }

    /// Sends an unmeasured request as the measured ones are sent, with their time limit. Returns
    /// the cached prompt tokens, where the answer is not streamed and has them.
    pub fn first_request(
        &self,
        path: &str,
        body: Vec<u8>,
        timeout: Duration,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Option<u64>, FirstRequestError> {
        let mut request = Fetch::post(&self.url, path, "application/json", body);
        request.timeout = timeout;
        request.connect_timeout = request.connect_timeout.min(timeout);
        let answer = self.send(request, stopped)?;
        let url = format!("{}{path}", self.url);
        let status = answer.head.status;
        if let Some(place) = answer.head.redirect() {
            return Err(FirstRequestError::Other(DeployError::Answer {
                url,
                problem: format!("HTTP {status}, a redirect to {place}"),
                remedy: "redirects are not followed: give that address".to_owned(),
            }));
        }
        match status {
            200 => Ok(cached_tokens(&answer.body)),
            400 | 422 => {
                let said = self.words(&answer.body);
                Err(FirstRequestError::Refused { url, status, said })
            }
            _ => Err(FirstRequestError::Other(DeployError::Answer {
                url,
                problem: format!("HTTP {status} to a first request{}", self.said(&answer.body)),
                remedy: UNANSWERED.to_owned(),
            })),
        }
    }

    /// One line, shortened, without the secrets of the request's headers.
    fn words(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body);
        let words: Vec<&str> = text.split_whitespace().collect();
        let values = self.access.headers.iter().map(|(_, value)| value);
        let secrets = values.chain(&self.access.bearer).filter(|value| value.len() >= SECRET_MIN);
        let line = secrets.fold(words.join(" "), |line, secret| line.replace(secret, "***"));
        line.chars().take(SAID_CHARACTERS_MAX).collect()
    }

    /// The same after a colon; empty without text.
    fn said(&self, body: &[u8]) -> String {
        let words = self.words(body);
        if words.is_empty() { words } else { format!(": {words}") }
    }

    fn send(&self, mut request: Fetch, stopped: &dyn Fn() -> bool) -> Result<Fetched, DeployError> {
        if let Some(timeout) = self.access.timeout {
            request.timeout = request.timeout.min(timeout);
        }
        let bearer = self.access.bearer.as_ref();
        let authorization =
            bearer.map(|token| ("Authorization".to_owned(), format!("Bearer {token}")));
        request.headers.extend(self.access.headers.iter().cloned().chain(authorization));
        request.tls.clone_from(&self.access.client);
        let answer = fetch_unless(&request, stopped).ok_or(DeployError::Interrupted)?;
        Ok(answer?)
    }
}

/// From the usage of an answer that is not streamed.
fn cached_tokens(body: &[u8]) -> Option<u64> {
    let said: Value = serde_json::from_slice(body).ok()?;
    let cached = said["usage"]["prompt_tokens_details"]["cached_tokens"].as_f64()?;
    Some(cached as u64)
}

enum ModelsError {
    NoList(DeployError),
    NoAnswer(DeployError),
}

impl From<DeployError> for ModelsError {
    fn from(error: DeployError) -> Self {
        Self::NoAnswer(error)
    }
}

#[derive(Debug)]
pub enum FirstRequestError {
    Refused { url: String, status: u16, said: String },
    Other(DeployError),
}

impl From<DeployError> for FirstRequestError {
    fn from(error: DeployError) -> Self {
        Self::Other(error)
    }
}

pub const UNANSWERED: &str = "the server must answer this before it can be measured";
