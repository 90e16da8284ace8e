"""Export of sessions as files, streamed."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from app.chat.transfer.filenames import content_disposition
from app.chat.transfer.formats import conversation_writer, text_writer
from app.chat.transfer.formats.conversation_writer import SessionWriter
from app.chat.transfer.formats.text_writer import ReadableFormat
from app.chat.transfer.session_reader import ReadableSession, SessionReader
from app.core.exceptions import NotFoundError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.transfer import conversations
from app.services.login_check import LoginCheck

ExportFormat = Literal["json", "md", "txt"]

_MEDIA_TYPES: dict[ExportFormat, str] = {
    "json": "application/json",
    "md": "text/markdown; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file that is read while it is sent. If reading fails its chunks raise, so that the connection is closed."""

    media_type: str
    content_disposition: str
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class ExportService:
    """Exports sessions of a user: JSON with all branches, Markdown and text with the active one."""

    database: Database

    async def export_session(self, user: Principal, session_uuid: UUID, file_format: ExportFormat) -> ExportedFile:
        """Return a session as a file.

        Raises:
            NotFoundError: the user has no such session.

        """
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            session = await conversations.find_session(connection, user_id=user.id, session_uuid=session_uuid)
        if session is None:
            raise NotFoundError("Session not found.")
        readable = self._reader(user, file_format).read_one(session)
        return _file(session.title, file_format, _iterate(readable))

    async def export_all(self, user: Principal, file_format: ExportFormat) -> ExportedFile:
        """Return all sessions as one file, archived ones included, in the order of their creation."""
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            ids = await conversations.list_session_ids(connection, user_id=user.id)
        return _file("conversations", file_format, self._reader(user, file_format).read_all(ids))

    def _reader(self, user: Principal, file_format: ExportFormat) -> SessionReader:
        login = LoginCheck(self.database, user.credential)
        return SessionReader(self.database, user.id, login, only_active_branch=file_format != "json")


def _file(name: str, file_format: ExportFormat, sessions: AsyncIterator[ReadableSession]) -> ExportedFile:
    chunks = _json_chunks(sessions) if file_format == "json" else _text_chunks(sessions, file_format)
    return ExportedFile(_MEDIA_TYPES[file_format], content_disposition(name, file_format), chunks)


async def _iterate(readable: ReadableSession) -> AsyncIterator[ReadableSession]:
    yield readable


async def _json_chunks(sessions: AsyncIterator[ReadableSession]) -> AsyncIterator[bytes]:
    yield conversation_writer.file_start(datetime.now(UTC))
    separator = b""
    async for readable in sessions:
        writer = SessionWriter(readable.session)
        yield separator + writer.start()
        async for batch in readable.batches:
            yield writer.messages(batch)
        yield writer.end()
        separator = b","
    yield conversation_writer.FILE_END


async def _text_chunks(sessions: AsyncIterator[ReadableSession], file_format: ReadableFormat) -> AsyncIterator[bytes]:
    writer = text_writer.WRITERS[file_format]
    separator = ""
    async for readable in sessions:
        yield (separator + writer.session_start(readable.session)).encode()
        async for batch in readable.batches:
            yield "".join(map(writer.message, batch)).encode()
        separator = text_writer.SESSION_SEPARATORS[file_format]
