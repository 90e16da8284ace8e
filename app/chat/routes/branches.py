"""Messages of a session: pages of the active branch, selection of a branch, deletion."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.chat.dependencies import ServicesDep
from app.chat.schemas.messages import ActiveBranch, MessagePage, MessagesDeleted
from app.http.authentication import ChatReader, ChatWriter
from app.http.dependencies import SessionDep
from app.http.errors import responses

router = APIRouter()

_Limit = Annotated[int, Query(ge=1, le=200, description="Maximum number of messages.")]


@router.get("/sessions/{session_id}/messages", responses=responses(404))
async def list_messages(  # noqa: PLR0913, PLR0917 - query parameters
    session_id: UUID,
    user: ChatReader,
    services: ServicesDep,
    transaction: SessionDep,
    before: Annotated[UUID | None, Query(description="The messages just before this one.")] = None,
    after: Annotated[UUID | None, Query(description="The messages just after this one.")] = None,
    limit: _Limit = 50,
) -> MessagePage:
    """Return messages of the active branch, oldest first: the newest ones, or those before or after a message.

    `siblings` of a message are its versions: edited questions, or other answers to the same question.
    """
    return await services.branches.get_page(transaction, user.id, session_id, before=before, after=after, limit=limit)


@router.put("/sessions/{session_id}/active", responses=responses(400, 404, 413))
async def activate_branch(
    session_id: UUID, branch: ActiveBranch, user: ChatWriter, services: ServicesDep, transaction: SessionDep
) -> MessagePage:
    """Select the branch that is shown and sent to the model: the one with a message, down to its newest end.

    Returns its newest messages. Questions without `parent_id` continue it.
    """
    return await services.branches.activate(transaction, user.id, session_id, branch.message_id)


@router.delete("/sessions/{session_id}/messages/{message_id}", responses=responses(404, 409))
async def delete_message(
    session_id: UUID, message_id: UUID, user: ChatWriter, services: ServicesDep
) -> MessagesDeleted:
    """Delete a question or an answer permanently, with everything that follows it in all branches.

    While one of these messages is being generated, the request gets 409: cancel it first.
    """
    return await services.branches.delete(user.id, session_id, message_id)
