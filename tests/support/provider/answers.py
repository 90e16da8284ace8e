"""Behaviours that answer: token by token, held back, or as an event stream that the test writes."""

import asyncio
import json
import re
import threading
from queue import Empty, SimpleQueue

from tests.support.provider.documents import completion, envelope, usage_of
from tests.support.provider.wire import Behaviour, Call, Wire

NEVER = 3600.0


def answers(
    text: str = "Hello.",
    *,
    usage: tuple[int, int] | None = (12, 3),
    finish_reason: str | None = "stop",
    model: str | None = None,
    first_after: float = 0,
    every: float = 0,
    cut_after: int | None = None,
    stall_after: int | None = None,
    end: threading.Event | None = None,
) -> Behaviour:
    """Answer with a text: complete, or token by token if the request asks for a stream.

    `usage` is (prompt, completion) tokens. `usage=None` and `finish_reason=None` omit the field. `first_after` and
    `every` are seconds before the first token and between tokens. After `cut_after` tokens (characters if not streamed)
    the connection is closed; after `stall_after` it stays open without further data. With an `end`, the last token of a
    stream is sent when the event is set, and the delays between earlier tokens end, too.
    """

    async def behave(call: Call, wire: Wire) -> None:
        await asyncio.sleep(first_after)
        name = model or call.model
        stop = next((limit for limit in (cut_after, stall_after) if limit is not None), None)
        if call.stream:
            await wire.head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
            await _event(wire, name, {"role": "assistant", "content": ""})
            await _send_tokens(wire, name, _tokens(text)[:stop], every, end)
        else:
            document = json.dumps(completion(name, text, usage, finish_reason)).encode()
            await wire.head(200, {"Content-Type": "application/json", "Content-Length": str(len(document))})
            await wire.send(document[:stop])
        if stall_after is not None:
            await asyncio.sleep(NEVER)
        if cut_after is not None:
            wire.close()
        elif call.stream:
            if finish_reason is not None:
                await _event(wire, name, {}, finish_reason=finish_reason)
            if usage is not None and (call.body.get("stream_options") or {}).get("include_usage"):
                # As OpenAI does: the last event has the usage and no choices.
                await _data(wire, {**envelope(name, "chat.completion.chunk"), "choices": [], "usage": usage_of(*usage)})
            await wire.chunk(b"data: [DONE]\n\n")
            await wire.chunk(b"")

    return behave


def held(gate: threading.Event, behaviour: Behaviour | None = None) -> Behaviour:
    """Receive the request, and answer when the event is set."""

    async def behave(call: Call, wire: Wire) -> None:
        await _wait_until_set(gate)
        await (behaviour or answers())(call, wire)

    return behave


async def _wait_until_set(gate: threading.Event) -> None:
    while not gate.is_set():  # noqa: ASYNC110 - another thread sets it
        await asyncio.sleep(0.002)


def streams(*pieces: bytes, every: float = 0, hold: bool = False) -> Behaviour:
    """Send exactly these pieces of an event stream, `every` seconds apart; `hold` leaves the connection open."""

    async def behave(_: Call, wire: Wire) -> None:
        await wire.head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        for piece in pieces:
            await wire.chunk(piece)
            await asyncio.sleep(every)
        if hold:
            await asyncio.sleep(NEVER)
        await wire.chunk(b"")

    return behave


def streams_from_queue(pieces: SimpleQueue[bytes | None]) -> Behaviour:
    """Send the pieces of an event stream as the test puts them into the queue; None ends the stream."""

    async def behave(_: Call, wire: Wire) -> None:
        await wire.head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        while True:
            try:
                piece = pieces.get_nowait()
            except Empty:
                await asyncio.sleep(0.002)
                continue
            await wire.chunk(piece or b"")
            if piece is None:
                return

    return behave


def echoes() -> Behaviour:
    """Answer with the received messages, one `role: content` per line."""

    async def behave(call: Call, wire: Wire) -> None:
        lines = [f"{message['role']}: {message['content']}" for message in call.messages]
        await answers("\n".join(lines))(call, wire)

    return behave


def _tokens(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+", text)


async def _event(wire: Wire, model: str, delta: dict[str, str], finish_reason: str | None = None) -> None:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    await _data(wire, {**envelope(model, "chat.completion.chunk"), "choices": [choice]})


async def _send_tokens(wire: Wire, model: str, tokens: list[str], every: float, end: threading.Event | None) -> None:
    for number, token in enumerate(tokens, 1):
        if end is not None and number == len(tokens):
            await _wait_until_set(end)
        await _event(wire, model, {"content": token})
        if end is None or not end.is_set():
            await asyncio.sleep(every)


async def _data(wire: Wire, document: object) -> None:
    await wire.chunk(b"data: " + json.dumps(document).encode() + b"\n\n")
