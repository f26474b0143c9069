"""Drives a server through the official `openai` package: BASE_URL MODEL. Fails on the first
surprise.

Works against vLLM as well as against its look-alike; prints one line per check.
"""

import sys

import openai

base, model = sys.argv[1:]
client = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0, timeout=60)
prompt = [1000 + index for index in range(100)]
messages = [{"role": "user", "content": "How long does this take?"}]


def check(name: str, holds: bool, seen: object) -> None:
    if not holds:
        raise SystemExit(f"{name}: {seen}")
    print(f"ok {name}")


def fails_as(error: type, name: str, call) -> None:
    try:
        call()
    except error as caught:
        print(f"ok {name}: {caught.message}")
        return
    raise SystemExit(f"{name}: no {error.__name__}")


def streamed(chunks, text_of) -> tuple[str, list, object]:
    text, reasons, usage = "", [], None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += text_of(choice) or ""
            reasons += [choice.finish_reason] if choice.finish_reason else []
    return text, reasons, usage


check("models", model in [entry.id for entry in client.models.list()], client.models.list())

first = client.completions.create(
    model=model, prompt=prompt, max_tokens=5, temperature=0, extra_body={"ignore_eos": True}
)
check(
    "completion", first.choices[0].finish_reason == "length" and first.choices[0].text != "", first
)
check(
    "usage",
    (first.usage.prompt_tokens, first.usage.completion_tokens, first.usage.total_tokens)
    == (100, 5, 105),
    first.usage,
)

again = client.completions.create(
    model=model, prompt=prompt, max_tokens=5, temperature=0, extra_body={"ignore_eos": True}
)
check("cached tokens", again.usage.prompt_tokens_details.cached_tokens >= 64, again.usage)
check("same answer", again.choices[0].text == first.choices[0].text, again)

stream = client.completions.create(
    model=model,
    prompt=prompt,
    max_tokens=5,
    temperature=0,
    stream=True,
    stream_options={"include_usage": True},
    extra_body={"ignore_eos": True},
)
text, reasons, usage = streamed(stream, lambda choice: choice.text)
check("completion stream", text == first.choices[0].text and reasons == ["length"], (text, reasons))
check("stream usage", (usage.prompt_tokens, usage.completion_tokens) == (100, 5), usage)

chat = client.chat.completions.create(
    model=model, messages=messages, max_tokens=4, temperature=0, extra_body={"ignore_eos": True}
)
check(
    "chat",
    chat.choices[0].message.role == "assistant" and chat.choices[0].message.content != "",
    chat,
)
check("chat usage", chat.usage.completion_tokens == 4, chat.usage)
stream = client.chat.completions.create(
    model=model,
    messages=messages,
    max_completion_tokens=4,
    temperature=0,
    stream=True,
    stream_options={"include_usage": True},
    extra_body={"ignore_eos": True},
)
text, reasons, usage = streamed(stream, lambda choice: choice.delta.content)
check(
    "chat stream",
    text == chat.choices[0].message.content and reasons == ["length"],
    (text, reasons),
)
check("chat stream usage", usage.completion_tokens == 4, usage)

fails_as(
    openai.NotFoundError,
    "unknown model",
    lambda: client.completions.create(model="absent", prompt="x"),
)
fails_as(
    openai.BadRequestError,
    "negative length",
    lambda: client.completions.create(model=model, prompt="x", max_tokens=-1),
)
fails_as(
    openai.BadRequestError,
    "no messages",
    lambda: client.chat.completions.create(model=model, messages=[]),
)
