"""Types of request fields: everything a client sends is bounded and can be stored."""

import json
import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    StringConstraints,
    model_validator,
)
from uuid_utils.compat import uuid7

MAX_OBJECT_BYTES = 8192
MAX_OBJECT_DEPTH = 8
MAX_FIELDS = 50
_MAX_NUMBER = 2**53
_MIN_NUMBER = 1e-15
_DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]", re.ASCII)
_FIRST_YEAR, _LAST_YEAR = 2000, 2200


def new_id() -> UUID:
    """Make a public id. Version 7 (RFC 9562): ids made together lie together in the index."""
    return uuid7()


def check_text(text: str) -> str:
    """Return the text, which can be stored and sent on.

    Raises:
        ValueError: PostgreSQL's text cannot hold NUL, UTF-8 cannot hold a lone surrogate.

    """
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("must not contain lone surrogates") from None
    return text


def check_not_blank(text: str) -> str:
    """Return the text, which has a character that can be seen: white space and characters without width cannot.

    Raises:
        ValueError: it has none.

    """
    if not any(character.isprintable() and not character.isspace() for character in text):
        raise ValueError("must not be blank")
    return text


def refuse_boolean(value: object) -> object:
    """Return the value, which is neither `true` nor `false`: Python takes these for 1 and 0.

    Raises:
        ValueError: it is one of them.

    """
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - what pydantic expects
    return value


def _check_size(value: object) -> object:
    try:
        # `allow_nan=False`: jsonb has no NaN. UTF-8 has no lone surrogates.
        size = len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
    except (TypeError, ValueError, RecursionError):
        raise ValueError("must be plain JSON") from None
    if size > MAX_OBJECT_BYTES:
        raise ValueError(f"must not exceed {MAX_OBJECT_BYTES} bytes of JSON")
    return value


def _check_object(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    _check_value(value, MAX_OBJECT_DEPTH)
    return value


def _check_value(value: JsonValue, depth: int) -> None:
    if depth == 0:
        raise ValueError(f"must not be nested deeper than {MAX_OBJECT_DEPTH} levels")
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, int | float):
        # JSON's numbers as JavaScript has them. jsonb would write 1e308 with all its digits.
        if value != 0 and not _MIN_NUMBER <= abs(value) <= _MAX_NUMBER:
            raise ValueError("numbers must lie within 2^53, and not closer to 0 than 1e-15")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key)
            _check_value(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check_value(item, depth - 1)


def _check_instant_text(value: object) -> object:
    # Anything else would be taken for seconds since 1970.
    if isinstance(value, str) and not _DATE.match(value):
        raise ValueError("must be a time as in ISO 8601, such as 2026-11-01T00:00:00Z")
    return value


def _check_instant(value: datetime) -> datetime:
    if not _FIRST_YEAR <= value.year < _LAST_YEAR:
        raise ValueError(f"must be from {_FIRST_YEAR} to {_LAST_YEAR}")
    return value


Storable = AfterValidator(check_text)
"""Marks text that can be stored: `Annotated[str, StringConstraints(...), Storable]`. Put it after the constraints."""

NotBlank = AfterValidator(check_not_blank)
"""Marks text with at least one character that is not white space."""

JsonObject = Annotated[dict[str, JsonValue], BeforeValidator(_check_size), AfterValidator(_check_object)]
"""A JSON object a client may attach: at most 8 KiB, at most 8 levels."""

SearchText = Annotated[str, StringConstraints(max_length=200), Storable]
"""What a list is searched for, literally."""

# A function of its own: Python 3.13 tells pydantic that the string's method would take anything.
Usd = Annotated[Decimal, PlainSerializer(lambda amount: f"{amount:.9f}", return_type=str)]
"""US dollars, to nine places: a string, because a JSON number is a float in most clients."""

Instant = Annotated[AwareDatetime, BeforeValidator(_check_instant_text), AfterValidator(_check_instant)]
"""A moment that a client names: ISO 8601 with an offset, in a year that every library can reckon with."""

Page = Annotated[int, Field(ge=1, le=10_000)]
PageSize = Annotated[int, Field(ge=1, le=100)]


class RequestModel(BaseModel):
    """Base of what clients send. Unknown fields are refused, so that none is ever taken by accident."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_many_fields(cls, data: object) -> object:
        # Each unknown field would become an error with a text of its own.
        if isinstance(data, dict) and len(data) > MAX_FIELDS:
            raise ValueError(f"must not have more than {MAX_FIELDS} fields")
        return data


class ResponseModel(BaseModel):
    """Base of what clients get."""

    model_config = ConfigDict(from_attributes=True)


class Pagination(ResponseModel):
    """Where a page lies in its list."""

    total: int = Field(description="Items in the whole list.")
    page: int = Field(description="This page, from 1.")
    size: int = Field(description="Most items on a page.")
    pages: int = Field(description="Pages in the whole list.")
    has_next: bool
    has_prev: bool

    @classmethod
    def of(cls, *, total: int, page: int, size: int) -> "Pagination":
        """Compute the derived fields."""
        return cls(
            total=total,
            page=page,
            size=size,
            pages=-(-total // size),
            has_next=page * size < total,
            has_prev=page > 1,
        )
