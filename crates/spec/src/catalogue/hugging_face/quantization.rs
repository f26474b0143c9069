//! How weights and cache are stored: `quantization_config`, or `hf_quant_config.json` beside the
//! file.

use serde_json::Value;

use super::file::Keys;
use super::parameters::{ModelPart, PartWeights};
use crate::catalogue::models::{AWQ_READ, AWQ_STORED};

/// 16 bits.
const PLAIN: f64 = 2.0;
/// The fewest plausible bytes per weight: 2 bits.
const LEAST: f64 = 0.25;
/// 4 bits and an 8-bit scale per 32 weights.
const MXFP4: f64 = 0.5 + 1.0 / 32.0;
/// 4 bits and an 8-bit scale per 16 weights.
const NVFP4: f64 = 0.5 + 1.0 / 16.0;
/// 8-bit GPTQ and AWQ, including the scales of groups of 128.
const EIGHT_BITS: f64 = 1.03;

/// Below a layer.
const EXPERT_MODULES: [&str; 6] = [
    "mlp.experts.0.gate_proj",
    "experts.0.gate_proj",
    "ffn.experts.0.w1",
    "block_sparse_moe.experts.0.w1",
    "feed_forward.experts.0.gate_proj",
    "mixer.experts.0.up_proj",
];
/// Families whose experts are not below `mlp`, by the beginning of their `model_type`.
const EXPERTS_ELSEWHERE: [(&str, &str); 9] = [
    // Beside a dense `mlp` in each layer.
    ("gemma4", EXPERT_MODULES[1]),
    ("deepseek_v4", EXPERT_MODULES[2]),
    ("mixtral", EXPERT_MODULES[3]),
    ("minimax", EXPERT_MODULES[3]),
    ("phimoe", EXPERT_MODULES[3]),
    ("granitemoe", EXPERT_MODULES[3]),
    ("kimi_linear", EXPERT_MODULES[3]),
    ("llama4", EXPERT_MODULES[4]),
    ("nemotron_h", EXPERT_MODULES[5]),
];
const EXPERTS_IN_MLP: [&str; 8] =
    ["qwen", "deepseek", "glm", "gpt_oss", "kimi_k", "ernie", "hunyuan", "olmoe"];
/// Words in a model's name, or in its file, that show quantised weights.
const QUANTISED: [&str; 20] = [
    "nvfp4", "mxfp4", "mxfp8", "fp4", "fp8", "float8", "int4", "int8", "awq", "gptq", "gguf",
    "exl2", "bnb", "nf4", "4bit", "8bit", "w4a", "w8a", "aqlm", "hqq",
];

fn quantised_word(name: &str) -> Option<&str> {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let is_known = |word: &&str| {
        let word = word.to_ascii_lowercase();
        QUANTISED.iter().any(|known| word.starts_with(known))
    };
    words.into_iter().find(is_known)
}

/// Why the storage of the weights is unknown, where only the model's name or keys that Weir does
/// not read show a quantisation.
fn unsaid(keys: &Keys<'_>, names: &[&str]) -> Option<String> {
    let missing =
        "neither `quantization_config` nor a hf_quant_config.json beside the file says how";
    if let Some(word) = names.iter().find_map(|name| quantised_word(name)) {
        return Some(format!("its name says `{word}`, and {missing}"));
    }
    let outer = keys.document.as_object().into_iter().flatten();
    let all = outer.map(|(key, value)| (key.as_str(), value)).chain(keys.written());
    let mut says = all.filter(|(key, value)| match *key {
        "torch_dtype" | "dtype" => value.as_str().and_then(quantised_word).is_some(),
        key => {
            let of_weights = key.contains("quant") && !key.contains("cache");
            of_weights && !(value.is_null() || value.as_bool() == Some(false))
        }
    });
    says.next().map(|(key, _)| format!("`{key}` says that they are quantised, and {missing}"))
}

fn expert_module(family: &str) -> Option<&'static str> {
    let elsewhere = EXPERTS_ELSEWHERE.iter().find(|(of, _)| family.starts_with(of));
    let in_mlp = || EXPERTS_IN_MLP.iter().any(|of| family.starts_with(of));
    elsewhere.map(|(_, module)| *module).or_else(|| in_mlp().then_some(EXPERT_MODULES[0]))
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quantization {
    stored: f64,
    /// Effective bytes per weight in matrix products.
    read: f64,
    kept: Vec<ModuleName>,
    experts_only: bool,
    /// Bytes per weight of the experts, where they differ.
    experts: Option<f64>,
    /// Below a layer. None where it is unknown.
    expert_module: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq)]
enum ModuleName {
    Name(String),
    Glob(String),
}

/// Bytes per weight of the layers' matrices, where all weights together have `all` bytes.
pub(super) fn per_weight(weights: &[PartWeights], all: f64) -> f64 {
    let is_plain = |of: &&PartWeights| {
        matches!(
            of.part,
            ModelPart::Embedding | ModelPart::Head | ModelPart::Vision | ModelPart::Router
        )
    };
    let plain: f64 = weights.iter().filter(is_plain).map(|of| of.count).sum();
    let count: f64 = weights.iter().map(|of| of.count).sum::<f64>() - plain;
    ((all - plain * PLAIN) / count.max(1.0)).clamp(LEAST, 2.0 * PLAIN)
}

/// Bytes of all weights, and the bytes per weight that matrix products read.
pub(super) fn bytes(weights: &[PartWeights], quantization: &Quantization) -> (f64, f64) {
    let mut all = 0.0;
    let (mut count, mut read) = (0.0, 0.0);
    for of in weights {
        let stored = quantization.stored(of);
        all += of.count * stored;
        if !matches!(of.part, ModelPart::Embedding | ModelPart::Head | ModelPart::Vision) {
            count += of.count;
            let reads = quantization.read / quantization.stored;
            read += of.count * if stored == quantization.stored { stored * reads } else { stored };
        }
    }
    (all, read / f64::max(count, 1.0))
}

impl Quantization {
    const NONE: Self = Self::uniform(PLAIN);

    const fn uniform(stored: f64) -> Self {
        Self {
            stored,
            read: stored,
            kept: Vec::new(),
            experts_only: false,
            experts: None,
            expert_module: None,
        }
    }

    fn stored(&self, of: &PartWeights) -> f64 {
        match of.part {
            ModelPart::Embedding | ModelPart::Head | ModelPart::Vision | ModelPart::Router => PLAIN,
            ModelPart::Experts => match self.experts {
                Some(bytes) => bytes,
                None if self.keeps(of) => PLAIN,
                None => self.stored,
            },
            _ if self.experts_only || self.keeps(of) => PLAIN,
            _ => self.stored,
        }
    }

    fn keeps(&self, of: &PartWeights) -> bool {
        let layer = of.layer.unwrap_or(0);
        let modules: &[&str] = match of.part {
            ModelPart::Attention => {
                &["self_attn.q_proj", "self_attn.q_a_proj", "self_attn.o_proj", "attn.wq_a"]
            }
            ModelPart::LinearAttention => &[
                "linear_attn.in_proj_qkvz",
                "linear_attn.in_proj_qkv",
                "self_attn.q_proj",
                "mixer.in_proj",
            ],
            ModelPart::Mlp => {
                &["mlp.gate_proj", "mlp.gate_up_proj", "feed_forward.gate_proj", "mlp.down_proj"]
            }
            ModelPart::SharedExperts => &[
                "mlp.shared_experts.gate_proj",
                "mlp.shared_expert.gate_proj",
                "ffn.shared_experts.w1",
                "feed_forward.shared_expert.gate_proj",
            ],
            ModelPart::Experts => match &self.expert_module {
                Some(module) => std::slice::from_ref(module),
                None => &EXPERT_MODULES,
            },
            ModelPart::Embedding | ModelPart::Head | ModelPart::Vision | ModelPart::Router => &[],
        };
        modules.iter().any(|module| {
            let name = format!("layers.{layer}.{module}");
            self.kept.iter().any(|kept| kept.matches(&name))
        })
    }
}

impl ModuleName {
    /// Compares only from the layers on, since the part before depends on the exporter.
    fn read(text: &str) -> Vec<Self> {
        let tail = |text: &str| match text.find("layers.") {
            Some(at) => text[at..].to_owned(),
            None => text.to_owned(),
        };
        let Some(expression) = text.strip_prefix("re:") else {
            let text = tail(text);
            return vec![if text.contains('*') { Self::Glob(text) } else { Self::Name(text) }];
        };
        // Expressions of compressed-tensors: `.*`, escaped points and choices of words.
        let plain = expression.replace("\\.", ".").replace(".*", "*").replace(['^', '$'], "");
        choices(&plain).iter().map(|one| Self::Glob(format!("{}*", tail(one)))).collect()
    }

    fn matches(&self, module: &str) -> bool {
        match self {
            Self::Name(name) => {
                let rest = module.strip_prefix(name.as_str());
                // Below a layer a bare name is a part of the path.
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                    || (!name.contains('.') && module.split('.').any(|part| part == name))
            }
            Self::Glob(glob) if glob.starts_with("layers.") || glob.starts_with('*') => {
                fits(glob, module)
            }
            Self::Glob(glob) => fits(&format!("*.{glob}"), module),
        }
    }
}

/// `a(b|c)d` as `abd` and `acd`.
fn choices(text: &str) -> Vec<String> {
    let parts = text.split_once('(').and_then(|(before, rest)| {
        rest.split_once(')').map(|(words, after)| (before, words, after))
    });
    let Some((before, words, after)) = parts else { return vec![text.to_owned()] };
    words.split('|').flat_map(|word| choices(&format!("{before}{word}{after}"))).collect()
}

fn fits(glob: &str, text: &str) -> bool {
    let Some((before, after)) = glob.split_once('*') else { return glob == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| fits(after, rest)))
}

/// How a model's weights are stored, or why that is unknown. `beside` is `hf_quant_config.json`;
/// `names` are those of the model and of its folder.
pub(super) fn of_weights(
    config: Option<&Value>,
    beside: Option<&Value>,
    keys: &Keys<'_>,
    names: &[&str],
) -> Result<Quantization, String> {
    let mut quantization = match (config, beside) {
        (Some(config), _) => of_config(config)?,
        (None, Some(beside)) => of_modelopt(beside.get("quantization").unwrap_or(beside))?,
        (None, None) => match unsaid(keys, names) {
            Some(why) => return Err(why),
            None => Quantization::NONE,
        },
    };
    quantization.expert_module = expert_module(keys.family);
    match keys.word("expert_dtype") {
        Some("fp4") if quantization.experts.is_none() => quantization.experts = Some(MXFP4),
        None | Some("fp4" | "fp8" | "bfloat16") => {}
        Some(other) => {
            return Err(format!("experts of type `{other}` (`expert_dtype`) are not known"));
        }
    }
    Ok(quantization)
}

fn of_config(config: &Value) -> Result<Quantization, String> {
    let method = config.get("quant_method").and_then(Value::as_str).unwrap_or_default();
    let bits = config.get("bits").and_then(Value::as_u64).unwrap_or(4);
    let mut of = match (method, bits) {
        ("awq" | "gptq" | "auto-round" | "awq_marlin" | "gptq_marlin", 4) => {
            Quantization { read: AWQ_READ, ..Quantization::uniform(AWQ_STORED) }
        }
        ("awq" | "gptq" | "auto-round" | "awq_marlin" | "gptq_marlin", 8) => {
            Quantization::uniform(EIGHT_BITS)
        }
        ("fp8" | "fbgemm_fp8", _) => Quantization::uniform(1.0),
        ("mxfp4" | "gpt_oss_mxfp4", _) => {
            Quantization { experts_only: true, ..Quantization::uniform(MXFP4) }
        }
        ("mxfp8", _) => Quantization::uniform(1.0 + 1.0 / 32.0),
        ("bitsandbytes", _) => bitsandbytes(config)?,
        ("compressed-tensors", _) => compressed_tensors(config)?,
        ("modelopt" | "modelopt_fp4" | "modelopt_mixed", _) => {
            return of_modelopt(config.get("quantization").unwrap_or(config));
        }
        ("", _) => return Err("`quantization_config` names no `quant_method`".to_owned()),
        _ => return Err(format!("quantization method `{method}` with {bits} bits is not known")),
    };
    if let Some(algorithm) = config.get("moe_quant_algo").and_then(Value::as_str) {
        of.experts = Some(modelopt_bytes(algorithm)?);
    }
    of.kept =
        kept(config, &["modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules"]);
    Ok(of)
}

fn bitsandbytes(config: &Value) -> Result<Quantization, String> {
    let flag = |key: &str| config.get(key).and_then(Value::as_bool) == Some(true);
    match (flag("load_in_4bit"), flag("load_in_8bit")) {
        // 4 bits, and a 32-bit scale per 64 weights that may itself be in 8 bits.
        (true, _) if flag("bnb_4bit_use_double_quant") => Ok(Quantization::uniform(0.516)),
        (true, _) => Ok(Quantization::uniform(0.5625)),
        (_, true) => Ok(Quantization::uniform(1.0)),
        _ => Err("`bitsandbytes` with neither 4 nor 8 bits is not known".to_owned()),
    }
}

/// Groups with different bits are refused.
fn compressed_tensors(config: &Value) -> Result<Quantization, String> {
    let groups = config.get("config_groups").and_then(Value::as_object);
    let mut stored = None;
    for weights in
        groups.into_iter().flat_map(|groups| groups.values()).filter_map(|g| g.get("weights"))
    {
        let bytes = group_bytes(weights)?;
        if stored.is_some_and(|known| known != bytes) {
            return Err("`config_groups` of different widths are not known".to_owned());
        }
        stored = Some(bytes);
    }
    let stored = stored.ok_or("`compressed-tensors` without `config_groups` is not known")?;
    Ok(Quantization::uniform(stored))
}

fn group_bytes(weights: &Value) -> Result<f64, String> {
    let bits = weights.get("num_bits").and_then(Value::as_u64);
    let bits = bits.filter(|bits| (2..=16).contains(bits));
    let bits = bits.ok_or("`config_groups` without `num_bits` of weights are not known")? as f64;
    let group = weights.get("group_size").and_then(Value::as_f64).filter(|size| *size >= 1.0);
    // fp4 has 8-bit scales; whole numbers have 16-bit ones, and a zero point unless symmetric.
    let float = weights.get("type").and_then(Value::as_str) == Some("float");
    let symmetric = weights.get("symmetric").and_then(Value::as_bool) != Some(false);
    let scale = match (float, symmetric) {
        (true, _) => 1.0,
        (false, true) => 2.0,
        (false, false) => 2.0 + bits / 8.0,
    };
    Ok(bits / 8.0 + group.map_or(0.0, |size| scale / size))
}

fn of_modelopt(config: &Value) -> Result<Quantization, String> {
    let algorithm = config.get("quant_algo").and_then(Value::as_str);
    let mut of = match algorithm {
        None | Some("") => Quantization::NONE,
        Some(algorithm) => Quantization::uniform(modelopt_bytes(algorithm)?),
    };
    of.kept = kept(config, &["exclude_modules", "ignore"]);
    Ok(of)
}

fn modelopt_bytes(algorithm: &str) -> Result<f64, String> {
    match algorithm {
        "FP8"
        | "FP8_PER_CHANNEL_PER_TOKEN"
        | "FP8_PB_WO"
        | "FP8_PB_REAL"
        | "W8A8_SQ_PER_CHANNEL" => Ok(1.0),
        "NVFP4" | "NVFP4_AWQ" | "W4A16_NVFP4" => Ok(NVFP4),
        "W4A16_AWQ" | "W4A8_AWQ" => Ok(AWQ_STORED),
        "MXFP8" => Ok(1.0 + 1.0 / 32.0),
        other => Err(format!("quantization by modelopt's `{other}` is not known")),
    }
}

fn kept(config: &Value, keys: &[&str]) -> Vec<ModuleName> {
    let lists = keys.iter().filter_map(|key| config.get(key).and_then(Value::as_array));
    let names = lists.flatten().filter_map(Value::as_str);
    names.flat_map(ModuleName::read).collect()
}

/// Where the file says that the KV cache is scaled to 8 bits, as vLLM reads it.
pub(super) fn cache_element(config: Option<&Value>, beside: Option<&Value>) -> Option<u32> {
    let inner = |of: &'_ Value| of.get("quantization").unwrap_or(of).clone();
    let of = inner(config.or(beside)?);
    let scheme = of.get("kv_cache_scheme").filter(|scheme| !scheme.is_null());
    if let Some(scheme) = scheme {
        let float = scheme.get("type").and_then(Value::as_str) == Some("float");
        let bits = scheme.get("num_bits").and_then(Value::as_u64);
        return (float && bits == Some(8)).then_some(1);
    }
    let algorithm = of.get("kv_cache_quant_algo").and_then(Value::as_str)?;
    algorithm.eq_ignore_ascii_case("fp8").then_some(1)
}
