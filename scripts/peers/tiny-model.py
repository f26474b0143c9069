"""Writes a tiny Qwen3 with random weights and a byte-level BPE tokenizer: TARGET_DIR.

The weights are normal with a standard deviation of 0.02 and unit norms, so that the greedy answer
depends on what the KV cache holds (uniform dummy weights give the same tokens whatever it holds).
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD_DIM, INTERMEDIATE, VOCABULARY = 4, 128, 4, 2, 32, 256, 4096


def write_tokenizer(folder: pathlib.Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # A corpus of our own making: numbered words, so that the vocabulary fills up.
    corpus = [f"weir{i} block{i % 97} cache{i % 389} the flow of {i * 7919} tokens" for i in range(40000)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    write(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 16384,
        "chat_template": template,
    })


def write(path: pathlib.Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_weights(folder: pathlib.Path) -> None:
    generator = torch.Generator().manual_seed(889)

    def normal(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * 0.02).to(torch.bfloat16)

    ones = lambda size: torch.ones(size, dtype=torch.bfloat16)
    weights = {"model.embed_tokens.weight": normal(VOCABULARY, HIDDEN), "model.norm.weight": ones(HIDDEN),
               "lm_head.weight": normal(VOCABULARY, HIDDEN)}
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
    write(folder / "config.json", {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM, "intermediate_size": INTERMEDIATE, "vocab_size": VOCABULARY,
        "max_position_embeddings": 16384, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "hidden_act": "silu",
        "bos_token_id": 0, "eos_token_id": 2,
    })
    write(folder / "generation_config.json", {"eos_token_id": 2, "pad_token_id": 0})
    write_tokenizer(folder)
    write_weights(folder)


main()
