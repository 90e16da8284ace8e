"""Lists of a user's sessions, by page or by cursor."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from app.chat.schemas.sessions import SessionList, SessionQuery, SessionSummary
from app.chat.search.service import SearchService
from app.core.cursors import CursorSigner, InvalidCursorError
from app.core.exceptions import InvalidFieldError
from app.core.schema_types import Pagination
from app.core.text import fold
from app.database.connection import DatabaseSession
from app.database.models import ChatSession
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.chat import session_list
from app.database.repositories.chat.session_list import SessionPosition


@dataclass(frozen=True, slots=True)
class SessionLister:
    """Reads lists of sessions. A cursor is valid for its user, filters and order only."""

    cursors: CursorSigner
    search: SearchService

    async def list_sessions(self, transaction: DatabaseSession, user: Principal, query: SessionQuery) -> SessionList:
        """Return a page of sessions, or those after the cursor.

        Raises:
            InvalidFieldError: the cursor was not issued for this list.
            TooManyRequestsError, ServiceUnavailableError: see `SearchService.find_sessions`.

        """
        after = self._position(user, query)
        found = await self.search.find_sessions(user.id, query.search) if query.search else None
        criteria = query.criteria(found, await self._spellings(transaction, user, query.tag))
        rows = await session_list.read(
            transaction,
            user_id=user.id,
            criteria=criteria,
            sort=query.sort,
            limit=query.size + 1,
            start=after or (query.page - 1) * query.size,
        )
        listed = rows[: query.size]
        pagination = None
        if after is None:
            total = await session_list.count(transaction, user_id=user.id, criteria=criteria)
            pagination = Pagination.of(total=total, page=query.page, size=query.size)
        return SessionList(
            sessions=[_summary(row.session) for row in listed],
            pagination=pagination,
            next_cursor=self._cursor(user, query, listed[-1].position) if len(rows) > len(listed) else None,
        )

    def _cursor(self, user: Principal, query: SessionQuery, position: SessionPosition) -> str:
        key = position.key.isoformat() if isinstance(position.key, datetime) else position.key
        return self.cursors.encode([key, position.id], list_id=_list_id(user, query))

    async def _spellings(self, transaction: DatabaseSession, user: Principal, tag: str | None) -> list[str] | None:
        """Return the spellings of a tag that sessions of the user have, such as `strasse` and `straße`."""
        if tag is None:
            return None
        tags = await session_list.find_tags(transaction, user_id=user.id)
        return [stored for stored in tags if fold(stored) == fold(tag)]

    def _position(self, user: Principal, query: SessionQuery) -> SessionPosition | None:
        if query.cursor is None:
            return None
        try:
            key, row_id = self.cursors.decode(query.cursor, list_id=_list_id(user, query))
        except InvalidCursorError:
            raise InvalidFieldError(
                "query.cursor", "cursor", "must be a next_cursor of the same list, with the same filters and order"
            ) from None
        assert isinstance(key, str)  # noqa: S101 - narrows the type; the signature proves the value
        assert isinstance(row_id, int)  # noqa: S101 - as above
        return SessionPosition(key if query.sort == "title" else datetime.fromisoformat(key), row_id)


def _list_id(user: Principal, query: SessionQuery) -> list[JsonValue]:
    return ["sessions", str(user.uuid), query.sort, query.archived, query.pinned, query.tag, query.search]


def session_settings(stored: ChatSession) -> dict[str, Any]:
    """Return the fields of `SessionSettings`."""
    return {
        "title_source": stored.title_source,
        "model": stored.model,
        "is_archived": not stored.is_active,
        "is_pinned": stored.is_pinned,
        "tags": stored.tags,
    }


def _summary(row: ChatSession) -> SessionSummary:
    return SessionSummary(
        **session_settings(row),
        session_id=row.uuid,
        title=row.title,
        created_at=row.created_at,
        updated_at=row.updated_at,
        message_count=row.message_count,
        last_message_preview=row.last_message_preview,
        last_message_timestamp=row.last_message_at,
    )
