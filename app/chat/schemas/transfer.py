"""Imports and copies of sessions."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from app.chat.schemas.sessions import Title
from app.chat.transfer.formats.imported_session import LeftOutReason
from app.core.schema_types import RequestModel, ResponseModel
from app.database.repositories.transfer.imports import ImportFormat, ImportStatus


class SessionDuplicate(RequestModel):
    """What to copy of a session."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})

    message_id: UUID | None = Field(
        None, description="Last message of the copy, which then has only the branch with it. Null: all branches."
    )
    title: Title | None = Field(None, description="Null: the title of the session, with a suffix.")


class ImportedItem(ResponseModel):
    """A session of the file that is stored."""

    place: str = Field(examples=["sessions[0]"], description="Position in the file.")
    session_id: UUID = Field(description="Session that has the conversation.")
    outcome: Literal["imported", "already_imported"] = Field(
        description="Whether this import or an earlier one has stored it."
    )


class LeftOutItem(ResponseModel):
    """A session, a message or a part of a message that was not imported."""

    place: str = Field(examples=["sessions[1].messages[3]"], description="Position in the file.")
    reason: LeftOutReason = Field(description="Code of the reason.")


class ImportReport(ResponseModel):
    """Result of an import. It has no text of the file."""

    imported_sessions: int = Field(description="Sessions that were stored.")
    imported_messages: int = Field(description="Messages that were stored.")
    already_imported_sessions: int = Field(description="Sessions that an earlier import has stored.")
    left_out_sessions: int = Field(description="Sessions of which nothing was stored.")
    left_out_parts: int = Field(description="Messages and parts of messages that were left out of stored sessions.")
    sessions: list[ImportedItem] = Field(description="Sessions of the file that are stored.")
    left_out: list[LeftOutItem] = Field(description="The first 1 000 sessions and parts that were left out.")


class ImportResponse(ResponseModel):
    """An import."""

    import_id: UUID = Field(description="Id of the import.")
    status: ImportStatus = Field(
        description="`interrupted`: the process ended. The sessions that it stored stay, and importing the same file "
        "again continues."
    )
    format: ImportFormat = Field(description="Detected format of the file.")
    sessions_total: int = Field(description="Number of sessions in the file.")
    sessions_done: int = Field(description="Number of sessions that have been processed.")
    created_at: datetime = Field(description="Start of the import.")
    updated_at: datetime = Field(description="Time of the last progress, or of the end.")
    report: ImportReport | None = Field(description="Null while the import runs, and if its process was killed.")
