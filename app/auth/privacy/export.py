"""Everything that is held about an account, as one document."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from app.core.exceptions import UnauthorizedError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.accounts import callers, export
from app.database.repositories.accounts.callers import Credential, Principal
from app.database.repositories.accounts.export import ExportOwner, ExportSection, RowPosition
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin

_LOGIN_CHECK_INTERVAL = 1.0
"""Seconds after which the login is looked at again."""


@dataclass(frozen=True, slots=True)
class ExportService:
    """Reads an account in batches, each a statement of its own: no connection is held while the client reads."""

    database: Database

    async def start(self, user: Principal, origin: RequestOrigin) -> AsyncIterator[bytes]:
        """Note the export, and return the document in pieces.

        If it cannot be read to the end, or the login ends, an exception cuts it off: half a document must not look
        like a whole one.

        Raises:
            UnauthorizedError: the account has been erased since the caller was checked.

        """
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            owner = await export.find_owner(connection, user.id)
            if owner is None:
                raise UnauthorizedError
            await audit_log.record(
                connection, NewAuditEntry("account.exported", actor=user.uuid, target=user.uuid), origin
            )
        return _Document(self.database, owner, user.credential).pieces()


@dataclass(slots=True)
class _Document:
    database: Database
    owner: ExportOwner
    credential: Credential
    _checked_at: float = field(default_factory=time.monotonic)

    async def pieces(self) -> AsyncIterator[bytes]:
        (account,) = [row async for _, row in self._rows(export.ACCOUNT)]
        yield b'{"exported_at":' + to_json(datetime.now(UTC)) + b',"account":' + to_json(account)
        yield b',"chat_sessions":['
        comma = b""
        async for position, session in self._rows(export.SESSIONS):
            yield comma + to_json(session)[:-1] + b',"messages":['
            async for piece in self._items(export.messages_of(*position.values)):
                yield piece
            yield b"]}"
            comma = b","
        yield b"]"
        for section in export.SECTIONS:
            yield b',"%b":[' % section.table.encode()
            async for piece in self._items(section):
                yield piece
            yield b"]"
        await self._check_login()
        yield b"}\n"

    async def _items(self, section: ExportSection) -> AsyncIterator[bytes]:
        comma = b""
        async for batch in self._batches(section):
            yield comma + b",".join(to_json(row) for _, row in batch)
            comma = b","

    async def _rows(self, section: ExportSection) -> AsyncIterator[tuple[RowPosition, dict[str, Any]]]:
        async for batch in self._batches(section):
            for item in batch:
                yield item

    async def _batches(self, section: ExportSection) -> AsyncIterator[list[tuple[RowPosition, dict[str, Any]]]]:
        after = None
        while True:
            if time.monotonic() - self._checked_at > _LOGIN_CHECK_INTERVAL:
                await self._check_login()
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                batch = await export.read(connection, section, self.owner, after)
            if batch:
                yield batch
                after = batch[-1][0]
            if len(batch) < section.batch:
                return

    async def _check_login(self) -> None:
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            if not await callers.filter_valid(connection, [self.credential]):
                raise UnauthorizedError
        self._checked_at = time.monotonic()
