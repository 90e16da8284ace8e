"""Search in titles and messages."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from app.core.content_limits import MAX_SEARCH_LENGTH
from app.core.cursors import Cursor
from app.core.schema_types import NotBlank, RequestModel, ResponseModel, Storable
from app.services.search.query import SearchScope

SearchQueryText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_SEARCH_LENGTH), Storable, NotBlank]


class SearchParameters(RequestModel):
    """Query and position of a page of matches."""

    q: SearchQueryText = Field(
        description="Words that must all occur, in any order. Text in quotation marks is a phrase. There are no "
        "operators.",
        examples=["holiday plans"],
    )
    in_: SearchScope = Field("both", alias="in", description="Texts to search.")
    cursor: Cursor | None = Field(None, description="`next_cursor` of the previous page of the same search.")
    limit: int = Field(20, ge=1, le=50, description="Maximum number of matches on a page.")


class SnippetPiece(ResponseModel):
    """A piece of a snippet. The pieces, joined, are plain text."""

    text: str = Field(description="Plain text; escape it before it is shown.")
    is_match: bool = Field(description="Whether the piece matches the query and is to be highlighted.")


class SearchHit(ResponseModel):
    """A title or message that matches."""

    kind: Literal["title", "message"] = Field(description="`title`: title of a session; `message`: message.")
    session_id: UUID = Field(description="Session of the title or message.")
    session_title: str = Field(description="Title of the session.")
    is_archived: bool = Field(description="Whether the session is archived.")
    message_id: UUID | None = Field(description="Null for a title.")
    role: Literal["user", "assistant"] | None = Field(description="Null for a title.")
    timestamp: datetime = Field(description="Time of the message; for a title, time of the creation of the session.")
    is_corrected: bool = Field(description="Whether only words that differ in one letter match.")
    snippet: list[SnippetPiece] = Field(description="Part of the text around the matches. It may have no match.")


class SearchPage(ResponseModel):
    """A page of matches, best first."""

    hits: list[SearchHit] = Field(description="Titles and messages that match, best first.")
    next_cursor: str | None = Field(description="`cursor` of the next page. Null: this is the last one.")
