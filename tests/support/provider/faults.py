"""Behaviours that fail: error statuses, broken connections, and bodies that are not answers."""

import asyncio
import json
from http import HTTPStatus

from tests.support.provider.answers import NEVER
from tests.support.provider.documents import completion, envelope
from tests.support.provider.wire import Behaviour, Call, Wire


def fails(
    status: int,
    *,
    retry_after: str | None = None,
    message: str = "provider detail, not for users",
    code: str | None = None,
) -> Behaviour:
    """Answer with an error status and OpenAI's error body."""

    async def behave(_: Call, wire: Wire) -> None:
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        await wire.json(status, {"error": {"message": message, "type": "server_error", "code": code}}, headers)

    return behave


def resets() -> Behaviour:
    """Reset the connection without an answer."""

    async def behave(_: Call, wire: Wire) -> None:
        wire.reset()

    return behave


def stalls() -> Behaviour:
    """Receive the request and never answer."""

    async def behave(_: Call, __: Wire) -> None:
        await asyncio.sleep(NEVER)

    return behave


def drips(every: float, text: str = "Hello.") -> Behaviour:
    """Send a valid body byte by byte, `every` seconds apart, so that no single read times out."""

    async def behave(call: Call, wire: Wire) -> None:
        body = json.dumps(completion(call.model, text, (12, 3), "stop")).encode()
        await wire.head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        for byte in body:
            await wire.send(bytes([byte]))
            await asyncio.sleep(every)

    return behave


def sends(
    body: bytes, *, status: int = 200, content_type: str = "application/json", encoding: str | None = None
) -> Behaviour:
    """Send exactly these bytes as the body, such as invalid JSON or a proxy's HTML page."""
    compressed = {} if encoding is None else {"Content-Encoding": encoding}

    async def behave(call: Call, wire: Wire) -> None:
        if call.stream and status == HTTPStatus.OK:
            await wire.respond(status, b"data: " + body + b"\n\n", {"Content-Type": "text/event-stream"})
        else:
            await wire.respond(status, body, {"Content-Type": content_type, **compressed})

    return behave


def redirects(path: str) -> Behaviour:
    """Redirect to another path of this server."""

    async def behave(_: Call, wire: Wire) -> None:
        await wire.respond(307, b"", {"Location": path})

    return behave


def sends_no_choices() -> Behaviour:
    """Answer with an empty list of choices."""

    async def behave(call: Call, wire: Wire) -> None:
        kind = "chat.completion.chunk" if call.stream else "chat.completion"
        await sends(json.dumps({**envelope(call.model, kind), "choices": []}).encode())(call, wire)

    return behave


def floods(size: int) -> Behaviour:
    """Answer with a valid document of about `size` bytes, as fast as the client reads it."""

    async def behave(call: Call, wire: Wire) -> None:
        head, _, tail = json.dumps(completion(call.model, "@", (12, 3), "stop")).encode().partition(b"@")
        await wire.head(200, {"Content-Type": "application/json", "Content-Length": str(len(head) + size + len(tail))})
        await wire.send(head)
        block = b"x" * 65_536
        for start in range(0, size, len(block)):
            await wire.send(block[: size - start])
        await wire.send(tail)

    return behave
