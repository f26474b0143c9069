//! Shapes of models, from their published `config.json`. Weight bytes follow from the shape, or are
//! given where the format mixes widths.

use weir_model::shape::{Experts, LatentAttention};
use weir_model::{Bytes, KvKind, KvLayers, ModelShape};

/// Bytes per weight of 4-bit AWQ with groups of 128: half a byte, and a 16-bit scale and a 4-bit
/// zero per group.
pub(crate) const AWQ_STORED: f64 = 0.5 + 2.5 / 128.0;
/// Effective bytes per weight in its matrix products (fitted on L40S).
pub(crate) const AWQ_READ: f64 = 0.55;

/// Name, layers, hidden, heads, kv heads, head dim, intermediate, vocabulary, context, whether
/// input and output embeddings are one matrix.
type Row = (&'static str, u32, u32, u32, u32, u32, u32, u32, u32, bool);

const QWEN_VOCABULARY: u32 = 151_936;
const LLAMA_VOCABULARY: u32 = 128_256;

/// Dense models in 16 bits.
const DENSE: [Row; 12] = [
    ("Qwen/Qwen3-0.6B", 28, 1024, 16, 8, 128, 3072, QWEN_VOCABULARY, 40_960, true),
    ("Qwen/Qwen3-1.7B", 28, 2048, 16, 8, 128, 6144, QWEN_VOCABULARY, 40_960, true),
    ("Qwen/Qwen3-4B", 36, 2560, 32, 8, 128, 9728, QWEN_VOCABULARY, 40_960, true),
    ("Qwen/Qwen3-8B", 36, 4096, 32, 8, 128, 12_288, QWEN_VOCABULARY, 40_960, false),
    ("Qwen/Qwen3-14B", 40, 5120, 40, 8, 128, 17_408, QWEN_VOCABULARY, 40_960, false),
    ("Qwen/Qwen3-32B", 64, 5120, 64, 8, 128, 25_600, QWEN_VOCABULARY, 40_960, false),
    ("meta-llama/Llama-3.1-8B", 32, 4096, 32, 8, 128, 14_336, LLAMA_VOCABULARY, 131_072, false),
    ("meta-llama/Llama-3.1-70B", 80, 8192, 64, 8, 128, 28_672, LLAMA_VOCABULARY, 131_072, false),
    ("meta-llama/Llama-3.2-1B", 16, 2048, 32, 8, 64, 8192, LLAMA_VOCABULARY, 131_072, true),
    ("meta-llama/Llama-3.2-3B", 28, 3072, 24, 8, 128, 8192, LLAMA_VOCABULARY, 131_072, true),
    ("mistralai/Mistral-7B-v0.3", 32, 4096, 32, 8, 128, 14_336, 32_768, 32_768, false),
    // Ours, with generated weights, for engines on a CPU.
    ("weir/tiny-qwen3", 8, 512, 8, 2, 64, 1536, 4096, 16_384, false),
];

/// Short names of llm-d-benchmark.
pub const ALIASES: [(&str, &str); 4] = [
    ("llama-3b", "meta-llama/Llama-3.2-3B-Instruct"),
    ("llama-8b", "meta-llama/Llama-3.1-8B-Instruct"),
    ("llama-70b", "meta-llama/Llama-3.1-70B-Instruct"),
    ("llama-17b", "RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic"),
];

pub fn all() -> Vec<ModelShape> {
    let mut models: Vec<ModelShape> = DENSE.iter().map(dense).collect();
    models.push(awq());
    models.push(qwen_30b_a3b());
    // 12.8 and 60.8 GiB: size of the MXFP4 checkpoints (attention and embeddings in 16 bits).
    models.push(gpt_oss("openai/gpt-oss-20b", 24, 32, 13_760_000_000));
    models.push(gpt_oss("openai/gpt-oss-120b", 36, 128, 65_250_000_000));
    models.push(deepseek_v3());
    models
}

/// An instruction-tuned variant has the shape of its base model.
pub fn find(name: &str) -> Option<ModelShape> {
    let base = ["-Instruct-v0.3", "-Instruct"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix).map(|base| (base, *suffix)))
        .map_or_else(
            || name.to_owned(),
            |(base, suffix)| format!("{base}{}", suffix.trim_start_matches("-Instruct")),
        );
    all().into_iter().find(|model| model.name == base).map(|mut model| {
        name.clone_into(&mut model.name);
        model
    })
}

/// Embeddings in 16 bits, everything else at `stored` bytes per weight.
fn weight_bytes(model: &ModelShape, tied: bool, stored: f64) -> Bytes {
    // In floating point, since a file may describe a shape beyond 64 bits; exact below 2^53.
    let of = f64::from;
    let (hidden, layers) = (of(model.hidden), of(model.layers));
    let embeddings = of(model.vocabulary) * hidden * if tied { 1.0 } else { 2.0 };
    let queries = hidden * of(model.heads) * of(model.head_dim);
    let keys_values = match model.latent {
        Some(latent) => hidden * (of(latent.rank) + of(latent.rope)),
        None => 2.0 * hidden * of(model.kv_heads) * of(model.head_dim),
    };
    let mlp = match model.experts {
        Some(experts) => of(experts.count) * (3.0 * hidden * of(experts.intermediate) + hidden),
        None => 3.0 * hidden * of(model.intermediate),
    };
    let layer = 2.0 * queries + keys_values + mlp;
    Bytes((embeddings * 2.0 + layers * layer * stored) as u64)
}

fn dense(row: &Row) -> ModelShape {
    let (name, layers, hidden, heads, kv_heads, head_dim, intermediate, vocabulary, context, tied) =
        *row;
    let mut model = ModelShape {
        name: name.to_owned(),
        layers,
        hidden,
        heads,
        kv_heads,
        head_dim,
        intermediate,
        vocabulary,
        context,
        weight_bytes: None,
        bytes_per_weight: 2.0,
        kv_bytes_per_element: 2,
        experts: None,
        latent: None,
        kv_layers: Vec::new(),
    };
    model.weight_bytes = Some(weight_bytes(&model, tied, 2.0));
    model
}

fn awq() -> ModelShape {
    let row = ("Qwen/Qwen3-32B-AWQ", 64, 5120, 64, 8, 128, 25_600, QWEN_VOCABULARY, 40_960, false);
    let mut model = dense(&row);
    model.bytes_per_weight = AWQ_READ;
    model.weight_bytes = Some(weight_bytes(&model, false, AWQ_STORED));
    model
}

fn qwen_30b_a3b() -> ModelShape {
    let row = ("Qwen/Qwen3-30B-A3B", 48, 2048, 32, 4, 128, 0, QWEN_VOCABULARY, 40_960, false);
    let mut model = dense(&row);
    model.experts = Some(Experts { count: 128, active: 8, intermediate: 768 });
    model.weight_bytes = Some(weight_bytes(&model, false, 2.0));
    model
}

fn gpt_oss(name: &'static str, layers: u32, experts: u32, weights: u64) -> ModelShape {
    let mut model = dense(&(name, layers, 2880, 64, 8, 64, 0, 201_088, 131_072, false));
    model.experts = Some(Experts { count: experts, active: 4, intermediate: 2880 });
    // MXFP4: 4 bits and an 8-bit scale per 32 weights.
    model.bytes_per_weight = 0.53125;
    model.weight_bytes = Some(Bytes(weights));
    let half = |kind| KvLayers { count: layers / 2, kind, heads: 8, elements: 128, bytes: 0 };
    model.kv_layers = vec![half(KvKind::SlidingWindow { tokens: 128 }), half(KvKind::Full)];
    model
}

fn deepseek_v3() -> ModelShape {
    let row = ("deepseek-ai/DeepSeek-V3", 61, 7168, 128, 128, 128, 0, 129_280, 163_840, false);
    let mut model = dense(&row);
    // One shared expert beside eight of 256; the three dense layers are counted as sparse ones.
    model.experts = Some(Experts { count: 257, active: 9, intermediate: 2048 });
    model.latent = Some(LatentAttention { rank: 512, rope: 64 });
    model.bytes_per_weight = 1.0;
    model.weight_bytes = Some(Bytes(671_000_000_000));
    model
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kv_bytes_per_token_are_the_published_ones() {
        for (name, bytes) in [
            ("Qwen/Qwen3-0.6B", 114_688),
            ("Qwen/Qwen3-4B", 147_456),
            ("Qwen/Qwen3-8B", 147_456),
            ("Qwen/Qwen3-14B", 163_840),
            ("Qwen/Qwen3-32B-AWQ", 262_144),
            ("Qwen/Qwen3-30B-A3B", 98_304),
            ("meta-llama/Llama-3.1-8B-Instruct", 131_072),
            ("meta-llama/Llama-3.1-70B", 327_680),
            ("meta-llama/Llama-3.2-1B", 32_768),
            ("meta-llama/Llama-3.2-3B", 114_688),
            ("mistralai/Mistral-7B-Instruct-v0.3", 131_072),
            ("openai/gpt-oss-20b", 24_576),
            ("openai/gpt-oss-120b", 36_864),
            ("deepseek-ai/DeepSeek-V3", 70_272),
            ("weir/tiny-qwen3", 4096),
        ] {
            assert_eq!(find(name).unwrap().kv_bytes_per_token(), Bytes(bytes), "{name}");
        }
    }

    #[test]
    fn computed_weights_match_the_published_parameter_counts() {
        for (name, gigabytes) in [
            ("Qwen/Qwen3-0.6B", 1.19),
            ("Qwen/Qwen3-8B", 16.38),
            ("Qwen/Qwen3-14B", 29.54),
            ("Qwen/Qwen3-32B", 65.52),
            ("Qwen/Qwen3-32B-AWQ", 19.3),
            ("Qwen/Qwen3-30B-A3B", 61.07),
            ("meta-llama/Llama-3.1-8B", 16.06),
            ("meta-llama/Llama-3.1-70B", 141.1),
            ("meta-llama/Llama-3.2-1B", 2.47),
            ("meta-llama/Llama-3.2-3B", 6.43),
            ("mistralai/Mistral-7B-v0.3", 14.5),
        ] {
            let computed = find(name).unwrap().weight_bytes.unwrap().0 as f64 / 1e9;
            assert!((computed / gigabytes - 1.0).abs() < 0.01, "{name}: {computed} GB");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<String> = all().into_iter().map(|model| model.name).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(count, 17);
    }
}
