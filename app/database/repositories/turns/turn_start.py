"""The statement that starts a turn: it stores a question with its pending answer at a place of the message tree."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from asyncpg import IntegrityConstraintViolationError
from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Integer,
    Interval,
    Select,
    String,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from app.database import statements
from app.database.constraint_errors import violated_constraint
from app.database.models import ChatMessage, ChatSession
from app.database.repositories.turns import idempotency_keys
from app.database.repositories.turns.idempotency_keys import IdempotencyKeyTakenError
from app.database.repositories.turns.turn_sql import LEAF_SEQ, SESSION_MODEL, message_preview
from app.database.repositories.turns.turns import ActiveTurnError, NewTurn, StartedTurn, TurnPlace
from app.database.repositories.usage import ledger
from app.database.statements import AnyConnection, Statement

MAX_SIBLINGS = 100
"""Maximum number of versions of a question, and of answers to it."""

_PARENT_DELETED = {"chat_messages_place", "fk_chat_messages_parent_id_chat_messages"}
"""Errors of the trigger and of the foreign key for a message that does not exist any more."""
_USER_ID = bindparam("p_user_id", type_=BigInteger)
_OWNED_SESSION = (ChatSession.uuid == bindparam("p_session_uuid", type_=Uuid), ChatSession.user_id == _USER_ID)
_ACTIVE_SESSION = (*_OWNED_SESSION, ChatSession.is_active)
_NEW_TITLE = bindparam("p_title", type_=String)
_PLACE_UUID = bindparam("p_place_uuid", type_=Uuid)
_PARENT = aliased(ChatMessage)
_GRANDPARENT = aliased(ChatMessage)
_SIBLING = aliased(ChatMessage)


def _claim_key() -> CTE:
    # The row's foreign keys lock the account and the session. Every transaction locks the account first.
    owner = ledger.owner_statement()
    source = owner.join(ChatSession, and_(ChatSession.user_id == owner.c.id, *_ACTIVE_SESSION))
    columns = {"session_id": ChatSession.id, "turn_id": bindparam("p_answer_uuid", type_=Uuid)}
    return idempotency_keys.claim_statement(columns, source).cte("key")


def _allows_sibling(
    outer: CTE | type[ChatMessage] | type[ChatSession], *is_sibling: ColumnElement[bool]
) -> ColumnElement[bool]:
    siblings = select(func.count(_SIBLING.id)).where(*is_sibling).correlate(outer).scalar_subquery()
    return siblings < MAX_SIBLINGS


def _can_be_followed(message: type[ChatMessage]) -> ColumnElement[bool]:
    """Return whether a question may follow a message: an answer, or a question without an answer.

    A question that another one follows already has lost its answer, which may have been replaced since.
    """
    child = aliased(ChatMessage)
    children = select(child.id).where(child.parent_id == message.id).correlate(message)
    return or_(
        message.role == "assistant",
        ~children.where(child.role == "assistant").exists(),
        children.where(child.role == "user").exists(),
    )


def _parent(kind: str, current: CTE) -> Select[Any]:
    """Select the session's key with the message that the first new message follows, if its place exists."""
    columns = (current.c.id, _PARENT.id.label("parent_id"), _PARENT.uuid.label("parent_uuid"))
    named = and_(_PARENT.session_id == current.c.id, _PARENT.uuid == _PLACE_UUID)
    match kind:
        case "end":
            return (
                select(*columns)
                .outerjoin(_PARENT, and_(_PARENT.session_id == current.c.id, _PARENT.seq == current.c.leaf_seq))
                # A message that this statement cannot see yet: it was committed while the session was waited for.
                .where(or_(current.c.leaf_seq == 0, _PARENT.id.is_not(None)))
            )
        case "after":
            is_allowed = _allows_sibling(_PARENT, _SIBLING.parent_id == _PARENT.id, _SIBLING.role == "user")
            return select(*columns).join(_PARENT, named).where(_can_be_followed(_PARENT), is_allowed)
        case "beginning":
            is_allowed = _allows_sibling(current, _SIBLING.session_id == current.c.id, _SIBLING.parent_id.is_(None))
            return select(
                current.c.id, cast(null(), BigInteger).label("parent_id"), cast(null(), Uuid).label("parent_uuid")
            ).where(is_allowed)
        case _:
            is_allowed = _allows_sibling(_PARENT, _SIBLING.parent_id == _PARENT.id, _SIBLING.role == "assistant")
            return (
                select(
                    current.c.id,
                    _PARENT.id.label("parent_id"),
                    _GRANDPARENT.uuid.label("parent_uuid"),
                    _PARENT.created_at,
                    _PARENT.depth,
                )
                .join(_PARENT, named)
                .outerjoin(_GRANDPARENT, _GRANDPARENT.id == _PARENT.parent_id)
                .where(_PARENT.role == "user", is_allowed)
            )


def _start_statement(kind: str, *conditions: ColumnElement[bool]) -> Select[Any]:
    is_another_answer = kind == "another_answer"
    # The lock of the session serializes the numbering of its messages.
    current = (
        select(ChatSession.id, LEAF_SEQ.label("leaf_seq"))
        .where(*_ACTIVE_SESSION, *conditions)
        .with_for_update(of=ChatSession)
        .cte("current")
    )
    place = _parent(kind, current).cte("place")
    messages = 1 if is_another_answer else 2
    values: dict[str, Any] = {
        "last_seq": ChatSession.last_seq + messages,
        "message_count": ChatSession.message_count + messages,
        "active_seq": null(),  # the branch of the newest message
        "last_message_at": func.now(),
        "updated_at": func.now(),
    }
    if not is_another_answer:
        has_new_title = and_(ChatSession.title_source == literal_column("'default'"), _NEW_TITLE.is_not(None))
        values |= {
            "last_message_preview": bindparam("p_preview", type_=Text),
            "title": case((has_new_title, _NEW_TITLE), else_=ChatSession.title),
            "title_source": case((has_new_title, literal_column("'question'")), else_=ChatSession.title_source),
        }
    session = (
        update(ChatSession)
        .where(ChatSession.id == place.c.id)
        .values(values)
        .returning(
            ChatSession.id,
            ChatSession.last_seq,
            ChatSession.meta,
            ChatSession.title,
            ChatSession.title_source,
            SESSION_MODEL.label("model"),
        )
        .cte("session")
    )
    model = func.coalesce(session.c.model, bindparam("p_model", type_=String))
    if is_another_answer:
        question = select(place.c.parent_id.label("id"), place.c.created_at, place.c.depth).cte("question")
    else:
        question = (
            insert(ChatMessage)
            .from_select(
                ["uuid", "session_id", "seq", "parent_id", "depth", "role", "content", "status", "metadata"],
                select(
                    bindparam("p_question_uuid", type_=Uuid),
                    session.c.id,
                    session.c.last_seq - 1,
                    place.c.parent_id,
                    # Without a depth, a message without a parent would follow the newest one.
                    case((place.c.parent_id.is_(None), literal(1, Integer))),
                    literal("user"),
                    bindparam("p_content", type_=Text),
                    literal("complete"),
                    bindparam("p_meta", type_=JSONB),
                ).select_from(session.join(place, true())),
            )
            .returning(ChatMessage.id, ChatMessage.created_at, ChatMessage.depth)
            .cte("question")
        )
    answer = (
        insert(ChatMessage)
        .from_select(
            ["uuid", "session_id", "seq", "parent_id", "role", "content", "status", "metadata", "lease_expires_at"],
            select(
                bindparam("p_answer_uuid", type_=Uuid),
                session.c.id,
                session.c.last_seq,
                question.c.id,
                literal("assistant"),
                literal(""),
                literal("pending"),
                func.jsonb_strip_nulls(func.jsonb_build_object(literal_column("'model_requested'"), model)),
                func.now() + bindparam("p_lease", type_=Interval),
            ).select_from(session.join(question, true())),
        )
        .returning(ChatMessage.id)
        .cte("answer")
    )
    return select(session, question.c.created_at, question.c.depth, place.c.parent_uuid).select_from(
        session.join(place, true()).join(question, true()).join(answer, true())
    )


_KINDS = ("end", "after", "beginning", "another_answer")
# Compiled once, at import.
_START = {kind: Statement(_start_statement(kind)) for kind in _KINDS}
_START_WITH_KEY = {kind: Statement(_start_statement(kind, select(_claim_key().c.id).exists())) for kind in _KINDS}


async def start_turn(connection: AnyConnection, turn: NewTurn) -> StartedTurn | None:
    """Store a question and its pending answer. None: it was refused; `find_refusal` says why.

    Raises:
        ActiveTurnError: the session has an active turn.
        IdempotencyKeyTakenError: the key was claimed by an earlier request.

    """
    start = (_START_WITH_KEY if turn.key else _START)[turn.place.kind]
    try:
        row = await statements.fetch_one(
            connection,
            start,
            {
                **(idempotency_keys.key_parameters(turn.key) if turn.key else {}),
                "p_session_uuid": turn.session_uuid,
                "p_user_id": turn.user_id,
                "p_place_uuid": turn.place.message_uuid,
                "p_preview": message_preview(turn.content),
                "p_question_uuid": turn.question_uuid,
                "p_answer_uuid": turn.answer_uuid,
                "p_content": turn.content,
                "p_meta": turn.meta,
                "p_model": turn.model,
                "p_session_models": list(turn.session_models),
                "p_title": turn.title,
                "p_lease": turn.lease,
            },
        )
    except (IntegrityError, IntegrityConstraintViolationError) as error:
        if violated_constraint(error) == "uq_chat_messages_session_id_active":
            raise ActiveTurnError from error
        if violated_constraint(error) in _PARENT_DELETED:
            return None  # deleted while the statement waited: the caller finds out what it refers to
        raise
    if row is None:
        if turn.key and (stored := await idempotency_keys.find(connection, turn.key)):
            if stored.turn_id != turn.answer_uuid:
                raise IdempotencyKeyTakenError(turn.key, stored)
            # The statement has claimed the key, but its place did not exist.
            await idempotency_keys.release_refused(connection, turn.key, turn_id=turn.answer_uuid)
        return None
    return StartedTurn.of(turn, row)


class Refusal(StrEnum):
    """Why a turn was not stored."""

    NO_SESSION = "no_session"
    ARCHIVED = "archived"
    NO_PLACE = "no_place"
    """The session has no such message, or it has the wrong role."""
    TOO_MANY_SIBLINGS = "too_many_siblings"
    """The place has as many versions as it may have."""


_FIND_SESSION = Statement(select(ChatSession.is_active).where(*_OWNED_SESSION))
_IS_PLACE = (
    ChatMessage.session_id == select(ChatSession.id).where(*_OWNED_SESSION).scalar_subquery(),
    ChatMessage.uuid == _PLACE_UUID,
)
_FIND_PLACE = {
    "after": Statement(
        select(
            _allows_sibling(
                ChatMessage, _SIBLING.parent_id == ChatMessage.id, _SIBLING.role == literal_column("'user'")
            ).label("is_allowed")
        ).where(*_IS_PLACE, _can_be_followed(ChatMessage))
    ),
    "beginning": Statement(
        select(
            _allows_sibling(ChatSession, _SIBLING.session_id == ChatSession.id, _SIBLING.parent_id.is_(None)).label(
                "is_allowed"
            )
        ).where(*_OWNED_SESSION)
    ),
    "another_answer": Statement(
        select(
            _allows_sibling(
                ChatMessage, _SIBLING.parent_id == ChatMessage.id, _SIBLING.role == literal_column("'assistant'")
            ).label("is_allowed")
        ).where(*_IS_PLACE, ChatMessage.role == "user")
    ),
}


async def find_refusal(
    connection: AnyConnection, *, user_id: int, session_uuid: UUID, place: TurnPlace
) -> Refusal | None:
    """Return why `start_turn` refused a turn. None: the reason has ended since, so it can be started again."""
    values: dict[str, Any] = {"p_session_uuid": session_uuid, "p_user_id": user_id}
    session = await statements.fetch_one(connection, _FIND_SESSION, values)
    if session is None:
        return Refusal.NO_SESSION
    if not session["is_active"]:
        return Refusal.ARCHIVED
    if place.kind == "end":
        return None
    if place.message_uuid is not None:
        values["p_place_uuid"] = place.message_uuid
    found = await statements.fetch_one(connection, _FIND_PLACE[place.kind], values)
    if found is None:
        return Refusal.NO_SESSION if place.kind == "beginning" else Refusal.NO_PLACE
    return None if found["is_allowed"] else Refusal.TOO_MANY_SIBLINGS
