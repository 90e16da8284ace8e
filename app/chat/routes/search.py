"""Search in the user's conversations."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.chat.dependencies import ServicesDep
from app.chat.schemas.search import SearchPage, SearchParameters
from app.http.authentication import ChatReader

router = APIRouter()


@router.get("/search")
async def search_conversations(
    parameters: Annotated[SearchParameters, Query()], user: ChatReader, services: ServicesDep
) -> SearchPage:
    """Search the titles and messages of the user's sessions, best matches first.

    All branches and archived sessions are included. A word also matches longer words that begin with it, and parts of
    long words. If there are fewer than five matches, words that differ in one letter match too.
    """
    return await services.search.search(user, parameters)
