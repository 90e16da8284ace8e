"""One running import: reads the sessions of a file one after the other, and stores each of them completely or not."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO
from uuid import UUID

from anyio import CapacityLimiter, to_thread

from app.chat.transfer.formats import chatgpt, conversation_file
from app.chat.transfer.formats.imported_session import ImportedSession, LeftOut, SessionRefusedError
from app.chat.transfer.formats.json_reader import RawSession, Wanted, read_sessions
from app.chat.transfer.formats.outline import FileOutline
from app.chat.transfer.import_report import ReportBuilder
from app.core.exceptions import DatabaseUnavailableError, UnauthorizedError
from app.core.schema_types import new_id
from app.database.connection import Database
from app.database.repositories.transfer import imports, session_store
from app.database.repositories.transfer.imports import ImportStatus
from app.database.repositories.transfer.session_store import NewImportedSession, NewMessage
from app.database.retry_until_available import retry_until_available

logger = logging.getLogger(__name__)

_PROGRESS_INTERVAL = 1.0
"""Seconds between two updates of the progress."""
_SESSION_TIMEOUT = 30.0
"""Time to store one session, in seconds, attempts while PostgreSQL is unavailable included."""


class _AlreadyImportedError(Exception):
    """The session has been imported before: the transaction is rolled back."""


@dataclass(frozen=True, slots=True)
class ImportTask:
    """Imports a file whose outline was read."""

    database: Database
    user_id: int
    import_uuid: UUID
    file: IO[bytes]
    outline: FileOutline
    threads: CapacityLimiter
    """Limits how many files are parsed at the same time."""
    report: ReportBuilder = field(default_factory=ReportBuilder)

    async def run(self) -> None:
        """Import all sessions and store the report. Never raises an error; cancelled, it stores the report so far."""
        status: ImportStatus = "failed"
        try:
            await self._import_all()
            status = "complete"
        except asyncio.CancelledError:
            status = "interrupted"
            raise
        except UnauthorizedError:
            return  # the account was erased, and the import with it
        except DatabaseUnavailableError:
            logger.warning("import stopped: database unavailable")
        except Exception:
            logger.exception("import failed")
        finally:
            with suppress(DatabaseUnavailableError):
                await retry_until_available(lambda: self._finish(status))

    async def _import_all(self) -> None:
        now = asyncio.get_running_loop().time
        raw_sessions = read_sessions(self.file, self.outline, self._wanted)
        reported_at = now()
        while (item := await to_thread.run_sync(self._read_next, raw_sessions, limiter=self.threads)) is not None:
            if isinstance(item, LeftOut):
                self.report.add_left_out(item)
            else:
                await self._store_or_leave_out(*item)
            if now() - reported_at > _PROGRESS_INTERVAL:
                await self._report_progress()
                reported_at = now()

    @property
    def _wanted(self) -> Wanted:
        return chatgpt.WANTED if self.outline.format == "chatgpt" else None

    def _place(self, raw: RawSession) -> str:
        return f"[{raw.index}]" if self.outline.format == "chatgpt" else f"sessions[{raw.index}]"

    def _read_next(self, raw_sessions: Iterator[RawSession]) -> tuple[str, ImportedSession] | LeftOut | None:
        """Return the next session and its place in the file, or why it cannot be imported. None: there is no other."""
        raw = next(raw_sessions, None)
        if raw is None:
            return None
        place = self._place(raw)
        if raw.problem is not None:
            return LeftOut(place, raw.problem)
        read_session = chatgpt.read_session if self.outline.format == "chatgpt" else conversation_file.read_session
        try:
            session = read_session(raw.value, now=datetime.now(UTC))
            session.check_versions()
        except SessionRefusedError as refusal:
            return LeftOut(".".join(filter(None, (place, refusal.place))), refusal.reason)
        return place, session

    async def _store_or_leave_out(self, place: str, session: ImportedSession) -> None:
        try:
            await self._store(place, session)
        except (DatabaseUnavailableError, UnauthorizedError):
            raise
        except Exception:
            logger.exception("session not imported")
            self.report.add_left_out(LeftOut(place, "internal_error"))

    async def _store(self, place: str, session: ImportedSession) -> None:
        fingerprint = await to_thread.run_sync(session.fingerprint, limiter=self.threads)
        new = NewImportedSession(
            uuid=new_id(),
            fingerprint=fingerprint,
            title=session.title,
            meta=session.meta,
            created_at=session.created_at,
            updated_at=session.updated_at,
            active=session.active,
            title_source=session.title_source,
            is_archived=session.is_archived,
            is_pinned=session.is_pinned,
            tags=session.tags,
            model=session.model,
        )
        messages = [
            NewMessage(message.parent, message.role, message.content, message.status, message.created_at, message.meta)
            for message in session.messages
        ]
        stored = await retry_until_available(lambda: self._insert(new, messages), max_seconds=_SESSION_TIMEOUT)
        if stored == new.uuid:
            self.report.add_imported(place, stored, len(messages), session.left_out)
        else:
            self.report.add_already_imported(place, stored)

    async def _insert(self, new: NewImportedSession, messages: list[NewMessage]) -> UUID:
        """Store a session, and return its public id, or that of the same conversation that was imported before."""
        while True:
            async with self.database.autocommit() as connection:
                found = await session_store.find_imported(connection, user_id=self.user_id, fingerprint=new.fingerprint)
            if found is not None:
                return found
            with suppress(_AlreadyImportedError):
                async with self.database.transaction() as transaction:
                    connection = await transaction.connection()
                    if not await session_store.insert_imported(connection, new, messages, user_id=self.user_id):
                        raise _AlreadyImportedError
                return new.uuid

    async def _report_progress(self) -> None:
        with suppress(DatabaseUnavailableError):
            async with self.database.autocommit() as connection:
                await imports.report_progress(connection, self.import_uuid, done_count=self.report.done)

    async def _finish(self, status: ImportStatus) -> None:
        async with self.database.autocommit() as connection:
            await imports.finish(
                connection,
                self.import_uuid,
                status=status,
                done_count=self.report.done,
                report=self.report.to_json(),
            )
