"""Idempotency keys and stored responses."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Interval,
    LargeBinary,
    SQLColumnExpression,
    Text,
    Update,
    Uuid,
    and_,
    bindparam,
    delete,
    false,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from app.database import statements
from app.database.models import ChatMessage, ChatSession, IdempotencyKey
from app.database.repositories.operations import batch_deletion
from app.database.statements import AnyConnection, Statement, StatementRefusedError

RETENTION = timedelta(hours=24)
"""How long a key is stored."""
_MAX_CLAIMS = 5
"""Attempts to claim the key of a direct question while other requests claim and release it."""


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """Idempotency key and fingerprint of a request."""

    user_id: int
    route: str
    key: str
    fingerprint: bytes
    """SHA-256 of the request body."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """State of an earlier request with the same key."""

    fingerprint: bytes
    status_code: int | None
    response: bytes | None
    session_uuid: UUID | None
    turn_id: UUID | None
    message_status: str | None
    """Status of the answer, if the request started a turn in a session."""
    is_orphaned: bool
    """Whether the answer is active, but its lease has expired."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """Response of a request, to be replayed."""

    key: IdempotentRequest
    status_code: int
    body: bytes


class IdempotencyKeyTakenError(StatementRefusedError):
    """An earlier request has claimed the key."""

    def __init__(self, key: IdempotentRequest, stored: StoredKey | None) -> None:
        """Take the state of the earlier request. None: its key has been deleted since."""
        self.key = key
        self.stored = stored
        super().__init__()


_COLUMNS = ("fingerprint", "session_id", "turn_id", "status_code", "response", "lease_expires_at", "expires_at")
"""Columns that a new claim of an expired key overwrites."""

_IS_EXPIRED: ColumnElement[bool] = IdempotencyKey.expires_at <= func.now()
"""Condition for keys that count as absent, although their rows may not have been deleted yet."""
_IS_TURN = IdempotencyKey.turn_id == bindparam("p_turn_id", type_=Uuid)
_MATCHES_KEY = (
    IdempotencyKey.user_id == bindparam("p_user_id"),
    IdempotencyKey.route == bindparam("p_route"),
    IdempotencyKey.key == bindparam("p_key"),
)


def claim_statement(
    values: Mapping[str, SQLColumnExpression[Any]], source: FromClause | None = None
) -> ReturningInsert[int]:
    """Build the statement that claims a key for the row of `source`. It returns no row if the key is taken.

    An expired key can be claimed again. So can the key of a direct question whose lease has expired, by a request with
    the same fingerprint.
    """
    row: dict[str, SQLColumnExpression[Any]] = {
        "user_id": bindparam("p_user_id", type_=BigInteger),
        "route": bindparam("p_route", type_=Text),
        "key": bindparam("p_key", type_=Text),
        "fingerprint": bindparam("p_fingerprint", type_=LargeBinary),
        "expires_at": func.now() + RETENTION,
        **values,
    }
    selected = select(*row.values())
    statement = insert(IdempotencyKey).from_select(
        list(row), selected if source is None else selected.select_from(source)
    )
    new = statement.excluded
    return statement.on_conflict_do_update(
        constraint="uq_idempotency_keys_user_id_route_key",
        set_={"created_at": func.now()} | {name: new[name] for name in _COLUMNS},
        where=or_(
            _IS_EXPIRED,
            and_(IdempotencyKey.lease_expires_at <= func.now(), IdempotencyKey.fingerprint == new.fingerprint),
        ),
    ).returning(IdempotencyKey.id)


def store_response_statement() -> Update:
    """Build the statement that stores a response. It has no effect if another request has claimed the key since."""
    return (
        update(IdempotencyKey)
        .where(*_MATCHES_KEY, _IS_TURN)
        .values(
            status_code=bindparam("p_status_code", type_=Integer),
            response=bindparam("p_response", type_=LargeBinary),
            lease_expires_at=null(),
        )
    )


_CLAIM_FOR_DIRECT_QUESTION = claim_statement(
    {
        "turn_id": bindparam("p_turn_id", type_=Uuid),
        "lease_expires_at": func.now() + bindparam("p_lease", type_=Interval),
    }
)
_CLAIM_WITH_RESPONSE = claim_statement(
    {
        "session_id": bindparam("p_session_id", type_=BigInteger),
        "status_code": bindparam("p_status_code", type_=Integer),
        "response": bindparam("p_response", type_=LargeBinary),
    }
)
_STORE_RESPONSE = store_response_statement()
_RELEASE = Statement(delete(IdempotencyKey).where(*_MATCHES_KEY, _IS_TURN))
# A question is committed with its key: a key without it belongs to a question that was refused.
_RELEASE_REFUSED = Statement(
    delete(IdempotencyKey).where(
        *_MATCHES_KEY,
        _IS_TURN,
        ~select(ChatMessage.id).where(ChatMessage.uuid == IdempotencyKey.turn_id).correlate(IdempotencyKey).exists(),
    )
)
_FIND = Statement(
    select(
        IdempotencyKey.fingerprint,
        IdempotencyKey.status_code,
        IdempotencyKey.response,
        ChatSession.uuid,
        IdempotencyKey.turn_id,
        ChatMessage.status,
        func.coalesce(ChatMessage.lease_expires_at < func.now(), false()),
    )
    .outerjoin(ChatSession, IdempotencyKey.session_id == ChatSession.id)
    .outerjoin(
        ChatMessage,
        and_(ChatMessage.session_id == IdempotencyKey.session_id, ChatMessage.uuid == IdempotencyKey.turn_id),
    )
    .where(*_MATCHES_KEY, ~_IS_EXPIRED)
)
_PURGE = batch_deletion.delete_statement(IdempotencyKey.id, _IS_EXPIRED, oldest_first=IdempotencyKey.expires_at)


def key_parameters(key: IdempotentRequest) -> dict[str, Any]:
    """Return the parameters of a key for the statements above."""
    return {"p_user_id": key.user_id, "p_route": key.route, "p_key": key.key, "p_fingerprint": key.fingerprint}


def response_parameters(stored_response: StoredResponse) -> dict[str, Any]:
    """Return the parameters of a response and its key for the statements above."""
    return key_parameters(stored_response.key) | {
        "p_status_code": stored_response.status_code,
        "p_response": stored_response.body,
    }


async def claim_for_direct_question(
    connection: AsyncConnection, key: IdempotentRequest, *, turn_id: UUID, lease: timedelta
) -> None:
    """Claim the key of a direct question, which is not stored itself.

    Raises:
        IdempotencyKeyTakenError: an earlier request has claimed the key.

    """
    values = key_parameters(key) | {"p_turn_id": turn_id, "p_lease": lease}
    for _ in range(_MAX_CLAIMS):
        if await connection.scalar(_CLAIM_FOR_DIRECT_QUESTION, values) is not None:
            return
        stored = await find(connection, key)
        if stored is not None:
            raise IdempotencyKeyTakenError(key, stored)
        # The request that had claimed it has released it since.
    raise IdempotencyKeyTakenError(key, None)


async def claim_with_response(connection: AsyncConnection, stored_response: StoredResponse, *, session_id: int) -> None:
    """Claim the key of a request together with its response.

    Raises:
        IdempotencyKeyTakenError: an earlier request has claimed the key.

    """
    if (
        await connection.scalar(
            _CLAIM_WITH_RESPONSE, response_parameters(stored_response) | {"p_session_id": session_id}
        )
        is None
    ):
        raise IdempotencyKeyTakenError(stored_response.key, await find(connection, stored_response.key))


async def store_response(connection: AsyncConnection, stored_response: StoredResponse, *, turn_id: UUID) -> None:
    """Store the response of a request that started a turn."""
    await connection.execute(_STORE_RESPONSE, response_parameters(stored_response) | {"p_turn_id": turn_id})


async def release(connection: AnyConnection, key: IdempotentRequest, *, turn_id: UUID) -> None:
    """Delete the key of a turn, so that a repeated request is executed again."""
    await statements.fetch(connection, _RELEASE, key_parameters(key) | {"p_turn_id": turn_id})


async def release_refused(connection: AnyConnection, key: IdempotentRequest, *, turn_id: UUID) -> None:
    """Delete the key of a question that was not stored. The key of a stored question is kept."""
    await statements.fetch(connection, _RELEASE_REFUSED, key_parameters(key) | {"p_turn_id": turn_id})


async def find(connection: AnyConnection, key: IdempotentRequest) -> StoredKey | None:
    """Return the state of the request with this key.

    None: the key does not exist, has expired, or was deleted with its session.
    """
    row = await statements.fetch_one(connection, _FIND, key_parameters(key))
    return StoredKey(*row.values()) if row else None


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Delete up to `limit` expired keys, and return their number."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)
