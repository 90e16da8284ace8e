"""Accounts and logins."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.core.types import new_id
from app.database.connection import violated_constraint
from app.database.models import AuthSession, User


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: as much of the account as every request needs."""

    id: int
    uuid: UUID
    role: str
    session_uuid: UUID


@dataclass(frozen=True, slots=True)
class Credentials:
    """As much of an account as a login needs."""

    id: int
    uuid: UUID
    password_hash: str
    role: str
    is_active: bool


class TakenError(Exception):
    """The address or the name belongs to another account. `field` says which."""

    def __init__(self, field: str) -> None:
        """Name the field."""
        self.field = field
        super().__init__(field)


@dataclass(frozen=True, slots=True)
class NewUser:
    """What an account starts with."""

    email: str
    username: str
    password_hash: str
    full_name: str | None = None
    role: str = "user"


_FIND_PRINCIPAL = (
    select(User.id, User.role)
    .join(AuthSession, AuthSession.user_id == User.id)
    .where(
        User.uuid == bindparam("user_uuid"),
        User.is_active,
        AuthSession.uuid == bindparam("session_uuid"),
        AuthSession.revoked_at.is_(None),
        AuthSession.expires_at > func.now(),
    )
)


async def find_principal(connection: AsyncConnection, *, user_uuid: UUID, session_uuid: UUID) -> Principal | None:
    """Return the caller, if account and login are both still good. One statement, on every request."""
    row = (
        await connection.execute(
            _FIND_PRINCIPAL,
            {"user_uuid": user_uuid, "session_uuid": session_uuid},
        )
    ).one_or_none()
    return Principal(id=row.id, uuid=user_uuid, role=row.role, session_uuid=session_uuid) if row else None


async def create(session: AsyncSession, new: NewUser) -> User:
    """Store an account.

    Raises:
        TakenError: address or name is another account's, whatever the case.

    """
    user = User(
        uuid=new_id(),
        email=new.email,
        username=new.username,
        password_hash=new.password_hash,
        full_name=new.full_name,
        role=new.role,
    )
    session.add(user)
    try:
        # Now, not at commit: the unique index is what decides who was first.
        await session.flush()
    except IntegrityError as error:
        match violated_constraint(error):
            case "uq_users_email_lower":
                raise TakenError("email") from error
            case "uq_users_username_lower":
                raise TakenError("username") from error
            case _:
                raise
    return user


async def get(session: AsyncSession, user_id: int) -> User | None:
    """Return the account by its internal key."""
    return await session.get(User, user_id)


async def find_by_login(connection: AsyncConnection, login: str) -> Credentials | None:
    """Return what decides a login with an address or a name, whatever the case."""
    column = User.email if "@" in login else User.username
    row = (
        await connection.execute(
            select(User.id, User.uuid, User.password_hash, User.role, User.is_active).where(
                func.lower(column) == func.lower(login)
            )
        )
    ).one_or_none()
    return Credentials(**row._asdict()) if row else None


async def open_auth_session(
    session: AsyncSession,
    *,
    user_id: int,
    token_hash: bytes,
    life: timedelta,
    user_agent: str | None,
    ip: str | None,
) -> UUID:
    """Store a login, note its time on the account, and return the login's public id."""
    session_uuid = new_id()
    await session.execute(
        insert(AuthSession).values(
            uuid=session_uuid,
            user_id=user_id,
            token_hash=token_hash,
            user_agent=user_agent,
            ip=ip,
            expires_at=func.now() + life,
        )
    )
    await session.execute(update(User).where(User.id == user_id).values(last_login=func.now()))
    return session_uuid
