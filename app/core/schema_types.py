"""Base models and field types of requests and responses. Request fields are bounded and storable."""

import json
import re
from dataclasses import dataclass
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
    GetJsonSchemaHandler,
    JsonValue,
    PlainSerializer,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from uuid_utils.compat import uuid7

from app.core.text import is_blank

MAX_OBJECT_BYTES = 8192
"""Maximum size of a JSON object of a client."""
MAX_OBJECT_DEPTH = 8
"""Maximum nesting of a JSON object of a client."""
MAX_FIELDS = 50
"""Maximum number of fields of a request, unknown ones included."""
_MAX_NUMBER = 2**53
_MIN_NUMBER = 1e-15
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]", re.ASCII)
_FIRST_YEAR, _LAST_YEAR = 2000, 2200
_DISPLAY_CONTROL_CHARACTERS = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
_DISPLAY_CONTROLS = re.compile(f"[{_DISPLAY_CONTROL_CHARACTERS}]")


def new_id() -> UUID:
    """Return a new UUID of version 7 (RFC 9562), which is ordered by time and so keeps index pages local."""
    return uuid7()


def check_text(text: str) -> str:
    """Return the text if it can be stored.

    Raises:
        ValueError: it contains NUL, which PostgreSQL cannot store, or a lone surrogate, which UTF-8 cannot encode.

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
    """Return the text if it is not blank.

    Raises:
        ValueError: it consists of white space, control characters and format characters.

    """
    if is_blank(text):
        raise ValueError("must not be blank")
    return text


def check_display_text(text: str) -> str:
    """Return a name, title or label if it can be stored, stays within its line, and cannot reorder other text.

    Raises:
        ValueError: it cannot be stored, or contains a control character, a line break, or a bidirectional embedding,
            override or isolate (Unicode Standard Annex 9), which reverses what is displayed. Marks of direction are
            part of Arabic and Hebrew texts.

    """
    if _DISPLAY_CONTROLS.search(check_text(text)):
        raise ValueError("must not contain control characters, line breaks or bidirectional formatting")
    return text


def replace_display_controls(value: object) -> object:
    """Return a text of a file with spaces for the characters that `check_display_text` refuses; others as they are."""
    return _DISPLAY_CONTROLS.sub(" ", value) if isinstance(value, str) else value


def refuse_boolean(value: object) -> object:
    """Return the value if it is not a boolean. Python treats booleans as the integers 1 and 0.

    Raises:
        ValueError: it is a boolean.

    """
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic expects ValueError
    return value


def to_integer(value: object) -> object:
    """Return an integral float as an integer, and other values as they are. In JSON Schema, 20.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_size(value: object) -> object:
    try:
        # jsonb has no NaN, and encoding fails on lone surrogates.
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
        # Numbers that JavaScript represents exactly. jsonb would store 1e308 with all its digits.
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
    if isinstance(value, str) and not _TIMESTAMP.match(value):
        raise ValueError("must be an ISO 8601 time, such as 2026-11-01T00:00:00Z")
    return value


def _check_instant(value: datetime) -> datetime:
    if not _FIRST_YEAR <= value.year < _LAST_YEAR:
        raise ValueError(f"must be from {_FIRST_YEAR} to {_LAST_YEAR}")
    return value


Storable = AfterValidator(check_text)
"""Constraint for text that can be stored: `Annotated[str, StringConstraints(...), Storable]`, in this order."""


@dataclass(frozen=True, slots=True)
class _PatternValidator(AfterValidator):
    """A validator whose rule JSON Schema can express as a pattern, so that clients can check it."""

    pattern: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"pattern": self.pattern}


DisplayText = _PatternValidator(check_display_text, f"^[^{_DISPLAY_CONTROL_CHARACTERS}]*$")
"""Constraint for names, titles and labels, which are shown within one line beside other text."""

NotBlank = AfterValidator(check_not_blank)
"""Constraint for text that does not consist of white space, control characters and format characters only."""

Integral = BeforeValidator(to_integer)
"""Accepts 20.0 as 20: `Annotated[int, Field(strict=True, ...), Integral]`, in this order."""

JsonObject = Annotated[dict[str, JsonValue], BeforeValidator(_check_size), AfterValidator(_check_object)]
"""A JSON object of a client: at most 8 KiB and 8 levels."""

SearchText = Annotated[str, StringConstraints(max_length=200), Storable]
"""A literal search text for lists."""

# A lambda, because on Python 3.13 pydantic misreads the signature of `str.format`.
Usd = Annotated[Decimal, PlainSerializer(lambda amount: f"{amount:.9f}", return_type=str)]
"""US dollars with nine decimal places, serialized as text because most clients parse JSON numbers as floats."""

Instant = Annotated[AwareDatetime, BeforeValidator(_check_instant_text), AfterValidator(_check_instant)]
"""A point in time from a client: ISO 8601 with an offset, within the years 2000 to 2199."""

Page = Annotated[int, Field(ge=1, le=10_000, description="Number of the page, from 1.")]
PageSize = Annotated[int, Field(ge=1, le=100, description="Number of items per page.")]


class RequestModel(BaseModel):
    """Base class of request bodies. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_many_fields(cls, data: object) -> object:
        # Checked first, because each unknown field would become an error of its own.
        if isinstance(data, dict) and len(data) > MAX_FIELDS:
            raise ValueError(f"must not have more than {MAX_FIELDS} fields")
        return data


class ResponseModel(BaseModel):
    """Base class of response bodies."""

    model_config = ConfigDict(from_attributes=True)


class Pagination(ResponseModel):
    """Position of a page in its list."""

    total: int = Field(description="Number of items in the whole list.")
    page: int = Field(description="Number of this page, from 1.")
    size: int = Field(description="Maximum number of items per page.")
    pages: int = Field(description="Number of pages in the whole list.")
    has_next: bool = Field(description="Whether there is a next page.")
    has_prev: bool = Field(description="Whether there is a previous page.")

    @classmethod
    def of(cls, *, total: int, page: int, size: int) -> "Pagination":
        """Return the pagination of a page, with the derived fields computed."""
        return cls(
            total=total,
            page=page,
            size=size,
            pages=-(-total // size),
            has_next=page * size < total,
            has_prev=page > 1,
        )
