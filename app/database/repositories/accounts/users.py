"""User accounts: creation, search and changes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.core.identity import canonical_email, canonical_username
from app.core.schema_types import new_id
from app.core.text import fold, strip_blank
from app.database.constraint_errors import violated_constraint
from app.database.models import AuditEntry, User
from app.database.repositories.accounts.addresses import account_has_email

_EMAIL_INDEXES = frozenset({"uq_users_email_canonical", "uq_users_email_lower"})
_USERNAME_INDEXES = frozenset({"uq_users_username_canonical", "uq_users_username_lower"})
_FOLDED_COLUMNS = (User.email_folded, User.username_canonical, User.full_name_folded)


class DuplicateUserError(Exception):
    """The email address or username belongs to another account. `field` is `email` or `username`."""

    def __init__(self, field: str) -> None:
        """Take the name of the field."""
        self.field = field
        super().__init__(field)


@dataclass(frozen=True, slots=True)
class NewUser:
    """An account to insert."""

    email: str
    username: str
    password_hash: str
    full_name: str | None = None
    role: str = "user"
    is_verified: bool = False
    requested_username: str | None = None
    """Becomes `username` when the email address is verified."""


async def create(session: AsyncSession, new: NewUser) -> User:
    """Insert an account and return it.

    Raises:
        DuplicateUserError: the email address or username is taken, in any spelling.

    """
    user = User(
        uuid=new_id(),
        email=new.email,
        email_canonical=canonical_email(new.email),
        email_folded=fold(new.email),
        username=new.username,
        username_canonical=canonical_username(new.username),
        password_hash=new.password_hash,
        full_name=new.full_name,
        full_name_folded=_fold_or_none(new.full_name),
        role=new.role,
        is_verified=new.is_verified,
        requested_username=new.requested_username,
    )
    session.add(user)
    with _translate_duplicates():
        # At once instead of at commit, to translate a violation of the unique indexes.
        await session.flush()
    return user


async def get(session: AsyncSession, user_id: int) -> User | None:
    """Return an account by its internal key. None: it was erased."""
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
    """Return a page of all accounts, newest first, and the total number. Two statements.

    `search` matches literal text in email addresses, usernames and full names, folded; see `app.core.text.fold`.
    """
    statement = select(User)
    if search := strip_blank(search or ""):
        statement = statement.where(_contains(search))
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
    """Return an account by its public id, for admins. None: there is none."""
    user: User | None = await session.scalar(select(User).where(User.uuid == user_uuid))
    return user


async def lock_active_admins(session: AsyncSession) -> Sequence[int]:
    """Lock all active admins, and return their internal keys.

    A transaction that may remove an admin locks all of them first, in this order: of two admins who remove each other
    concurrently, the second sees that only one is left. Active turns of the admins are not blocked, as with `lock`.
    """
    rows = await session.scalars(
        select(User.id).where(User.role == "admin", User.is_active).order_by(User.id).with_for_update(key_share=True)
    )
    return rows.all()


async def is_active_admin(session: AsyncSession, user_id: int) -> bool:
    """Return whether an account is an active admin, after a change that another transaction is making.

    The account is not locked afterwards, because changes of any admin wait for the locks of all.
    """
    savepoint = await session.begin_nested()  # rolling back to it releases the lock
    try:
        admin_id = await session.scalar(
            select(User.id)
            .where(User.id == user_id, User.role == "admin", User.is_active)
            .with_for_update(key_share=True)
        )
    finally:
        await savepoint.rollback()
    return admin_id is not None


async def find_and_lock(session: AsyncSession, user_uuid: UUID) -> User | None:
    """Return an account by its public id, and lock it against changes. Active turns of the account are not blocked."""
    statement = select(User).where(User.uuid == user_uuid).with_for_update(key_share=True)
    user: User | None = await session.scalar(statement)
    return user


async def change(session: AsyncSession, user_id: int, values: Mapping[str, Any]) -> User | None:
    """Update columns of an account, and return it. None: it was erased.

    Raises:
        DuplicateUserError: the email address or username is taken, in any spelling.

    """
    statement = update(User).where(User.id == user_id).values(**_with_derived_forms(values)).returning(User)
    with _translate_duplicates():
        user: User | None = await session.scalar(statement, execution_options={"populate_existing": True})
    return user


async def lock(session: AsyncSession, user_id: int) -> bool:
    """Lock an account against changes. False: it was erased.

    Active turns of the account are not blocked: their weaker lock (FOR KEY SHARE) is compatible with this one.
    """
    locked_id = await session.scalar(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    return locked_id is not None


async def has_account(session: AsyncSession, email: str) -> bool:
    """Return whether an email address has an account."""
    user_id = await session.scalar(select(User.id).where(account_has_email(email)).limit(1))
    return user_id is not None


async def has_had_admin(session: AsyncSession) -> bool:
    """Return whether there is an admin, enabled or not, or the audit log has the creation of one.

    The last active admin cannot be demoted, disabled or erased, so the audit log, whose entries may have been archived,
    only matters after changes in the database itself.
    """
    is_admin = select(User.id).where(User.role == "admin").exists()
    was_created = (
        select(AuditEntry.id)
        .where(AuditEntry.action == "user.registered", AuditEntry.details["role"].astext == "admin")
        .exists()
    )
    return bool(await session.scalar(select(is_admin | was_created)))


async def merge_preferences(
    connection: AsyncConnection, user_id: int, values: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Update some preferences of an account, and return all of them. None: it was erased.

    One statement, so concurrent updates of different preferences are all stored.
    """
    preferences: dict[str, Any] | None = await connection.scalar(
        update(User)
        .where(User.id == user_id)
        .values(preferences=User.preferences.concat(values))
        .returning(User.preferences)
    )
    return preferences


async def set_verified(session: AsyncSession, user_id: int) -> bool:
    """Mark the email address as verified, and set the username to the one requested at registration.

    False: another account has that username, and this one keeps its generated username.
    """
    statement = update(User).where(User.id == user_id)
    username = func.coalesce(User.requested_username, User.username)
    try:
        async with session.begin_nested():
            await session.execute(
                statement.values(
                    is_verified=True,
                    username=username,
                    username_canonical=func.lower_ascii(username),
                    requested_username=None,
                )
            )
    except IntegrityError as error:
        if violated_constraint(error) not in _USERNAME_INDEXES:
            raise
        await session.execute(statement.values(is_verified=True, requested_username=None))
        return False
    return True


def _contains(search: str) -> ColumnElement[bool]:
    folded = fold(search)
    conditions = (column.contains(folded, autoescape=True) for column in _FOLDED_COLUMNS)
    # Rows that the previous release has written may have no folded forms.
    literal = (column.icontains(search, autoescape=True) for column in (User.email, User.full_name))
    return or_(*conditions, *literal)


def _with_derived_forms(values: Mapping[str, Any]) -> dict[str, Any]:
    derived = dict(values)
    if "username" in values:
        derived["username_canonical"] = canonical_username(values["username"])
    if "full_name" in values:
        derived["full_name_folded"] = _fold_or_none(values["full_name"])
    return derived


def _fold_or_none(value: str | None) -> str | None:
    return None if value is None else fold(value)


@contextmanager
def _translate_duplicates() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        constraint = violated_constraint(error)
        if constraint in _EMAIL_INDEXES:
            raise DuplicateUserError("email") from error
        if constraint in _USERNAME_INDEXES:
            raise DuplicateUserError("username") from error
        raise
