"""Export of the data of an account as one JSON document."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic_core import to_json

from app.core.exceptions import UnauthorizedError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.accounts import export
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.accounts.export import ExportOwner, ExportSection, RowPosition
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.retry_until_available import retry_until_available
from app.services.limits.concurrency import ConcurrencyLimiter
from app.services.login_check import LoginCheck


@dataclass(frozen=True, slots=True)
class ExportService:
    """Reads accounts in batches of one statement each, so no connection is held while the client reads."""

    database: Database
    limiter: ConcurrencyLimiter
    """Exports in progress, per account."""

    async def start(self, user: Principal, origin: RequestOrigin) -> AsyncIterator[bytes]:
        """Audit the export and return the document in chunks.

        If reading fails or the login ends, the iterator raises, so that the connection is closed and the client does
        not take a partial document for a complete one. It waits while PostgreSQL is overloaded or unavailable.

        Raises:
            UnauthorizedError: the account was erased after the caller was authenticated.

        """
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            owner = await export.find_owner(connection, user.id)
            if owner is None:
                raise UnauthorizedError
            await audit_log.record(
                connection, NewAuditEntry("account.exported", actor=user.uuid, target=user.uuid), origin
            )
        return _Document(self.database, owner, LoginCheck(self.database, user.credential)).chunks()


@dataclass(slots=True)
class _Document:
    """The document of one export."""

    database: Database
    owner: ExportOwner
    login: LoginCheck

    async def chunks(self) -> AsyncIterator[bytes]:
        account = [row async for _, row in self._rows(export.ACCOUNT)]
        if not account:
            raise UnauthorizedError  # erased since the response began
        yield b'{"exported_at":' + to_json(datetime.now(UTC)) + b',"account":' + to_json(account[0])
        yield b',"chat_sessions":['
        comma = b""
        async for position, session in self._rows(export.SESSIONS):
            yield comma + to_json(session)[:-1] + b',"messages":['
            async for chunk in self._json_items(export.messages_section(*position.values)):
                yield chunk
            yield b"]}"
            comma = b","
        yield b"]"
        for section in export.SECTIONS:
            yield b',"%b":[' % section.table.encode()
            async for chunk in self._json_items(section):
                yield chunk
            yield b"]"
        await retry_until_available(self.login.check)
        yield b"}\n"

    async def _json_items(self, section: ExportSection) -> AsyncIterator[bytes]:
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
            await retry_until_available(self.login.check_if_due)
            batch = await retry_until_available(partial(self._read, section, after))
            if batch:
                yield batch
                after = batch[-1][0]
            if len(batch) < section.batch:
                return

    async def _read(
        self, section: ExportSection, after: RowPosition | None
    ) -> list[tuple[RowPosition, dict[str, Any]]]:
        async with self.database.download_reads, self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            return await export.read_rows(connection, section, self.owner, after)
