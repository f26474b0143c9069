"""Writes a tiny Qwen3 with random weights and a byte-level BPE tokenizer: TARGET_DIR.

The weights are normal with a standard deviation of 0.02 and unit norms, so that the greedy answer
depends on what the KV cache holds (uniform dummy weights give the same tokens whatever it holds).
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file
from tiny_tokenizer import VOCABULARY, write, write_tokenizer

LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD_DIM, INTERMEDIATE = 4, 128, 4, 2, 32, 256


def write_weights(folder: pathlib.Path) -> None:
    generator = torch.Generator().manual_seed(889)

    def normal(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * 0.02).to(torch.bfloat16)

    ones = lambda size: torch.ones(size, dtype=torch.bfloat16)
    weights = {
        "model.embed_tokens.weight": normal(VOCABULARY, HIDDEN),
        "model.norm.weight": ones(HIDDEN),
        "lm_head.weight": normal(VOCABULARY, HIDDEN),
    }
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        weights |= {
            at + "input_layernorm.weight": ones(HIDDEN),
            at + "post_attention_layernorm.weight": ones(HIDDEN),
            at + "self_attn.q_proj.weight": normal(HEADS * HEAD_DIM, HIDDEN),
            at + "self_attn.k_proj.weight": normal(KV_HEADS * HEAD_DIM, HIDDEN),
            at + "self_attn.v_proj.weight": normal(KV_HEADS * HEAD_DIM, HIDDEN),
            at + "self_attn.o_proj.weight": normal(HIDDEN, HEADS * HEAD_DIM),
            at + "self_attn.q_norm.weight": ones(HEAD_DIM),
            at + "self_attn.k_norm.weight": ones(HEAD_DIM),
            at + "mlp.gate_proj.weight": normal(INTERMEDIATE, HIDDEN),
            at + "mlp.up_proj.weight": normal(INTERMEDIATE, HIDDEN),
            at + "mlp.down_proj.weight": normal(HIDDEN, INTERMEDIATE),
        }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write(
        folder / "config.json",
        {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "hidden_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS,
            "head_dim": HEAD_DIM,
            "intermediate_size": INTERMEDIATE,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 16384,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "hidden_act": "silu",
            "bos_token_id": 0,
            "eos_token_id": 2,
        },
    )
    write(folder / "generation_config.json", {"eos_token_id": 2, "pad_token_id": 0})
    write_tokenizer(folder)
    write_weights(folder)


main()
