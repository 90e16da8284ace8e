"""Erasure of an account.

It is one transaction, of several statements because each of them has a time limit. All rows of tables with one foreign
key to the account are deleted, so such new tables are included without a change here.
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
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.database.base import Base
from app.database.models import AuditEntry, ChatMessage, ChatSession, Invitation, OutgoingMail, User
from app.database.repositories.accounts.addresses import invitation_has_email, mail_has_recipient
from app.database.repositories.turns.turn_sql import MAY_BE_BUFFERED

T = TypeVar("T")

_BATCH_SIZE = 5000
"""Maximum number of rows per statement, which then takes about 0.1 s."""


@dataclass(frozen=True, slots=True)
class LockedAccount:
    """An account that is locked until the transaction ends."""

    id: int
    uuid: UUID
    email: str
    username: str
    password_hash: str
    role: str


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """Numbers of deleted and retained rows, and ids of deleted answers."""

    erased_at: datetime
    removed: dict[str, int]
    """Number of deleted rows by table."""
    ledger_rows: int
    """Number of ledger rows, which are kept without references to the account and its sessions."""
    audit_entries: int
    """Number of audit entries, which are kept unchanged."""
    answer_uuids: list[UUID]
    """Public ids of the deleted answers of which Redis may have copies."""


async def lock_account(session: AsyncSession, user_id: int) -> LockedAccount | None:
    """Lock an account against changes and against new rows that refer to it. None: it was erased.

    Every transaction locks an account before its sessions, and sessions before their messages, to avoid deadlocks.
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
    """Delete a locked account with its data, and its references from the ledger."""
    sessions = (
        await session.execute(
            select(ChatSession.id, ChatSession.last_seq)
            .where(ChatSession.user_id == account.id)
            .order_by(ChatSession.id)
            .with_for_update()
        )
    ).all()
    removed = {table.name: await _count(session, _rows_of(table, account.id)) for table in _owned_tables()}
    message_count, answer_uuids = await erase_messages(session, [(row.id, row.last_seq) for row in sessions])
    for ids in _batches([row.id for row in sessions]):
        await _write(session, delete(ChatSession).where(_is_one_of(ChatSession.id, ids)))
    mails = await _count(session, delete(OutgoingMail).where(mail_has_recipient(account.email)))
    # Before the account, because a registration locks its invitation before it inserts the account.
    invitations = await _count(session, delete(Invitation).where(invitation_has_email(account.email)))
    audit_entries = await session.scalar(
        select(func.count())
        .select_from(AuditEntry)
        .where(or_(AuditEntry.actor_id == account.uuid, AuditEntry.target_id == account.uuid))
    )
    deleted = await _write(session, delete(User).where(User.id == account.id).returning(func.clock_timestamp()))
    ledger_rows = await _anonymise_ledger(session, account.id)
    return ErasureResult(
        erased_at=deleted.scalar_one(),
        removed={
            "users": 1,
            "chat_sessions": len(sessions),
            "chat_messages": message_count,
            **removed,
            "outgoing_mails": mails,
            "invitations": invitations,
        },
        ledger_rows=ledger_rows,
        audit_entries=audit_entries or 0,
        answer_uuids=answer_uuids,
    )


def _owned_tables() -> list[Table]:
    """Return the tables that refer to accounts, except sessions, which are deleted in batches."""
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
    """Delete the messages of locked sessions.

    Return their number, and the public ids of the answers of which Redis may have copies. `sessions`: internal key and
    `last_seq` of each.
    """
    count = 0
    answer_uuids: list[UUID] = []
    for ids, above in _message_batches(sessions):
        rows = await _write(
            session,
            delete(ChatMessage)
            .where(_is_one_of(ChatMessage.session_id, ids), ChatMessage.seq > above)
            .returning(ChatMessage.uuid, MAY_BE_BUFFERED),
        )
        for uuid, may_be_buffered in rows:
            count += 1
            if may_be_buffered:
                answer_uuids.append(uuid)
    return count, answer_uuids


def _message_batches(sessions: Iterable[tuple[int, int]]) -> Iterator[tuple[list[int], int]]:
    """Split long sessions and combine short ones into batches: session keys, and the `seq` above which to delete.

    Newest messages come first. Deleting a question first would delete its answer by cascade, uncounted.
    """
    session_ids: list[int] = []
    message_count = 0
    for session_id, last_seq in sessions:
        rest = last_seq
        while rest > _BATCH_SIZE:
            rest -= _BATCH_SIZE
            yield [session_id], rest
        if message_count + rest > _BATCH_SIZE:
            yield session_ids, 0
            session_ids, message_count = [], 0
        session_ids.append(session_id)
        message_count += rest
    yield session_ids, 0


async def _anonymise_ledger(session: AsyncSession, user_id: int) -> int:
    # By a function with the rights of the owner: the services may not change the ledger.
    total = 0
    while count := await session.scalar(select(func.anonymise_ledger(literal(user_id, BigInteger), _BATCH_SIZE))):
        total += count
    return total


async def _count(session: AsyncSession, statement: Delete) -> int:
    return cast("CursorResult[Any]", await _write(session, statement)).rowcount


async def _write(session: AsyncSession, statement: Executable) -> Result[*tuple[Any, ...]]:
    # The session holds no objects of these rows, which would have to be synchronized.
    return await session.execute(statement, execution_options={"synchronize_session": False})


def _is_one_of(column: InstrumentedAttribute[int], ids: Sequence[int]) -> ColumnElement[bool]:
    # An array is one parameter, regardless of its length.
    return column == any_(literal(list(ids), ARRAY(BigInteger)))


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _BATCH_SIZE):
        yield items[start : start + _BATCH_SIZE]
