"""Who is calling, and whether they still may: asked at every request, and again while an answer is on its way."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, any_, bindparam, func, null, or_, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database import driver
from app.database.driver import AnyConnection, Statement
from app.database.models import ApiKey, AuthSession, User
from app.database.repositories.accounts.auth_sessions import is_open


@dataclass(frozen=True, slots=True)
class Credential:
    """What a caller came in with: a login or an API key."""

    session_uuid: UUID | None
    key_uuid: UUID | None


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
    has_own_quota: bool = False
    """Whether the account's quotas are others than everybody's."""

    @property
    def credential(self) -> Credential:
        """What the caller came in with."""
        return Credential(self.session_uuid, self.key_uuid)


_has_own_quota: ColumnElement[bool] = (
    func.num_nonnulls(
        User.quota_tokens_per_day, User.quota_tokens_per_month, User.quota_cost_per_day, User.quota_cost_per_month
    )
    > 0
).label("has_own_quota")

_LAST_USED_PRECISION = timedelta(minutes=1)

_key_is_good: ColumnElement[bool] = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())

_FIND_BY_LOGIN = Statement(
    select(User.id, User.role, User.is_verified, _has_own_quota)
    .join(AuthSession, AuthSession.user_id == User.id)
    .where(
        User.uuid == bindparam("p_user_uuid"),
        User.is_active,
        AuthSession.uuid == bindparam("p_session_uuid"),
        is_open,
    )
)
_FIND_BY_KEY = Statement(
    select(
        User.id, User.uuid, User.role, User.is_verified, ApiKey.uuid.label("key_uuid"), ApiKey.scopes, _has_own_quota
    )
    .join(User, ApiKey.user_id == User.id)
    .where(User.is_active, ApiKey.token_hash == bindparam("p_token_hash"), _key_is_good)
    .add_cte(
        update(ApiKey)
        .where(
            ApiKey.token_hash == bindparam("p_token_hash"),
            _key_is_good,
            or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - _LAST_USED_PRECISION),
        )
        .values(last_used_at=func.now())
        .cte("used")
    )
)
_STILL_GOOD = union_all(
    select(AuthSession.uuid.label("session_uuid"), null().cast(Uuid).label("key_uuid"))
    .join(User, AuthSession.user_id == User.id)
    .where(AuthSession.uuid == any_(bindparam("p_sessions", type_=ARRAY(Uuid))), User.is_active, is_open),
    select(null().cast(Uuid), ApiKey.uuid)
    .join(User, ApiKey.user_id == User.id)
    .where(ApiKey.uuid == any_(bindparam("p_keys", type_=ARRAY(Uuid))), User.is_active, _key_is_good),
)


async def find_by_login(connection: AnyConnection, *, user_uuid: UUID, session_uuid: UUID) -> Principal | None:
    """Return the caller, if account and login are both still good. One statement, on every request."""
    parameters = {"p_user_uuid": user_uuid, "p_session_uuid": session_uuid}
    row = await driver.fetch_one(connection, _FIND_BY_LOGIN, parameters)
    return Principal(**row, uuid=user_uuid, session_uuid=session_uuid) if row else None


async def find_by_key(connection: AnyConnection, *, token_hash: bytes) -> Principal | None:
    """Return the account behind an API key, if both are still good, and note that the key was used. One statement."""
    row = await driver.fetch_one(connection, _FIND_BY_KEY, {"p_token_hash": token_hash})
    if row is None:
        return None
    scopes = frozenset(row["scopes"])
    return Principal(**{**row, "scopes": scopes}, session_uuid=None)


async def filter_valid(connection: AsyncConnection, credentials: Sequence[Credential]) -> set[Credential]:
    """Return those of the credentials that would still be let in. One statement, however many there are."""
    sessions = [one.session_uuid for one in credentials if one.session_uuid is not None]
    keys = [one.key_uuid for one in credentials if one.key_uuid is not None]
    rows = await connection.execute(_STILL_GOOD, {"p_sessions": sessions, "p_keys": keys})
    return {Credential(*row) for row in rows}


async def is_valid(session: AsyncSession, caller: Principal) -> bool:
    """Tell whether the caller would still be let in.

    What others commit meanwhile counts, if the account was locked with `users.lock` before.
    """
    return bool(await filter_valid(await session.connection(), [caller.credential]))
