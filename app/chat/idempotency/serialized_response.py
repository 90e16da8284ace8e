"""Responses whose bytes are fixed, so that a replay is identical to the first response."""

import json
from dataclasses import dataclass
from typing import Self

from app.core.schema_types import ResponseModel
from app.database.repositories.turns.idempotency_keys import IdempotentRequest, StoredResponse


@dataclass(frozen=True, slots=True)
class SerializedResponse:
    """A response as bytes."""

    status_code: int
    body: bytes
    media_type: str = "application/json"
    is_replay: bool = False

    @classmethod
    def of(cls, response: StoredResponse, *, is_replay: bool = False) -> Self:
        """Return a stored response."""
        return cls(response.status_code, response.body, is_replay=is_replay)


def serialize_response(key: IdempotentRequest, response: ResponseModel, status_code: int = 200) -> StoredResponse:
    """Return the response as it is stored and sent: JSON with sorted keys."""
    # `jsonb` has its own order of keys: sorted, a response built from the stored turn has the same bytes.
    document = response.model_dump(mode="json", exclude_unset=True)
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return StoredResponse(key, status_code, body.encode())
