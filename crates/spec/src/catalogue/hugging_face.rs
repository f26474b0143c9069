//! Any model from its Hugging Face `config.json`.

use std::path::Path;

use serde_json::Value;
use weir_model::shape::{Experts, LatentAttention};
use weir_model::{Bytes, ModelShape};

use super::models::{self, AWQ_READ, AWQ_STORED};
use crate::error::SpecError;

/// Reads a `config.json`; the name is the file's `_name_or_path`, or its folder's name.
pub fn read(path: &Path) -> Result<ModelShape, SpecError> {
    let text = std::fs::read_to_string(path).map_err(|source| SpecError::Read {
        what: "model configuration",
        path: path.to_owned(),
        source,
    })?;
    let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    parse(&text, folder.unwrap_or("model"))
        .map_err(|problem| SpecError::ModelConfig { path: path.to_owned(), problem })
}

/// The shape that a `config.json` describes.
fn parse(text: &str, folder: &str) -> Result<ModelShape, String> {
    let document: Value =
        serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    // Multimodal models keep the language model's part under a key of its own.
    let config = Keys(document.get("text_config").unwrap_or(&document));
    let hidden = config.required("hidden_size")?;
    let heads = config.required("num_attention_heads")?;
    let head_dim = match config.optional("head_dim")? {
        Some(head_dim) => head_dim,
        None if hidden % heads == 0 => hidden / heads,
        None => {
            return Err(format!(
                "no `head_dim`, and hidden_size {hidden} is no multiple of \
                 num_attention_heads {heads}; add `head_dim`"
            ));
        }
    };
    let experts = experts(&config)?;
    let widths = weights(&document, &config)?;
    let intermediate = match experts {
        Some(_) => 0,
        None => config.required("intermediate_size")?,
    };
    let latent = match config.optional("kv_lora_rank")? {
        Some(rank) => Some(LatentAttention { rank, rope: config.required("qk_rope_head_dim")? }),
        None => None,
    };
    let name = document
        .get("_name_or_path")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .unwrap_or(folder);
    let mut model = ModelShape {
        name: name.to_owned(),
        layers: config.required("num_hidden_layers")?,
        hidden,
        heads,
        kv_heads: config.optional("num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        intermediate,
        vocabulary: config.required("vocab_size")?,
        context: config.required("max_position_embeddings")?,
        weight_bytes: Bytes::ZERO,
        bytes_per_weight: widths.read,
        kv_bytes_per_element: 2,
        experts,
        latent,
    };
    let tied = config.0.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false);
    model.weight_bytes = models::weight_bytes(&model, tied, widths.stored);
    Ok(model)
}

/// Keys of a JSON map that hold positive whole numbers.
struct Keys<'a>(&'a Value);

/// The largest figure of a kind that is still believable: products of them stay in 32 bits.
fn most(key: &str) -> u32 {
    match key {
        "num_hidden_layers" | "num_attention_heads" | "num_key_value_heads" | "head_dim" => 1 << 12,
        "kv_lora_rank" | "qk_rope_head_dim" => 1 << 16,
        "vocab_size" | "max_position_embeddings" => 1 << 24,
        _ => 1 << 20,
    }
}

impl Keys<'_> {
    fn optional(&self, key: &str) -> Result<Option<u32>, String> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let most = most(key);
                let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
                number.filter(|number| (1..=most).contains(number)).map(Some).ok_or_else(|| {
                    format!("`{key}` is {value}, which is not a whole number from 1 to {most}")
                })
            }
        }
    }

    fn required(&self, key: &str) -> Result<u32, String> {
        self.optional(key)?.ok_or_else(|| {
            format!("no `{key}`; the file must be the config.json of a decoder-only model")
        })
    }
}

fn experts(config: &Keys<'_>) -> Result<Option<Experts>, String> {
    let mut count = None;
    for key in ["num_experts", "num_local_experts", "n_routed_experts"] {
        count = count.or(config.optional(key)?);
    }
    let Some(count) = count else { return Ok(None) };
    let mut active = None;
    for key in ["num_experts_per_tok", "experts_per_token"] {
        active = active.or(config.optional(key)?);
    }
    let active = active.ok_or("experts without `num_experts_per_tok`")?;
    let intermediate = match config.optional("moe_intermediate_size")? {
        Some(intermediate) => intermediate,
        None => config.required("intermediate_size")?,
    };
    // A shared expert is computed for every token, like one more active one.
    let shared = config.optional("n_shared_experts").ok().flatten().unwrap_or(0);
    Ok(Some(Experts { count: count + shared, active: active + shared, intermediate }))
}

/// Bytes per weight.
struct Widths {
    /// As read by the matrix products.
    read: f64,
    /// As stored.
    stored: f64,
}

fn weights(document: &Value, config: &Keys<'_>) -> Result<Widths, String> {
    let quantization =
        document.get("quantization_config").or_else(|| config.0.get("quantization_config"));
    let Some(quantization) = quantization else {
        return Ok(Widths { read: 2.0, stored: 2.0 });
    };
    let method = quantization.get("quant_method").and_then(Value::as_str).unwrap_or("none");
    let bits = quantization.get("bits").and_then(Value::as_u64).unwrap_or(4);
    match (method, bits) {
        ("awq" | "gptq", 4) => Ok(Widths { read: AWQ_READ, stored: AWQ_STORED }),
        ("awq" | "gptq", 8) => Ok(Widths { read: 1.03, stored: 1.03 }),
        ("fp8", _) => Ok(Widths { read: 1.0, stored: 1.0 }),
        ("mxfp4", _) => Ok(Widths { read: 0.53125, stored: 0.53125 }),
        _ => Err(format!(
            "quantization method `{method}` with {bits} bits is unknown; the known ones are awq \
             and gptq (4 or 8 bits), fp8 and mxfp4"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn qwen3_8b() -> Value {
        json!({
            "num_hidden_layers": 36, "hidden_size": 4096, "num_attention_heads": 32,
            "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 12288,
            "vocab_size": 151936, "max_position_embeddings": 40960, "tie_word_embeddings": false,
        })
    }

    #[test]
    fn the_catalogue_and_the_file_agree() {
        let read = parse(&qwen3_8b().to_string(), "Qwen/Qwen3-8B").unwrap();
        assert_eq!(read, models::find("Qwen/Qwen3-8B").unwrap());
    }

    #[test]
    fn head_dim_follows_from_hidden_where_it_is_absent() {
        let mut config = qwen3_8b();
        config.as_object_mut().unwrap().remove("head_dim");
        assert_eq!(parse(&config.to_string(), "m").unwrap().head_dim, 128);
        config["num_attention_heads"] = json!(30);
        assert!(parse(&config.to_string(), "m").unwrap_err().contains("head_dim"));
    }

    #[test]
    fn latent_attention_experts_and_quantization_are_read() {
        let mut config = qwen3_8b();
        config["kv_lora_rank"] = json!(512);
        config["qk_rope_head_dim"] = json!(64);
        config["n_routed_experts"] = json!(256);
        config["n_shared_experts"] = json!(1);
        config["num_experts_per_tok"] = json!(8);
        config["moe_intermediate_size"] = json!(2048);
        config["quantization_config"] = json!({"quant_method": "fp8"});
        let model = parse(&config.to_string(), "m").unwrap();
        assert_eq!(model.kv_bytes_per_token(), Bytes(36 * 576 * 2));
        assert_eq!(model.experts.unwrap().active, 9);
        assert_eq!(model.bytes_per_weight, 1.0);
    }

    #[test]
    fn missing_and_absurd_keys_are_named() {
        let mut config = qwen3_8b();
        config["vocab_size"] = json!(-5);
        assert_eq!(
            parse(&config.to_string(), "m").unwrap_err(),
            "`vocab_size` is -5, which is not a whole number from 1 to 16777216"
        );
        config.as_object_mut().unwrap().remove("vocab_size");
        assert!(parse(&config.to_string(), "m").unwrap_err().starts_with("no `vocab_size`"));
    }
}
