//! The weights: tensors and their distributions.
//!
//! The standard deviations were measured with vLLM (`docs/checkpoint.md`) for three properties:
//!
//! - Answers depend on keys and values far back, so damaged blocks show. Embeddings as large as 1
//!   would hide the attention in the residual stream.
//! - Answers do not repeat one token. With embeddings as small as the linear weights, the mean
//!   over the context decides alone, and hardly moves between tokens.
//! - The noise of 16-bit sums does not decide. Norms of queries and keys above 1 make answers
//!   varied, but a last-bit difference then grows from layer to layer.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::{Map, json};
use weir_model::{ContentId, ModelShape};

use super::CheckpointError;
use super::tokenizer;

pub(super) const FILE: &str = "model.safetensors";
/// All linear layers and the output embedding.
const LINEAR_SIGMA: f64 = 0.02;
const EMBEDDING_SIGMA: f64 = 0.15;
const QUERY_KEY_NORM: f64 = 1.0;
const SEED: u64 = 889;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fill {
    Constant(f64),
    /// With mean 0 and this standard deviation.
    Normal(f64),
    /// As [`Fill::Normal`], but the rows of special tokens are 0: their logits are 0, and the
    /// greedy answer never stops early.
    Output(f64),
}

#[derive(Debug, Clone)]
struct Tensor {
    name: String,
    /// Rows and columns; a vector has one row.
    rows: u64,
    columns: u64,
    fill: Fill,
}

/// In the order of the file.
#[derive(Debug)]
pub(super) struct Weights {
    tensors: Vec<Tensor>,
    wide: bool,
    identity: String,
}

impl Weights {
    /// Refuses shapes that are not those of a dense Qwen3.
    pub(super) fn of(shape: &ModelShape) -> Result<Self, CheckpointError> {
        let refused = |problem: &str| CheckpointError::Shape {
            model: shape.name.clone(),
            problem: problem.to_owned(),
        };
        if shape.experts.is_some() || shape.latent.is_some() || !shape.kv_layers.is_empty() {
            return Err(refused("it has experts, or layers that are not full attention"));
        }
        if shape.bytes_per_weight != 2.0 && shape.bytes_per_weight != 4.0 {
            return Err(refused("its weights have neither 16 nor 32 bits"));
        }
        if shape.vocabulary < tokenizer::LEAST {
            return Err(refused("its vocabulary has no room for all bytes"));
        }
        let counts = [shape.layers, shape.hidden, shape.intermediate, shape.context];
        if counts.contains(&0) || shape.head_dim == 0 || !shape.head_dim.is_multiple_of(2) {
            return Err(refused("a count is 0, or the width of a head is odd"));
        }
        if shape.kv_heads == 0 || shape.heads == 0 || !shape.heads.is_multiple_of(shape.kv_heads) {
            return Err(refused("its query heads do not share its KV heads out evenly"));
        }
        let identity = format!(
            "{} {} {} {} {} {} {} {} {}",
            shape.layers,
            shape.hidden,
            shape.heads,
            shape.kv_heads,
            shape.head_dim,
            shape.intermediate,
            shape.vocabulary,
            shape.context,
            shape.bytes_per_weight,
        );
        Ok(Self { tensors: tensors(shape), wide: shape.bytes_per_weight == 4.0, identity })
    }

    /// All that the files depend on, except the format's version.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// As in `config.json`.
    pub(super) const fn dtype(&self) -> &'static str {
        if self.wide { "float32" } else { "bfloat16" }
    }

    const fn element_bytes(&self) -> u64 {
        if self.wide { 4 } else { 2 }
    }

    pub(super) fn file_bytes(&self) -> u64 {
        let elements: u64 = self.tensors.iter().map(|tensor| tensor.rows * tensor.columns).sum();
        8 + self.header().len() as u64 + elements * self.element_bytes()
    }

    /// Padded to 8 bytes.
    fn header(&self) -> String {
        let mut entries = Map::new();
        entries.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
        let mut begin = 0;
        for tensor in &self.tensors {
            let end = begin + tensor.rows * tensor.columns * self.element_bytes();
            let shape = match tensor.rows {
                1 => vec![tensor.columns],
                rows => vec![rows, tensor.columns],
            };
            let dtype = if self.wide { "F32" } else { "BF16" };
            let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] });
            entries.insert(tensor.name.clone(), entry);
            begin = end;
        }
        let mut text = serde_json::Value::Object(entries).to_string();
        while !text.len().is_multiple_of(8) {
            text.push(' ');
        }
        text
    }

    pub(super) fn write(&self, file: File) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let header = self.header();
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        for tensor in &self.tensors {
            let mut normal = Normal::new(&tensor.name);
            for row in 0..tensor.rows {
                let blank =
                    matches!(tensor.fill, Fill::Output(_)) && row < tokenizer::SPECIALS.into();
                for _ in 0..tensor.columns {
                    let value = match tensor.fill {
                        Fill::Constant(value) => value,
                        Fill::Output(_) if blank => 0.0,
                        Fill::Normal(sigma) | Fill::Output(sigma) => sigma * normal.draw(),
                    } as f32;
                    if self.wide {
                        out.write_all(&value.to_le_bytes())?;
                    } else {
                        out.write_all(&bf16(value).to_le_bytes())?;
                    }
                }
            }
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()
    }
}

/// The upper half of a 32-bit number, rounded to the nearest even one. Never of a NaN.
const fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let even = (bits >> 16) & 1;
    (bits.wrapping_add(0x7fff + even) >> 16) as u16
}

fn tensors(shape: &ModelShape) -> Vec<Tensor> {
    let [hidden, inner, dim, vocabulary] =
        [shape.hidden, shape.intermediate, shape.head_dim, shape.vocabulary].map(u64::from);
    let queries = u64::from(shape.heads) * dim;
    let keys = u64::from(shape.kv_heads) * dim;
    let mut list = Vec::new();
    let mut add = |name: String, rows: u64, columns: u64, fill: Fill| {
        list.push(Tensor { name, rows, columns, fill });
    };
    let linear = Fill::Normal(LINEAR_SIGMA);
    let unit = Fill::Constant(1.0);
    let embedding = Fill::Normal(EMBEDDING_SIGMA);
    add("model.embed_tokens.weight".to_owned(), vocabulary, hidden, embedding);
    for layer in 0..shape.layers {
        let at = |name: &str| format!("model.layers.{layer}.{name}.weight");
        add(at("input_layernorm"), 1, hidden, unit);
        add(at("self_attn.q_proj"), queries, hidden, linear);
        add(at("self_attn.k_proj"), keys, hidden, linear);
        add(at("self_attn.v_proj"), keys, hidden, linear);
        add(at("self_attn.o_proj"), hidden, queries, linear);
        add(at("self_attn.q_norm"), 1, dim, Fill::Constant(QUERY_KEY_NORM));
        add(at("self_attn.k_norm"), 1, dim, Fill::Constant(QUERY_KEY_NORM));
        add(at("post_attention_layernorm"), 1, hidden, unit);
        add(at("mlp.gate_proj"), inner, hidden, linear);
        add(at("mlp.up_proj"), inner, hidden, linear);
        add(at("mlp.down_proj"), hidden, inner, linear);
    }
    add("model.norm.weight".to_owned(), 1, hidden, unit);
    add("lm_head.weight".to_owned(), vocabulary, hidden, Fill::Output(LINEAR_SIGMA));
    list
}

/// By Box and Muller.
struct Normal {
    random: Xoshiro256PlusPlus,
    /// The second of a pair.
    kept: Option<f64>,
}

impl Normal {
    fn new(name: &str) -> Self {
        let seed = ContentId::derive(SEED, name, 0).0;
        Self { random: Xoshiro256PlusPlus::seed_from_u64(seed), kept: None }
    }

    fn draw(&mut self) -> f64 {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
        let (sine, cosine) = libm::sincos(std::f64::consts::TAU * self.unit());
        self.kept = Some(radius * sine);
        radius * cosine
    }

    /// Uniform in `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}
