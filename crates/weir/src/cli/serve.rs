//! Arguments of `weir serve`.

use std::path::PathBuf;

use clap::Args;
use weir_serve::kv_events::Layout;
use weir_spec::plan::Movement;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir serve --model Qwen/Qwen3-8B --hardware 1x-h100
  weir serve --model Qwen/Qwen3-8B --hardware 2x-l40s --arm native-offload --port 8001
  weir serve --model Qwen/Qwen3-0.6B --hardware 1x-l40s --instant
  weir serve --model Qwen/Qwen3-8B --hardware 1x-h100 --replicas 4 --arm llm-d-inmemory
  weir serve examples/published-evaluation.yaml --arm lmcache-redis --bytes modelled
  weir serve --model Qwen/Qwen3-8B --hardware 1x-h100 --arm lmcache-redis --byte-scale 0.05
  weir serve --model Qwen/Qwen3-8B --hardware 1x-h100 --kv-events 'tcp://*:5557' \\
             --kv-replay 'tcp://*:5558'")]
pub(crate) struct ServeArgs {
    /// Experiment file, or `plan.json` of a run, that describes engine and arm; alternative to
    /// --model and --hardware.
    #[arg(value_name = "FILE", conflicts_with_all = ["hardware", "replicas", "tp"])]
    pub(crate) file: Option<PathBuf>,
    /// Model from the catalogue, or the path of a Hugging Face config.json.
    #[arg(long, value_name = "MODEL", required_unless_present = "file")]
    pub(crate) model: Option<String>,
    /// Hardware of one replica, for example `1x-h100`.
    #[arg(long, value_name = "HARDWARE", required_unless_present = "file")]
    pub(crate) hardware: Option<String>,
    /// Number of tensor-parallel ranks [default: all accelerators of the hardware].
    #[arg(long, value_name = "N")]
    pub(crate) tp: Option<u32>,
    /// Arm to serve: a preset, or the name of an arm of FILE.
    #[arg(long, value_name = "ARM", default_value = "no-offload")]
    pub(crate) arm: String,
    /// Number of engines behind one port, with the arm's routing.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) replicas: u32,
    /// Serve one replica of FILE, without the arm's routing: others are behind the same router.
    #[arg(long, requires = "file")]
    pub(crate) one_replica: bool,
    /// Override a value of the experiment, for example `engine.max_num_seqs=64`. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port to listen on; 0 picks a free port and prints it.
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// Model name that clients use [default: the model's].
    #[arg(long, value_name = "NAME")]
    pub(crate) served_model_name: Option<String>,
    /// Whether the arm's tiers hold real bytes [default: real].
    #[arg(long, value_enum)]
    pub(crate) bytes: Option<Movement>,
    /// Bytes to move per byte of the model's KV, at most 1, for models whose blocks do not fit here
    /// [default: 1].
    #[arg(long, value_name = "FACTOR")]
    pub(crate) byte_scale: Option<f64>,
    /// Folder of the arm's disk tier [default: the system's folder for temporary files].
    #[arg(long, value_name = "DIR")]
    pub(crate) disk: Option<PathBuf>,
    /// Tokenize text with this tokenizer.json instead of the built-in tokenizer.
    #[arg(long, value_name = "FILE")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// Run the engine's clock this many times as fast as real time.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, conflicts_with = "instant")]
    pub(crate) time_scale: f64,
    /// Make passes take no time, so that the server is never the bottleneck in load tests.
    #[arg(long)]
    pub(crate) instant: bool,
    /// `ZeroMQ` endpoint to publish KV events on (`tcp://*:5557` binds, `tcp://host:5557`
    /// connects).
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) kv_events: Option<String>,
    /// `ZeroMQ` endpoint to replay missed KV events on.
    #[arg(long, value_name = "ENDPOINT", requires = "kv_events")]
    pub(crate) kv_replay: Option<String>,
    /// Topic of the KV events.
    #[arg(long, value_name = "TEXT", default_value = "", requires = "kv_events")]
    pub(crate) kv_topic: String,
    /// Give KV events of the arm's tiers their token ids, as vLLM does with
    /// `self_describing_kv_events`.
    #[arg(long, requires = "kv_events")]
    pub(crate) kv_self_describing: bool,
    /// Encoding of the KV events.
    #[arg(long, value_enum, default_value_t = Layout::Map)]
    pub(crate) kv_encoding: Layout,
    /// Pin the server to this CPU.
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<u32>,
}
