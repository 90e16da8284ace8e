"""Ends of responses that an exception prevents from being complete."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app.core.exceptions import AppError
from app.http.errors import internal_error_response, problem_response

logger = logging.getLogger("app.access")

_ABORT: Final = "abort_connection"


def allow_abort(state: dict[str, Any], abort: Callable[[], None]) -> None:
    """Let the application abort the connection of a request. The server calls this with the state of its scope."""
    state[_ABORT] = abort


async def end_response(error: BaseException, scope: Scope, receive: Receive, send: Send, *, has_begun: bool) -> None:
    """Send an error response, or if another response has begun, abort the connection: the client sees that it was cut.

    Raises:
        BaseException: `error`, which makes the server close the connection and log a traceback. It is a mistake in the
            code, or the server does not let the application abort the connection.

    """
    is_cancelled = isinstance(error, asyncio.CancelledError)
    code = "shutting_down" if is_cancelled else _expected_code(error)
    if code is None or not (has_begun or is_cancelled):
        logger.error("unhandled exception", exc_info=error)
    if not has_begun:
        # The server cancels requests that are open after its shutdown timeout. Tasks that they started continue.
        response = (
            problem_response(
                503, code="shutting_down", detail="The service is shutting down.", headers={"Retry-After": "2"}
            )
            if is_cancelled
            else internal_error_response()
        )
        with suppress(ClientDisconnect):
            await response(scope, receive, send)
        return
    if code is not None:
        logger.info("response aborted", extra={"code": code})
        if await _abort_connection(scope, receive):
            return
    raise error


async def _abort_connection(scope: Scope, receive: Receive) -> bool:
    """Abort the connection, and wait for its end. False: the server does not permit it."""
    abort: Callable[[], None] | None = scope["state"].get(_ABORT)
    if abort is None:
        return False
    abort()
    while (await receive())["type"] != "http.disconnect":
        pass
    return True


def _expected_code(error: BaseException) -> str | None:
    """Return the code of an error that may occur during a download, such as the end of the login. None: a mistake."""
    # Starlette wraps errors whose handler can no longer respond.
    for cause in (error, error.__cause__):
        if isinstance(cause, AppError):
            return cause.code
    return None
