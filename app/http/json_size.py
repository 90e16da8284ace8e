"""ASGI middleware that refuses JSON bodies with too many values before they are parsed.

Parsing and validating millions of small values takes seconds, in which the process serves nobody else. FastAPI parses
bodies before their sender is authenticated.
"""

from collections.abc import Collection
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_JSON_VALUES: Final = 100_000
"""Maximum number of texts, elements, members, lists and objects of a body; the longest conversation has fewer."""


class JsonSizeMiddleware:
    """Refuses bodies with more than `MAX_JSON_VALUES` with a 413 problem document."""

    def __init__(self, app: ASGIApp, other_paths: Collection[str]) -> None:
        """Wrap the application. Bodies of `other_paths` are files, which are read in other ways."""
        self.app = app
        self.other_paths = other_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in self.other_paths:
            await self.app(scope, receive, send)
            return
        chunks: list[bytes] = []

        async def receive_counted() -> Message:
            message = await receive()
            chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                body = b"".join(chunks)
                chunks.clear()
                if has_too_many_values(body):
                    raise HTTPException(413)
            return message

        await self.app(scope, receive_counted, send)


def has_too_many_values(body: bytes) -> bool:
    """Return whether a body has more than `MAX_JSON_VALUES`, if it is JSON. It takes milliseconds per MiB at most."""
    if len(body) <= MAX_JSON_VALUES:  # a value has at least one byte
        return False
    if b"\0" in body:  # UTF-16, or not valid: what is within a text is not known
        return _count_structure(body) > MAX_JSON_VALUES
    # Without escaped characters, each quotation mark begins or ends a text.
    body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    texts = body.count(b'"') // 2
    return texts > MAX_JSON_VALUES or texts + _count_structure(b"".join(body.split(b'"')[::2])) > MAX_JSON_VALUES


def _count_structure(json: bytes) -> int:
    return json.count(b",") + json.count(b"[") + json.count(b"{")
