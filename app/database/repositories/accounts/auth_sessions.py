"""Logins and their refresh token families."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Update, bindparam, func, insert, literal, or_, select, update
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
    """State of the refresh tokens of a login."""

    user_uuid: UUID
    token_hash: bytes
    previous_token_hash: bytes | None
    is_valid: bool
    """Whether the login is neither revoked nor expired, and the account is active."""


IS_OPEN: ColumnElement[bool] = AuthSession.revoked_at.is_(None) & (AuthSession.expires_at > func.now())
"""Condition for logins that are neither revoked nor expired. It does not check that the account is active."""

_ROTATE = (
    update(AuthSession)
    .where(
        AuthSession.uuid == bindparam("p_session_uuid"),
        AuthSession.token_hash == bindparam("p_token_hash"),
        IS_OPEN,
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
_FIND_FAMILY = (
    select(
        User.uuid.label("user_uuid"),
        AuthSession.token_hash,
        AuthSession.previous_token_hash,
        (IS_OPEN & User.is_active).label("is_valid"),
    )
    .join(User, AuthSession.user_id == User.id)
    .where(AuthSession.uuid == bindparam("p_session_uuid"))
)

_RETENTION = timedelta(days=30)
"""How long a login is stored after it was revoked or has expired."""
_PURGE = batch_deletion.delete_statement(
    AuthSession.id,
    or_(AuthSession.expires_at < func.now() - _RETENTION, AuthSession.revoked_at < func.now() - _RETENTION),
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
    """Insert a login. The caller must have locked the account with `credentials.record_login`."""
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
    """Replace the refresh token of a login with its successor, and return the public id of the account.

    It is atomic: of concurrent rotations of a token one succeeds. None: the token is not the current one, or the login
    or the account is not valid.
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


async def find_family(connection: AsyncConnection, session_uuid: UUID) -> TokenFamily | None:
    """Return the state of a login's refresh tokens, for a token that `rotate` refused. None: there is no such login."""
    row = (await connection.execute(_FIND_FAMILY, {"p_session_uuid": session_uuid})).one_or_none()
    return TokenFamily(**row._asdict()) if row else None


async def list_page(session: AsyncSession, *, user_id: int, page: int, size: int) -> tuple[Sequence[AuthSession], int]:
    """Return a page of the user's open logins, newest first, and the total number."""
    owned = select(AuthSession).where(AuthSession.user_id == user_id, IS_OPEN)
    total = await session.scalar(select(func.count()).select_from(owned.subquery()))
    rows = await session.scalars(owned.order_by(AuthSession.id.desc()).offset((page - 1) * size).limit(size))
    return rows.all(), total or 0


async def revoke(session: AsyncSession, *, user_id: int, session_uuid: UUID, reason: RevocationReason) -> bool:
    """Revoke an open login of the user. False: there is none."""
    revoked_id = await session.scalar(
        _revoke(reason)
        .where(AuthSession.user_id == user_id, AuthSession.uuid == session_uuid, AuthSession.expires_at > func.now())
        .returning(AuthSession.id)
    )
    return revoked_id is not None


async def revoke_by_token(
    session: AsyncSession, session_uuid: UUID, *, token_hash: bytes, is_authentic: bool
) -> UUID | None:
    """Revoke the open login of a refresh token, and return the public id of its account. None: there is none.

    `is_authentic`: whether the token is known to have been issued for this login. Otherwise it must be the current one
    or its predecessor.
    """
    is_owned = or_(
        literal(is_authentic), AuthSession.token_hash == token_hash, AuthSession.previous_token_hash == token_hash
    )
    user_uuid: UUID | None = await session.scalar(
        _revoke("logout")
        .where(
            AuthSession.uuid == session_uuid,
            AuthSession.expires_at > func.now(),
            AuthSession.user_id == User.id,
            is_owned,
        )
        .returning(User.uuid),
        execution_options={"synchronize_session": False},
    )
    return user_uuid


async def revoke_family(session: AsyncSession, session_uuid: UUID) -> bool:
    """Revoke a login after the reuse of a rotated token. False: it was revoked already."""
    revoked_id = await session.scalar(
        _revoke("replayed").where(AuthSession.uuid == session_uuid).returning(AuthSession.id)
    )
    return revoked_id is not None


async def revoke_all(
    session: AsyncSession, *, user_id: int, reason: RevocationReason, except_uuid: UUID | None = None
) -> int:
    """Revoke all logins of a user, or all but one, and return the number of those that were open."""
    statement = _revoke(reason).where(AuthSession.user_id == user_id)
    if except_uuid is not None:
        statement = statement.where(AuthSession.uuid != except_uuid)
    were_open = await session.scalars(statement.returning(AuthSession.expires_at > func.now()))
    return sum(were_open)


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Delete up to `limit` logins that ended long ago, and return their number."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)


def _revoke(reason: RevocationReason) -> Update:
    return (
        update(AuthSession).where(AuthSession.revoked_at.is_(None)).values(revoked_at=func.now(), revoked_reason=reason)
    )
