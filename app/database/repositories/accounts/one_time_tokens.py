"""One-time tokens for email verification and password reset, valid for active accounts only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Interval, bindparam, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.models import OneTimeToken, User
from app.database.repositories.operations import batch_deletion

TokenPurpose = Literal["verify_email", "reset_password"]


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """The account that a token was issued for."""

    id: int
    uuid: UUID
    email: str
    username: str
    is_verified: bool


_PURGE = batch_deletion.delete_statement(OneTimeToken.id, OneTimeToken.expires_at <= func.now())


async def store(
    connection: AsyncConnection, *, user_id: int, purpose: TokenPurpose, token_hash: bytes, life: timedelta
) -> bool:
    """Insert a token that expires after `life`. False: the account has been erased since."""
    values = {"purpose": purpose, "token_hash": token_hash}
    parameters = [bindparam(None, value, OneTimeToken.__table__.c[name].type) for name, value in values.items()]
    account = (
        select(User.id, func.now() + bindparam(None, life, Interval()), *parameters)
        .where(User.id == user_id)
        .with_for_update(key_share=True, read=True)
    )
    stored_id = await connection.scalar(
        insert(OneTimeToken).from_select(["user_id", "expires_at", *values], account).returning(OneTimeToken.id)
    )
    return stored_id is not None


async def is_valid(connection: AsyncConnection, *, purpose: TokenPurpose, token_hash: bytes) -> bool:
    """Return whether `consume` would accept the token now."""
    row = await connection.execute(select(OneTimeToken.id).where(*_is_valid(purpose, token_hash)))
    return row.first() is not None


async def consume(session: AsyncSession, *, purpose: TokenPurpose, token_hash: bytes) -> TokenOwner | None:
    """Delete a valid token and return its account. None: it is not valid, or a concurrent call has consumed it.

    The account is locked, before the token, so that calls with different tokens of an account cannot deadlock.
    """
    row = (
        await session.execute(
            select(User.id, User.uuid, User.email, User.username, User.is_verified)
            .where(*_is_valid(purpose, token_hash))
            .with_for_update(of=User, key_share=True)
        )
    ).one_or_none()
    deleted_id = (
        await session.scalar(
            delete(OneTimeToken).where(OneTimeToken.token_hash == token_hash).returning(OneTimeToken.id)
        )
        if row
        else None
    )
    return TokenOwner(**row._asdict()) if row and deleted_id else None


async def revoke(session: AsyncSession, *, user_id: int, purposes: Sequence[TokenPurpose]) -> None:
    """Delete all tokens of an account with these purposes."""
    await session.execute(
        delete(OneTimeToken).where(OneTimeToken.user_id == user_id, OneTimeToken.purpose.in_(purposes))
    )


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Delete up to `limit` expired tokens, and return their number."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)


def _is_valid(purpose: TokenPurpose, token_hash: bytes) -> tuple[ColumnElement[bool], ...]:
    return (
        OneTimeToken.token_hash == token_hash,
        OneTimeToken.purpose == purpose,
        OneTimeToken.expires_at > func.now(),
        OneTimeToken.user_id == User.id,
        User.is_active.is_(True),
    )
