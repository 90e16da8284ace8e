"""Logins: one row for each, and so for each family of refresh tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Update, bindparam, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.types import Interval

from app.database.models import AuthSession, User
from app.database.repositories.audit.audit_log import RequestOrigin
from app.database.repositories.operations import batch_deletion

RevocationReason = Literal[
    "logout", "logout_all", "removed", "replayed", "password_changed", "password_reset", "disabled"
]


@dataclass(frozen=True, slots=True)
class TokenFamily:
    """The refresh tokens of a login."""

    user_uuid: UUID
    token_hash: bytes
    previous_token_hash: bytes | None
    is_good: bool
    """Neither revoked nor expired, and the account is active."""
    in_grace: bool
    """Whether the last exchange is so recent that its answer may have been lost."""


is_open: ColumnElement[bool] = AuthSession.revoked_at.is_(None) & (AuthSession.expires_at > func.now())
"""Whether the login is neither revoked nor over. The account must be active besides."""

_ROTATE = (
    update(AuthSession)
    .where(
        AuthSession.uuid == bindparam("p_session_uuid"),
        AuthSession.token_hash == bindparam("p_token_hash"),
        is_open,
        AuthSession.user_id == User.id,
        User.is_active,
    )
    .values(
        token_hash=bindparam("p_successor_hash"),
        previous_token_hash=AuthSession.token_hash,
        rotated_at=func.now(),
        expires_at=func.now() + bindparam("p_life", type_=Interval),
    )
    .returning(User.uuid)
)
_FAMILY = (
    select(
        User.uuid.label("user_uuid"),
        AuthSession.token_hash,
        AuthSession.previous_token_hash,
        (is_open & User.is_active).label("is_good"),
        func.coalesce(AuthSession.rotated_at > func.now() - bindparam("p_grace", type_=Interval), False).label(
            "in_grace"
        ),
    )
    .join(User, AuthSession.user_id == User.id)
    .where(AuthSession.uuid == bindparam("p_session_uuid"))
)
_CONFIRM = (
    update(AuthSession)
    .where(AuthSession.uuid == bindparam("p_session_uuid"), AuthSession.token_hash == bindparam("p_token_hash"))
    .values(rotated_at=func.now())
)

_KEPT = timedelta(days=30)
"""How long a login stays that is over."""
_PURGE = batch_deletion.delete_statement(
    AuthSession.id,
    or_(AuthSession.expires_at < func.now() - _KEPT, AuthSession.revoked_at < func.now() - _KEPT),
)


async def open_session(
    session: AsyncSession,
    *,
    uuid: UUID,
    user_id: int,
    token_hash: bytes,
    life: timedelta,
    origin: RequestOrigin,
) -> None:
    """Store a login. The account must have been locked by `credentials.note_login`."""
    await session.execute(
        insert(AuthSession).values(
            uuid=uuid,
            user_id=user_id,
            token_hash=token_hash,
            user_agent=origin.user_agent,
            ip=origin.ip,
            expires_at=func.now() + life,
        )
    )


async def rotate(
    connection: AsyncConnection, session_uuid: UUID, *, token_hash: bytes, successor_hash: bytes, life: timedelta
) -> UUID | None:
    """Exchange the login's token for its successor, and return the account's public id.

    One statement: of many at once with the same token one succeeds. None: the token is not the one that is good now,
    or the login or account is not good any more.
    """
    user_uuid: UUID | None = await connection.scalar(
        _ROTATE,
        {
            "p_session_uuid": session_uuid,
            "p_token_hash": token_hash,
            "p_successor_hash": successor_hash,
            "p_life": life,
        },
    )
    return user_uuid


async def find_family(connection: AsyncConnection, session_uuid: UUID, *, grace: timedelta) -> TokenFamily | None:
    """Return what decides about a token that could not be exchanged."""
    row = (await connection.execute(_FAMILY, {"p_session_uuid": session_uuid, "p_grace": grace})).one_or_none()
    return TokenFamily(**row._asdict()) if row else None


async def restart_grace(connection: AsyncConnection, session_uuid: UUID, *, token_hash: bytes) -> None:
    """Count the time for repeating the last exchange from now on, if it was the one that made this token."""
    await connection.execute(_CONFIRM, {"p_session_uuid": session_uuid, "p_token_hash": token_hash})


async def list_page(session: AsyncSession, *, user_id: int, page: int, size: int) -> tuple[Sequence[AuthSession], int]:
    """Return a page of the owner's open logins, the newest first, and how many there are."""
    owned = select(AuthSession).where(AuthSession.user_id == user_id, is_open)
    total = await session.scalar(select(func.count()).select_from(owned.subquery()))
    rows = await session.scalars(owned.order_by(AuthSession.id.desc()).offset((page - 1) * size).limit(size))
    return rows.all(), total or 0


async def revoke(session: AsyncSession, *, user_id: int, session_uuid: UUID, reason: RevocationReason) -> bool:
    """End one open login of the owner. False: there is none."""
    ended = await session.scalar(
        _revoke(reason)
        .where(AuthSession.user_id == user_id, AuthSession.uuid == session_uuid, AuthSession.expires_at > func.now())
        .returning(AuthSession.id)
    )
    return ended is not None


async def revoke_family(session: AsyncSession, session_uuid: UUID) -> bool:
    """End a login of which a used token was shown again. False: it had ended already."""
    ended = await session.scalar(_revoke("replayed").where(AuthSession.uuid == session_uuid).returning(AuthSession.id))
    return ended is not None


async def revoke_all(
    session: AsyncSession, *, user_id: int, reason: RevocationReason, except_uuid: UUID | None = None
) -> int:
    """End all logins of an account, or all but one, and return how many were open."""
    statement = _revoke(reason).where(AuthSession.user_id == user_id)
    if except_uuid is not None:
        statement = statement.where(AuthSession.uuid != except_uuid)
    ended = await session.scalars(statement.returning(AuthSession.expires_at > func.now()))
    return sum(ended)


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Remove logins that have been over for long, `limit` at most, and say how many."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)


def _revoke(reason: RevocationReason) -> Update:
    return (
        update(AuthSession).where(AuthSession.revoked_at.is_(None)).values(revoked_at=func.now(), revoked_reason=reason)
    )
