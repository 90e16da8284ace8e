"""Bodies of responses, in bounded size."""

from collections.abc import AsyncIterable
from typing import Final, cast

import httpx2

from app.services.llm.errors import InvalidBodyError

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
"""Maximum size of a response body."""


def chunks(response: httpx2.Response) -> AsyncIterable[bytes]:
    """Return the body in the pieces that arrive. The caller limits the size and closes the response."""
    # Not `aiter_raw()`, whose generators take CPU time for each token.
    return cast("AsyncIterable[bytes]", response.stream)


async def read_body(response: httpx2.Response) -> bytes:
    """Return the whole body, and close the response.

    Raises:
        InvalidBodyError: the body is larger than `MAX_BODY_BYTES`.

    """
    body = bytearray()
    try:
        async for data in chunks(response):
            body += data
            if len(body) > MAX_BODY_BYTES:
                raise InvalidBodyError
    finally:
        await response.aclose()
    return bytes(body)


def is_document(response: httpx2.Response) -> bool:
    """Return whether the body is a whole document. Some engines ignore `stream` and send the whole completion."""
    return _content_type(response) == "application/json"


def is_event_stream(response: httpx2.Response) -> bool:
    """Return whether the body is declared as an event stream."""
    return _content_type(response) == "text/event-stream"


def _content_type(response: httpx2.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
