//! The kind of each layer of a model. Unknown words of a file are refused by name: a layer counted
//! as full attention by mistake makes every figure wrong.

use serde_json::Value;

use super::file::Keys;

/// By what its cache needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LayerKind {
    /// Attention to all tokens: keys and values, or latents.
    Full,
    Window,
    Chunk,
    /// Attention to one vector per so many tokens, and to a window; 0 is the window alone.
    Compressed(u32),
    /// Linear attention: a matrix per head and a short convolution.
    Linear,
    Mamba,
    Convolution,
    AttentionAndMamba,
    /// Experts or an MLP alone.
    NoCache,
}

/// Keys about kinds or caches of layers with a known meaning.
const KNOWN: &[&str] = &[
    "attention_chunk_size",
    "attn_layer_indices",
    "attn_layer_offset",
    "attn_layer_period",
    "attn_type_list",
    "compress_ratios",
    "compress_rope_theta",
    "compression_config",
    "conv_L_cache",
    "conv_bias",
    "conv_kernel",
    "conv_dim",
    "decoder_sparse_step",
    "full_attention_interval",
    "full_attn_idxs",
    "hybrid_layer_pattern",
    "hybrid_override_pattern",
    "index_head_dim",
    "index_n_heads",
    "index_topk",
    "index_topk_freq",
    "indexer_rope_interleave",
    "layer_types",
    "layers_block_type",
    "linear_attn_config",
    "linear_conv_kernel_dim",
    "linear_key_head_dim",
    "linear_num_key_heads",
    "linear_num_value_heads",
    "linear_value_head_dim",
    "mamba_chunk_size",
    "mamba_conv_bias",
    "mamba_d_conv",
    "mamba_d_head",
    "mamba_d_ssm",
    "mamba_d_state",
    "mamba_dt_rank",
    "mamba_expand",
    "mamba_head_dim",
    "mamba_hidden_act",
    "mamba_inner_layernorms",
    "mamba_n_groups",
    "mamba_n_heads",
    "mamba_norm_before_gate",
    "mamba_num_heads",
    "mamba_proj_bias",
    "mamba_rms_norm",
    "mamba_ssm_cache_dtype",
    "mamba_ssm_dtype",
    "mamba_use_mlp",
    "max_window_layers",
    "no_rope_layers",
    "num_kv_shared_layers",
    "sliding_window",
    "sliding_window_pattern",
    "_sliding_window_pattern",
    "ssm_dtype",
    "ssm_state_size",
    "swa_head_dim",
    "swa_num_attention_heads",
    "swa_num_key_value_heads",
    "swa_rope_theta",
    "swa_v_head_dim",
    "use_conv_bias",
    "use_mamba_kernels",
    "use_sliding_window",
    // Other uses of the same words.
    "activation_sparsity_pattern",
    "add_swa_attention_sink_bias",
    "add_full_attention_sink_bias",
    "attention_value_scale",
    "chunk_size",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "hybrid_block_size",
    "mamba_expand_factor",
    "mtp_hybrid_override_pattern",
    "mtp_layers_block_type",
    "ssm_in_multiplier",
    "ssm_multipliers",
    "ssm_out_multiplier",
    "use_block_sparse_moe",
];

/// Parts of keys about layers whose caches are unlike full attention's.
const TELLING: &[&str] = &[
    "sliding",
    "window",
    "swa",
    "linear_att",
    "linear_num",
    "linear_key",
    "lightning",
    "mamba",
    "ssm",
    "rwkv",
    "recurrent",
    "lru_",
    "lstm",
    "retention",
    "delta_",
    "gdn",
    "kda",
    "conv_",
    "d_conv",
    "state_size",
    "d_state",
    "compress",
    "block_sparse",
    "sparse_att",
    "sparse_block",
    "sparse_topk",
    "index_",
    "indexer",
    "nsa_",
    "moba",
    "chunk",
    "hybrid",
    "attn_type",
    "attention_type",
    "attn_types",
    "layer_type",
    "layers_type",
    "layer_pattern",
    "layers_block",
    "block_type",
    "block_configs",
    "kv_shared",
    "shared_kv",
    "kv_share",
    "cla_share",
    "local_att",
    "attn_layer",
    "attention_layers",
    "override_pattern",
    "cross_attention_layers",
    "cross_attn",
    "yoco",
    "full_attn_idx",
    "global_attn",
    "attention_pattern",
];

pub(super) fn of_layers(keys: &Keys<'_>) -> Result<Vec<LayerKind>, String> {
    refuse_unknown(keys)?;
    let count = match layer_count(keys)? {
        Some(count) => count,
        None => keys.need("num_hidden_layers")?,
    } as usize;
    let layers = by_list(keys, count)?
        .or(by_position(keys, count)?)
        .map_or_else(|| by_window(keys, count), Ok)?;
    if layers.len() < count {
        return Err(format!(
            "the kinds of {} layers are listed and num_hidden_layers is {count}; correct one of them",
            layers.len()
        ));
    }
    // Some lists continue with the layers of multi-token prediction.
    Ok(layers.into_iter().take(count).collect())
}

/// Nemotron's pattern has one letter per layer, and some of its files have no other count.
fn layer_count(keys: &Keys<'_>) -> Result<Option<u32>, String> {
    if keys.number("num_hidden_layers")?.is_some() {
        return Ok(None);
    }
    let pattern = keys.word("hybrid_override_pattern").map(|letters| letters.chars().count());
    let list = keys.list("layers_block_type").map(<[Value]>::len);
    Ok(pattern.or(list).and_then(|count| u32::try_from(count).ok()))
}

fn refuse_unknown(keys: &Keys<'_>) -> Result<(), String> {
    if keys.flag("is_encoder_decoder") == Some(true) {
        return Err(
            "`is_encoder_decoder` is true: the caches of cross attention are not known".to_owned()
        );
    }
    for (key, value) in keys.written() {
        let telling = TELLING.iter().any(|part| key.contains(part));
        let nothing = value == &Value::Bool(false)
            || value.as_u64() == Some(0)
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(serde_json::Map::is_empty);
        if telling && !nothing && !KNOWN.contains(&key) {
            return Err(format!(
                "`{key}` is not known: it may change what the layers' caches hold, so no KV figure \
                 can be given"
            ));
        }
    }
    if keys.number("index_topk_freq")?.is_some_and(|freq| freq > 1) {
        return Err("`index_topk_freq` above 1 is not known: layers share an index".to_owned());
    }
    Ok(())
}

fn by_list(keys: &Keys<'_>, count: usize) -> Result<Option<Vec<LayerKind>>, String> {
    if let Some(ratios) = keys.list("compress_ratios") {
        return ratios.iter().map(compressed).collect::<Result<_, _>>().map(Some);
    }
    for key in ["layer_types", "layers_block_type"] {
        if let Some(list) = keys.list(key) {
            return list.iter().map(|kind| named(key, kind)).collect::<Result<_, _>>().map(Some);
        }
    }
    if let Some(pattern) = keys.word("hybrid_override_pattern") {
        // `|` only separates the stages of a pipeline.
        let letters = pattern.chars().filter(|letter| *letter != '|');
        return letters.map(letter).collect::<Result<_, _>>().map(Some);
    }
    if let Some(list) = keys.list("attn_type_list") {
        return flags("attn_type_list", list, LayerKind::Full, LayerKind::Linear).map(Some);
    }
    if let Some(list) = keys.list("hybrid_layer_pattern") {
        return flags("hybrid_layer_pattern", list, LayerKind::Window, LayerKind::Full).map(Some);
    }
    if let Some(config) = keys.value("linear_attn_config") {
        return kimi(config, count).map(Some);
    }
    if keys.value("attention_chunk_size").is_some() || keys.family.starts_with("llama4") {
        return by_rope(keys, count).map(Some);
    }
    Ok(None)
}

fn named(key: &str, kind: &Value) -> Result<LayerKind, String> {
    match kind.as_str() {
        Some("full_attention" | "attention" | "global_attention" | "indexed_attention") => {
            Ok(LayerKind::Full)
        }
        Some("sliding_attention" | "sliding_window" | "local_attention") => Ok(LayerKind::Window),
        Some("chunked_attention") => Ok(LayerKind::Chunk),
        Some("linear_attention" | "lightning_attention") => Ok(LayerKind::Linear),
        Some("mamba" | "mamba2") => Ok(LayerKind::Mamba),
        Some("conv" | "short_conv") => Ok(LayerKind::Convolution),
        Some("moe" | "mlp") => Ok(LayerKind::NoCache),
        _ => Err(format!("layers of kind {kind} (`{key}`) are not known")),
    }
}

fn letter(letter: char) -> Result<LayerKind, String> {
    match letter {
        'M' => Ok(LayerKind::Mamba),
        '*' => Ok(LayerKind::Full),
        '-' | 'E' => Ok(LayerKind::NoCache),
        other => Err(format!("layers of kind `{other}` (`hybrid_override_pattern`) are not known")),
    }
}

fn compressed(ratio: &Value) -> Result<LayerKind, String> {
    match ratio.as_u64() {
        Some(ratio @ (0 | 4 | 128)) => Ok(LayerKind::Compressed(ratio as u32)),
        _ => Err(format!("layers that compress {ratio} tokens (`compress_ratios`) are not known")),
    }
}

/// 1 for one kind and 0 for the other.
fn flags(
    key: &str,
    list: &[Value],
    one: LayerKind,
    zero: LayerKind,
) -> Result<Vec<LayerKind>, String> {
    let kind = |flag: &Value| match flag.as_u64() {
        Some(1) => Ok(one),
        Some(0) => Ok(zero),
        _ => Err(format!("layers of kind {flag} (`{key}`) are not known")),
    };
    list.iter().map(kind).collect()
}

/// Kimi lists its layers by number, from 1.
fn kimi(config: &Value, count: usize) -> Result<Vec<LayerKind>, String> {
    let list = |key: &str| -> Vec<u64> {
        let numbers = config.get(key).and_then(Value::as_array);
        numbers.into_iter().flatten().filter_map(Value::as_u64).collect()
    };
    let (full, linear) = (list("full_attn_layers"), list("kda_layers"));
    let kind = |number: u64| match (full.contains(&number), linear.contains(&number)) {
        (true, false) => Ok(LayerKind::Full),
        (false, true) => Ok(LayerKind::Linear),
        _ => Err(format!(
            "layer {number} is in one of full_attn_layers and kda_layers in no file \
                          that Weir knows (`linear_attn_config`)"
        )),
    };
    (1..=count as u64).map(kind).collect()
}

/// Llama 4: layers with rotary positions attend within chunks.
fn by_rope(keys: &Keys<'_>, count: usize) -> Result<Vec<LayerKind>, String> {
    if let Some(list) = keys.list("no_rope_layers") {
        return flags("no_rope_layers", list, LayerKind::Chunk, LayerKind::Full);
    }
    let interval = keys.number("no_rope_layer_interval")?.unwrap_or(4) as usize;
    Ok(every(count, interval, LayerKind::Full, LayerKind::Chunk))
}

fn every(count: usize, interval: usize, nth: LayerKind, others: LayerKind) -> Vec<LayerKind> {
    (1..=count).map(|number| if number.is_multiple_of(interval) { nth } else { others }).collect()
}

fn by_position(keys: &Keys<'_>, count: usize) -> Result<Option<Vec<LayerKind>>, String> {
    if let Some(interval) = keys.number("full_attention_interval")? {
        return Ok(Some(every(count, interval as usize, LayerKind::Full, LayerKind::Linear)));
    }
    if let Some(list) = keys.list("full_attn_idxs") {
        return Ok(Some(at_indices(list, count, LayerKind::Convolution)));
    }
    if keys.family == "falcon_h1" {
        return Ok(Some(vec![LayerKind::AttentionAndMamba; count]));
    }
    if let Some(list) = keys.list("attn_layer_indices") {
        return Ok(Some(at_indices(list, count, LayerKind::Mamba)));
    }
    if let Some(period) = keys.number("attn_layer_period")? {
        let offset = keys.count("attn_layer_offset")? as usize;
        let kind = |index: usize| {
            if index % period as usize == offset { LayerKind::Full } else { LayerKind::Mamba }
        };
        return Ok(Some((0..count).map(kind).collect()));
    }
    Ok(None)
}

fn at_indices(list: &[Value], count: usize, others: LayerKind) -> Vec<LayerKind> {
    let full: Vec<u64> = list.iter().filter_map(Value::as_u64).collect();
    (0..count as u64)
        .map(|index| if full.contains(&index) { LayerKind::Full } else { others })
        .collect()
}

/// Windows over all layers, over those after a number, or over all but every so many-th.
fn by_window(keys: &Keys<'_>, count: usize) -> Result<Vec<LayerKind>, String> {
    if keys.count("sliding_window")? == 0 || keys.flag("use_sliding_window") == Some(false) {
        return Ok(vec![LayerKind::Full; count]);
    }
    for key in ["sliding_window_pattern", "_sliding_window_pattern"] {
        if let Some(letters) = keys.word(key) {
            return by_letters(key, letters, count);
        }
        if let Some(pattern) = keys.number(key)? {
            return Ok(every(count, pattern as usize, LayerKind::Full, LayerKind::Window));
        }
    }
    // Qwen2: layers below `max_window_layers` attend to everything.
    if keys.flag("use_sliding_window") == Some(true) && keys.value("max_window_layers").is_some() {
        let full = keys.count("max_window_layers")? as usize;
        let kind = |index| if index < full { LayerKind::Full } else { LayerKind::Window };
        return Ok((0..count).map(kind).collect());
    }
    Ok(vec![LayerKind::Window; count])
}

/// `LLLG`: local and global layers, repeated; the last layer is global.
fn by_letters(key: &str, letters: &str, count: usize) -> Result<Vec<LayerKind>, String> {
    let kind = |letter: char| match letter {
        'L' => Ok(LayerKind::Window),
        'G' => Ok(LayerKind::Full),
        other => Err(format!("layers of kind `{other}` (`{key}`) are not known")),
    };
    let pattern: Vec<LayerKind> = letters.chars().map(kind).collect::<Result<_, _>>()?;
    if pattern.is_empty() {
        return Err(format!("`{key}` is empty"));
    }
    let mut layers: Vec<LayerKind> =
        (0..count).map(|index| pattern[index % pattern.len()]).collect();
    if let Some(last) = layers.last_mut() {
        *last = LayerKind::Full;
    }
    Ok(layers)
}
