//! An OpenAI-compatible endpoint, asked for what is not measured: what it serves, whether it is
//! well, to empty its caches, to warm up.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use weir_http::{Fetch, Fetched, TlsClient, TlsConfig, Url, fetch_unless, request};
use weir_observe::facts::CACHE_CONFIG;
use weir_observe::{Labels, Scraper, Selection, UtcClock};
use weir_spec::EndpointLimits;
use weir_spec::plan::{EndpointTarget, HeaderValue};

use crate::error::DeployError;

/// Longest text of a server that an error repeats.
const SAID_CHARACTERS_MAX: usize = 300;
/// Shorter values of headers (`1`, `on`) are no secrets, and stand in every other message.
const SECRET_MIN: usize = 6;

/// Longest wait for it.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// The field of a request with the salt of its blocks' names, in vLLM.
pub const CACHE_SALT: &str = "cache_salt";

/// What every request to an endpoint carries.
#[derive(Debug, Clone, Default)]
pub struct Access {
    pub bearer: Option<String>,
    pub headers: Vec<(String, String)>,
    pub tls: TlsConfig,
    /// The same, loaded once; nothing where no URL is `https`.
    pub client: Option<TlsClient>,
    /// Longest request of any kind; each kind has a limit of its own besides.
    pub timeout: Option<Duration>,
    /// The salt of every prompt, which stands in the keys of what is stored of it.
    pub cache_salt: Option<String>,
}

impl Access {
    /// Reads token and certificates of a target, whose requests take so long at most.
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

    /// Reads the metrics at `path` below a URL.
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

/// A model that an endpoint serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub id: String,
    /// The longest sequence, where the endpoint says.
    pub max_model_len: Option<u32>,
}

/// What came of asking a server to empty its caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    Done,
    /// It knows no such request (vLLM outside of its development mode).
    Unknown,
    /// It refused, as vLLM does while requests run.
    Refused,
}

#[derive(Debug, Clone)]
pub struct EngineEndpoint {
    url: Url,
    access: Access,
}

impl EngineEndpoint {
    /// An endpoint by its base URL; a path that ends in `/v1`, as clients' settings have it, is
    /// the same place.
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

    /// What its requests carry.
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

    /// The model to ask for: the named one, or the only one there is. A server that lists none
    /// (gateways and deployments have no such list, or keep it from the user) is believed to serve
    /// the named one: its first answer tells.
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

    /// The version that its server says it has (vLLM: `/version`); nothing where it does not.
    pub(crate) fn version(&self) -> Option<String> {
        let said: Value = serde_json::from_str(&self.text("/version")?).ok()?;
        said["version"].as_str().map(str::to_owned)
    }

    pub(crate) fn listed(&self, model: &str) -> Option<Served> {
        self.models(&|| false).ok()?.into_iter().find(|served| served.id == model)
    }

    /// Another server that is asked with the same access.
    pub(crate) fn beside(&self, url: &Url) -> Self {
        Self { url: url.clone(), access: self.access.clone() }
    }

    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let mut request = Fetch::get(&self.url, path);
        request.timeout = SCRAPE_TIMEOUT;
        let answer = self.send(request, &|| false).ok()?;
        (answer.head.status == 200).then(|| answer.text().into_owned())
    }

    /// Size of the GPU cache of its engines, the least of them, as its metrics say; empty where
    /// they do not.
    pub fn cache_limits(&self) -> EndpointLimits {
        let selection = Selection::of(&[CACHE_CONFIG]);
        let scraper = self.access.scraper(&self.url, "/metrics", selection);
        let Ok(snapshot) = scraper.scrape(&UtcClock::anchored(), SCRAPE_TIMEOUT) else {
            return EndpointLimits::default();
        };
        let number = |labels: &Labels, name| labels.get(name)?.parse::<u64>().ok();
        let one = |labels: &Labels| {
            let block = number(labels, "block_size").filter(|size| *size > 0);
            // One of them is vLLM's null block, which holds nothing.
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

    /// Asks it to empty its prefix cache, and, if that is wanted, what its connector keeps behind
    /// it.
    pub fn flush(&self, external: bool, stopped: &dyn Fn() -> bool) -> Result<Flush, DeployError> {
        let path = if external {
            "/reset_prefix_cache?reset_external=true"
        } else {
            "/reset_prefix_cache"
        };
        let request = Fetch::post(&self.url, path, "application/json", Vec::new());
        let answer = self.send(request, stopped)?;
        // vLLM says whether it did it in the body; before 0.15 or so it had nothing to say.
        let said: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let refused = said.is_some_and(|said| said["success"] == Value::Bool(false));
        Ok(match answer.head.status {
            200 if refused => Flush::Refused,
            200 => Flush::Done,
            404 | 405 => Flush::Unknown,
            _ => Flush::Refused,
        })
    }

    /// One request that is not measured, as the measured ones are made. Its whole answer is waited
    /// for, as long as theirs may take. Gives the prompt tokens that came from a cache, where the
    /// answer is in one piece and says so.
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

    /// What a server said, on one line and cut, without what it was told in headers.
    fn words(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body);
        let words: Vec<&str> = text.split_whitespace().collect();
        let values = self.access.headers.iter().map(|(_, value)| value);
        let secrets = values.chain(&self.access.bearer).filter(|value| value.len() >= SECRET_MIN);
        let line = secrets.fold(words.join(" "), |line, secret| line.replace(secret, "***"));
        line.chars().take(SAID_CHARACTERS_MAX).collect()
    }

    /// The same behind a colon, where there is anything.
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

/// What the usage of an answer in one piece says of caches.
fn cached_tokens(body: &[u8]) -> Option<u64> {
    let said: Value = serde_json::from_slice(body).ok()?;
    let cached = said["usage"]["prompt_tokens_details"]["cached_tokens"].as_f64()?;
    Some(cached as u64)
}

/// Why there is no list of models.
enum ModelsError {
    /// The server has none, or keeps it from this user.
    NoList(DeployError),
    NoAnswer(DeployError),
}

impl From<DeployError> for ModelsError {
    fn from(error: DeployError) -> Self {
        Self::NoAnswer(error)
    }
}

/// Why a first request was not answered.
#[derive(Debug)]
pub enum FirstRequestError {
    /// The server refuses what it was asked.
    Refused {
        /// The endpoint and the path.
        url: String,
        /// 400 or 422.
        status: u16,
        /// Why, in its words.
        said: String,
    },
    Other(DeployError),
}

impl From<DeployError> for FirstRequestError {
    fn from(error: DeployError) -> Self {
        Self::Other(error)
    }
}

/// What to do about a first request that is not answered, where nothing more is known.
pub const UNANSWERED: &str = "the server must answer this before it can be measured";
