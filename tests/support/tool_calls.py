"""Answers of the provider that consist of tool calls."""

import json
from typing import Any

from tests.support.provider import Behaviour, Call, Wire, chunk, sends, streams

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CALL: dict[str, Any] = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'},
}


def calls_tools(*calls: dict[str, Any], finish_reason: str = "tool_calls", text: str | None = None) -> Behaviour:
    """Answer with tool calls: whole, or in pieces of five characters if the request asks for a stream."""
    calls = calls or (CALL,)

    async def behave(call: Call, wire: Wire) -> None:
        if not call.stream:
            message = {"role": "assistant", "content": text, "tool_calls": list(calls)}
            document = {
                "model": call.model,
                "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
                "usage": {"prompt_tokens": 20, "completion_tokens": 8},
            }
            await sends(json.dumps(document).encode())(call, wire)
            return
        pieces = [chunk(text)] if text else []
        for index, each in enumerate(calls):
            pieces += _pieces(index, each)
        usage = {"prompt_tokens": 20, "completion_tokens": 8}
        await streams(
            *pieces, chunk(finish_reason=finish_reason), chunk(finish_reason=None, usage=usage), b"data: [DONE]\n\n"
        )(call, wire)

    return behave


def _pieces(index: int, call: dict[str, Any]) -> list[bytes]:
    function = call["function"]
    arguments = function["arguments"]
    deltas: list[dict[str, Any]] = [call | {"index": index, "function": {"name": function["name"], "arguments": ""}}]
    deltas += [
        {"index": index, "function": {"arguments": arguments[start : start + 5]}}
        for start in range(0, len(arguments), 5)
    ]
    return [
        b"data: "
        + json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [delta]}, "finish_reason": None}]}).encode()
        + b"\n\n"
        for delta in deltas
    ]
