"""Builders of faults and unusual answers, plain and streamed, from documents in the protocol."""

import json
from collections.abc import Mapping
from typing import Any

from tests.support.provider import DONE, Call, Wire, sends, streams
from tests.support.provider_faults import TEXT, Fault

REASONING = "Let me think."
USAGE = {"prompt_tokens": 12, "completion_tokens": 3}


def event(document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def delta_event(delta: object, *, finish_reason: object = None, index: int = 0, **fields: object) -> bytes:
    return event(
        {"model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}], **fields}
    )


def answer_document(
    message: Mapping[str, object] | str = TEXT, finish_reason: object = "stop", **fields: object
) -> bytes:
    content = {"content": message} if isinstance(message, str) else message
    choice = {"index": 0, "message": {"role": "assistant", **content}, "finish_reason": finish_reason}
    return json.dumps({"model": "m", "choices": [choice], **fields}).encode()


def answer_fault(name: str, plain: bytes, *streamed: bytes) -> Fault:
    return Fault(name, sends(plain), streams(*streamed), is_answer=True)


def message_fault(
    name: str, message: dict[str, object], *, finish_reason: str = "stop", is_answer: bool = True
) -> Fault:
    """Return an answer whose message arrives as one delta, with its usage."""
    plain = answer_document(message, finish_reason, usage=USAGE)
    streamed = (delta_event(message), delta_event({}, finish_reason=finish_reason, usage=USAGE), DONE)
    return Fault(name, sends(plain), streams(*streamed), is_answer)


def status_fault(
    name: str, status: int, document: object, headers: Mapping[str, str] | None = None, *, has_retry_after: bool = False
) -> Fault:
    async def behave(_: Call, wire: Wire) -> None:
        await wire.json(status, document, dict(headers or {}))

    return Fault(name, behave, behave, has_retry_after=has_retry_after)


def report_fault(name: str, document: dict[str, Any]) -> Fault:
    """Return an error with status 200: instead of an answer, or before the text of a streamed one."""
    return Fault(
        name, sends(json.dumps(document).encode()), streams(delta_event({"role": "assistant"}), event(document))
    )
