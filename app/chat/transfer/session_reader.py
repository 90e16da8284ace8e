"""Reading of stored sessions for an export. No connection is held while the export is sent."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from app.core.exceptions import NotFoundError
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseConnection
from app.database.repositories.transfer import conversations
from app.database.repositories.transfer.conversations import (
    BATCH_BYTES,
    BATCH_SIZE,
    MessageKey,
    StoredMessage,
    StoredSession,
)
from app.database.retry_until_available import retry_until_available
from app.services.login_check import LoginCheck

_SESSIONS_PER_BATCH = 100

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadableSession:
    """A session, and the batches of its messages: of all branches, or of the active one only."""

    session: StoredSession
    batches: AsyncIterator[Sequence[StoredMessage]]


@dataclass(frozen=True, slots=True)
class SessionReader:
    """Reads sessions of one user for one request.

    The iterators raise `UnauthorizedError` when the login ends, and `NotFoundError` when a session is deleted after a
    part of it was read: then the response is cut, and the client does not take it for a complete one. While PostgreSQL
    is overloaded or unavailable, they wait: a response that has begun cannot be refused any more.
    """

    database: Database
    user_id: int
    login: LoginCheck
    only_active_branch: bool

    def read_one(self, session: StoredSession) -> ReadableSession:
        """Return a session with its messages."""
        return ReadableSession(session, self._batches(session))

    async def read_all(self, ids: Sequence[int]) -> AsyncIterator[ReadableSession]:
        """Yield sessions by their internal keys. Those that have been deleted are skipped."""
        for start in range(0, len(ids), _SESSIONS_PER_BATCH):
            await self._check_login()
            batch = ids[start : start + _SESSIONS_PER_BATCH]
            sessions = await self._read(conversations.read_sessions, user_id=self.user_id, ids=batch)
            short = [session.id for session in sessions if session.message_count <= BATCH_SIZE]
            sizes = await self._read(conversations.text_sizes, short)
            for group in _group(sessions, sizes):
                if group[0].id not in sizes or sizes[group[0].id] > BATCH_BYTES:
                    yield self.read_one(group[0])
                    continue
                async for readable in self._read_short(group):
                    yield readable
        await retry_until_available(self.login.check)

    async def _read_short(self, group: Sequence[StoredSession]) -> AsyncIterator[ReadableSession]:
        """Yield short sessions, whose messages take one statement."""
        await self._check_login()
        session_ids = [session.id for session in group]
        rows = await self._read(conversations.read_all_messages, user_id=self.user_id, session_ids=session_ids)
        messages: dict[int, list[StoredMessage]] = {session.id: [] for session in group}
        for message in rows:
            messages[message.session_id].append(message)
        for session in group:
            found = [message for message in messages[session.id] if message.seq <= session.last_seq]
            if _has_changed(session, found):
                for changed in await self._read(conversations.read_sessions, user_id=self.user_id, ids=[session.id]):
                    yield self.read_one(changed)
                continue
            selected = select_branch(found, session.active_seq) if self.only_active_branch else found
            yield ReadableSession(session, _single(selected))

    async def _batches(self, session: StoredSession) -> AsyncIterator[Sequence[StoredMessage]]:
        pages = self._branch(session) if self.only_active_branch else self._all_branches(session)
        async for page in pages:
            yield page
        if not await self._read(conversations.read_sessions, user_id=self.user_id, ids=[session.id]):
            raise NotFoundError("Session not found.")

    async def _all_branches(self, session: StoredSession) -> AsyncIterator[Sequence[StoredMessage]]:
        after_seq = 0
        while True:
            await self._check_login()
            page = await self._read(
                conversations.read_messages,
                user_id=self.user_id,
                session_id=session.id,
                after_seq=after_seq,
                upto_seq=session.last_seq,
            )
            if not page:
                return
            yield page
            after_seq = page[-1].seq
            if after_seq == session.last_seq:
                return

    async def _branch(self, session: StoredSession) -> AsyncIterator[Sequence[StoredMessage]]:
        branch = await self._branch_keys(session.id)
        for batch in _batches(branch):
            await self._check_login()
            yield await self._read(
                conversations.read_messages_by_id,
                user_id=self.user_id,
                session_id=session.id,
                ids=[key.id for key in batch],
            )

    async def _branch_keys(self, session_id: int) -> list[MessageKey]:
        """Return the messages of the active branch, oldest first."""
        while (last_id := await self._read(conversations.find_last_of_branch, session_id=session_id)) is not None:
            branch: list[MessageKey] = []
            while last_id is not None and (keys := await self._read(conversations.list_ancestors, last_id)):
                branch += keys
                last_id = keys[-1].parent_id
            if last_id is None:
                return branch[::-1]
            # Its end was deleted meanwhile, and another branch is active.
        return []

    async def _check_login(self) -> None:
        await retry_until_available(self.login.check_if_due)

    async def _read(
        self,
        query: Callable[Concatenate[DatabaseConnection, P], Awaitable[T]],
        *args: P.args,
        **values: P.kwargs,
    ) -> T:
        async def attempt() -> T:
            async with (
                self.database.download_reads,
                self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection,
            ):
                return await query(connection, *args, **values)

        return await retry_until_available(attempt)


def _has_changed(session: StoredSession, messages: Sequence[StoredMessage]) -> bool:
    """Return whether messages were deleted since the session was read: all, or the end of the selected branch."""
    if not messages:
        return session.message_count > 0
    return bool(session.active_seq) and all(message.seq != session.active_seq for message in messages)


def select_branch(messages: Sequence[StoredMessage], active_seq: int | None) -> list[StoredMessage]:
    """Return the messages of the active branch, oldest first, of all messages of a session."""
    by_seq = {message.seq: message for message in messages}
    seq = active_seq if active_seq is not None or not messages else messages[-1].seq
    branch = []
    while seq is not None and (message := by_seq.get(seq)):
        branch.append(message)
        seq = message.parent_seq
    return branch[::-1]


def _group(sessions: Sequence[StoredSession], sizes: Mapping[int, int]) -> list[list[StoredSession]]:
    """Divide sessions into groups of the size of a batch, or a single larger session.

    `sizes`: sizes of the texts of sessions with at most `BATCH_SIZE` messages.
    """
    groups: list[list[StoredSession]] = []
    free = free_bytes = 0
    for session in sessions:
        size = sizes.get(session.id, BATCH_BYTES + 1)
        if not groups or session.message_count > free or size > free_bytes:
            groups.append([])
            free, free_bytes = BATCH_SIZE, BATCH_BYTES
        groups[-1].append(session)
        free -= session.message_count
        free_bytes -= size
    return groups


def _batches(keys: Sequence[MessageKey]) -> Iterator[Sequence[MessageKey]]:
    start = size = 0
    for index, key in enumerate(keys):
        if index > start and (index - start == BATCH_SIZE or size + key.size > BATCH_BYTES):
            yield keys[start:index]
            start, size = index, 0
        size += key.size
    if keys:
        yield keys[start:]


async def _single(messages: Sequence[StoredMessage]) -> AsyncIterator[Sequence[StoredMessage]]:
    if messages:
        yield messages
