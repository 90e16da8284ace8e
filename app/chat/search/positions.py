"""Positions in the results of a search, and their cursors."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from pydantic import JsonValue

from app.chat.schemas.search import SearchParameters
from app.core.cursors import CursorSigner, InvalidCursorError
from app.core.exceptions import InvalidFieldError
from app.database.repositories.search.matches import MatchPosition


@dataclass(frozen=True, slots=True)
class SearchPosition:
    """Position in the results of a search."""

    now: datetime
    """Time of the first page, from which the age of documents is measured on all pages."""
    shown: int = 0
    """Number of results so far that needed no correction; more than `CORRECT_BELOW` are not counted."""
    is_corrected: bool = False
    """Whether the results with the words of the query have ended, and those of spelling variants follow."""
    chunk: int | None = None
    """Chunk of the last result. None: no result of this kind has been shown."""
    after: MatchPosition | None = None


def search_name(user_uuid: UUID, parameters: SearchParameters) -> list[JsonValue]:
    """Return what identifies a search: its cursors are valid for no other one."""
    return ["search", str(user_uuid), parameters.q, parameters.in_]


def encode_position(cursors: CursorSigner, position: SearchPosition, name: Sequence[JsonValue]) -> str:
    """Return the cursor of a position in the search `name`."""
    score, key = position.after or (None, None)
    values: list[JsonValue] = [
        position.now.isoformat(),
        position.shown,
        position.is_corrected,
        position.chunk,
        score,
        key,
    ]
    return cursors.encode(values, list_id=name)


def decode_position(cursors: CursorSigner, cursor: str | None, name: Sequence[JsonValue]) -> SearchPosition:
    """Return the position of a cursor; without one, the beginning.

    Raises:
        InvalidFieldError: the cursor belongs to another search, or was changed.

    """
    if cursor is None:
        return SearchPosition(datetime.now(UTC))
    try:
        now, shown, is_corrected, chunk, score, key = cursors.decode(cursor, list_id=name)
    except InvalidCursorError:
        raise InvalidFieldError(
            "query.cursor", "cursor", "must be `next_cursor` of an earlier page of the same search"
        ) from None
    after = None if key is None else MatchPosition(score, key)  # type: ignore[arg-type]  # as encoded
    return SearchPosition(datetime.fromisoformat(str(now)), shown, is_corrected, chunk, after)  # type: ignore[arg-type]
