"""Imports: uploads are checked, and imported by tasks that the process owns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from uuid import UUID

from anyio import CapacityLimiter, to_thread

from app.chat.schemas.transfer import ImportReport, ImportResponse
from app.chat.transfer.formats.outline import read_outline
from app.chat.transfer.import_task import ImportTask
from app.chat.transfer.uploads import open_upload, receive_upload
from app.core.background_tasks import stop_tasks
from app.core.exceptions import ConflictError, NotFoundError
from app.core.schema_types import new_id
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.transfer import imports
from app.database.repositories.transfer.imports import ImportRunningError, StoredImport
from app.services.limits.admission import release_slot
from app.services.limits.concurrency import ConcurrencyLimiter

_QUICK_SECONDS = 10.0
"""Time in which an import must end to be answered with its report."""


@dataclass(frozen=True, slots=True)
class ImportService:
    """Imports files into accounts. An import goes on when its client disconnects."""

    database: Database
    user_limiter: ConcurrencyLimiter
    """Exports, imports and copies per account."""
    upload_limiter: ConcurrencyLimiter
    """Imports of all accounts, because each of them occupies disk space."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))

    @property
    def running_count(self) -> int:
        """Number of imports that run in this process."""
        return len(self._tasks)

    async def import_file(self, user_id: int, chunks: AsyncIterator[bytes], content_type: str) -> ImportResponse:
        """Receive a file and import its sessions. A long import is still running when this returns.

        Raises:
            BadRequestError, UnprocessableError: the file is not complete, not JSON, or of an unknown format.
            RequestTimeoutError: the upload stopped.
            ConflictError: another import of the user is running.
            TooManyRequestsError: the user, or all users together, have too many of them.

        """
        with ExitStack() as stack:
            stack.enter_context(self.user_limiter.slot(user_id))
            stack.enter_context(self.upload_limiter.slot("uploads"))
            file = stack.enter_context(open_upload())
            release_slot()  # uploads are limited above
            await receive_upload(chunks, content_type, file)
            outline = await to_thread.run_sync(read_outline, file, limiter=self._threads)
            import_uuid = new_id()
            try:
                async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                    await imports.start(
                        connection,
                        user_id=user_id,
                        import_uuid=import_uuid,
                        file_format=outline.format,
                        session_count=outline.session_count,
                    )
            except ImportRunningError as error:
                raise ConflictError(
                    "Another import is running.",
                    code="import_running",
                    extra={"import_id": str(error.import_uuid)} if error.import_uuid else {},
                ) from None
            running = ImportTask(self.database, user_id, import_uuid, file, outline, self._threads)
            task = asyncio.create_task(self._run(running, stack.pop_all()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # The task belongs to the process: it goes on if the request is cancelled.
        await asyncio.wait({task}, timeout=_QUICK_SECONDS)
        return await self.get(user_id, import_uuid)

    async def get(self, user_id: int, import_uuid: UUID) -> ImportResponse:
        """Return an import.

        Raises:
            NotFoundError: the user has no such import.

        """
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            stored = await imports.find(connection, user_id=user_id, import_uuid=import_uuid)
        if stored is None:
            raise NotFoundError("Import not found.")
        return _response(stored)

    async def drain(self, grace: float) -> None:
        """Wait up to `grace` seconds for running imports, then interrupt the rest: they store their reports."""
        await stop_tasks(self._tasks, grace=grace)

    @staticmethod
    async def _run(running: ImportTask, resources: ExitStack) -> None:
        with resources:
            await running.run()


def _response(stored: StoredImport) -> ImportResponse:
    return ImportResponse(
        import_id=stored.uuid,
        status=stored.status,
        format=stored.format,
        sessions_total=stored.session_count,
        sessions_done=stored.done_count,
        created_at=stored.created_at,
        updated_at=stored.updated_at,
        report=None if stored.report is None else ImportReport.model_validate(stored.report),
    )
