//! How live targets are requested: one struct for the `client` section of the experiment file, the
//! plan, the flags of `weir load` and the load generator.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_model::Nanos;
use weir_model::quantity::{Span, Tolerance};
use weir_model::units::UnitError;

/// A time as people write it in files and flags ([`Span`]), or as the plan counts it ([`Nanos`]).
pub trait Time: Clone + From<Nanos> + FromStr<Err = UnitError> + Send + Sync + 'static {}

impl Time for Span {}
impl Time for Nanos {}

/// Which of `OpenAI`'s interfaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// `/v1/completions`.
    #[default]
    Completions,
    /// `/v1/chat/completions`.
    Chat,
}

impl Api {
    /// Below the endpoint's root.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Completions => "/v1/completions",
            Self::Chat => "/v1/chat/completions",
        }
    }
}

/// What later turns of a session quote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// Answers made beforehand: the prompt is the same whatever the server said, hence also what a
    /// cache can hold of it.
    #[default]
    Canned,
    /// The server's own, as token ids, so that its generated KV blocks can be reused. Needs
    /// token-id prompts and a server that returns token ids.
    Own,
}

/// The client section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "cli", derive(clap::Args), command(next_help_heading = "Client"))]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ClientSection")]
#[expect(clippy::struct_excessive_bools, reason = "options of the file, each by itself")]
pub struct ClientOptions<T: Time = Nanos> {
    /// `completions` or `chat`.
    #[cfg_attr(feature = "cli", arg(long, value_enum, default_value_t = Api::Completions,
        help = "Interface to use; chat needs --tokenizer"))]
    pub api: Api,
    /// Whether answers are streamed; as one body, their first byte counts as first token.
    #[cfg_attr(feature = "cli", arg(long = "no-stream", action = clap::ArgAction::SetFalse,
        help = "Request whole answers instead of streams"))]
    pub stream: bool,
    /// A `tokenizer.json`: prompts are sent as text of exactly the length asked for. Without it
    /// they are sent as token ids, which `/v1/completions` takes.
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_name = "FILE",
            help = "Path of a tokenizer.json: send prompts as text of exact length, not as token ids"
        )
    )]
    pub tokenizer: Option<String>,
    /// Token ids are drawn below this (the model's vocabulary).
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_name = "N",
            help = "Draw token ids below this number [default: the served model's vocabulary if \
                    known, at most 32000]"
        )
    )]
    pub vocabulary: Option<u32>,
    /// What later turns quote: `canned` or `own`.
    #[cfg_attr(feature = "cli", arg(long = "own-answers", action = clap::ArgAction::SetTrue,
        value_parser = flag::answers(),
        help = "Put the server's own answers into later turns, as token ids"))]
    pub answers: Answers,
    /// Ask for exactly the output length (`ignore_eos` and `min_tokens`): another one is a failure.
    #[cfg_attr(feature = "cli", arg(long = "allow-eos", action = clap::ArgAction::SetFalse,
        help = "Allow answers to end early: do not send `ignore_eos` and `min_tokens`"))]
    pub ignore_eos: bool,
    /// Ask the same prompts as other runs with the same seed (false: every run on a live target
    /// asks new ones of the same structure, so that no cache of an earlier run serves it).
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            help = "Send the same prompts as other loads with this seed, instead of new prompts of \
                    the same structure"
        )
    )]
    pub same_prompts: bool,
    /// Keep connections open between requests.
    #[cfg_attr(feature = "cli", arg(long = "new-connections", action = clap::ArgAction::SetFalse,
        help = "Open a new connection for each request"))]
    pub reuse_connections: bool,
    /// Longest wait for a connection, TLS included.
    #[cfg_attr(feature = "cli", arg(long, value_name = "TIME", default_value = CONNECT_TIMEOUT))]
    pub connect_timeout: T,
    /// Longest request, from the first byte sent to the end of the answer.
    #[cfg_attr(feature = "cli", arg(long, value_name = "TIME", default_value = REQUEST_TIMEOUT))]
    pub request_timeout: T,
    /// Requests that were due in the measured window may take this much longer, while the load goes
    /// on; also in simulation. What is still open then is counted.
    #[cfg_attr(feature = "cli", arg(long, value_name = "TIME", default_value = DRAIN,
        help_heading = ARRIVAL_HEADING,
        help = "Extra time for measured requests to finish, while the load goes on"))]
    pub drain: T,
    /// Largest share of the measured requests that may fail before a level says nothing.
    #[cfg_attr(feature = "cli", arg(long, value_name = "SHARE", default_value_t = max_failures(),
        help_heading = ARRIVAL_HEADING))]
    pub max_failures: f64,
    /// Threads that send and time requests (one carries some 100,000 paced tokens/s).
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_name = "N",
            default_value_t = 1,
            help = "Number of threads that send and time requests"
        )
    )]
    pub workers: u32,
    /// CPU that the first worker is pinned to; the others take the CPUs after it.
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_name = "CPU",
            help = "Pin the first worker to this CPU, and the others to the CPUs after it"
        )
    )]
    pub pin: Option<u32>,
    /// Largest error of a time because of the client (5% of the control's figure or of the
    /// difference, whichever is larger, and at least 1 ms): a time (`5ms`) or a share (`5%`). Times
    /// with a larger one are shown as bounds and not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_name = "ERROR",
            help = "Largest error that this client may add to a time, as a time or a share: `5ms`, \
                `5%`. Times with a larger error are shown as bounds [default: 5% of the figure, at \
                least 1ms]"
        )
    )]
    pub max_error: Option<Tolerance>,
    /// Response header that names the replica which answered (`IP:PORT`); empty: none is read.
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_name = "NAME",
            default_value = REPLICA_HEADER,
            help = "Response header of a gateway with the address of the replica that answered"
        )
    )]
    pub replica_header: String,
    /// Further keys of each request's body.
    #[cfg_attr(feature = "cli", arg(long, value_name = "JSON", value_parser = flag::body,
        default_value = "{}", hide_default_value = true,
        help = "Additional keys for each request's body, as a JSON object"))]
    pub body: Map<String, Value>,
}

const CONNECT_TIMEOUT: &str = "10s";
const REQUEST_TIMEOUT: &str = "600s";
const DRAIN: &str = "60s";
/// Added by the gateways that Weir sets up.
const REPLICA_HEADER: &str = "x-weir-replica";

const fn max_failures() -> f64 {
    0.01
}

impl<T: Time> Default for ClientOptions<T> {
    fn default() -> Self {
        let time = |text: &str| text.parse().expect("a default is a time");
        Self {
            api: Api::default(),
            stream: true,
            tokenizer: None,
            vocabulary: None,
            answers: Answers::default(),
            ignore_eos: true,
            same_prompts: false,
            reuse_connections: true,
            connect_timeout: time(CONNECT_TIMEOUT),
            request_timeout: time(REQUEST_TIMEOUT),
            drain: time(DRAIN),
            max_failures: max_failures(),
            workers: 1,
            pin: None,
            max_error: None,
            replica_header: REPLICA_HEADER.to_owned(),
            body: Map::new(),
        }
    }
}

impl<T: Time> ClientOptions<T> {
    /// Converts each time with `to`, which gets its key.
    pub fn with_times<U: Time, E>(
        self,
        mut to: impl FnMut(&'static str, T) -> Result<U, E>,
    ) -> Result<ClientOptions<U>, E> {
        Ok(ClientOptions {
            api: self.api,
            stream: self.stream,
            tokenizer: self.tokenizer,
            vocabulary: self.vocabulary,
            answers: self.answers,
            ignore_eos: self.ignore_eos,
            same_prompts: self.same_prompts,
            reuse_connections: self.reuse_connections,
            connect_timeout: to("connect_timeout", self.connect_timeout)?,
            request_timeout: to("request_timeout", self.request_timeout)?,
            drain: to("drain", self.drain)?,
            max_failures: self.max_failures,
            workers: self.workers,
            pin: self.pin,
            max_error: self.max_error,
            replica_header: self.replica_header,
            body: self.body,
        })
    }

    pub fn core(&self, worker: usize) -> Option<usize> {
        self.pin.map(|first| first as usize + worker)
    }
}

#[cfg(feature = "cli")]
pub const ARRIVAL_HEADING: &str = "Arrival (choose one; lists are swept)";

#[cfg(feature = "cli")]
mod flag {
    use clap::builder::{BoolValueParser, TypedValueParser};
    use serde_json::{Map, Value};

    use super::Answers;

    pub(super) fn answers() -> impl TypedValueParser<Value = Answers> {
        BoolValueParser::new().map(|own| if own { Answers::Own } else { Answers::Canned })
    }

    pub(super) fn body(text: &str) -> Result<Map<String, Value>, String> {
        let remedy = "write a JSON object, for example `{\"seed\": 1}`";
        serde_json::from_str(text).map_err(|error| format!("{error}; {remedy}"))
    }
}
