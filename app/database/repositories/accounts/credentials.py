"""Password hashes of accounts: lookup at login, and replacement."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Select, false, func, select, update
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.models import AuditEntry, AuthSession, User
from app.database.repositories.accounts.addresses import EXACT_ACCOUNT_FIRST, account_has_login

_KNOWN_NETWORK_PERIOD = timedelta(days=30)
"""How long a network is known after a login or a password reset from it."""


@dataclass(frozen=True, slots=True)
class LoginAccount:
    """The part of an account that a login needs."""

    id: int
    uuid: UUID
    password_hash: str
    role: str
    is_active: bool
    is_verified: bool
    is_known_network: bool
    """Whether the owner has logged in or reset the password from this network in the last 30 days."""


async def find_by_login(connection: AsyncConnection, login: str, *, network: str | None = None) -> LoginAccount | None:
    """Return the account with an email address or username, in any spelling. None: there is none.

    `network`: client network for `is_known_network`, in CIDR notation.
    """
    statement = _login_account(network).where(account_has_login(login)).order_by(EXACT_ACCOUNT_FIRST).limit(1)
    row = (await connection.execute(statement)).one_or_none()
    return LoginAccount(**row._asdict()) if row else None


async def find_by_id(connection: AsyncConnection, user_id: int, *, network: str | None) -> LoginAccount | None:
    """Return an account, with `network` as in `find_by_login`. None: the account was erased."""
    row = (await connection.execute(_login_account(network).where(User.id == user_id))).one_or_none()
    return LoginAccount(**row._asdict()) if row else None


async def replace_password(session: AsyncSession, user_id: int, *, old_hash: str, new_hash: str) -> str | None:
    """Replace the password hash if it is still `old_hash`, lock the account, and return its email address.

    None: the password was changed since, or the account was erased.
    """
    email: str | None = await session.scalar(
        update(User)
        .where(User.id == user_id, User.password_hash == old_hash)
        .values(password_hash=new_hash)
        .returning(User.email)
    )
    return email


async def reset_password(session: AsyncSession, user_id: int, *, new_hash: str) -> None:
    """Store the hash of a password that was set with a reset token."""
    await session.execute(update(User).where(User.id == user_id).values(password_hash=new_hash))


async def record_login(session: AsyncSession, user_id: int, *, password_hash: str) -> bool:
    """Set `last_login` and lock the account. False: the password was changed since, or the account was disabled.

    Password changes and disabling lock the account before they revoke its logins, so a concurrent login is either
    refused here or revoked by them.
    """
    recorded_id = await session.scalar(
        update(User)
        .where(User.id == user_id, User.password_hash == password_hash, User.is_active)
        .values(last_login=func.now())
        .returning(User.id)
    )
    return recorded_id is not None


def _login_account(network: str | None) -> Select[int, UUID, str, str, bool, bool, bool]:
    return select(
        User.id,
        User.uuid,
        User.password_hash,
        User.role,
        User.is_active,
        User.is_verified,
        (_has_login_from(network) | _has_reset_from(network) if network else false()).label("is_known_network"),
    )


def _has_login_from(network: str) -> ColumnElement[bool]:
    return (
        select(AuthSession.id)
        .where(
            AuthSession.user_id == User.id,
            AuthSession.ip.op("<<=", is_comparison=True)(sql_cast(network, INET)),
            AuthSession.created_at > func.now() - _KNOWN_NETWORK_PERIOD,
        )
        .exists()
    )


def _has_reset_from(network: str) -> ColumnElement[bool]:
    return (
        select(AuditEntry.id)
        .where(
            AuditEntry.target_id == User.uuid,
            AuditEntry.action == "password.reset",
            AuditEntry.outcome == "done",
            AuditEntry.ip.op("<<=", is_comparison=True)(sql_cast(network, INET)),
            AuditEntry.created_at > func.now() - _KNOWN_NETWORK_PERIOD,
        )
        .exists()
    )
