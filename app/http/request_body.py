"""ASGI middleware that receives bodies before their requests are processed, and the rest of those that are refused."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.exceptions import RequestTimeoutError
from app.http.errors import app_error_response

_DRAIN_TIMEOUT = 15.0
"""Maximum time to receive and discard the body of a refused upload, in seconds."""
_MAX_DRAINED_BYTES = 1_048_576
"""Maximum size of other bodies at the gateway, in bytes."""
_DRAIN_IDLE_TIMEOUT = 2.0
"""Time without data after which the rest of such a body is not waited for, in seconds."""


class RequestBodyMiddleware:
    """Receives bodies completely and in bounded time, so that slow clients occupy nothing but their connections.

    Files to import are passed on while they arrive. So is the rest of a body over the limit, which is refused inside.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_seconds: float, streamed_paths: Collection[str]) -> None:
        """Wrap the application. `max_seconds`: timeout of a whole body; `streamed_paths` have other limits."""
        self.app = app
        self.max_bytes = max_bytes
        self.max_seconds = max_seconds
        self.streamed_paths = streamed_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)) or scope["path"] in self.streamed_paths:
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.max_seconds):
                received = await self._receive(receive)
        except TimeoutError:
            response = app_error_response(RequestTimeoutError())
            response.headers["Connection"] = "close"  # the rest of the body is not read
            await response(scope, receive, send)
            return
        # Nothing is left to discard, if the request is refused.
        scope.setdefault("state", {})["body_is_received"] = not received[-1].get("more_body", False)
        received.reverse()

        async def receive_again() -> Message:
            return received.pop() if received else await receive()

        await self.app(scope, receive_again, send)

    async def _receive(self, receive: Receive) -> list[Message]:
        messages: list[Message] = []
        length = 0
        while length <= self.max_bytes:
            message = await receive()
            messages.append(message)
            length += len(message.get("body", b""))
            if not message.get("more_body", False):
                break
        return messages


class UploadDrainMiddleware:
    """Receives and discards the rest of a body that is refused before it sends the response.

    A server that responds before it has received a large body closes the connection, and the gateway may then report a
    failure instead of the response. It is outside of all middleware that refuses requests.
    """

    def __init__(self, app: ASGIApp, max_bytes_by_path: Mapping[str, int]) -> None:
        """Wrap the application. `max_bytes_by_path` has the paths of large uploads, and their maximum size."""
        self.app = app
        self.max_bytes_by_path = max_bytes_by_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if (
            scope["type"] != "http"
            or scope.get("state", {}).get("body_is_received", False)
            or not _has_body(Headers(scope=scope))
        ):
            await self.app(scope, receive, send)
            return
        max_bytes = self.max_bytes_by_path.get(scope["path"], _MAX_DRAINED_BYTES)
        received = 0
        is_received = False

        async def receive_counted() -> Message:
            nonlocal received, is_received
            message = await receive()
            received += len(message.get("body", b""))
            is_received = not message.get("more_body", False)
            return message

        async def drain() -> None:
            while not is_received and received <= max_bytes:
                async with asyncio.timeout(_DRAIN_IDLE_TIMEOUT):
                    await receive_counted()

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_received:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_DRAIN_TIMEOUT):
                        await drain()
            await send(message)

        await self.app(scope, receive_counted, send_after_body)


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
