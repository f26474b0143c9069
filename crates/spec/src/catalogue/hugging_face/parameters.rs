//! Parameters of a model by part, from its `config.json`.
//!
//! These are the weights that vLLM loads: a vision tower counts, layers of multi-token prediction
//! do not (they are loaded for speculative decoding only). Norms, biases and position tables are
//! left out; together they are below a thousandth.

use serde_json::Value;

use super::caches::AttentionWidths;
use super::file::{Keys, whole};
use super::kinds::LayerKind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ModelPart {
    Embedding,
    Head,
    Attention,
    LinearAttention,
    Mlp,
    Experts,
    SharedExperts,
    Router,
    Vision,
}

/// Of the whole model where `layer` is None.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PartWeights {
    pub(super) part: ModelPart,
    pub(super) layer: Option<usize>,
    /// In floating point, since a file may describe a shape beyond 64 bits.
    pub(super) count: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct FeedForward {
    /// Inner width of dense layers; 0 where there are none.
    pub(super) dense: u32,
    /// Per sparse layer, without shared ones; 0 where none is sparse.
    pub(super) experts: u32,
    /// Experts that a token is sent to.
    pub(super) active: u32,
    pub(super) inner: u32,
    pub(super) shared: u32,
    /// Width that routed experts read and write, where it differs from the model's.
    pub(super) outer: Option<u32>,
    /// Products per MLP: gate, up and down, or only up and down.
    products: u32,
    /// Whether a dense MLP is beside the experts of each sparse layer.
    beside: bool,
}

/// Keys whose weights are unknown: such a model needs `weight_bytes`.
const UNKNOWN: [&str; 7] = [
    "moe_latent_size",
    "laurel_rank",
    "num_mem_blocks",
    "zero_expert_num",
    "num_memory_blocks",
    "moe_layer_start_index",
    "engram_vocab_size",
];

impl FeedForward {
    pub(super) fn read(keys: &Keys<'_>, layers: &[LayerKind]) -> Result<Self, String> {
        let count = ["num_experts", "num_local_experts", "n_routed_experts"];
        let experts = match keys.flag("enable_moe_block") {
            Some(false) => 0,
            _ => first_count(keys, &count)?,
        };
        let nemotron = layers.contains(&LayerKind::NoCache);
        let mut of = Self { products: if nemotron { 2 } else { 3 }, ..Self::default() };
        if experts < 2 {
            of.dense = dense_width(keys)?;
            return Ok(of);
        }
        let active =
            ["num_experts_per_tok", "num_experts_per_token", "experts_per_token", "top_k_experts"];
        of.experts = experts;
        of.active = first_needed(keys, &active)?;
        of.inner = match keys.number("moe_intermediate_size")? {
            Some(inner) => inner,
            None => keys.need("intermediate_size")?,
        };
        of.outer = keys.first(&["routed_expert_hidden_size"])?;
        of.shared = shared_width(keys, of.inner)?;
        of.beside = keys.flag("enable_moe_block") == Some(true);
        let dense = ["intermediate_size_mlp", "intermediate_size"];
        let any_dense = of.beside
            || (0..layers.len()).any(|layer| !is_sparse(keys, layers, layer).unwrap_or(true));
        if any_dense {
            of.dense = first_needed(keys, &dense)?;
        }
        Ok(of)
    }

    fn mlp(&self, inner: u32, outer: f64) -> f64 {
        f64::from(self.products) * f64::from(inner) * outer
    }
}

fn dense_width(keys: &Keys<'_>) -> Result<u32, String> {
    match keys.list("intermediate_size") {
        // Gemma 3n writes one per layer, all alike.
        Some(list) if list.iter().all(|width| width == &list[0]) => {
            whole("intermediate_size", &list[0])
        }
        _ => keys.need("intermediate_size"),
    }
}

fn first_count(keys: &Keys<'_>, names: &[&str]) -> Result<u32, String> {
    for name in names {
        match keys.count(name)? {
            0 => {}
            count => return Ok(count),
        }
    }
    Ok(0)
}

/// The first key is the one reported where none is there.
fn first_needed(keys: &Keys<'_>, names: &[&str]) -> Result<u32, String> {
    match keys.first(names)? {
        Some(number) => Ok(number),
        None => keys.need(names[0]),
    }
}

/// Inner width of what every token passes beside the routed experts.
fn shared_width(keys: &Keys<'_>, inner: u32) -> Result<u32, String> {
    if keys.family.starts_with("llama4") {
        return Ok(inner);
    }
    let width = first_count(
        keys,
        &[
            "shared_expert_intermediate_size",
            "shared_intermediate_size",
            "moe_shared_expert_intermediate_size",
        ],
    )?;
    if width > 0 {
        return Ok(width);
    }
    let experts = first_count(
        keys,
        &["n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts"],
    )?;
    Ok(experts * inner)
}

fn is_sparse(keys: &Keys<'_>, layers: &[LayerKind], index: usize) -> Result<bool, String> {
    let number = index + 1;
    if let Some(pattern) = keys.word("hybrid_override_pattern") {
        return Ok(pattern.chars().filter(|letter| *letter != '|').nth(index) == Some('E'));
    }
    if let Some(list) =
        keys.list("layers_block_type").filter(|_| layers.contains(&LayerKind::NoCache))
    {
        return Ok(list.get(index).and_then(Value::as_str) == Some("moe"));
    }
    if let Some(list) = keys.list("moe_layers") {
        return Ok(list.iter().any(|layer| layer.as_u64() == Some(index as u64)));
    }
    if let Some(list) = keys.list("moe_layer_freq") {
        return Ok(list.get(index).and_then(Value::as_u64) == Some(1));
    }
    let of = |key: &str| keys.count(key).map(|count| count as usize);
    if let Some(list) = keys.list("mlp_only_layers")
        && list.iter().any(|layer| layer.as_u64() == Some(index as u64))
    {
        return Ok(false);
    }
    let every = |step: usize| step <= 1 || number.is_multiple_of(step);
    if index < of("first_k_dense_replace")?.max(of("num_dense_layers")?) {
        return Ok(false);
    }
    let (period, offset) = (of("expert_layer_period")?, of("expert_layer_offset")?);
    if period > 1 {
        return Ok(index % period == offset);
    }
    let frequency = of("moe_layer_freq")?;
    if frequency > 1 && !index.is_multiple_of(frequency) {
        return Ok(false);
    }
    Ok(every(of("interleave_moe_layer_step")?) && every(of("decoder_sparse_step")?))
}

pub(super) fn all(
    keys: &Keys<'_>,
    layers: &[LayerKind],
    attention: &AttentionWidths,
    feed_forward: &FeedForward,
    heads: u32,
) -> Result<Vec<PartWeights>, String> {
    if let Some(key) = UNKNOWN.iter().find(|key| keys.value(key).is_some()) {
        return Err(format!("the weights that `{key}` describes are not known"));
    }
    let hidden = f64::from(keys.need("hidden_size")?);
    let embedding = f64::from(keys.need("vocab_size")?) * hidden;
    let of_model = |part, count| PartWeights { part, layer: None, count };
    let mut list = vec![of_model(ModelPart::Embedding, embedding)];
    if !keys.tied() {
        list.push(of_model(ModelPart::Head, embedding));
    }
    for (index, layer) in layers.iter().enumerate() {
        let of_layer = |part, count| PartWeights { part, layer: Some(index), count };
        let mixer = mixer(keys, *layer, attention, hidden, heads)?;
        list.extend(mixer.into_iter().map(|(part, count)| of_layer(part, count)));
        let mlp = mlp(keys, layers, index, feed_forward, hidden)?;
        list.extend(mlp.into_iter().map(|(part, count)| of_layer(part, count)));
    }
    list.extend(
        per_layer_embeddings(keys, layers.len(), hidden)?
            .map(|count| of_model(ModelPart::Embedding, count)),
    );
    list.extend(vision(keys, hidden)?.map(|count| of_model(ModelPart::Vision, count)));
    Ok(list)
}

fn mlp(
    keys: &Keys<'_>,
    layers: &[LayerKind],
    index: usize,
    of: &FeedForward,
    hidden: f64,
) -> Result<Vec<(ModelPart, f64)>, String> {
    // Nemotron's layers are either a mixer or an MLP.
    let alone = layers.contains(&LayerKind::NoCache);
    if alone && layers[index] != LayerKind::NoCache {
        return Ok(Vec::new());
    }
    if of.experts == 0 || !is_sparse(keys, layers, index)? {
        return Ok(vec![(ModelPart::Mlp, of.mlp(of.dense, hidden))]);
    }
    let outer = of.outer.map_or(hidden, f64::from);
    let mut parts = vec![
        (ModelPart::Experts, f64::from(of.experts) * of.mlp(of.inner, outer)),
        (ModelPart::Router, f64::from(of.experts) * hidden),
    ];
    if of.outer.is_some() {
        // Down to the experts' width and up again.
        parts.push((ModelPart::Mlp, 2.0 * hidden * outer));
    }
    if of.shared > 0 {
        parts.push((ModelPart::SharedExperts, of.mlp(of.shared, hidden)));
    }
    if of.beside {
        parts.push((ModelPart::Mlp, of.mlp(of.dense, hidden)));
    }
    Ok(parts)
}

fn mixer(
    keys: &Keys<'_>,
    layer: LayerKind,
    attention: &AttentionWidths,
    hidden: f64,
    heads: u32,
) -> Result<Vec<(ModelPart, f64)>, String> {
    let full = || attention_weights(keys, attention, hidden, f64::from(heads));
    Ok(match layer {
        LayerKind::NoCache => Vec::new(),
        LayerKind::Full | LayerKind::Chunk => vec![(ModelPart::Attention, full()?)],
        LayerKind::Window => {
            let (kv_heads, key, value) = attention.window;
            let heads = f64::from(keys.number("swa_num_attention_heads")?.unwrap_or(heads));
            let widths =
                heads * f64::from(key + value) + f64::from(kv_heads) * f64::from(key + value);
            vec![(ModelPart::Attention, hidden * widths)]
        }
        LayerKind::Compressed(ratio) => {
            vec![(ModelPart::Attention, compressed_weights(keys, ratio, hidden, heads)?)]
        }
        LayerKind::Linear => vec![(ModelPart::LinearAttention, linear_weights(keys, hidden)?)],
        LayerKind::Mamba => vec![(ModelPart::LinearAttention, mamba_weights(keys, hidden)?)],
        LayerKind::Convolution => vec![(ModelPart::LinearAttention, 4.0 * hidden * hidden)],
        LayerKind::AttentionAndMamba => {
            vec![
                (ModelPart::Attention, full()?),
                (ModelPart::LinearAttention, mamba_weights(keys, hidden)?),
            ]
        }
    })
}

fn attention_weights(
    keys: &Keys<'_>,
    of: &AttentionWidths,
    hidden: f64,
    heads: f64,
) -> Result<f64, String> {
    let Some(latent) = of.latent else {
        let (key, value) = (f64::from(of.head_dim), f64::from(of.value_dim));
        // A gate on the output is as wide as the queries; keys that are values have one product.
        let queries = if keys.flag("attn_output_gate") == Some(true) { 2.0 } else { 1.0 };
        let values = if keys.flag("attention_k_eq_v") == Some(true) { 0.0 } else { value };
        let kv = f64::from(of.kv_heads) * (key + values);
        return Ok(hidden * (heads * (queries * key + value) + kv));
    };
    let (rank, rope) = (f64::from(latent.rank), f64::from(latent.rope));
    let nope = f64::from(keys.need("qk_nope_head_dim")?);
    let value = f64::from(keys.need("v_head_dim")?);
    let queries = heads * (nope + rope);
    let query_rank = keys.number("q_lora_rank")?.map(f64::from);
    let down_and_up = query_rank.map_or(hidden * queries, |rank| rank * (hidden + queries));
    let gate =
        if keys.flag("mla_use_output_gate") == Some(true) { hidden * heads * value } else { 0.0 };
    let index = if keys.value("index_topk").is_some() {
        let width = f64::from(keys.need("index_head_dim")?);
        let heads = f64::from(keys.need("index_n_heads")?);
        query_rank.unwrap_or(hidden) * heads * width + hidden * (width + heads)
    } else {
        0.0
    };
    Ok(down_and_up
        + hidden * (rank + rope)
        + rank * heads * (nope + value)
        + heads * value * hidden
        + gate
        + index)
}

/// Queries and outputs through low ranks, one vector of keys, and the compressors (DeepSeek-V4).
fn compressed_weights(keys: &Keys<'_>, ratio: u32, hidden: f64, heads: u32) -> Result<f64, String> {
    let of = |key: &str| keys.need(key).map(f64::from);
    let (query_rank, output_rank) = (of("q_lora_rank")?, of("o_lora_rank")?);
    let (groups, width, index) = (of("o_groups")?, of("head_dim")?, of("index_head_dim")?);
    let all = f64::from(heads) * width;
    let mut count = query_rank * (hidden + all) + hidden * width;
    count += all * output_rank + groups * output_rank * hidden;
    // Values and gates, twice where windows overlap.
    let compressor = |width: f64| 2.0 * hidden * width * if ratio == 4 { 2.0 } else { 1.0 };
    if ratio > 0 {
        count += compressor(width);
    }
    if ratio == 4 {
        let index_heads = of("index_n_heads")?;
        count += query_rank * index_heads * index + hidden * index_heads + compressor(index);
    }
    Ok(count)
}

fn linear_weights(keys: &Keys<'_>, hidden: f64) -> Result<f64, String> {
    if let Some(config) = keys.value("linear_attn_config") {
        let of = |key: &str| config.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        let (heads, width) = (of("num_heads"), of("head_dim"));
        let all = heads * width;
        // The decay, and the output's gate where it is of low rank too.
        let low_rank = hidden * width + width * all;
        let full = config.get("use_full_rank_gate").and_then(Value::as_bool) == Some(true);
        let gate = if full { hidden * all } else { low_rank };
        return Ok(4.0 * hidden * all + low_rank + gate + hidden * heads);
    }
    if keys.value("attn_type_list").is_some() || keys.family.starts_with("minimax") {
        let all = f64::from(keys.need("num_attention_heads")?) * f64::from(keys.need("head_dim")?);
        return Ok(5.0 * hidden * all);
    }
    let of = |key: &str| keys.need(key).map(f64::from);
    let key = of("linear_num_key_heads")? * of("linear_key_head_dim")?;
    let heads = of("linear_num_value_heads")?;
    let value = heads * of("linear_value_head_dim")?;
    let convolution = (2.0 * key + value) * of("linear_conv_kernel_dim")?;
    // Queries, keys, values and the gate; two scalars per head; the output.
    Ok(hidden * (2.0 * key + 2.0 * value + 2.0 * heads) + convolution + value * hidden)
}

fn mamba_weights(keys: &Keys<'_>, hidden: f64) -> Result<f64, String> {
    let of = |names: &[&str]| first_needed(keys, names).map(f64::from);
    let taps = of(&["conv_kernel", "mamba_d_conv"])?;
    let state = of(&["ssm_state_size", "mamba_d_state"])?;
    if keys.first(&["mamba_num_heads", "mamba_n_heads"])?.is_none() {
        let inner = of(&["mamba_expand"])? * hidden;
        let step = keys.number("mamba_dt_rank")?.map_or((hidden / 16.0).ceil(), f64::from);
        return Ok(inner * (3.0 * hidden + taps + 2.0 * step + 3.0 * state));
    }
    let heads = of(&["mamba_num_heads", "mamba_n_heads"])?;
    let inner = heads * of(&["mamba_head_dim", "mamba_d_head"])?;
    let mixed = inner + 2.0 * of(&["n_groups", "mamba_n_groups"])? * state;
    Ok(hidden * (inner + mixed + heads) + mixed * taps + inner * hidden)
}

fn per_layer_embeddings(
    keys: &Keys<'_>,
    layers: usize,
    hidden: f64,
) -> Result<Option<f64>, String> {
    let width = f64::from(keys.count("hidden_size_per_layer_input")?);
    if width == 0.0 {
        return Ok(None);
    }
    let all = width * layers as f64;
    let rows = f64::from(keys.need("vocab_size_per_layer_input")?);
    Ok(Some(rows * all + hidden * all + 2.0 * hidden * all))
}

/// A vision tower with given sizes: layers, patches, and the projection to the text.
fn vision(keys: &Keys<'_>, text: f64) -> Result<Option<f64>, String> {
    let Some(config) = keys.document.get("vision_config").filter(|config| config.is_object())
    else {
        return Ok(None);
    };
    let of = |names: &[&str]| -> Result<Option<f64>, String> {
        let found = names.iter().find_map(|name| config.get(name).map(|value| (*name, value)));
        match found {
            Some((name, value)) if value.is_u64() => whole(name, value).map(|n| Some(f64::from(n))),
            _ => Ok(None),
        }
    };
    let layers = of(&["depth", "num_hidden_layers", "vt_num_hidden_layers", "n_layers"])?;
    let hidden = of(&["hidden_size", "vt_hidden_size", "embed_dim", "width"])?;
    let (Some(layers), Some(hidden)) = (layers, hidden) else { return Ok(None) };
    let inner = of(&["intermediate_size", "vt_intermediate_size"])?.unwrap_or(4.0 * hidden);
    let heads = of(&["qkv_hidden_size"])?.unwrap_or(hidden);
    let patch = of(&["patch_size"])?.unwrap_or(14.0);
    let frames = of(&["temporal_patch_size"])?.unwrap_or(1.0);
    // Several patches become one token, through two products.
    let merged = hidden * of(&["spatial_merge_size"])?.map_or(1.0, |side| side * side);
    let output = of(&["out_hidden_size", "text_hidden_size"])?.unwrap_or(text);
    let deep = config.get("deepstack_visual_indexes").and_then(Value::as_array).map_or(0, Vec::len);
    let projector = merged * (merged + output) * (1 + deep) as f64;
    let layer = 4.0 * hidden * heads + 2.0 * hidden * inner;
    Ok(Some(layers * layer + 3.0 * patch * patch * frames * hidden + projector))
}
