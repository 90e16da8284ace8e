"""HTTP of the chat service."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from app.chat.dependencies import ChatServiceDep, RequestKeyDep, sent
from app.chat.idempotency import Replies
from app.chat.schemas import (
    ChatRequest,
    Deleted,
    DirectResponse,
    SessionCreate,
    SessionCreated,
    SessionDetail,
    SessionList,
    TurnResponse,
)
from app.chat.service import ChatService
from app.chat.turns import TurnRunner
from app.core.handlers import responses
from app.core.types import Page, PageSize, SearchText
from app.dependencies import ChatReader, ChatWriter, Resources, SessionDep
from app.graph.builder import build_chat_graph
from app.graph.context import ModelPolicy
from app.services.llm import OpenAIChatModel

router = APIRouter(responses=responses(401, 403, 422, 503))

WITH_BODY = responses(400, 413)


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Open what only this service needs: the model's client, the compiled graph, the running turns."""
    settings = resources.settings
    async with AsyncExitStack() as stack:
        model = OpenAIChatModel.from_settings(settings)
        stack.push_async_callback(model.close)
        graph = build_chat_graph()
        turns = TurnRunner(
            graph=graph,
            model=model,
            database=resources.database,
            policy=ModelPolicy(
                # The same model twice is one model.
                models=tuple(dict.fromkeys(filter(None, (settings.LLM_MODEL, settings.LLM_FALLBACK_MODEL)))),
                retries_per_model=settings.LLM_RETRIES_PER_MODEL,
                attempt_timeout=settings.LLM_ATTEMPT_TIMEOUT,
                history_messages=settings.LLM_HISTORY_MESSAGES,
            ),
            turn_timeout=settings.LLM_TURN_TIMEOUT,
        )
        stack.push_async_callback(turns.drain, settings.SHUTDOWN_GRACE)
        yield {"graph": graph, "chat": ChatService(resources.database, turns, Replies(resources.database))}


@router.post("/direct", response_model=DirectResponse, responses=WITH_BODY | responses(409))
async def direct_chat(
    question: ChatRequest, user: ChatWriter, service: ChatServiceDep, key: RequestKeyDep
) -> DirectResponse | Response:
    """Answer one question. Neither it nor the answer is stored.

    Where no model answers, `status` is `failed`, `response` says so politely, and `metadata` has the code.
    """
    return sent(await service.answer_directly(user.id, question, key))


@router.post(
    "/sessions",
    status_code=201,
    response_model=SessionCreated,
    response_model_exclude_unset=True,
    responses=WITH_BODY | responses(409),
)
async def create_session(
    new: SessionCreate, user: ChatWriter, service: ChatServiceDep, key: RequestKeyDep
) -> SessionCreated | Response:
    """Create a session. With `initial_message`, its first question is answered too."""
    return sent(await service.create_session(user.id, new, key))


@router.get("/sessions")
async def list_sessions(
    user: ChatReader,
    service: ChatServiceDep,
    transaction: SessionDep,
    page: Annotated[Page, Query()] = 1,
    size: Annotated[PageSize, Query()] = 20,
    search: Annotated[
        SearchText | None, Query(description="Looked for in titles and messages, literally and in any case.")
    ] = None,
) -> SessionList:
    """List the caller's sessions, last used first."""
    return await service.list_sessions(transaction, user.id, page=page, size=size, search=search)


@router.get("/sessions/{session_id}", response_model_exclude_unset=True, responses=responses(404))
async def get_session(
    session_id: UUID,
    user: ChatReader,
    service: ChatServiceDep,
    transaction: SessionDep,
    *,
    include_messages: Annotated[bool, Query()] = True,
    message_limit: Annotated[int, Query(ge=1, le=200, description="The newest that many, oldest first.")] = 50,
) -> SessionDetail:
    """Return a session, by default with its newest messages."""
    return await service.get_session(
        transaction, user.id, session_id, message_limit=message_limit if include_messages else None
    )


@router.delete("/sessions/{session_id}", responses=responses(404))
async def delete_session(
    session_id: UUID, user: ChatWriter, service: ChatServiceDep, transaction: SessionDep
) -> Deleted:
    """Delete a session and the text of its messages for good."""
    await service.delete_session(transaction, user.id, session_id)
    return Deleted(message="Session deleted.")


@router.post("/sessions/{session_id}/messages", response_model=TurnResponse, responses=WITH_BODY | responses(404, 409))
async def send_message(
    session_id: UUID, question: ChatRequest, user: ChatWriter, service: ChatServiceDep, key: RequestKeyDep
) -> TurnResponse | Response:
    """Ask a question in a session; the last messages of the session go to the model with it.

    Where no model answers, `ai_response.status` is `failed` and its metadata has `fallback` and the code. While a
    question is being answered another one gets 409 with the `message_id` of the answer under way.
    """
    return sent(await service.ask(user.id, session_id, question, key))
