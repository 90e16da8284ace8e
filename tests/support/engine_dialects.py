"""Answers and errors as engines other than OpenAI's send them: see `docs/reference/provider-faults.md`."""

import asyncio
import json

from tests.support.engine_errors import ERRORS
from tests.support.fault_builders import (
    REASONING,
    USAGE,
    answer_document,
    answer_fault,
    delta_event,
    event,
    message_fault,
    report_fault,
    status_fault,
)
from tests.support.provider import DONE, Behaviour, Call, Wire, chunk, sends, streams
from tests.support.provider_faults import PART, STOP, TEXT, Fault

_MARK = b"\xef\xbb\xbf"


async def _reasons_for_long(call: Call, wire: Wire) -> None:
    if call.stream:
        await wire.head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        for piece in ("Let ", "me ", "think."):
            await wire.chunk(delta_event({"reasoning_content": piece}))
            await asyncio.sleep(2)
        await wire.chunk(chunk(TEXT) + STOP + DONE)
        await wire.chunk(b"")
    else:
        await wire.respond(200, answer_document({"content": TEXT, "reasoning_content": REASONING}))


def _bytewise(body: bytes) -> Behaviour:
    plain, streamed = sends(answer_document()), streams(*(bytes([byte]) for byte in body))

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
    answer_fault("byte order mark", _MARK + answer_document(), _MARK + _BODY),
    answer_fault("lines end with CR", answer_document(), _BODY.replace(b"\n", b"\r")),
    answer_fault("lines end with CR LF", answer_document(), _BODY.replace(b"\n", b"\r\n")),
    Fault("each byte alone", _bytewise(_BODY), _bytewise(_BODY), is_answer=True),
    answer_fault(
        "data in several lines",
        answer_document(),
        chunk(TEXT).replace(b'"choices": ', b'"choices":\ndata: '),
        STOP,
        DONE,
    ),
    answer_fault(
        "comments, empty data, unknown fields and events",
        answer_document(),
        b": processing\n\n:\n\nid: 1\nretry: 10\ndata\n\ndata:\n\nevent: ping\ndata: now\n\n",
        _BODY,
    ),
    answer_fault("no blank line after the last event", answer_document(), chunk(TEXT), STOP.rstrip()),
    answer_fault("no blank lines between events", answer_document(), _BODY.replace(b"\n\n", b"\n")),
]
READING = [
    answer_fault(
        "choices with other indexes",
        json.dumps(
            {
                "choices": [
                    {"index": 1, "message": {"content": "Another."}, "finish_reason": "stop"},
                    {"index": 0, "message": {"content": TEXT}, "finish_reason": "stop"},
                ]
            }
        ).encode(),
        delta_event({"content": "Another."}, index=1),
        chunk(TEXT),
        delta_event({}, index=1, finish_reason="stop"),
        STOP,
        DONE,
    ),
    answer_fault(
        "chunks with null or empty `choices`",
        answer_document(),
        event({"choices": None}),
        event({"choices": []}),
        _BODY,
    ),
    message_fault(
        "text in parts", {"content": [{"type": "text", "text": TEXT}, {"type": "image_url", "image_url": {}}]}
    ),
    answer_fault(
        "`finish_reason` is empty",
        answer_document(finish_reason=""),
        delta_event({"content": TEXT}, finish_reason=""),
        DONE,
    ),
    answer_fault(
        "`finish_reason` is a number",
        answer_document(finish_reason=1),
        chunk(TEXT),
        delta_event({}, finish_reason=1),
        DONE,
    ),
    answer_fault(
        "`finish_reason` is any text",
        answer_document(finish_reason="eos token"),
        chunk(TEXT),
        delta_event({}, finish_reason="eos token"),
        DONE,
    ),
    answer_fault(
        "usage as floating-point numbers",
        answer_document(usage={"prompt_tokens": 12.0, "completion_tokens": 3.0}),
        chunk(TEXT, usage={"prompt_tokens": 12.0, "completion_tokens": 3.0}),
        STOP,
        DONE,
    ),
    answer_fault(
        "usage in several chunks",
        answer_document(usage=USAGE),
        chunk(TEXT, usage={"prompt_tokens": 12, "completion_tokens": 1}),
        delta_event({}, finish_reason="stop", usage={"completion_tokens": 3}),
        DONE,
    ),
    report_fault("error in a body of status 200, as `object: error`", {"object": "error", "message": "x", "code": 503}),
    report_fault("error in a body of status 200, with a number as text", {"error": {"message": "x", "code": "429"}}),
    report_fault("error in a body of status 200, as text", {"error": "model runner has stopped"}),
    report_fault("error in a choice", {"choices": [{"index": 0, "error": {"message": "x", "code": 502}}]}),
    message_fault("text in parts of type `output_text`", {"content": [{"type": "output_text", "text": TEXT}]}),
    message_fault("text in one part that is not in a list", {"content": {"type": "text", "text": TEXT}}),
    Fault(
        "end in `finishReason`",
        sends(
            answer_document(finish_reason=None).replace(b"finish_reason", b"finishReason").replace(b"null", b'"stop"')
        ),
        streams(chunk(TEXT), STOP.replace(b"finish_reason", b"finishReason"), DONE),
        is_answer=True,
    ),
    message_fault("indented first line", {"content": "\n\n    The answer.\n"}),
]
REASONING_MODELS = [
    message_fault("reasoning in `reasoning_content`", {"content": TEXT, "reasoning_content": REASONING}),
    message_fault("reasoning in `reasoning`", {"content": TEXT, "reasoning": REASONING}),
    message_fault(
        "reasoning as parts",
        {"content": [{"type": "thinking", "thinking": REASONING}, {"type": "text", "text": TEXT}]},
    ),
    message_fault("reasoning in `thinking`", {"content": TEXT, "thinking": REASONING}),
    message_fault(
        "reasoning in `reasoning_details`",
        {
            "content": TEXT,
            "reasoning_details": [{"type": "reasoning.text", "text": REASONING}, {"type": "x", "data": "y"}],
        },
    ),
    message_fault(
        "reasoning as parts of type `reasoning`",
        {"content": [{"type": "reasoning", "text": REASONING}, {"type": "text", "text": TEXT}]},
    ),
    *(
        message_fault(f"reasoning in the tags of {family}", {"content": f"{begin}{REASONING}{end}{TEXT}"})
        for family, begin, end in (
            ("Gemini", "<thought>", "</thought>"),
            ("models with `<reasoning>`", "<reasoning>", "</reasoning>"),
            ("Seed", "<seed:think>", "</seed:think>"),
            ("Kimi", "◁think▷", "◁/think▷"),
            ("Cohere", "<|START_THINKING|>", "<|END_THINKING|>"),
            ("OpenThinker", "<|begin_of_thought|>", "<|end_of_thought|>"),
            ("gpt-oss", "<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        )
    ),
    message_fault("reasoning in `<think>` tags", {"content": f"<think>\n{REASONING}\n</think>\n\n{TEXT}"}),
    Fault("reasoning for longer than an attempt", _reasons_for_long, _reasons_for_long, is_answer=True),
    message_fault(
        "reasoning used up the tokens",
        {"content": "", "reasoning_content": REASONING},
        finish_reason="length",
        is_answer=False,
    ),
]
MEANINGS = [
    message_fault("refusal in `refusal`", {"content": None, "refusal": "I cannot help with that."}, is_answer=False),
    message_fault(
        "refusal as a part", {"content": [{"type": "refusal", "refusal": "I cannot help with that."}]}, is_answer=False
    ),
    message_fault("`finish_reason` `SAFETY`", {"content": ""}, finish_reason="SAFETY", is_answer=False),
    report_fault("Gemini blocks the prompt", {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
    status_fault("400, content filter of Azure", 400, {"error": {**_AZURE, "code": None}}),
    status_fault(
        "403, moderation of OpenRouter",
        403,
        {"error": {"code": 403, "message": "x", "metadata": {"reasons": ["hate"], "flagged_input": "y"}}},
    ),
    status_fault("400, context too long, vLLM", 400, {"object": "error", "message": _TOO_LONG, "code": 400}),
    status_fault(
        "400, context too long, llama.cpp",
        400,
        {"error": {"code": 400, "type": "exceed_context_size_error", "message": "the request exceeds"}},
    ),
    status_fault(
        "500, context too long, Ollama", 500, {"error": {"message": "the input length exceeds the context length"}}
    ),
    status_fault("402", 402, {"error": {"message": "Insufficient Balance"}}),
    status_fault("429, `Insufficient Balance`", 429, {"error": {"message": "Insufficient Balance"}}),
    status_fault(
        "429, `retry-after-ms: 1000`",
        429,
        {"error": {"message": "x"}},
        {"retry-after-ms": "1000"},
        has_retry_after=True,
    ),
    status_fault(
        "429, `x-ratelimit-reset-requests: 1s`",
        429,
        {"error": {"message": "x"}},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"},
        has_retry_after=True,
    ),
    status_fault(
        "529, overloaded", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    ),
]
DIALECTS = [*EVENT_STREAMS, *READING, *REASONING_MODELS, *MEANINGS, *ERRORS]
