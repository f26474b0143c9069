//! Defaults of model families whose published files leave out keys, from the configuration classes
//! of transformers 5.24. Files of other families must have the keys.

/// By `model_type`.
type FamilyDefaults = (&'static [&'static str], &'static [(&'static str, u32)]);

const GEMMA3: &[(&str, u32)] = &[
    ("vocab_size", 262_208),
    ("hidden_size", 2304),
    ("intermediate_size", 9216),
    ("num_hidden_layers", 26),
    ("num_attention_heads", 8),
    ("num_key_value_heads", 4),
    ("head_dim", 256),
    ("max_position_embeddings", 131_072),
    ("sliding_window", 4096),
    ("sliding_window_pattern", 6),
];
const DELTA_NET: &[(&str, u32)] = &[
    ("full_attention_interval", 4),
    ("linear_conv_kernel_dim", 4),
    ("linear_key_head_dim", 128),
    ("linear_value_head_dim", 128),
    ("linear_num_key_heads", 16),
    ("linear_num_value_heads", 32),
    ("head_dim", 256),
];

const FAMILIES: &[FamilyDefaults] = &[
    (&["gemma"], &[("head_dim", 256), ("vocab_size", 256_000), ("max_position_embeddings", 8192)]),
    (
        &["gemma2"],
        &[
            ("vocab_size", 256_000),
            ("num_attention_heads", 8),
            ("num_key_value_heads", 4),
            ("head_dim", 256),
            ("max_position_embeddings", 8192),
            ("sliding_window", 4096),
            ("sliding_window_pattern", 2),
        ],
    ),
    (&["gemma3", "gemma3_text"], GEMMA3),
    (
        &["gemma3n", "gemma3n_text"],
        &[
            ("vocab_size", 262_400),
            ("hidden_size", 2048),
            ("num_hidden_layers", 35),
            ("num_attention_heads", 8),
            ("num_key_value_heads", 2),
            ("head_dim", 256),
            ("max_position_embeddings", 32_768),
            ("sliding_window", 512),
            ("sliding_window_pattern", 5),
            ("num_kv_shared_layers", 15),
        ],
    ),
    (
        &["gemma4", "gemma4_text"],
        &[
            ("vocab_size", 262_144),
            ("hidden_size", 2304),
            ("intermediate_size", 9216),
            ("num_hidden_layers", 30),
            ("num_attention_heads", 8),
            ("num_key_value_heads", 4),
            ("head_dim", 256),
            ("global_head_dim", 512),
            ("max_position_embeddings", 131_072),
            ("sliding_window", 512),
            ("sliding_window_pattern", 6),
            ("hidden_size_per_layer_input", 256),
            ("vocab_size_per_layer_input", 262_144),
        ],
    ),
    (&["qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"], DELTA_NET),
    (&["qwen3_vl_text", "qwen3_vl", "qwen3_moe", "qwen3_vl_moe_text"], &[("head_dim", 128)]),
    (
        &["llama4", "llama4_text"],
        &[
            ("vocab_size", 202_048),
            ("hidden_size", 5120),
            ("intermediate_size", 8192),
            ("intermediate_size_mlp", 16_384),
            ("num_hidden_layers", 48),
            ("num_attention_heads", 40),
            ("num_key_value_heads", 8),
            ("head_dim", 128),
            ("max_position_embeddings", 131_072),
            ("num_experts_per_tok", 1),
            ("num_local_experts", 16),
            ("interleave_moe_layer_step", 1),
            ("no_rope_layer_interval", 4),
            ("attention_chunk_size", 8192),
        ],
    ),
    (
        &["gpt_oss"],
        &[
            ("head_dim", 64),
            ("num_key_value_heads", 8),
            ("sliding_window", 128),
            ("sliding_window_pattern", 2),
            ("num_experts_per_tok", 4),
        ],
    ),
    (&["cohere2"], &[("sliding_window", 4096), ("sliding_window_pattern", 4)]),
    (&["exaone4", "olmo3"], &[("sliding_window", 4096), ("sliding_window_pattern", 4)]),
    (&["mistral"], &[("num_key_value_heads", 8), ("sliding_window", 4096)]),
    (
        &["mixtral"],
        &[("num_key_value_heads", 8), ("num_local_experts", 8), ("num_experts_per_tok", 2)],
    ),
    (
        &["jamba"],
        &[
            ("attn_layer_period", 8),
            ("attn_layer_offset", 4),
            ("expert_layer_period", 2),
            ("expert_layer_offset", 1),
            ("mamba_d_state", 16),
            ("mamba_d_conv", 4),
            ("mamba_expand", 2),
        ],
    ),
    (
        &["bamba", "falcon_h1", "granitemoehybrid"],
        &[("mamba_d_conv", 4), ("mamba_expand", 2), ("mamba_n_groups", 1)],
    ),
];

const FLAGS: &[(&[&str], &str, bool)] = &[
    (
        &[
            "gemma",
            "gemma2",
            "gemma3",
            "gemma3_text",
            "gemma3n",
            "gemma3n_text",
            "gemma4",
            "gemma4_text",
            "cohere",
            "cohere2",
            "lfm2",
            "lfm2_moe",
            "smollm3",
        ],
        "tie_word_embeddings",
        true,
    ),
    (
        &["qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"],
        "attn_output_gate",
        true,
    ),
];

pub(super) fn number(family: &str, key: &str) -> Option<u32> {
    let (_, numbers) = FAMILIES.iter().find(|(names, _)| names.contains(&family))?;
    numbers.iter().find(|(name, _)| *name == key).map(|(_, number)| *number)
}

pub(super) fn flag(family: &str, key: &str) -> Option<bool> {
    let mut flags = FLAGS.iter().filter(|(names, name, _)| names.contains(&family) && *name == key);
    flags.next().map(|(.., flag)| *flag)
}
