//! Any model from its Hugging Face `config.json`: kinds of layers, caches and weights.

mod caches;
mod defaults;
mod file;
mod kinds;
mod parameters;
mod quantization;

use std::path::Path;

use serde_json::Value;
use weir_model::shape::Experts;
use weir_model::{Bytes, KvKind, KvLayers, ModelShape};

use self::caches::AttentionWidths;
use self::file::Keys;
use self::kinds::LayerKind;
use self::parameters::{FeedForward, PartWeights};
use crate::error::SpecError;

#[derive(Debug, Clone, PartialEq)]
pub struct ModelRead {
    pub shape: ModelShape,
    /// Why the weights are not known. None where they are.
    pub unknown_weights: Option<String>,
    /// None where they could not be counted.
    counted: Option<Vec<PartWeights>>,
}

impl ModelRead {
    pub fn of(shape: ModelShape) -> Self {
        Self { shape, unknown_weights: None, counted: None }
    }

    /// Takes the bytes of all weights from elsewhere. Where the file does not say how weights are
    /// stored, the bytes per weight follow, which pass times depend on.
    pub fn give_weights(&mut self, bytes: Bytes) {
        self.shape.weight_bytes = Some(bytes);
        if let (Some(_), Some(weights)) = (&self.unknown_weights, &self.counted) {
            self.shape.bytes_per_weight = quantization::per_weight(weights, bytes.0 as f64);
        }
    }

    /// True where passes are timed with 2 bytes per weight for want of a source.
    pub fn assumes_plain_weights(&self) -> bool {
        self.unknown_weights.is_some() && self.counted.is_none()
    }
}

/// The name is the file's `_name_or_path`, or its folder's name.
pub fn read(path: &Path) -> Result<ModelRead, SpecError> {
    let bytes = std::fs::read(path).map_err(|source| SpecError::Read {
        what: "model configuration",
        path: path.to_owned(),
        source,
    })?;
    let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let beside = std::fs::read(path.with_file_name("hf_quant_config.json")).ok();
    let file = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    parse(&bytes, beside.as_deref(), (folder.unwrap_or("model"), file))
        .map_err(|problem| SpecError::ModelConfig { path: path.to_owned(), problem })
}

/// `beside` is the content of `hf_quant_config.json`.
fn parse(
    bytes: &[u8],
    beside: Option<&[u8]>,
    (folder, file): (&str, &str),
) -> Result<ModelRead, String> {
    let document = file::json(&file::text(bytes)?)?;
    let beside = match beside {
        None => None,
        Some(bytes) => {
            let read = file::text(bytes).and_then(|text| file::json(&text));
            Some(read.map_err(|problem| format!("hf_quant_config.json beside it: {problem}"))?)
        }
    };
    let keys = Keys::of(&document)?;
    let layers = kinds::of_layers(&keys)?;
    let heads = keys.need("num_attention_heads")?;
    let hidden = keys.need("hidden_size")?;
    let context = context(&keys)?;
    let head_dim = head_dim(&keys, hidden, heads)?;
    let attention = AttentionWidths::read(&keys, head_dim, heads)?;
    let caches = caches::of_layers(&keys, &layers, &attention, context)?;
    let feed_forward = FeedForward::read(&keys, &layers)?;
    let vocabulary = keys.need("vocab_size")?;
    // Counted before the refusals, so that all missing keys are named at once.
    let weights = parameters::all(&keys, &layers, &attention, &feed_forward, heads);
    keys.finish()?;
    let config = quantization_config(&document, &keys);
    let names = [name(&document, folder), folder, file];
    let stored = quantization::of_weights(config, beside.as_ref(), &keys, &names);
    let counted = weights.as_ref().ok().cloned();
    let bytes = weights.and_then(|weights| Ok(quantization::bytes(&weights, &stored?)));
    let shape = ModelShape {
        name: name(&document, folder).to_owned(),
        layers: layers.len() as u32,
        hidden,
        heads,
        kv_heads: attention.kv_heads,
        head_dim,
        intermediate: feed_forward.dense,
        vocabulary,
        context,
        weight_bytes: bytes.as_ref().ok().map(|(all, _)| Bytes(*all as u64)),
        bytes_per_weight: bytes.as_ref().map_or(2.0, |(_, read)| *read),
        kv_bytes_per_element: quantization::cache_element(config, beside.as_ref()).unwrap_or(2),
        experts: experts(&feed_forward),
        latent: attention.latent,
        kv_layers: Vec::new(),
    };
    let shape = with_caches(shape, caches, &layers);
    Ok(ModelRead { shape, unknown_weights: bytes.err(), counted })
}

/// Keeps the list of caches only where the plain figures differ.
fn with_caches(shape: ModelShape, caches: Vec<KvLayers>, layers: &[LayerKind]) -> ModelShape {
    if caches == shape.kv_layers() {
        return shape;
    }
    let widest =
        caches.iter().filter(|of| matches!(of.kind, KvKind::Full)).map(|of| of.heads).max();
    let kv_heads = if layers.contains(&LayerKind::Window) { widest } else { None };
    ModelShape { kv_heads: kv_heads.unwrap_or(shape.kv_heads), kv_layers: caches, ..shape }
}

fn name<'a>(document: &'a Value, folder: &'a str) -> &'a str {
    let written = document.get("_name_or_path").and_then(Value::as_str);
    written.filter(|name| !name.is_empty()).unwrap_or(folder)
}

/// Null means none. Multimodal files have it in either place.
fn quantization_config<'a>(document: &'a Value, keys: &Keys<'a>) -> Option<&'a Value> {
    ["quantization_config", "compression_config"].into_iter().find_map(|key| {
        let outer = document.get(key).filter(|config| !config.is_null());
        outer.or_else(|| keys.value(key))
    })
}

/// As vLLM 0.32 reads it: some kinds of scaled positions multiply it, because their files do not
/// include the scale.
fn context(keys: &Keys<'_>) -> Result<u32, String> {
    const COUNTED: [&str; 7] =
        ["default", "su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"];
    let context = keys.need("max_position_embeddings")?;
    let scaling = keys.value("rope_scaling").or_else(|| keys.value("rope_parameters"));
    let Some(scaling) = scaling.filter(|_| !keys.family.starts_with("gemma3")) else {
        return Ok(context);
    };
    let word = |key: &str| scaling.get(key).and_then(Value::as_str);
    let kind = word("rope_type").or_else(|| word("type")).unwrap_or("default");
    let factor = scaling.get("factor").and_then(Value::as_f64);
    Ok(match factor.filter(|factor| *factor > 1.0 && !COUNTED.contains(&kind)) {
        Some(factor) => (f64::from(context) * factor).min(f64::from(1 << 24)) as u32,
        None => context,
    })
}

/// With latent attention, the width of a key before its rotary part.
fn head_dim(keys: &Keys<'_>, hidden: u32, heads: u32) -> Result<u32, String> {
    if keys.value("kv_lora_rank").is_some() {
        return keys.need("qk_nope_head_dim");
    }
    match keys.number("head_dim")? {
        Some(head_dim) => Ok(head_dim),
        None if hidden.is_multiple_of(heads) => Ok(hidden / heads),
        None => Err(format!(
            "no `head_dim`, and hidden_size {hidden} is not a multiple of num_attention_heads \
             {heads}; add `head_dim`"
        )),
    }
}

/// A shared expert is computed for every token, like one more active one.
fn experts(of: &FeedForward) -> Option<Experts> {
    (of.experts > 0).then(|| {
        let shared = of.shared.div_ceil(of.inner.max(1));
        Experts { count: of.experts + shared, active: of.active + shared, intermediate: of.inner }
    })
}

#[cfg(test)]
mod tests;
