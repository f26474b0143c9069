//! Published `config.json` files of served models, against arithmetic by hand.
//!
//! The files are not part of the project: `WEIR_MODEL_CONFIGS` names their folder, with one folder
//! per model. The reader's own tests cover each kind of layer without them.

use std::path::PathBuf;

use weir_spec::catalogue::hugging_face;

/// Folder, bytes per token of growth, other bytes per sequence of 100,000 tokens, and gigabytes of
/// weights where a parameter count is published.
type Row = (&'static str, u64, u64, Option<f64>);

/// Layers x KV heads x (key + value) x bytes per element; `2 x 128` is a head of 128.
const PLAIN: [Row; 24] = [
    // 62 x 8 x 2 x 128 x 2; 229 billion parameters in fp8.
    ("MiniMaxAI--MiniMax-M2.5", 253_952, 0, Some(229.9)),
    // The same with an fp8 cache; experts in 4 bits.
    ("nvidia--MiniMax-M2.5-NVFP4", 126_976, 0, Some(131.8)),
    // 28 x 8 x 2 x 128 x 2; 0.596 billion in bf16.
    ("Qwen--Qwen3-0.6B", 114_688, 0, Some(1.19)),
    ("Qwen--Qwen3-1.7B", 114_688, 0, Some(3.44)),
    // 36 x 8 x 2 x 128 x 2.
    ("Qwen--Qwen3-8B", 147_456, 0, Some(16.38)),
    // 64 x 8 x 2 x 128 x 2.
    ("Qwen--Qwen3-32B", 262_144, 0, Some(65.52)),
    // Embeddings and head in bf16.
    ("Qwen--Qwen3-32B-FP8", 262_144, 0, Some(34.3)),
    // 48 x 4 x 2 x 128 x 2.
    ("Qwen--Qwen3-30B-A3B", 98_304, 0, Some(61.07)),
    ("Qwen--Qwen3-30B-A3B-FP8", 98_304, 0, Some(31.2)),
    // 94 x 4 x 2 x 128 x 2; 235.1 billion.
    ("Qwen--Qwen3-235B-A22B", 192_512, 0, Some(470.2)),
    ("Qwen--Qwen3-235B-A22B-FP8", 192_512, 0, Some(236.4)),
    ("nvidia--Qwen3-235B-A22B-NVFP4", 192_512, 0, None),
    // 62 x 8 x 2 x 128 x 2; 480.2 billion.
    ("Qwen--Qwen3-Coder-480B-A35B-Instruct", 253_952, 0, Some(960.3)),
    // With their vision towers: 2.13, 4.44, 8.77, 31.1, 33.4 and 236 billion.
    ("Qwen--Qwen3-VL-2B-Instruct", 114_688, 0, Some(4.26)),
    ("Qwen--Qwen3-VL-4B-Instruct", 147_456, 0, Some(8.88)),
    ("Qwen--Qwen3-VL-8B-Instruct", 147_456, 0, Some(17.53)),
    ("Qwen--Qwen3-VL-30B-A3B-Instruct", 98_304, 0, Some(62.1)),
    ("Qwen--Qwen3-VL-32B-Instruct", 262_144, 0, Some(66.7)),
    ("Qwen--Qwen3-VL-32B-Thinking", 262_144, 0, Some(66.7)),
    ("Qwen--Qwen3-VL-235B-A22B-Instruct", 192_512, 0, Some(471.3)),
    // 36 x 8 x 2 x 128 x 2: `use_sliding_window` is false. 7.62 billion without the draft layer.
    ("XiaomiMiMo--MiMo-7B-Base", 147_456, 0, Some(15.2)),
    // 32 x 8 x 2 x 128 x 2 and 56 x 8 x 2 x 128 x 2: 46.7 and 140.6 billion.
    ("mistralai--Mixtral-8x7B-v0.1", 131_072, 0, Some(93.4)),
    ("mistralai--Mixtral-8x22B-v0.1", 229_376, 0, Some(281.2)),
    // 126 x 8 x 2 x 128 x 2; 405.9 billion.
    ("meta-llama--Meta-Llama-3.1-405B", 516_096, 0, Some(811.7)),
];

const KINDS: [Row; 29] = [
    ("meta-llama--Meta-Llama-3.1-8B", 131_072, 0, Some(16.06)),
    ("meta-llama--Meta-Llama-3.1-70B", 327_680, 0, Some(141.1)),
    // 12 full layers: 12 x 8 x 2 x 64 x 2; 12 windows of 128 tokens. 20.9 billion.
    ("openai--gpt-oss-20b", 24_576, 24_576 * 128, Some(13.76)),
    // 18 of 36. 116.8 billion.
    ("openai--gpt-oss-120b", 36_864, 36_864 * 128, Some(65.25)),
    // 12 full layers: 12 x 8 x 2 x 128 x 2; 36 that see their chunk of 8192. 400.7 and 107.8
    // billion without the vision tower, whose sizes these files do not give.
    ("meta-llama--Llama-4-Maverick-17B-128E-Instruct", 49_152, 147_456 * 8192, Some(801.4)),
    ("meta-llama--Llama-4-Scout-17B-16E-Instruct", 49_152, 147_456 * 8192, Some(215.5)),
    // 61 x (512 + 64) x 2; 671 billion in fp8.
    ("deepseek-ai--DeepSeek-V3", 70_272, 0, Some(672.0)),
    ("deepseek-ai--DeepSeek-R1", 70_272, 0, Some(672.0)),
    ("nvidia--DeepSeek-V3.1-NVFP4", 70_272, 0, None),
    // And 61 index keys of 128 + 4 bytes.
    ("deepseek-ai--DeepSeek-V3.2", 78_324, 0, Some(673.0)),
    ("nvidia--DeepSeek-V3.2-NVFP4", 78_324, 0, None),
    // The same latents; 1.026 trillion in fp8.
    ("moonshotai--Kimi-K2-Instruct", 70_272, 0, Some(1028.0)),
    // Experts in 4 bits with 16-bit scales per 32: 1015 x 0.5625 + 11 x 2.
    ("moonshotai--Kimi-K2.5", 70_272, 0, Some(594.5)),
    // An fp8 cache: 61 x 576.
    ("nvidia--Kimi-K2.5-NVFP4", 35_136, 0, Some(590.0)),
    // 24 full layers: 24 x 576 x 2. 69 states of 3 x 96 x 128 x 3 x 2 + 96 x 128 x 128 x 4.
    ("moonshotai--Kimi-K3", 27_648, 69 * 6_512_640, None),
    // 78 x (576 x 2 + 132); 744 billion.
    ("zai-org--GLM-5", 100_152, 0, Some(1488.0)),
    ("zai-org--GLM-5-FP8", 100_152, 0, Some(746.0)),
    ("nvidia--GLM-5-NVFP4", 100_152, 0, None),
    // 21 layers of ratio 4: (584 + 132) / 4 each; 20 of ratio 128: 584 / 128. Windows of 43 x 128 x
    // 584; scores of 21 x 8 x (8192 + 2048) and 20 x 128 x 4096. 284 billion, experts in 4 bits.
    ("deepseek-ai--DeepSeek-V4-Flash", 3850, V4_SEQUENCE, Some(156.5)),
    // Experts 277.0 x 0.5625; attention, shared experts, embeddings and head 7.3 x 2.
    ("nvidia--DeepSeek-V4-Flash-NVFP4", 3850, V4_SEQUENCE, Some(170.4)),
    ("sgl-project--DeepSeek-V4-Flash-FP8", 3850, V4_SEQUENCE, Some(285.0)),
    // 5 full layers of 2 heads of 512, 25 windows of 1024 tokens with 8 heads of 256. 26 billion.
    ("google--gemma-4-26B-A4B", 20_480, 8192 * 25 * 1024, Some(51.6)),
    // An fp8 cache. 128 experts of 3 x 704 x 2816 in each of 30 layers, 22.84 billion, in 0.5625
    // bytes; the rest of 25.8 billion in 2.
    ("nvidia--Gemma-4-26B-A4B-NVFP4", 10_240, 4096 * 25 * 1024, Some(18.8)),
    // 16 full layers: 16 x 4 x 2 x 256 x 2. 48 states of (2 x 16 + 48) x 128 x 3 x 2 and
    // 48 x 128 x 128 x 4.
    ("Qwen--Qwen3.5-27B", 65_536, 48 * 3_207_168, Some(54.7)),
    // 10 of 40, 2 heads; 30 states with 32 heads.
    ("Qwen--Qwen3.5-35B-A3B", 20_480, 30 * 2_146_304, Some(70.2)),
    // 12 of 48; 36 states with 64 heads.
    ("Qwen--Qwen3.5-122B-A10B", 24_576, 36 * 4_268_032, Some(245.1)),
    ("nvidia--Qwen3.5-122B-A10B-NVFP4", 12_288, 36 * 4_268_032, None),
    // 15 of 60; 45 states.
    ("Qwen--Qwen3.5-397B-A17B", 30_720, 45 * 4_268_032, Some(793.0)),
    ("nvidia--Qwen3.5-397B-A17B-NVFP4", 15_360, 45 * 4_268_032, None),
];

/// Quantised by name only: the file that describes it is missing.
const UNSAID: [&str; 4] = [
    "nvidia--Qwen3-235B-A22B-NVFP4",
    "nvidia--DeepSeek-V3.1-NVFP4",
    "nvidia--DeepSeek-V3.2-NVFP4",
    "nvidia--GLM-5-NVFP4",
];

const V4_SEQUENCE: u64 = 43 * 128 * 584 + 21 * 8 * (8192 + 2048) + 20 * 128 * 4096;

/// Published counts differ in what they leave out.
const TOLERANCE: f64 = 0.02;

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("WEIR_MODEL_CONFIGS").filter(|folder| !folder.is_empty());
    if folder.is_none() {
        let why = "WEIR_MODEL_CONFIGS is not set: published config.json files are not checked";
        assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "{why}");
        println!("SKIPPED model configurations: {why}");
    }
    folder.map(PathBuf::from)
}

#[test]
fn published_configurations_have_the_figures_of_arithmetic_by_hand() {
    let Some(folder) = folder() else { return };
    let mut wrong = Vec::new();
    for (name, per_token, per_sequence, gigabytes) in PLAIN.iter().chain(&KINDS) {
        let read = match hugging_face::read(&folder.join(name).join("config.json")) {
            Ok(read) => read,
            Err(error) => {
                wrong.push(error.to_string());
                continue;
            }
        };
        let found = read.shape.kv_bytes_per_token().0;
        if found != *per_token {
            wrong.push(format!("{name}: {found} bytes per token, not {per_token}"));
        }
        let found = read.shape.kv_bytes_per_sequence_over(1, 100_000).0;
        if found != *per_sequence {
            wrong.push(format!("{name}: {found} bytes per sequence, not {per_sequence}"));
        }
        if UNSAID.contains(name) {
            let why = read.unknown_weights.unwrap_or_default();
            if read.shape.weight_bytes.is_some() || !why.contains("`NVFP4`") {
                wrong.push(format!("{name}: its weights are not known: {why}"));
            }
            continue;
        }
        let found = read.shape.weight_bytes.map(|bytes| bytes.0 as f64 / 1e9);
        let near = |found: f64, wanted: f64| (found / wanted - 1.0).abs() < TOLERANCE;
        match (found, gigabytes) {
            (None, _) => {
                wrong.push(format!("{name}: {}", read.unknown_weights.unwrap_or_default()));
            }
            (Some(found), Some(wanted)) if !near(found, *wanted) => {
                wrong.push(format!("{name}: {found:.2} GB of weights, not {wanted}"));
            }
            (Some(_), _) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_published_configuration_is_in_the_table() {
    let Some(folder) = folder() else { return };
    let known = |name: &str| PLAIN.iter().chain(&KINDS).any(|(row, ..)| *row == name);
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let strange: Vec<String> = names.filter(|name| !known(name)).collect();
    assert!(strange.is_empty(), "{strange:?}");
}
