"""Feedback on answers."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from app.core.content_limits import MAX_COMMENT_LENGTH, REASONS_BY_RATING, FeedbackReason
from app.core.schema_types import NotBlank, RequestModel, ResponseModel, Storable
from app.database.repositories.chat.feedback import Rating


def _check_distinct(reasons: list[str]) -> list[str]:
    if len(set(reasons)) < len(reasons):
        raise ValueError("must not contain duplicates")
    return reasons


class FeedbackRequest(RequestModel):
    """Feedback on an answer. It replaces earlier feedback, including fields that are left out."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"rating": "down", "reasons": ["inaccurate", "too_long"], "comment": "Seville is in Andalusia."}
            ]
        }
    )

    rating: Rating = Field(examples=["down"], description="`up` or `down`.")
    reasons: Annotated[
        list[FeedbackReason],
        Field(max_length=8, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_check_distinct),
    ] = Field(
        [],
        examples=[["inaccurate", "too_long"]],
        description="For `up`: `accurate`, `clear`, `creative`, `helpful`, `other`. For `down`: `inaccurate`, "
        "`incomplete`, `refused`, `style`, `too_long`, `unhelpful`, `unsafe`, `other`.",
    )
    comment: (
        Annotated[
            str,
            StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_COMMENT_LENGTH),
            Storable,
            NotBlank,
        ]
        | None
    ) = Field(None, examples=["Seville is in Andalusia."], description="At most 2 000 characters.")

    @model_validator(mode="after")
    def _check_reasons(self) -> Self:
        if not set(self.reasons).issubset(REASONS_BY_RATING[self.rating]):
            raise ValueError(f"these reasons are not for the rating '{self.rating}'")
        return self


class FeedbackResponse(ResponseModel):
    """Feedback of the caller on an answer."""

    rating: Rating = Field(description="`up` or `down`.")
    reasons: list[str] = Field(description="In alphabetical order.")
    comment: str | None = Field(description="Comment of the owner. Null: none.")
    created_at: datetime = Field(description="Time of the first rating. Reports count the feedback at this time.")
    updated_at: datetime = Field(description="Time of the last change.")
