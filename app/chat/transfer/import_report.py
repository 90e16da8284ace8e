"""Report of an import while it is made."""

from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from app.chat.schemas.transfer import ImportedItem, ImportReport, LeftOutItem
from app.chat.transfer.formats.imported_session import LeftOut

_MAX_LEFT_OUT = 1000
"""Maximum number of entries; further ones are only counted."""


@dataclass(slots=True)
class ReportBuilder:
    """Collects what was imported and what was left out."""

    done: int = 0
    report: ImportReport = field(
        default_factory=lambda: ImportReport(
            imported_sessions=0,
            imported_messages=0,
            already_imported_sessions=0,
            left_out_sessions=0,
            left_out_parts=0,
            sessions=[],
            left_out=[],
        )
    )

    def add_imported(self, place: str, session_id: UUID, messages: int, left_out: list[LeftOut]) -> None:
        """Add a session that was stored, and the parts of it that were left out."""
        self.report.imported_sessions += 1
        self.report.imported_messages += messages
        self.report.left_out_parts += len(left_out)
        self._add_session(place, session_id, "imported")
        for part in left_out:
            self._add_left_out(LeftOut(f"{place}.{part.place}", part.reason))

    def add_already_imported(self, place: str, session_id: UUID) -> None:
        """Add a session that an earlier import has stored."""
        self.report.already_imported_sessions += 1
        self._add_session(place, session_id, "already_imported")

    def add_left_out(self, left_out: LeftOut) -> None:
        """Add a session of which nothing was stored."""
        self.done += 1
        self.report.left_out_sessions += 1
        self._add_left_out(left_out)

    def to_json(self) -> dict[str, Any]:
        """Return the report as it is stored."""
        return self.report.model_dump(mode="json")

    def _add_session(self, place: str, session_id: UUID, outcome: Literal["imported", "already_imported"]) -> None:
        self.done += 1
        self.report.sessions.append(ImportedItem(place=place, session_id=session_id, outcome=outcome))

    def _add_left_out(self, left_out: LeftOut) -> None:
        if len(self.report.left_out) < _MAX_LEFT_OUT:
            self.report.left_out.append(LeftOutItem(place=left_out.place, reason=left_out.reason))
