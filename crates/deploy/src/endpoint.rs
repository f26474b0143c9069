//! An OpenAI-compatible endpoint, asked for what is not measured: what it serves, whether it is
//! well, to empty its caches, to warm up.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use weir_http::{Fetch, Fetched, TlsClient, TlsConfig, Url, fetch, request};
use weir_observe::{Clock, Labels, Scraper, Selection};
use weir_spec::EndpointLimits;
use weir_spec::plan::{Api, Client, EndpointTarget};

use crate::error::DeployError;

/// Longest a request outside of the measurement may take: the first one compiles kernels.
const WARM_UP_TIMEOUT: Duration = Duration::from_mins(5);

/// Gauge whose labels are the sizes of vLLM's caches.
const CACHE_CONFIG: &str = "vllm:cache_config_info";
/// Longest wait for it.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
/// Ids that every vocabulary has, in an order that no workload asks for.
const WARM_UP_IDS: [u32; 8] = [7, 7, 7, 1, 7, 7, 1, 7];
/// Words that are a token each in nearly every vocabulary.
const WARM_UP_WORDS: [&str; 8] = ["the", "of", "and", "to", "in", "that", "for", "with"];

/// What every request to an endpoint carries.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The bearer token.
    pub bearer: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Certificates.
    pub tls: TlsConfig,
    /// The same, loaded once; nothing where no URL is `https`.
    pub client: Option<TlsClient>,
}

impl Access {
    /// Reads token and certificates of a target.
    pub fn of(target: &EndpointTarget) -> Result<Self, DeployError> {
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in &target.headers {
            request::check(name, value)
                .map_err(|source| DeployError::Header { name: name.clone(), source })?;
            headers.push((name.clone(), value.clone()));
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
        Ok(Self { bearer, headers, tls, client })
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
    /// Its name there.
    pub id: String,
    /// The longest sequence, where the endpoint says.
    pub max_model_len: Option<u32>,
}

/// What came of asking a server to empty its caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// It did.
    Done,
    /// It knows no such request (vLLM outside of its development mode).
    Unknown,
    /// It refused, as vLLM does while requests run.
    Refused,
}

/// What is asked before the load, in the form of the load: always the same, whatever the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstPrompt {
    /// So many token ids.
    Ids(usize),
    /// So many common words, each about a token.
    Text(usize),
    /// The same as a message.
    Chat(usize),
}

impl FirstPrompt {
    /// In the form that a client sends, of about so many tokens.
    pub const fn of(client: &Client, tokens: usize) -> Self {
        match (client.api, &client.tokenizer) {
            (Api::Chat, _) => Self::Chat(tokens),
            (Api::Completions, Some(_)) => Self::Text(tokens),
            (Api::Completions, None) => Self::Ids(tokens),
        }
    }

    /// About how many tokens it has.
    pub const fn tokens(self) -> usize {
        match self {
            Self::Ids(tokens) | Self::Text(tokens) | Self::Chat(tokens) => tokens,
        }
    }

    fn request(self, model: &str) -> (&'static str, Value) {
        let words = |count| WARM_UP_WORDS.iter().copied().cycle().take(count).collect::<Vec<_>>();
        match self {
            Self::Ids(count) => {
                let ids: Vec<u32> = WARM_UP_IDS.iter().copied().cycle().take(count).collect();
                ("/v1/completions", json!({"model": model, "prompt": ids, "max_tokens": 2}))
            }
            Self::Text(count) => {
                let text = words(count).join(" ");
                ("/v1/completions", json!({"model": model, "prompt": text, "max_tokens": 2}))
            }
            Self::Chat(count) => {
                let messages = json!([{"role": "user", "content": words(count).join(" ")}]);
                let body = json!({"model": model, "messages": messages, "max_tokens": 2});
                ("/v1/chat/completions", body)
            }
        }
    }
}

/// One endpoint.
#[derive(Debug, Clone)]
pub struct Endpoint {
    url: Url,
    access: Access,
}

impl Endpoint {
    /// An endpoint by its base URL; a path that ends in `/v1`, as clients' settings have it, is
    /// the same place.
    pub fn new(text: &str, access: Access) -> Result<Self, DeployError> {
        let failed = |source| DeployError::Url { text: text.to_owned(), source };
        let mut url = Url::parse(text).map_err(failed)?;
        if let Some(base) = url.path.strip_suffix("/v1") {
            url.path = base.to_owned();
        }
        Ok(Self { url, access })
    }

    /// Its base URL.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// What its requests carry.
    pub const fn access(&self) -> &Access {
        &self.access
    }

    /// The models it serves.
    pub fn models(&self) -> Result<Vec<Served>, DeployError> {
        let answer = self.send(Fetch::get(&self.url, "/v1/models"))?;
        let wrong = |problem: &str| DeployError::Answer {
            url: format!("{}/v1/models", self.url),
            problem: problem.to_owned(),
            remedy: "check that the URL is that of an OpenAI-compatible server".to_owned(),
        };
        if answer.head.status != 200 {
            return Err(wrong(&format!("HTTP {}", answer.head.status)));
        }
        let body: Value =
            serde_json::from_slice(&answer.body).map_err(|_| wrong("the answer is no JSON"))?;
        let list = body["data"].as_array().ok_or_else(|| wrong("the answer lists no models"))?;
        let served = |model: &Value| {
            let longest = model["max_model_len"].as_u64().and_then(|len| u32::try_from(len).ok());
            Some(Served { id: model["id"].as_str()?.to_owned(), max_model_len: longest })
        };
        Ok(list.iter().filter_map(served).collect())
    }

    /// The model to ask for: the named one, or the only one there is.
    pub fn choose(&self, model: Option<&str>) -> Result<Served, DeployError> {
        let mut served = self.models()?;
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

    /// Size of the GPU cache of its engines, the least of them, as its metrics say; empty where
    /// they do not.
    pub fn cache_limits(&self) -> EndpointLimits {
        let selection = Selection::of(&[CACHE_CONFIG]);
        let scraper = self.access.scraper(&self.url, "/metrics", selection);
        let Ok(snapshot) = scraper.scrape(&Clock::anchored(), SCRAPE_TIMEOUT) else {
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
    pub fn flush(&self, external: bool) -> Result<Flush, DeployError> {
        let path = if external {
            "/reset_prefix_cache?reset_external=true"
        } else {
            "/reset_prefix_cache"
        };
        let answer = self.send(Fetch::post(&self.url, path, "application/json", Vec::new()))?;
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

    /// One request that is not measured. Returns the prompt tokens that came from a cache, where
    /// the answer says.
    pub fn ask_first(&self, model: &str, prompt: FirstPrompt) -> Result<Option<u64>, DeployError> {
        let (path, body) = prompt.request(model);
        let text = body.to_string().into_bytes();
        let mut request = Fetch::post(&self.url, path, "application/json", text);
        request.timeout = WARM_UP_TIMEOUT;
        let answer = self.send(request)?;
        if answer.head.status == 200 {
            let said: Option<Value> = serde_json::from_slice(&answer.body).ok();
            let cached = |said: Value| {
                said["usage"]["prompt_tokens_details"]["cached_tokens"].as_f64().map(|n| n as u64)
            };
            return Ok(said.and_then(cached));
        }
        let text = String::from_utf8_lossy(&answer.body);
        let words: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Err(DeployError::Answer {
            url: format!("{}{path}", self.url),
            problem: format!(
                "HTTP {} to a first request: {}",
                answer.head.status,
                words.chars().take(200).collect::<String>()
            ),
            remedy: "the server must answer this before it can be measured".to_owned(),
        })
    }

    fn send(&self, mut request: Fetch) -> Result<Fetched, DeployError> {
        let bearer = self.access.bearer.as_ref();
        let authorization =
            bearer.map(|token| ("Authorization".to_owned(), format!("Bearer {token}")));
        request.headers.extend(self.access.headers.iter().cloned().chain(authorization));
        request.tls.clone_from(&self.access.client);
        Ok(fetch(&request)?)
    }
}
