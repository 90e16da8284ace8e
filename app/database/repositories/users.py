"""Accounts and logins."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, any_, bindparam, false, func, null, or_, select, union_all, update
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.core.types import new_id
from app.database.connection import violated_constraint
from app.database.models import ApiKey, AuditEntry, AuthSession, User


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: as much of the account as every request needs."""

    id: int
    uuid: UUID
    role: str
    is_verified: bool
    session_uuid: UUID | None
    """The login; None: the caller is a program with an API key."""
    key_uuid: UUID | None = None
    """The API key."""
    scopes: frozenset[str] | None = None
    """What the API key may do; None: a login may do everything that its account may."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """As much of an account as a login needs."""

    id: int
    uuid: UUID
    password_hash: str
    role: str
    is_active: bool
    is_verified: bool
    is_known_network: bool
    """Whether the owner has logged in from this network, or has reset the password from it, in the last 30 days."""


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
    is_verified: bool = False
    requested_username: str | None = None
    """Becomes the name when the address is verified."""


_NETWORKS_ARE_KNOWN_FOR = timedelta(days=30)

_FIND_PRINCIPAL = (
    select(User.id, User.role, User.is_verified)
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
    if row is None:
        return None
    return Principal(id=row.id, uuid=user_uuid, role=row.role, is_verified=row.is_verified, session_uuid=session_uuid)


_STILL_GOOD = union_all(
    select(AuthSession.uuid.label("session_uuid"), null().cast(Uuid).label("key_uuid"))
    .join(User, AuthSession.user_id == User.id)
    .where(
        AuthSession.uuid == any_(bindparam("p_sessions", type_=ARRAY(Uuid))),
        User.is_active,
        AuthSession.revoked_at.is_(None),
        AuthSession.expires_at > func.now(),
    ),
    select(null().cast(Uuid), ApiKey.uuid)
    .join(User, ApiKey.user_id == User.id)
    .where(
        ApiKey.uuid == any_(bindparam("p_keys", type_=ARRAY(Uuid))),
        User.is_active,
        or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()),
    ),
)


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
        is_verified=new.is_verified,
        requested_username=new.requested_username,
    )
    session.add(user)
    with _taken_names():
        # Now, not at commit: the unique index is what decides who was first.
        await session.flush()
    return user


async def get(session: AsyncSession, user_id: int) -> User | None:
    """Return the account by its internal key."""
    return await session.get(User, user_id)


async def list_page(
    session: AsyncSession,
    *,
    page: int,
    size: int,
    search: str | None = None,
    is_active: bool | None = None,
    role: str | None = None,
) -> tuple[Sequence[User], int]:
    """Return a page of all accounts, newest first, and how many there are. Two statements.

    `search` is looked for, literally and in any case, in addresses and names.
    """
    statement = select(User)
    if search:
        columns = (User.email, User.username, User.full_name)
        statement = statement.where(or_(*(column.icontains(search, autoescape=True) for column in columns)))
    if is_active is not None:
        statement = statement.where(User.is_active.is_(is_active))
    if role is not None:
        statement = statement.where(User.role == role)
    total = await session.scalar(select(func.count()).select_from(statement.subquery()))
    rows = await session.scalars(
        statement.order_by(User.created_at.desc(), User.id.desc()).offset((page - 1) * size).limit(size)
    )
    return rows.all(), total or 0


async def find(session: AsyncSession, user_uuid: UUID) -> User | None:
    """Return any account by its public id: for admins."""
    found: User | None = await session.scalar(select(User).where(User.uuid == user_uuid))
    return found


async def lock_active_admins(session: AsyncSession) -> Sequence[int]:
    """Lock the admins that can log in, and return their internal keys.

    Whoever may take one away locks them first, before anything else and in this order: of two who take away each
    other, the second sees that only one is left.
    """
    rows = await session.scalars(
        select(User.id).where(User.role == "admin", User.is_active).order_by(User.id).with_for_update()
    )
    return rows.all()


async def find_and_lock(session: AsyncSession, user_uuid: UUID) -> User | None:
    """Return any account by its public id, and keep others from changing it. Its turns run on."""
    statement = select(User).where(User.uuid == user_uuid).with_for_update(key_share=True)
    found: User | None = await session.scalar(statement)
    return found


async def change(session: AsyncSession, user_id: int, values: Mapping[str, Any]) -> User | None:
    """Change these columns of the account, and return it. None: it has been erased.

    Raises:
        TakenError: the name is another account's, whatever the case.

    """
    statement = update(User).where(User.id == user_id).values(**values).returning(User)
    with _taken_names():
        changed: User | None = await session.scalar(statement, execution_options={"populate_existing": True})
    return changed


async def lock(session: AsyncSession, user_id: int) -> bool:
    """Wait until nobody else is counting or changing what belongs to the account. False: it has been erased.

    Turns of the account run on: they hold a weaker lock, which this one lets pass.
    """
    found = await session.scalar(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    return found is not None


async def find_by_login(connection: AsyncConnection, login: str, *, network: str | None = None) -> Credentials | None:
    """Return what decides a login with an address or a name, whatever the case."""
    column = User.email if "@" in login else User.username
    row = (
        await connection.execute(
            select(
                User.id,
                User.uuid,
                User.password_hash,
                User.role,
                User.is_active,
                User.is_verified,
                (_logged_in_from(network) | _reset_from(network) if network else false()).label("is_known_network"),
            ).where(func.lower(column) == func.lower(login))
        )
    ).one_or_none()
    return Credentials(**row._asdict()) if row else None


def _logged_in_from(network: str) -> ColumnElement[bool]:
    return (
        select(AuthSession.id)
        .where(
            AuthSession.user_id == User.id,
            AuthSession.ip.op("<<=", is_comparison=True)(sql_cast(network, INET)),
            AuthSession.created_at > func.now() - _NETWORKS_ARE_KNOWN_FOR,
        )
        .exists()
    )


def _reset_from(network: str) -> ColumnElement[bool]:
    return (
        select(AuditEntry.id)
        .where(
            AuditEntry.target_id == User.uuid,
            AuditEntry.action == "password.reset",
            AuditEntry.outcome == "done",
            AuditEntry.ip.op("<<=", is_comparison=True)(sql_cast(network, INET)),
            AuditEntry.created_at > func.now() - _NETWORKS_ARE_KNOWN_FOR,
        )
        .exists()
    )


async def get_password_hash(connection: AsyncConnection, user_id: int) -> str | None:
    """Return what the account's password is checked against."""
    found: str | None = await connection.scalar(select(User.password_hash).where(User.id == user_id))
    return found


async def replace_password(session: AsyncSession, user_id: int, *, old_hash: str, new_hash: str) -> str | None:
    """Store another hash, if the account still has the one that was checked, and return its address. Locks it."""
    email: str | None = await session.scalar(
        update(User)
        .where(User.id == user_id, User.password_hash == old_hash)
        .values(password_hash=new_hash)
        .returning(User.email)
    )
    return email


async def reset_password(session: AsyncSession, user_id: int, *, new_hash: str) -> None:
    """Store the hash of a password that was chosen through a mailed link: that proves the address, too."""
    await session.execute(update(User).where(User.id == user_id).values(password_hash=new_hash, is_verified=True))


async def set_verified(session: AsyncSession, user_id: int) -> bool:
    """Note that the owner receives mail at the account's address, and give it the name it was registered with.

    False: somebody else has that name by now, and the account keeps the made-up one.
    """
    verified = update(User).where(User.id == user_id)
    try:
        async with session.begin_nested():
            await session.execute(
                verified.values(
                    is_verified=True,
                    username=func.coalesce(User.requested_username, User.username),
                    requested_username=None,
                )
            )
    except IntegrityError as error:
        if violated_constraint(error) != "uq_users_username_lower":
            raise
        await session.execute(verified.values(is_verified=True, requested_username=None))
        return False
    return True


async def note_login(session: AsyncSession, user_id: int, *, password_hash: str) -> bool:
    """Set the time of the last login, if the account is still what was checked. Locks it.

    Whoever changes the password or disables the account locks it too before ending its logins, so no login slips
    through in between.
    """
    noted = await session.scalar(
        update(User)
        .where(User.id == user_id, User.password_hash == password_hash, User.is_active)
        .values(last_login=func.now())
        .returning(User.id)
    )
    return noted is not None


@dataclass(frozen=True, slots=True)
class Credential:
    """What a caller came in with: a login or an API key."""

    session_uuid: UUID | None
    key_uuid: UUID | None


async def still_good(connection: AsyncConnection, credentials: Sequence[Credential]) -> set[Credential]:
    """Return those of the credentials that would still be let in. One statement, however many there are."""
    sessions = [one.session_uuid for one in credentials if one.session_uuid is not None]
    keys = [one.key_uuid for one in credentials if one.key_uuid is not None]
    rows = await connection.execute(_STILL_GOOD, {"p_sessions": sessions, "p_keys": keys})
    return {Credential(*row) for row in rows}


async def is_still_good(session: AsyncSession, caller: Principal) -> bool:
    """Tell whether the caller would still be let in. What others commit meanwhile counts, if `lock` came before."""
    credential = Credential(caller.session_uuid, caller.key_uuid)
    return bool(await still_good(await session.connection(), [credential]))


@contextmanager
def _taken_names() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        match violated_constraint(error):
            case "uq_users_email_lower":
                raise TakenError("email") from error
            case "uq_users_username_lower":
                raise TakenError("username") from error
            case _:
                raise
