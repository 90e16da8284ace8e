"""Authentication of callers by login or API key, at each request and repeatedly during a stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, any_, bindparam, func, null, or_, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database import statements
from app.database.models import ApiKey, AuthSession, User
from app.database.repositories.accounts.auth_sessions import IS_OPEN
from app.database.statements import AnyConnection, Statement


@dataclass(frozen=True, slots=True)
class Credential:
    """The login or API key that a caller has authenticated with."""

    session_uuid: UUID | None
    key_uuid: UUID | None


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller: the part of the account that every request needs."""

    id: int
    uuid: UUID
    role: str
    is_verified: bool
    session_uuid: UUID | None
    """Public id of the login. None: the caller uses an API key."""
    key_uuid: UUID | None = None
    """Public id of the API key. None: the caller has logged in."""
    scopes: frozenset[str] | None = None
    """Scopes of the API key. None: a login, which has all permissions of the account."""
    has_own_quota: bool = False
    """Whether the account has quotas that differ from the defaults."""

    @property
    def credential(self) -> Credential:
        """The login or API key of the caller."""
        return Credential(self.session_uuid, self.key_uuid)


_has_own_quota: ColumnElement[bool] = (
    func.num_nonnulls(
        User.quota_tokens_per_day, User.quota_tokens_per_month, User.quota_cost_per_day, User.quota_cost_per_month
    )
    > 0
).label("has_own_quota")

_LAST_USED_PRECISION = timedelta(minutes=1)
"""`last_used_at` is updated at most once in this time, to save writes."""

_KEY_IS_VALID: ColumnElement[bool] = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())

_FIND_BY_LOGIN = Statement(
    select(User.id, User.role, User.is_verified, _has_own_quota)
    .join(AuthSession, AuthSession.user_id == User.id)
    .where(
        User.uuid == bindparam("p_user_uuid"),
        User.is_active,
        AuthSession.uuid == bindparam("p_session_uuid"),
        IS_OPEN,
    )
)
_FIND_BY_KEY = Statement(
    select(
        User.id, User.uuid, User.role, User.is_verified, ApiKey.uuid.label("key_uuid"), ApiKey.scopes, _has_own_quota
    )
    .join(User, ApiKey.user_id == User.id)
    .where(User.is_active, ApiKey.token_hash == bindparam("p_token_hash"), _KEY_IS_VALID)
    .add_cte(
        update(ApiKey)
        .where(
            ApiKey.token_hash == bindparam("p_token_hash"),
            _KEY_IS_VALID,
            or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - _LAST_USED_PRECISION),
        )
        .values(last_used_at=func.now())
        .cte("used")
    )
)
_FILTER_VALID = union_all(
    select(AuthSession.uuid.label("session_uuid"), null().cast(Uuid).label("key_uuid"))
    .join(User, AuthSession.user_id == User.id)
    .where(AuthSession.uuid == any_(bindparam("p_sessions", type_=ARRAY(Uuid))), User.is_active, IS_OPEN),
    select(null().cast(Uuid), ApiKey.uuid)
    .join(User, ApiKey.user_id == User.id)
    .where(ApiKey.uuid == any_(bindparam("p_keys", type_=ARRAY(Uuid))), User.is_active, _KEY_IS_VALID),
)


async def find_by_login(connection: AnyConnection, *, user_uuid: UUID, session_uuid: UUID) -> Principal | None:
    """Return the caller of an access token. None: the login or the account is not valid. One statement."""
    parameters = {"p_user_uuid": user_uuid, "p_session_uuid": session_uuid}
    row = await statements.fetch_one(connection, _FIND_BY_LOGIN, parameters)
    return Principal(**row, uuid=user_uuid, session_uuid=session_uuid) if row else None


async def find_by_key(connection: AnyConnection, *, token_hash: bytes) -> Principal | None:
    """Return the caller of an API key, and update its `last_used_at`. None: the key or the account is not valid."""
    row = await statements.fetch_one(connection, _FIND_BY_KEY, {"p_token_hash": token_hash})
    if row is None:
        return None
    scopes = frozenset(row["scopes"])
    return Principal(**{**row, "scopes": scopes}, session_uuid=None)


async def filter_valid(connection: AsyncConnection, credentials: Sequence[Credential]) -> set[Credential]:
    """Return the credentials that are valid. One statement."""
    sessions = [each.session_uuid for each in credentials if each.session_uuid is not None]
    keys = [each.key_uuid for each in credentials if each.key_uuid is not None]
    rows = await connection.execute(_FILTER_VALID, {"p_sessions": sessions, "p_keys": keys})
    return {Credential(*row) for row in rows}


async def is_valid(session: AsyncSession, caller: Principal) -> bool:
    """Return whether the credential of the caller is still valid.

    To include concurrent changes, lock the account with `users.lock` before.
    """
    return bool(await filter_valid(await session.connection(), [caller.credential]))
