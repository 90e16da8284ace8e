"""Cursors of lists: a position that a client passes back to read on, signed so that it cannot be edited."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated

from pydantic import JsonValue, StringConstraints

MAX_CURSOR_LENGTH = 2000
"""Maximum length of a cursor in characters."""

Cursor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", min_length=1, max_length=MAX_CURSOR_LENGTH)]

_MAC_LENGTH = 16


class InvalidCursorError(Exception):
    """The cursor was not issued for this list."""


class CursorSigner:
    """Encodes the position in a list. A cursor is valid for the list that it was issued for: owner, filters, order."""

    def __init__(self, *keys: str) -> None:
        """`keys`: secrets that the processes of the system share. The first one signs, all are accepted."""
        self._keys = [hmac.new(key.encode(), b"cursors of lists", sha256).digest() for key in keys]

    def encode(self, position: Sequence[JsonValue], *, list_id: Sequence[JsonValue]) -> str:
        """Return the cursor of a position. `list_id` names the list; cursors do not contain it."""
        payload = json.dumps(position, separators=(",", ":"), ensure_ascii=False).encode()
        return urlsafe_b64encode(_mac(self._keys[0], payload, list_id) + payload).rstrip(b"=").decode()

    def decode(self, cursor: str, *, list_id: Sequence[JsonValue]) -> list[JsonValue]:
        """Return the position that was encoded for the same list.

        Raises:
            InvalidCursorError: it was not.

        """
        try:
            signed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except ValueError:
            raise InvalidCursorError from None
        mac, payload = signed[:_MAC_LENGTH], signed[_MAC_LENGTH:]
        if not any(hmac.compare_digest(mac, _mac(key, payload, list_id)) for key in self._keys):
            raise InvalidCursorError
        position: list[JsonValue] = json.loads(payload)
        return position


def _mac(key: bytes, payload: bytes, list_id: Sequence[JsonValue]) -> bytes:
    name = json.dumps(list_id, separators=(",", ":")).encode()
    return hmac.new(key, name + b"\n" + payload, sha256).digest()[:_MAC_LENGTH]
