//! What an agent is to send: one level of a plan, its shard, and the access to the endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use weir_load::{LimitField, LoadConfig, LoadShape, PromptForm, TlsConfig, Url};
use weir_model::{Nanos, Tokens};
use weir_workload::client::ClientOptions;
use weir_workload::{Shard, Source, SourceOptions, WorkloadConfig, WorkloadError, open};

/// How prompts are sent; a tokenizer is a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PromptOrder {
    TokenIds {
        vocabulary: u32,
    },
    Tokenizer {
        /// Path here, digest on the way.
        file: String,
        /// Counts the tokens that the tokenizer adds.
        special_tokens: bool,
    },
    /// Text for the emulated engine's tokenizer.
    BuiltIn {
        vocabulary: u32,
    },
}

/// Opens tokenizers.
pub type PromptMaker = fn(&PromptOrder) -> Result<PromptForm, String>;

/// Equal for all shards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LevelOrder {
    /// Of the field's, so that a repeated level is another order.
    pub(crate) number: u64,
    pub(crate) endpoints: Vec<String>,
    pub(crate) model: String,
    pub(crate) replicas: Vec<String>,
    pub(crate) client: ClientOptions,
    pub(crate) prompts: PromptOrder,
    pub(crate) min_tokens: bool,
    pub(crate) limit_field: LimitField,
    pub(crate) digest_output: bool,
    /// Digest of the file with the certificates to trust.
    pub(crate) ca_file: Option<String>,
    pub(crate) insecure: bool,
    pub(crate) load: LoadShape,
    pub(crate) seed: u64,
    pub(crate) duration: Option<Nanos>,
    pub(crate) warmup: Nanos,
    pub(crate) max_requests: Option<u64>,
    /// A trace's path is the digest of its file.
    pub(crate) workload: WorkloadConfig,
    pub(crate) source_seed: u64,
    pub(crate) max_model_len: Tokens,
    pub(crate) trace_speed: f64,
    pub(crate) salt: Option<u64>,
}

impl LevelOrder {
    /// Of the order as this program understands it: another version may understand another.
    pub(crate) fn digest(&self) -> String {
        hex(&Sha256::digest(serde_json::to_vec(self).unwrap_or_default()))
    }

    /// Digests of the files that it needs.
    pub(crate) fn files(&self) -> Vec<String> {
        let tokenizer = match &self.prompts {
            PromptOrder::Tokenizer { file, .. } => Some(file.clone()),
            PromptOrder::TokenIds { .. } | PromptOrder::BuiltIn { .. } => None,
        };
        let trace = match &self.workload {
            WorkloadConfig::Trace(trace) => Some(trace.path.clone()),
            _ => None,
        };
        tokenizer.into_iter().chain(trace).chain(self.ca_file.clone()).collect()
    }

    /// With the files at the agent's own paths.
    fn with_files(mut self, path: impl Fn(&str) -> PathBuf) -> Self {
        let local = |digest: &str| path(digest).display().to_string();
        if let PromptOrder::Tokenizer { file, .. } = &mut self.prompts {
            *file = local(file);
        }
        if let WorkloadConfig::Trace(trace) = &mut self.workload {
            trace.path = local(&trace.path);
        }
        self.ca_file = self.ca_file.as_deref().map(local);
        self
    }

    fn source(&self) -> Result<Source, WorkloadError> {
        let options = SourceOptions {
            seed: self.source_seed,
            max_model_len: self.max_model_len,
            trace_speed: self.trace_speed,
            trace_folder: PathBuf::new(),
        };
        open(&self.workload, &options)
    }
}

/// Never written anywhere, and never in a message.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Secrets {
    pub(crate) bearer: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardOrder {
    pub(crate) level: LevelOrder,
    pub(crate) shard: Shard,
    /// CPU of its first worker.
    pub(crate) pin: Option<u32>,
    pub(crate) secrets: Secrets,
}

/// What an agent needs to run its shard.
pub(crate) struct ShardLoad {
    pub(crate) config: LoadConfig,
    pub(crate) source: Source,
    pub(crate) salt: Option<u64>,
}

impl ShardOrder {
    /// `path` is where the file of a digest lies.
    pub(crate) fn prepare(
        self,
        path: impl Fn(&str) -> PathBuf,
        maker: PromptMaker,
    ) -> Result<ShardLoad, String> {
        let Self { level, shard, pin, secrets } = self;
        let level = level.with_files(path);
        let source = level.source().map_err(|error| error.to_string())?;
        let endpoints: Result<Vec<Url>, _> =
            level.endpoints.iter().map(|url| Url::parse(url)).collect();
        let ca_file = level.ca_file.map(PathBuf::from);
        let config = LoadConfig {
            endpoints: endpoints.map_err(|error| error.to_string())?,
            model: level.model,
            replicas: level.replicas,
            client: ClientOptions { pin, ..level.client },
            prompts: maker(&level.prompts)?,
            min_tokens: level.min_tokens,
            limit_field: level.limit_field,
            digest_output: level.digest_output,
            bearer: secrets.bearer,
            headers: secrets.headers,
            tls: TlsConfig { ca_file, insecure: level.insecure },
            load: level.load,
            shard,
            seed: level.seed,
            duration: level.duration,
            warmup: level.warmup,
            max_requests: level.max_requests,
        };
        Ok(ShardLoad { config, source, salt: level.salt })
    }
}

/// Files of a level here, by their digests.
pub(crate) type FilePaths = BTreeMap<String, PathBuf>;

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Size and SHA-256.
pub(crate) fn digest_file(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut hash, mut size) = (File::open(path)?, Sha256::new(), 0);
    let mut chunk = vec![0; 1 << 18];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok((size, hex(&hash.finalize()))),
            read => {
                hash.update(&chunk[..read]);
                size += read as u64;
            }
        }
    }
}
