"""Checks of values that are sent to the engine as the client sent them."""

import math
from typing import Any, Final

from pydantic import AfterValidator, JsonValue

from app.core.schema_types import check_text

_MAX_DEPTH: Final = 32
"""Maximum nesting of a value, such as a JSON schema."""


def check_json(value: JsonValue, depth: int = _MAX_DEPTH) -> JsonValue:
    """Return a value that consists of storable text and finite numbers, and is not nested too deeply.

    Raises:
        ValueError: it is not such a value.

    """
    if depth == 0:
        raise ValueError(f"must not be nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("numbers must be finite")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key)
            check_json(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            check_json(item, depth - 1)
    return value


def _check_object(value: dict[str, Any]) -> dict[str, Any]:
    check_json(value)
    return value


PassedOn = AfterValidator(_check_object)
"""Constraint for a JSON object that is sent to the engine as it is."""
