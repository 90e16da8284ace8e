"""The `Idempotency-Key` header as a dependency of routes."""

import hashlib
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Request

from app.core.exceptions import InvalidFieldError
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.turns.idempotency_keys import IdempotentRequest
from app.http.authentication import ChatWriter

KEY_HEADER = "Idempotency-Key"
KeyHeader = Annotated[
    str | None,
    Header(
        alias=KEY_HEADER,
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A unique value chosen by the client, such as a UUID. With the same key, the request can be "
        "repeated safely for 24 hours.",
    ),
]


async def get_idempotency_key(
    request: Request,
    user: ChatWriter,
    key: KeyHeader = None,
) -> IdempotentRequest | None:
    """Return user, route, key and body fingerprint of the request; None without a key.

    Raises:
        InvalidFieldError: the header was sent more than once.

    """
    return await identify_request(request, user, key)


async def identify_request(
    request: Request, user: Principal, key: str | None, *, variant: str = ""
) -> IdempotentRequest | None:
    """Return user, route, key and body fingerprint of a request; None without a key.

    `variant`: what distinguishes requests with the same body, such as a header.

    Raises:
        InvalidFieldError: the header was sent more than once.

    """
    if key is None:
        return None
    if len(request.headers.getlist(KEY_HEADER)) > 1:
        raise InvalidFieldError(f"header.{KEY_HEADER}", "multiple_values", "must be sent only once")
    route = " ".join([request.scope["route"].name, *map(_canonical_id, request.path_params.values())])
    return IdempotentRequest(user.id, route, key, hashlib.sha256(variant.encode() + await request.body()).digest())


IdempotencyKeyDep = Annotated[IdempotentRequest | None, Depends(get_idempotency_key)]


def _canonical_id(value: str) -> str:
    """Return the canonical spelling of a UUID, and any other text unchanged."""
    try:
        return str(UUID(value))
    except ValueError:
        return value  # Dependencies are resolved before the framework refuses the path with a 422.
