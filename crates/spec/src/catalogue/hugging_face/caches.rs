//! What the caches of the layers hold, as vLLM 0.32 lays them out.

use weir_model::shape::LatentAttention;
use weir_model::{KvKind, KvLayers};

use super::file::{Keys, whole};
use super::kinds::LayerKind;

/// Bytes; the model's own type.
const CONVOLUTION_ELEMENT: u64 = 2;
/// Bytes of one entry of DeepSeek-V4's caches: 448 fp8 and 64 bf16 elements and 8 bytes of scales.
const V4_ENTRY: u64 = 584;
/// Bytes of an indexer key's scale, one per 128 fp8 elements.
const INDEX_SCALE: u64 = 4;

pub(super) struct AttentionWidths {
    pub(super) kv_heads: u32,
    pub(super) head_dim: u32,
    /// Where it differs from the width of a key.
    pub(super) value_dim: u32,
    /// KV heads, head width and value width in layers with a window.
    pub(super) window: (u32, u32, u32),
    pub(super) latent: Option<LatentAttention>,
}

impl AttentionWidths {
    pub(super) fn read(keys: &Keys<'_>, head_dim: u32, heads: u32) -> Result<Self, String> {
        let kv_heads = keys.number("num_key_value_heads")?.unwrap_or(heads);
        let latent = match keys.number("kv_lora_rank")? {
            Some(rank) => Some(LatentAttention { rank, rope: keys.need("qk_rope_head_dim")? }),
            None => None,
        };
        let value_dim = keys.number("v_head_dim")?.unwrap_or(head_dim);
        let window = (
            keys.number("swa_num_key_value_heads")?.unwrap_or(kv_heads),
            keys.number("swa_head_dim")?.unwrap_or(head_dim),
            keys.number("swa_v_head_dim")?.unwrap_or(value_dim),
        );
        let mut attention = Self { kv_heads, head_dim, value_dim, window, latent };
        // Gemma 4 widens the heads of its full layers, and where keys are values has fewer of them.
        if let Some(global) = keys.number("global_head_dim")? {
            (attention.head_dim, attention.value_dim) = (global, global);
            if keys.flag("attention_k_eq_v") == Some(true) {
                let global = keys.number("num_global_key_value_heads")?;
                attention.kv_heads = global.unwrap_or(attention.kv_heads);
            }
        }
        Ok(attention)
    }
}

/// Layers of one kind and size are together, in the order of the model.
pub(super) fn of_layers(
    keys: &Keys<'_>,
    layers: &[LayerKind],
    attention: &AttentionWidths,
    context: u32,
) -> Result<Vec<KvLayers>, String> {
    let shared = keys.count("num_kv_shared_layers")? as usize;
    let own = layers.len().saturating_sub(shared);
    let mut caches: Vec<KvLayers> = Vec::new();
    for layer in &layers[..own] {
        for cache in of_layer(keys, *layer, attention, context)? {
            let same = caches.iter_mut().find(|known| KvLayers { count: 1, ..**known } == cache);
            match same {
                Some(known) => known.count += 1,
                None => caches.push(cache),
            }
        }
    }
    Ok(caches)
}

fn of_layer(
    keys: &Keys<'_>,
    layer: LayerKind,
    attention: &AttentionWidths,
    context: u32,
) -> Result<Vec<KvLayers>, String> {
    let plain = |kind, (heads, key, value): (u32, u32, u32)| KvLayers {
        count: 1,
        kind,
        heads,
        elements: key + value,
        bytes: 0,
    };
    let full = (attention.kv_heads, attention.head_dim, attention.value_dim);
    Ok(match layer {
        LayerKind::NoCache => Vec::new(),
        LayerKind::Full => full_layer(keys, attention, plain(KvKind::Full, full))?,
        LayerKind::Window => {
            let tokens = keys.need("sliding_window")?;
            refuse_latent(attention, "a sliding window")?;
            // A window as long as the longest sequence never drops a token.
            let kind =
                if tokens >= context { KvKind::Full } else { KvKind::SlidingWindow { tokens } };
            vec![plain(kind, attention.window)]
        }
        LayerKind::Chunk => {
            let tokens = keys.need("attention_chunk_size")?;
            refuse_latent(attention, "chunked attention")?;
            vec![plain(KvKind::Chunked { tokens }, full)]
        }
        LayerKind::Compressed(ratio) => compressed(keys, ratio)?,
        LayerKind::Linear => vec![state(linear_state(keys)?)],
        LayerKind::Mamba => vec![state(mamba_state(keys)?)],
        LayerKind::Convolution => {
            let width = keys.first(&["conv_dim", "hidden_size"])?.unwrap_or(1);
            let taps = u64::from(keys.need("conv_L_cache")?.saturating_sub(1));
            vec![state(u64::from(width) * taps * CONVOLUTION_ELEMENT)]
        }
        LayerKind::AttentionAndMamba => {
            vec![plain(KvKind::Full, full), state(mamba_state(keys)?)]
        }
    })
}

fn refuse_latent(attention: &AttentionWidths, what: &str) -> Result<(), String> {
    match attention.latent {
        Some(_) => Err(format!("layers with {what} over latents (`kv_lora_rank`) are not known")),
        None => Ok(()),
    }
}

const fn state(bytes: u64) -> KvLayers {
    KvLayers { count: 1, kind: KvKind::State, heads: 1, elements: 0, bytes }
}

/// Keys and values, or latents with the keys of their index.
fn full_layer(
    keys: &Keys<'_>,
    attention: &AttentionWidths,
    plain: KvLayers,
) -> Result<Vec<KvLayers>, String> {
    let index = match keys.value("index_topk") {
        Some(_) => Some(u64::from(keys.need("index_head_dim")?)),
        None => None,
    };
    let Some(latent) = attention.latent else {
        return match index {
            Some(_) => Err("an index over keys and values (`index_topk`) is not known".to_owned()),
            None => Ok(vec![plain]),
        };
    };
    let elements = latent.rank + latent.rope;
    let mut caches = vec![KvLayers { kind: KvKind::Latent, heads: 1, elements, ..plain }];
    if let Some(width) = index {
        caches.push(index_keys(width, 1));
    }
    Ok(caches)
}

/// fp8, with a 32-bit scale per 128 elements.
const fn index_keys(width: u64, ratio: u32) -> KvLayers {
    let bytes = width + width / 128 * INDEX_SCALE;
    KvLayers { count: 1, kind: KvKind::SparseIndex { ratio }, heads: 1, elements: 0, bytes }
}

/// A layer of DeepSeek-V4 always has a window of latents. With a ratio it also has compressed
/// latents and the compressor's window of 32-bit scores and values; at ratio 4 an index has another
/// window.
fn compressed(keys: &Keys<'_>, ratio: u32) -> Result<Vec<KvLayers>, String> {
    let tokens = keys.need("sliding_window")?;
    let (head, index) =
        (u64::from(keys.need("head_dim")?), u64::from(keys.need("index_head_dim")?));
    let vector = |kind, bytes| KvLayers { count: 1, kind, heads: 1, elements: 0, bytes };
    let mut caches = vec![vector(KvKind::LatentWindow { tokens }, V4_ENTRY)];
    if ratio == 0 {
        return Ok(caches);
    }
    if head != 512 {
        return Err(format!("compressed layers with a `head_dim` of {head} are not known"));
    }
    caches.push(vector(KvKind::Compressed { ratio }, V4_ENTRY));
    // Windows of ratio 4 overlap.
    let overlap = if ratio == 4 { 2 } else { 1 };
    let scores = |width: u64| {
        let kind = KvKind::LatentWindow { tokens: overlap as u32 * ratio };
        vector(kind, 2 * overlap * width * 4)
    };
    caches.push(scores(head));
    if ratio == 4 {
        caches.push(index_keys(index, ratio));
        caches.push(scores(index));
    }
    Ok(caches)
}

/// State of a linear attention layer: gated delta net, Kimi's delta attention, or lightning.
fn linear_state(keys: &Keys<'_>) -> Result<u64, String> {
    if let Some(config) = keys.value("linear_attn_config") {
        let part = |key: &str| {
            if let Some(value) = config.get(key) {
                return whole(key, value).map(u64::from);
            }
            keys.note_missing(&format!("linear_attn_config.{key}"));
            Ok(1)
        };
        let (heads, width) = (part("num_heads")?, part("head_dim")?);
        let taps = part("short_conv_kernel_size")? - 1;
        // Three convolutions, and a 32-bit matrix per head.
        return Ok(3 * heads * width * taps * CONVOLUTION_ELEMENT + heads * width * width * 4);
    }
    if keys.value("attn_type_list").is_some() || keys.family.starts_with("minimax") {
        let (heads, width) = (keys.need("num_attention_heads")?, keys.need("head_dim")?);
        return Ok(u64::from(heads) * u64::from(width) * u64::from(width) * CONVOLUTION_ELEMENT);
    }
    let of = |key: &str| keys.need(key).map(u64::from);
    let (key_heads, key) = (of("linear_num_key_heads")?, of("linear_key_head_dim")?);
    let (heads, value) = (of("linear_num_value_heads")?, of("linear_value_head_dim")?);
    let taps = of("linear_conv_kernel_dim")? - 1;
    let convolution = (2 * key_heads * key + heads * value) * taps * CONVOLUTION_ELEMENT;
    Ok(convolution + heads * value * key * state_element(keys, 2)?)
}

/// The second kind where it has heads, else the first.
fn mamba_state(keys: &Keys<'_>) -> Result<u64, String> {
    let first = |names: &[&str]| -> Result<u64, String> {
        let number = keys.first(names)?;
        if number.is_none() {
            keys.note_missing(names[0]);
        }
        Ok(u64::from(number.unwrap_or(1)))
    };
    let taps = first(&["conv_kernel", "mamba_d_conv"])? - 1;
    let state = first(&["ssm_state_size", "mamba_d_state"])?;
    let Some(heads) = keys.first(&["mamba_num_heads", "mamba_n_heads"])? else {
        let inner = u64::from(keys.need("mamba_expand")?) * u64::from(keys.need("hidden_size")?);
        let element = state_element(keys, 2)?;
        return Ok(inner * taps * CONVOLUTION_ELEMENT + inner * state * element);
    };
    let heads = u64::from(heads);
    let width = first(&["mamba_head_dim", "mamba_d_head"])?;
    let groups = first(&["n_groups", "mamba_n_groups"])?;
    let inner = heads * width;
    let convolution = (inner + 2 * groups * state) * taps * CONVOLUTION_ELEMENT;
    // vLLM keeps Nemotron's states in 32 bits unless the file says otherwise.
    let element = state_element(keys, if keys.family.starts_with("nemotron") { 4 } else { 2 })?;
    Ok(convolution + heads * width * state * element)
}

fn state_element(keys: &Keys<'_>, default: u64) -> Result<u64, String> {
    for key in ["mamba_ssm_cache_dtype", "mamba_ssm_dtype"] {
        match keys.value(key).map(|value| (value, value.as_str())) {
            None | Some((_, Some("auto"))) => {}
            Some((_, Some("float32"))) => return Ok(4),
            Some((_, Some("bfloat16" | "float16"))) => return Ok(2),
            Some((value, _)) => {
                return Err(format!("`{key}` {value} is not a known type of a state"));
            }
        }
    }
    Ok(default)
}
