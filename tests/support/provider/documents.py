"""OpenAI's documents: whole answers, and the events of streamed ones."""

import json
import time
from typing import Any


def usage_of(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def envelope(model: str, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-test", "object": kind, "created": int(time.time()), "model": model}


def completion(model: str, text: str, usage: tuple[int, int] | None, finish_reason: str | None) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}}
    if finish_reason is not None:
        choice["finish_reason"] = finish_reason
    document = {**envelope(model, "chat.completion"), "choices": [choice]}
    return document if usage is None else {**document, "usage": usage_of(*usage)}


def chunk(text: str | None = None, *, finish_reason: str | None = None, **fields: object) -> bytes:
    """Return one event of a streamed answer, for `streams`."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    document = {**envelope("m", "chat.completion.chunk"), "choices": [choice], **fields}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
