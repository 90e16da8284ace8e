"""HTTP response that sends an event stream."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send


class EventStreamResponse(EventSourceResponse):
    """An event stream that is closed as soon as its client disconnects."""

    def __init__(self, frames: AsyncGenerator[bytes]) -> None:
        # Without the header a buffering proxy would hold events back.
        super().__init__(frames, headers={"X-Accel-Buffering": "no", "Content-Type": "text/event-stream"})
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the response."""
        self._send_event: Send = scope["state"]["send_past_middleware"]
        async with aclosing(self._frames):
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send head and end through the middleware, and the events directly to the server.

        The middleware adds nothing to events, and each layer would be called for every token.
        """
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for frame in self._frames:
            await self._send_event({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
