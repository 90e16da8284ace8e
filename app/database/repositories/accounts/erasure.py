"""Erasing an account.

One transaction, because half an account is nobody's; many statements, because each of them has a time limit. Whatever
has a foreign key to the account is erased, so a new table is erased without a word here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, cast
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    CursorResult,
    Delete,
    Executable,
    Result,
    Table,
    any_,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.database.base import Base
from app.database.models import AuditEntry, ChatMessage, ChatSession, LlmCall, OutgoingMail, User

T = TypeVar("T")

_BATCH = 5000
"""Rows that one statement writes: about 0.1 s of PostgreSQL."""


@dataclass(frozen=True, slots=True)
class LockedAccount:
    """An account that nobody else changes until the transaction ends."""

    id: int
    uuid: UUID
    email: str
    username: str
    password_hash: str
    role: str


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """What went, what stayed, and of what there may be copies elsewhere."""

    at: datetime
    removed: dict[str, int]
    """Rows by table."""
    ledger_rows: int
    """They stay, without the identity."""
    audit_entries: int
    """They stay as they are."""
    answers: list[UUID]
    """Public ids of the answers that were removed."""


async def lock_account(session: AsyncSession, user_id: int) -> LockedAccount | None:
    """Keep everybody else from changing the account and from giving it anything new. None: it has been erased.

    The account comes before its sessions, and those before their messages, for everybody who locks more than one.
    """
    row = (
        await session.execute(
            select(User.id, User.uuid, User.email, User.username, User.password_hash, User.role)
            .where(User.id == user_id)
            .with_for_update()
        )
    ).one_or_none()
    return LockedAccount(**row._asdict()) if row else None


async def erase(session: AsyncSession, account: LockedAccount) -> ErasureResult:
    """Remove a locked account with everything that is its own, and its identity from the ledger."""
    sessions = (
        await session.execute(
            select(ChatSession.id, ChatSession.last_seq)
            .where(ChatSession.user_id == account.id)
            .order_by(ChatSession.id)
            .with_for_update()
        )
    ).all()
    removed = {table.name: await _count(session, _rows_of(table, account.id)) for table in _owned_tables()}
    messages, answers = await erase_messages(session, [(row.id, row.last_seq) for row in sessions])
    for ids in _batches([row.id for row in sessions]):
        await _write(session, delete(ChatSession).where(_is_one_of(ChatSession.id, ids)))
    mails = await _count(
        session, delete(OutgoingMail).where(func.lower(OutgoingMail.recipient) == func.lower(account.email))
    )
    ledger_rows = await _anonymise_ledger(session, account.id)
    audit_entries = await session.scalar(
        select(func.count())
        .select_from(AuditEntry)
        .where(or_(AuditEntry.actor_id == account.uuid, AuditEntry.target_id == account.uuid))
    )
    gone = await _write(session, delete(User).where(User.id == account.id).returning(func.clock_timestamp()))
    return ErasureResult(
        at=gone.scalar_one(),
        removed={
            "users": 1,
            "chat_sessions": len(sessions),
            "chat_messages": messages,
            **removed,
            "outgoing_mails": mails,
        },
        ledger_rows=ledger_rows,
        audit_entries=audit_entries or 0,
        answers=answers,
    )


def _owned_tables() -> list[Table]:
    """Return the tables that refer to accounts, without that of the sessions, which need more care."""
    return [
        table
        for table in reversed(Base.metadata.sorted_tables)
        if table.name != ChatSession.__tablename__
        and any(key.column.table.name == User.__tablename__ for key in table.foreign_keys)
    ]


def _rows_of(table: Table, user_id: int) -> Delete:
    (column,) = [key.parent for key in table.foreign_keys if key.column.table.name == User.__tablename__]
    return delete(table).where(column == user_id)


async def erase_messages(session: AsyncSession, sessions: Sequence[tuple[int, int]]) -> tuple[int, list[UUID]]:
    """Remove the messages of locked sessions, given with their `last_seq`: how many, and the ids of the answers."""
    count = 0
    answers: list[UUID] = []
    for ids, above in _slices(sessions):
        rows = await _write(
            session,
            delete(ChatMessage)
            .where(_is_one_of(ChatMessage.session_id, ids), ChatMessage.seq > above)
            .returning(ChatMessage.uuid, ChatMessage.role),
        )
        for uuid, role in rows:
            count += 1
            if role == "assistant":
                answers.append(uuid)
    return count, answers


def _slices(sessions: Iterable[tuple[int, int]]) -> Iterator[tuple[list[int], int]]:
    """Cut long sessions and put short ones together: sessions, and the `seq` above which to delete.

    The newest go first: the database deletes an answer with its question, and would not count it.
    """
    together: list[int] = []
    messages = 0
    for session_id, last_seq in sessions:
        rest = last_seq
        while rest > _BATCH:
            rest -= _BATCH
            yield [session_id], rest
        if messages + rest > _BATCH:
            yield together, 0
            together, messages = [], 0
        together.append(session_id)
        messages += rest
    yield together, 0


async def _anonymise_ledger(session: AsyncSession, user_id: int) -> int:
    ids = (await session.scalars(select(LlmCall.id).where(LlmCall.user_id == user_id))).all()
    for batch in _batches(ids):
        await _write(
            session, update(LlmCall).where(_is_one_of(LlmCall.id, batch)).values(user_id=None, session_id=None)
        )
    return len(ids)


async def _count(session: AsyncSession, statement: Delete) -> int:
    return cast("CursorResult[Any]", await _write(session, statement)).rowcount


async def _write(session: AsyncSession, statement: Executable) -> Result[*tuple[Any, ...]]:
    # No object in the session is about these rows.
    return await session.execute(statement, execution_options={"synchronize_session": False})


def _is_one_of(column: InstrumentedAttribute[int], ids: Sequence[int]) -> ColumnElement[bool]:
    # One parameter, whatever their number.
    return column == any_(literal(list(ids), ARRAY(BigInteger)))


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
