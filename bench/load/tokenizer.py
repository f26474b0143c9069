"""Writes a tiny byte-level BPE tokenizer that Hugging Face's loaders take: TARGET_DIR.

Tools that measure text need a tokenizer. A small vocabulary favours them: large ones cost more.
"""

import json
import pathlib
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 4096


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # The mock answers " flow flow ...": each a token of its own, which the corpus makes sure of.
    corpus = [
        f"weir{i} block{i % 97} cache{i % 389} the flow of {i * 7919} tokens" for i in range(40000)
    ]
    tokenizer.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    assert len(tokenizer.encode(" flow flow").ids) == 2
    tokenizer.save(str(folder / "tokenizer.json"))
    template = (
        "{% for message in messages %}"
        "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    (folder / "config.json").write_text(
        json.dumps({"model_type": "qwen3", "vocab_size": VOCABULARY}) + "\n"
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "eos_token": "<|im_end|>",
                "pad_token": "<|endoftext|>",
                "model_max_length": 131072,
                "chat_template": template,
            },
            indent=2,
        )
        + "\n"
    )


main()
