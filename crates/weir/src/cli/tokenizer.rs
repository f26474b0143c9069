//! Arguments of `weir tokenizer`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  weir tokenizer --socket /tokens/tokens.sock --model Qwen/Qwen3-8B http://engine:8000

Serves what llm-d-inference-scheduler 0.7 asks for tokens beside it: gRPC on a Unix socket, answered
by the engines' own /tokenize. Later pickers ask the engines themselves.")]
pub(crate) struct TokenizerArgs {
    /// Engines, one of which is asked; the next where it does not answer.
    #[arg(value_name = "URL", required = true)]
    pub(crate) engines: Vec<String>,
    /// Name by which the engines serve the model.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: String,
    /// Unix socket to make.
    #[arg(long, value_name = "FILE")]
    pub(crate) socket: PathBuf,
}
