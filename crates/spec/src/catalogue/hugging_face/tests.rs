//! Small files of each kind of layer, and files as exporters write them.

use serde_json::{Value, json};
use weir_model::{Bytes, KvKind, KvLayers};

use super::super::models;
use super::{ModelRead, parse as parse_bytes};

fn parse(config: &Value) -> Result<ModelRead, String> {
    parse_bytes(config.to_string().as_bytes(), None, ("m", "config"))
}

fn qwen3_8b() -> Value {
    json!({
        "num_hidden_layers": 36, "hidden_size": 4096, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 12288,
        "vocab_size": 151936, "max_position_embeddings": 40960, "tie_word_embeddings": false,
    })
}

/// Null removes a key.
fn changed(changes: &Value) -> Value {
    let mut config = qwen3_8b();
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => config.as_object_mut().unwrap().remove(key),
            value => config.as_object_mut().unwrap().insert(key.clone(), value.clone()),
        };
    }
    config
}

fn caches(changes: &Value) -> Vec<KvLayers> {
    parse(&changed(changes)).unwrap().shape.kv_layers()
}

fn layers(count: u32, kind: KvKind, heads: u32, elements: u32, bytes: u64) -> KvLayers {
    KvLayers { count, kind, heads, elements, bytes }
}

fn full(count: u32) -> KvLayers {
    layers(count, KvKind::Full, 8, 256, 0)
}

fn window(count: u32, tokens: u32) -> KvLayers {
    layers(count, KvKind::SlidingWindow { tokens }, 8, 256, 0)
}

fn state(count: u32, bytes: u64) -> KvLayers {
    layers(count, KvKind::State, 1, 0, bytes)
}

#[test]
fn the_catalogue_and_the_file_agree() {
    let read =
        parse_bytes(qwen3_8b().to_string().as_bytes(), None, ("Qwen/Qwen3-8B", "config")).unwrap();
    assert_eq!(read.shape, models::find("Qwen/Qwen3-8B").unwrap());
    assert_eq!(read.unknown_weights, None);
}

#[test]
fn head_dim_follows_from_hidden_where_it_is_absent() {
    let read = parse(&changed(&json!({"head_dim": null}))).unwrap();
    assert_eq!(read.shape.head_dim, 128);
    let odd = parse(&changed(&json!({"head_dim": null, "num_attention_heads": 30})));
    assert!(odd.unwrap_err().contains("head_dim"));
}

#[test]
fn windows_are_found_however_they_are_written() {
    let types: Vec<&str> = ["sliding_attention", "full_attention"].repeat(18);
    for (changes, expected) in [
        (json!({"layer_types": types, "sliding_window": 128}), vec![window(18, 128), full(18)]),
        (
            json!({"sliding_window": 1024, "sliding_window_pattern": 6}),
            vec![window(30, 1024), full(6)],
        ),
        (
            json!({"sliding_window": 512, "sliding_window_pattern": "LLLG"}),
            vec![window(27, 512), full(9)],
        ),
        (json!({"sliding_window": 4096}), vec![window(36, 4096)]),
        (
            json!({"sliding_window": 4096, "use_sliding_window": true, "max_window_layers": 28}),
            vec![full(28), window(8, 4096)],
        ),
        (json!({"sliding_window": 4096, "use_sliding_window": false}), vec![full(36)]),
        // As long as the longest sequence: it never drops a token.
        (json!({"sliding_window": 40960}), vec![full(36)]),
        (json!({"model_type": "mistral"}), vec![window(36, 4096)]),
        // Half of the layers have wider values than keys, and heads of their own.
        (
            json!({
                "hybrid_layer_pattern": ([0, 1].repeat(18)), "sliding_window": 128, "head_dim": 192,
                "v_head_dim": 128, "num_key_value_heads": 4, "swa_num_key_value_heads": 8,
            }),
            vec![
                layers(18, KvKind::Full, 4, 320, 0),
                layers(18, KvKind::SlidingWindow { tokens: 128 }, 8, 320, 0),
            ],
        ),
    ] {
        assert_eq!(caches(&changes), expected, "{changes}");
    }
    assert!(
        parse(&changed(&json!({"layer_types": types}))).unwrap_err().contains("`sliding_window`")
    );
}

#[test]
fn chunks_follow_from_the_layers_without_positions() {
    let chunks = layers(27, KvKind::Chunked { tokens: 8192 }, 8, 256, 0);
    let changes = json!({"attention_chunk_size": 8192});
    assert_eq!(caches(&changes), vec![chunks, full(9)]);
    let changes = json!({"attention_chunk_size": 8192, "no_rope_layers": ([1, 1, 1, 0].repeat(9))});
    assert_eq!(caches(&changes), vec![chunks, full(9)]);
}

#[test]
fn states_of_each_kind_have_the_bytes_that_vllm_gives_them() {
    let delta = json!({
        "linear_num_key_heads": 16, "linear_key_head_dim": 128, "linear_num_value_heads": 32,
        "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "full_attention_interval": 4,
    });
    // (2 x 16 x 128 + 32 x 128) x 3 x 2 + 32 x 128 x 128 x 2.
    assert_eq!(caches(&delta), vec![state(27, 49_152 + 1_048_576), full(9)]);
    let mut in_32_bits = delta;
    in_32_bits["mamba_ssm_dtype"] = json!("float32");
    assert_eq!(caches(&in_32_bits), vec![state(27, 49_152 + 2_097_152), full(9)]);

    let pattern = "M-M-M*-M-".repeat(4);
    let nemotron = json!({
        "model_type": "nemotron_h", "hybrid_override_pattern": pattern, "num_hidden_layers": null,
        "mamba_num_heads": 128, "mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 128,
        "conv_kernel": 4,
    });
    // (8192 + 2 x 8 x 128) x 3 x 2 + 128 x 64 x 128 x 4.
    assert_eq!(caches(&nemotron), vec![state(16, 61_440 + 4_194_304), full(4)]);

    let jamba = json!({"model_type": "jamba", "num_experts": 1});
    // 32 layers of Mamba's first kind: 8192 x 3 x 2 + 8192 x 16 x 2.
    assert_eq!(caches(&jamba), vec![state(32, 49_152 + 262_144), full(4)]);

    let kinds: Vec<&str> = ["conv", "conv", "full_attention"].repeat(12);
    let lfm = json!({"layer_types": kinds, "conv_L_cache": 3});
    // 4096 x 2 x 2.
    assert_eq!(caches(&lfm), vec![state(24, 16_384), full(12)]);

    let lightning = json!({"model_type": "minimax", "attn_type_list": ([0, 0, 0, 1].repeat(9))});
    // 32 x 128 x 128 x 2.
    assert_eq!(caches(&lightning), vec![state(27, 1_048_576), full(9)]);

    let falcon = json!({
        "model_type": "falcon_h1", "mamba_n_heads": 24, "mamba_d_head": 64, "mamba_d_state": 128,
    });
    // (1536 + 2 x 128) x 3 x 2 + 24 x 64 x 128 x 2, and attention in each layer too.
    assert_eq!(caches(&falcon), vec![full(36), state(36, 10_752 + 393_216)]);
}

fn latent() -> Value {
    json!({
        "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
        "q_lora_rank": 1536,
    })
}

fn with(mut base: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

#[test]
fn latents_and_their_index_are_counted_once() {
    let latents = layers(36, KvKind::Latent, 1, 576, 0);
    assert_eq!(caches(&latent()), vec![latents]);
    let index = json!({"index_topk": 2048, "index_head_dim": 128, "index_n_heads": 64});
    let keys = layers(36, KvKind::SparseIndex { ratio: 1 }, 1, 0, 132);
    assert_eq!(caches(&with(latent(), &index)), vec![latents, keys]);
}

#[test]
fn kimis_delta_layers_stand_beside_latents() {
    let full: Vec<u32> = (1..=36).filter(|number| number % 4 == 0).collect();
    let linear: Vec<u32> = (1..=36).filter(|number| number % 4 != 0).collect();
    let config = json!({"linear_attn_config": {
        "full_attn_layers": full, "kda_layers": linear, "num_heads": 32, "head_dim": 128,
        "short_conv_kernel_size": 4,
    }});
    // 3 x 32 x 128 x 3 x 2 + 32 x 128 x 128 x 4.
    let expected = vec![state(27, 73_728 + 2_097_152), layers(9, KvKind::Latent, 1, 576, 0)];
    assert_eq!(caches(&with(latent(), &config)), expected);
    // States add nothing per token, so the latents beside them count once over the ranks.
    let shape = parse(&changed(&with(latent(), &config))).unwrap().shape;
    assert!(shape.kv_is_replicated());
    assert_eq!(shape.kv_bytes_per_token_over(8), shape.kv_bytes_per_token());
}

#[test]
fn compressed_layers_keep_a_window_and_one_vector_for_several_tokens() {
    let changes = json!({
        "model_type": "deepseek_v4", "num_hidden_layers": 3, "compress_ratios": [0, 4, 128, 0],
        "head_dim": 512, "sliding_window": 128, "index_head_dim": 128, "index_n_heads": 64,
        "index_topk": 512, "q_lora_rank": 1024, "o_lora_rank": 1024, "o_groups": 8,
    });
    let vector = |count, kind, bytes| layers(count, kind, 1, 0, bytes);
    assert_eq!(
        caches(&changes),
        vec![
            vector(3, KvKind::LatentWindow { tokens: 128 }, 584),
            vector(1, KvKind::Compressed { ratio: 4 }, 584),
            vector(1, KvKind::LatentWindow { tokens: 8 }, 8192),
            vector(1, KvKind::SparseIndex { ratio: 4 }, 132),
            vector(1, KvKind::LatentWindow { tokens: 8 }, 2048),
            vector(1, KvKind::Compressed { ratio: 128 }, 584),
            vector(1, KvKind::LatentWindow { tokens: 128 }, 4096),
        ]
    );
}

#[test]
fn shared_and_wider_layers_are_counted_as_they_are() {
    // The last ten layers read what earlier ones keep.
    let shared = json!({"num_kv_shared_layers": 10});
    assert_eq!(caches(&shared), vec![full(26)]);
    let gemma = json!({
        "model_type": "gemma4_text", "attention_k_eq_v": true, "num_global_key_value_heads": 2,
        "head_dim": 256, "sliding_window": 1024, "hidden_size_per_layer_input": 0,
    });
    assert_eq!(
        caches(&gemma),
        vec![
            layers(30, KvKind::SlidingWindow { tokens: 1024 }, 8, 512, 0),
            layers(6, KvKind::Full, 2, 1024, 0),
        ]
    );
}

#[test]
fn kinds_that_are_not_known_are_refused_by_name() {
    for (changes, name) in [
        (
            json!({"layer_types": (["full_attention", "ring_attention"].repeat(18))}),
            "ring_attention",
        ),
        (json!({"layers_block_type": (["attention", "hybrid"].repeat(18))}), "hybrid"),
        (json!({"hybrid_override_pattern": "MX".repeat(18)}), "`X`"),
        (json!({"attn_type_list": ([0, 2].repeat(18))}), "2 (`attn_type_list`)"),
        (json!({"compress_ratios": ([8].repeat(36))}), "compress 8 tokens"),
        (json!({"block_types": ["recurrent", "attention"]}), "`block_types`"),
        (json!({"rwkv_head_size": 64}), "`rwkv_head_size`"),
        (json!({"moba_chunk": 4096}), "`moba_chunk`"),
        (json!({"sparse_attention_config": {"topk": 16}}), "`sparse_attention_config`"),
        (json!({"is_encoder_decoder": true}), "`is_encoder_decoder`"),
        (with(latent(), &json!({"sliding_window": 128})), "sliding window over latents"),
        (json!({"layer_types": ["full_attention"]}), "kinds of 1 layers"),
    ] {
        let said = parse(&changed(&changes)).unwrap_err();
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn experts_stand_in_the_layers_that_have_them() {
    // Hidden 4096: an MLP of 1024 has 12,582,912 weights.
    let mlp = 3.0 * 4096.0 * 1024.0;
    let plain = |changes: &Value| {
        let read = parse(&changed(changes)).unwrap().shape;
        let attention = 36.0 * 4096.0 * (64.0 + 16.0) * 128.0;
        (read.weight_bytes.unwrap().0 as f64 / 2.0 - attention - 2.0 * 151_936.0 * 4096.0) / mlp
    };
    let experts = json!({
        "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 1024,
        "intermediate_size": 2048,
    });
    // A router has 8 x 4096 weights: 0.0026 of an expert.
    let router = 8.0 * 4096.0 / mlp;
    for (more, sparse, dense, shared) in [
        (json!({}), 36.0, 0.0, 0.0),
        (json!({"decoder_sparse_step": 2}), 18.0, 18.0, 0.0),
        (json!({"mlp_only_layers": [0, 1, 2]}), 33.0, 3.0, 0.0),
        (json!({"first_k_dense_replace": 3, "n_shared_experts": 2}), 33.0, 3.0, 2.0),
        (json!({"moe_layer_freq": ([0, 1].repeat(18))}), 18.0, 18.0, 0.0),
        (json!({"interleave_moe_layer_step": 3}), 12.0, 24.0, 0.0),
        (json!({"shared_expert_intermediate_size": 512}), 36.0, 0.0, 0.5),
    ] {
        let found = plain(&with(experts.clone(), &more));
        let expected = sparse * (8.0 + router + shared) + dense * 2.0;
        assert!((found - expected).abs() < 1e-6, "{more}: {found}, not {expected}");
    }
}

#[test]
fn quantisations_have_their_bits_and_keep_what_they_keep() {
    // Attention 36 x 41,943,040; MLP 36 x 150,994,944; embeddings and head 2 x 622,329,856.
    let (attention, mlp, ends) = (1.509_949_440e9, 5.435_817_984e9, 1.244_659_712e9);
    let groups = |weights: Value| json!({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}});
    for (config, bytes) in [
        (Value::Null, 2.0 * (attention + mlp + ends)),
        (json!({"quant_method": "fp8"}), attention + mlp + 2.0 * ends),
        (groups(json!({"num_bits": 8, "type": "float"})), attention + mlp + 2.0 * ends),
        (
            groups(json!({"num_bits": 4, "type": "int", "group_size": 32, "symmetric": true})),
            0.5625 * (attention + mlp) + 2.0 * ends,
        ),
        (
            json!({"quant_method": "modelopt", "quant_algo": "NVFP4"}),
            0.5625 * (attention + mlp) + 2.0 * ends,
        ),
        (
            json!({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", "model.layers.*.self_attn*"]}),
            2.0 * attention + 0.5625 * mlp + 2.0 * ends,
        ),
        (
            json!({"quant_method": "fp8", "modules_to_not_convert": ["model.layers.0.mlp", "gate"]}),
            attention + mlp * (1.0 + 1.0 / 36.0) + 2.0 * ends,
        ),
        (
            json!({"quant_method": "compressed-tensors", "ignore": ["re:.*mlp\\.(gate|up)_proj.*"],
                   "config_groups": {"g": {"weights": {"num_bits": 8}}}}),
            attention + 2.0 * mlp + 2.0 * ends,
        ),
        (
            json!({"quant_method": "bitsandbytes", "load_in_8bit": true}),
            attention + mlp + 2.0 * ends,
        ),
    ] {
        let mut file = qwen3_8b();
        file["quantization_config"] = config.clone();
        let found = parse(&file).unwrap().shape.weight_bytes.unwrap().0 as f64;
        assert!((found / bytes - 1.0).abs() < 1e-6, "{config}: {found}, not {bytes}");
    }
}

#[test]
fn unknown_weights_leave_the_kv_figures() {
    for (key, config, word) in [
        ("quantization_config", json!({"quant_method": "sorcery"}), "`sorcery`"),
        ("quantization_config", json!({"quant_method": "compressed-tensors"}), "config_groups"),
        ("quantization_config", json!({"quant_method": "modelopt", "quant_algo": "X9"}), "`X9`"),
        ("moe_latent_size", json!(1024), "moe_latent_size"),
    ] {
        let read = parse(&changed(&json!({key: config}))).unwrap();
        assert_eq!(read.shape.kv_bytes_per_token(), Bytes(147_456));
        assert_eq!(read.shape.weight_bytes, None);
        assert!(read.unknown_weights.clone().unwrap().contains(word), "{read:?}");
    }
}

#[test]
fn a_cache_in_8_bits_is_read_from_either_file() {
    let scheme = json!({"num_bits": 8, "type": "float", "dynamic": false});
    let inside = json!({"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": scheme}});
    let read = parse(&changed(&inside)).unwrap().shape;
    assert_eq!(read.kv_bytes_per_token(), Bytes(73_728));
    let beside = br#"{"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}}"#;
    let read = parse_bytes(qwen3_8b().to_string().as_bytes(), Some(beside), ("m", "config"))
        .unwrap()
        .shape;
    assert_eq!(read.kv_bytes_per_token(), Bytes(73_728));
    assert!(read.weight_bytes.unwrap() < Bytes(7_000_000_000));
    let broken =
        parse_bytes(qwen3_8b().to_string().as_bytes(), Some(b"{"), ("m", "config")).unwrap_err();
    assert!(broken.starts_with("hf_quant_config.json beside it: not JSON"), "{broken}");
}

#[test]
fn files_are_read_as_python_and_windows_write_them() {
    let mut text = qwen3_8b().to_string();
    text.pop();
    text += r#", "limits": [0.0, Infinity, -Infinity, NaN], "note": "NaN \" Infinity"}"#;
    let plain = parse_bytes(text.as_bytes(), None, ("m", "config")).unwrap();
    assert_eq!(plain.shape.kv_bytes_per_token(), Bytes(147_456));
    let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    assert_eq!(parse_bytes(&marked, None, ("m", "config")).unwrap(), plain);
    let wide: Vec<u8> =
        [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    assert_eq!(parse_bytes(&wide, None, ("m", "config")).unwrap(), plain);
    assert!(parse_bytes(b"\xff\xff{}", None, ("m", "config")).unwrap_err().contains("UTF-8"));
    assert!(parse_bytes(b"[1]", None, ("m", "config")).unwrap_err().contains("map of keys"));
}

#[test]
fn the_language_model_is_found_under_any_name() {
    let text = qwen3_8b();
    for whole in [
        json!({"text_config": text, "vision_config": {"hidden_size": 1, "depth": 1}}),
        json!({"llm_config": text}),
        json!({"thinker_config": {"text_config": text, "audio_config": {"hidden_size": 1}}}),
        json!({"brain": text, "vision_tower": {"hidden_size": 1}, "talker_config": {"hidden_size": 2}}),
    ] {
        assert_eq!(parse(&whole).unwrap().shape.kv_bytes_per_token(), Bytes(147_456));
    }
    let two = json!({"brain": text, "second": text});
    assert!(parse(&two).unwrap_err().contains("`brain`, `second`"));
}

#[test]
fn defaults_of_a_family_are_known_and_all_missing_keys_named_at_once() {
    let gemma = json!({"model_type": "gemma3", "text_config": {
        "model_type": "gemma3_text", "num_hidden_layers": 34, "hidden_size": 2560,
        "intermediate_size": 10240, "sliding_window": 1024,
    }});
    let read = parse(&gemma).unwrap().shape;
    // Every sixth of 34 layers is full: 5 x 4 x 2 x 256 x 2.
    assert_eq!(read.kv_bytes_per_token(), Bytes(20_480));
    assert_eq!(read.kv_bytes_per_sequence_over(1, 100_000), Bytes(29 * 4096 * 1024));
    // 3.88 billion parameters without the vision tower, embeddings once.
    assert!((read.weight_bytes.unwrap().0 as f64 / 7.76e9 - 1.0).abs() < 0.01, "{read:?}");
    assert_eq!(
        parse(&json!({"model_type": "novel", "hidden_size": 64})).unwrap_err(),
        "missing `num_hidden_layers`, `num_attention_heads`, `max_position_embeddings`, \
         `intermediate_size`, `vocab_size`, and Weir knows no defaults of `novel` for it; add it \
         to the file"
    );
}

#[test]
fn absurd_figures_are_named() {
    assert_eq!(
        parse(&changed(&json!({"vocab_size": -5}))).unwrap_err(),
        "`vocab_size` is -5, which is not a whole number from 1 to 16777216"
    );
    assert!(parse(&changed(&json!({"num_hidden_layers": 3.5}))).unwrap_err().contains("3.5"));
    assert_eq!(caches(&json!({"num_hidden_layers": 36.0})), vec![full(36)]);
}

#[test]
fn a_pattern_keeps_what_the_family_has_below_it() {
    // 36 layers of 8 experts of 3 x 4096 x 1536 in 0.5625 bytes, where they are not kept.
    let experts = 36.0 * 8.0 * 3.0 * 4096.0 * 1536.0;
    let bytes = |family: &str, pattern: &str| {
        let ignored: Vec<String> =
            (0..36).map(|layer| format!("model.layers.{layer}.{pattern}")).collect();
        let file = changed(&json!({
            "model_type": family, "num_experts": 8, "num_local_experts": 8,
            "n_routed_experts": 8, "num_experts_per_tok": 2, "top_k_experts": 2,
            "moe_intermediate_size": 1536, "sliding_window": 512,
            "quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4",
                                    "ignore": ignored},
        }));
        parse(&file).unwrap().shape.weight_bytes.unwrap().0 as f64
    };
    for (family, below) in [
        ("qwen3_moe", "mlp"),
        ("mixtral", "block_sparse_moe"),
        ("minimax_m2", "block_sparse_moe"),
        ("glm4_moe", "mlp"),
    ] {
        for pattern in ["mlp*", "block_sparse_moe*", "*.experts.*", "experts*"] {
            let (kept, none) = (bytes(family, pattern), bytes(family, "x"));
            let is_kept = (kept - none) / experts > 1.4;
            let wanted = pattern.starts_with(below) || pattern.starts_with("*.");
            assert_eq!(is_kept, wanted, "{family} {pattern}: {kept} and {none}");
        }
    }
}

#[test]
fn quantization_that_only_a_name_or_a_stray_key_tells_is_unknown() {
    let read = |config: Value, names: (&str, &str)| {
        parse_bytes(config.to_string().as_bytes(), None, names).unwrap()
    };
    for name in [
        "DeepSeek-V3.1-NVFP4",
        "Qwen3-8B-FP8",
        "qwen3-8b-awq",
        "m-GPTQ-Int4",
        "m_w4a16",
        "x-int8",
        "Llama-FP8-dynamic",
        "q.gguf",
        "x-bnb-4bit",
        "m-MXFP4",
    ] {
        for names in [(name, "config"), ("folder", name)] {
            let read = read(qwen3_8b(), names);
            assert_eq!(read.shape.weight_bytes, None, "{name}");
            assert_eq!(read.shape.kv_bytes_per_token(), Bytes(147_456));
        }
        let named = changed(&json!({"_name_or_path": name}));
        assert_eq!(read(named, ("m", "config")).shape.weight_bytes, None, "{name}");
    }
    for more in [
        json!({"torch_dtype": "float8_e4m3fn"}),
        json!({"quantization": "fp8"}),
        json!({"quant_method": "awq"}),
    ] {
        assert_eq!(read(changed(&more), ("m", "config")).shape.weight_bytes, None, "{more}");
    }
    for (more, name) in [
        (json!({"torch_dtype": "bfloat16"}), "Qwen3-8B-BF16"),
        (json!({"quantization_config": null, "quantized": false}), "gpt-oss-internal"),
        (json!({"kv_cache_quant_algo": "FP8"}), "gemma-qat-q4_0-unquantized"),
        // Read, under its older name.
        (json!({"compression_config": {"quant_method": "fp8"}}), "m-FP8"),
    ] {
        let read = read(changed(&more), (name, "config"));
        assert!(read.shape.weight_bytes.is_some(), "{name}: {:?}", read.unknown_weights);
    }
}

#[test]
fn a_scale_of_positions_counts_where_the_file_leaves_it_out() {
    for (scaling, context) in [
        (json!({"type": "linear", "factor": 4.0}), 163_840),
        (json!({"rope_type": "dynamic", "factor": 2.0}), 81_920),
        (json!({"rope_type": "yarn", "factor": 4.0}), 40_960),
        (json!({"rope_type": "llama3", "factor": 8.0}), 40_960),
        (json!({"rope_type": "default", "mrope_section": [1, 2, 3]}), 40_960),
        (json!({"full_attention": {"rope_type": "proportional"}}), 40_960),
    ] {
        let read = parse(&changed(&json!({"rope_scaling": scaling}))).unwrap();
        assert_eq!(read.shape.context, context, "{scaling}");
    }
}
