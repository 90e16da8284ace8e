"""Answers and errors as engines other than OpenAI's send them. `docs/provider-faults.md` lists their outcomes."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from tests.support.provider import DONE, Behaviour, Call, Wire, chunk, sends, streams
from tests.support.provider_faults import PART, STOP, TEXT, Fault

REASONING = "Let me think."
_USAGE = {"prompt_tokens": 12, "completion_tokens": 3}
_MARK = b"\xef\xbb\xbf"


def _event(document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def _delta(delta: object, *, finish_reason: object = None, index: int = 0, **fields: object) -> bytes:
    return _event(
        {"model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}], **fields}
    )


def _document(message: Mapping[str, object] | str = TEXT, finish_reason: object = "stop", **fields: object) -> bytes:
    content = {"content": message} if isinstance(message, str) else message
    choice = {"index": 0, "message": {"role": "assistant", **content}, "finish_reason": finish_reason}
    return json.dumps({"model": "m", "choices": [choice], **fields}).encode()


def _answer(name: str, plain: bytes, *streamed: bytes) -> Fault:
    return Fault(name, sends(plain), streams(*streamed), is_answer=True)


def _message(name: str, message: dict[str, object], *, finish_reason: str = "stop", is_answer: bool = True) -> Fault:
    """Return an answer whose message arrives as one delta, with its usage."""
    plain = _document(message, finish_reason, usage=_USAGE)
    streamed = (_delta(message), _delta({}, finish_reason=finish_reason, usage=_USAGE), DONE)
    return Fault(name, sends(plain), streams(*streamed), is_answer)


def _fails(
    name: str, status: int, document: object, headers: Mapping[str, str] | None = None, *, has_retry_after: bool = False
) -> Fault:
    async def behave(_: Call, wire: Wire) -> None:
        await wire.json(status, document, dict(headers or {}))

    return Fault(name, behave, behave, has_retry_after=has_retry_after)


def _reports(name: str, document: dict[str, Any]) -> Fault:
    """Return an error with status 200: instead of an answer, or before the text of a streamed one."""
    return Fault(name, sends(json.dumps(document).encode()), streams(_delta({"role": "assistant"}), _event(document)))


async def _reasons_for_long(call: Call, wire: Wire) -> None:
    if call.stream:
        await wire.head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        for piece in ("Let ", "me ", "think."):
            await wire.chunk(_delta({"reasoning_content": piece}))
            await asyncio.sleep(2)
        await wire.chunk(chunk(TEXT) + STOP + DONE)
        await wire.chunk(b"")
    else:
        await wire.respond(200, _document({"content": TEXT, "reasoning_content": REASONING}))


def _bytewise(body: bytes) -> Behaviour:
    plain, streamed = sends(_document()), streams(*(bytes([byte]) for byte in body))

    async def behave(call: Call, wire: Wire) -> None:
        await (streamed if call.stream else plain)(call, wire)

    return behave


_BODY = chunk(PART) + chunk(TEXT.removeprefix(PART)) + STOP + DONE
_AZURE = {
    "message": "The response was filtered.",
    "code": "content_filter",
    "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}},
}
_TOO_LONG = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."

EVENT_STREAMS = [
    _answer("byte order mark", _MARK + _document(), _MARK + _BODY),
    _answer("lines end with CR", _document(), _BODY.replace(b"\n", b"\r")),
    _answer("lines end with CR LF", _document(), _BODY.replace(b"\n", b"\r\n")),
    Fault("each byte alone", _bytewise(_BODY), _bytewise(_BODY), is_answer=True),
    _answer(
        "data in several lines", _document(), chunk(TEXT).replace(b'"choices": ', b'"choices":\ndata: '), STOP, DONE
    ),
    _answer(
        "comments, empty data, unknown fields and events",
        _document(),
        b": processing\n\n:\n\nid: 1\nretry: 10\ndata\n\ndata:\n\nevent: ping\ndata: now\n\n",
        _BODY,
    ),
    _answer("no blank line after the last event", _document(), chunk(TEXT), STOP.rstrip()),
    _answer("no blank lines between events", _document(), _BODY.replace(b"\n\n", b"\n")),
]
READING = [
    _answer(
        "choices with other indexes",
        json.dumps(
            {
                "choices": [
                    {"index": 1, "message": {"content": "Another."}, "finish_reason": "stop"},
                    {"index": 0, "message": {"content": TEXT}, "finish_reason": "stop"},
                ]
            }
        ).encode(),
        _delta({"content": "Another."}, index=1),
        chunk(TEXT),
        _delta({}, index=1, finish_reason="stop"),
        STOP,
        DONE,
    ),
    _answer(
        "chunks with null or empty `choices`",
        _document(),
        _event({"choices": None}),
        _event({"choices": []}),
        _BODY,
    ),
    _message("text in parts", {"content": [{"type": "text", "text": TEXT}, {"type": "image_url", "image_url": {}}]}),
    _answer("`finish_reason` is empty", _document(finish_reason=""), _delta({"content": TEXT}, finish_reason=""), DONE),
    _answer("`finish_reason` is a number", _document(finish_reason=1), chunk(TEXT), _delta({}, finish_reason=1), DONE),
    _answer(
        "`finish_reason` is any text",
        _document(finish_reason="eos token"),
        chunk(TEXT),
        _delta({}, finish_reason="eos token"),
        DONE,
    ),
    _answer(
        "usage as floating-point numbers",
        _document(usage={"prompt_tokens": 12.0, "completion_tokens": 3.0}),
        chunk(TEXT, usage={"prompt_tokens": 12.0, "completion_tokens": 3.0}),
        STOP,
        DONE,
    ),
    _answer(
        "usage in several chunks",
        _document(usage=_USAGE),
        chunk(TEXT, usage={"prompt_tokens": 12, "completion_tokens": 1}),
        _delta({}, finish_reason="stop", usage={"completion_tokens": 3}),
        DONE,
    ),
    _reports("error in a body of status 200, as `object: error`", {"object": "error", "message": "x", "code": 503}),
    _reports("error in a body of status 200, with a number as text", {"error": {"message": "x", "code": "429"}}),
    _reports("error in a body of status 200, as text", {"error": "model runner has stopped"}),
    _reports("error in a choice", {"choices": [{"index": 0, "error": {"message": "x", "code": 502}}]}),
    _message("indented first line", {"content": "\n\n    The answer.\n"}),
]
REASONING_MODELS = [
    _message("reasoning in `reasoning_content`", {"content": TEXT, "reasoning_content": REASONING}),
    _message("reasoning in `reasoning`", {"content": TEXT, "reasoning": REASONING}),
    _message(
        "reasoning as parts",
        {"content": [{"type": "thinking", "thinking": REASONING}, {"type": "text", "text": TEXT}]},
    ),
    _message("reasoning in `<think>` tags", {"content": f"<think>\n{REASONING}\n</think>\n\n{TEXT}"}),
    Fault("reasoning for longer than an attempt", _reasons_for_long, _reasons_for_long, is_answer=True),
    _message(
        "reasoning used up the tokens",
        {"content": "", "reasoning_content": REASONING},
        finish_reason="length",
        is_answer=False,
    ),
]
MEANINGS = [
    _message("refusal in `refusal`", {"content": None, "refusal": "I cannot help with that."}, is_answer=False),
    _message("`finish_reason` `SAFETY`", {"content": ""}, finish_reason="SAFETY", is_answer=False),
    _reports("Gemini blocks the prompt", {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
    _fails("400, content filter of Azure", 400, {"error": {**_AZURE, "code": None}}),
    _fails(
        "403, moderation of OpenRouter",
        403,
        {"error": {"code": 403, "message": "x", "metadata": {"reasons": ["hate"], "flagged_input": "y"}}},
    ),
    _fails("400, context too long, vLLM", 400, {"object": "error", "message": _TOO_LONG, "code": 400}),
    _fails(
        "400, context too long, llama.cpp",
        400,
        {"error": {"code": 400, "type": "exceed_context_size_error", "message": "the request exceeds"}},
    ),
    _fails("500, context too long, Ollama", 500, {"error": {"message": "the input length exceeds the context length"}}),
    _fails("402", 402, {"error": {"message": "Insufficient Balance"}}),
    _fails("429, `Insufficient Balance`", 429, {"error": {"message": "Insufficient Balance"}}),
    _fails(
        "429, `retry-after-ms: 1000`",
        429,
        {"error": {"message": "x"}},
        {"retry-after-ms": "1000"},
        has_retry_after=True,
    ),
    _fails(
        "429, `x-ratelimit-reset-requests: 1s`",
        429,
        {"error": {"message": "x"}},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"},
        has_retry_after=True,
    ),
    _fails("529, overloaded", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
]
DIALECTS = [*EVENT_STREAMS, *READING, *REASONING_MODELS, *MEANINGS]
