"""Subscribes to KV events with vLLM's own decoder and hashes: BASE_URL MODEL EVENTS REPLAY
BLOCK_TOKENS.

Needs an environment with vLLM. `EVENTS` and `REPLAY` are ZeroMQ addresses. PYTHONHASHSEED, if set,
must be
the server's; a vLLM server needs VLLM_SERVER_DEV_MODE=1, for its reset.
"""

import json
import sys
import time
import urllib.request

import msgspec
import zmq
from vllm.distributed.kv_events import AllBlocksCleared, BlockStored, KVEventBatch
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import hash_block_tokens, init_none_hash, maybe_convert_block_hash

base, model, events, replay, block_tokens = sys.argv[1:]
block_tokens = int(block_tokens)
decoder = msgspec.msgpack.Decoder(type=KVEventBatch)
context = zmq.Context()
init_none_hash(sha256)


def post(path: str, body: dict) -> None:
    request = urllib.request.Request(
        f"{base}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def ask(prompt: list[int], tokens: int = 1, **more) -> None:
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    post("/v1/completions", body | more)


def chain(parent: bytes | None, tokens: list[int], first_extra=None) -> list[bytes]:
    """vLLM's hashes of the full blocks of `tokens` behind `parent`."""
    hashes = []
    for start in range(0, len(tokens) - block_tokens + 1, block_tokens):
        extra = first_extra if start == 0 else None
        parent = hash_block_tokens(sha256, parent, tokens[start : start + block_tokens], extra)
        hashes.append(parent)
    return hashes


def external(hashes: list[bytes]) -> list:
    return [maybe_convert_block_hash(one) for one in hashes]


subscriber = context.socket(zmq.SUB)
subscriber.connect(events)
subscriber.subscribe(b"")
heard: list[list[bytes]] = []


def hear(what: str, wanted) -> object:
    """The next event that is wanted; fails after 20 s of silence."""
    while True:
        assert subscriber.poll(20_000), f"no event: {what}"
        heard.append(subscriber.recv_multipart())
        for event in decoder.decode(heard[-1][2]).events:
            if wanted(event):
                return event


def stored(tokens: list[int], more=lambda event: True):
    return (
        lambda event: isinstance(event, BlockStored) and event.token_ids == tokens and more(event)
    )


# A PUB socket does not tell when it knows its subscribers: ask until something is heard.
marker, deadline = 500, time.monotonic() + 60
while not heard:
    assert time.monotonic() < deadline, f"nothing heard from {events}"
    ask([marker + index for index in range(block_tokens)])
    marker += block_tokens
    if subscriber.poll(500):
        heard.append(subscriber.recv_multipart())

prompt = [20 + index for index in range(3 * block_tokens)]
ask(prompt, block_tokens + 1)
hashes = chain(None, prompt)
event = hear("the prompt", stored(prompt))
assert event.block_hashes == external(hashes), (event.block_hashes, external(hashes))
assert (event.block_size, event.medium, event.parent_block_hash) == (
    block_tokens,
    "GPU",
    None,
), event
assert event.extra_keys == [None] * 3, event
print("ok vLLM's hashes of the prompt are the server's")

parent = external(hashes)[-1]
event = hear(
    "the answer", lambda event: isinstance(event, BlockStored) and event.parent_block_hash == parent
)
assert event.block_hashes == external(chain(hashes[-1], event.token_ids)), event
print("ok a block of the answer hangs on the prompt")

salted = prompt[:block_tokens]
ask(salted, cache_salt="weir")
event = hear("the salted prompt", stored(salted, lambda event: event.extra_keys != [None]))
assert list(event.extra_keys[0]) == ["weir"], event
assert event.block_hashes == external(chain(None, salted, (("cache_salt", "weir"),))), event
print("ok a salt is part of the hash")

post("/reset_prefix_cache", {})
ask(salted)
hear("the reset", lambda event: isinstance(event, AllBlocksCleared))
print("ok a reset is announced")

numbers = [int.from_bytes(frame[1], "big") for frame in heard]
assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers
dealer = context.socket(zmq.DEALER)
dealer.connect(replay)
dealer.send_multipart([b"", numbers[0].to_bytes(8, "big")])
replies = []
while True:
    assert dealer.poll(20_000), f"no replay from {replay}"
    empty, *frame = dealer.recv_multipart()
    assert empty == b"", empty
    if frame[1] == b"\xff" * 8:
        break
    replies.append(frame)
assert replies[: len(heard)] == heard, "the replay differs from what was heard"
print(f"ok replayed {len(replies)} batches")
