"""The key of a request that its client may send again, and how a reply whose bytes are fixed leaves."""

import hashlib
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Depends, Header, Request, Response

from app.chat.idempotency.service import SerializedResponse
from app.core.exceptions import InvalidFieldError
from app.database.repositories.chat.idempotency_keys import IdempotentRequest
from app.http.dependencies import ChatWriter

T = TypeVar("T")

KEY_HEADER = "Idempotency-Key"


async def get_idempotency_key(
    request: Request,
    user: ChatWriter,
    key: Annotated[
        str | None,
        Header(
            alias=KEY_HEADER,
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="Of your own making, such as a UUID: the same request under the same key is carried out once, "
            "and answered the same for 24 hours.",
        ),
    ] = None,
) -> IdempotentRequest | None:
    """Return the key under which the client may send this request again.

    Raises:
        InvalidFieldError: there is more than one.

    """
    if key is None:
        return None
    if len(request.headers.getlist(KEY_HEADER)) > 1:
        raise InvalidFieldError(f"header.{KEY_HEADER}", "multiple_values", "must be given once")
    route = " ".join([request.scope["route"].name, *map(_canonical_id, request.path_params.values())])
    return IdempotentRequest(user.id, route, key, hashlib.sha256(await request.body()).digest())


IdempotencyKeyDep = Annotated[IdempotentRequest | None, Depends(get_idempotency_key)]


def _canonical_id(value: str) -> str:
    """Return the one spelling of a UUID that stands for all of its spellings."""
    try:
        return str(UUID(value))
    except ValueError:
        return value  # Dependencies are resolved before the framework refuses the path with a 422.


def to_response(answer: T | SerializedResponse) -> T | Response:
    """Return what a route sends: the framework writes a model, a reply goes out as it is."""
    if not isinstance(answer, SerializedResponse):
        return answer
    headers = {"Idempotent-Replayed": "true"} if answer.is_replay else {}
    return Response(answer.body, answer.status_code, headers, media_type=answer.media_type)
