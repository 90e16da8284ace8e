"""Base class, field types and parsers that all settings share."""

import json
from decimal import Decimal
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class SettingsBase(BaseSettings):
    """Reads fields from the environment and from `.env`; the name of a field is the name of its variable."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        case_sensitive=True,
        extra="ignore",
        # A value may be a secret: validation errors must not repeat it.
        hide_input_in_errors=True,
    )


def parse_list(value: object) -> object:
    """Return the items of a comma-separated or JSON list; anything that is not text is returned unchanged.

    Raises:
        ValueError: the text starts like a JSON list and is not one.

    """
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return parse_json_list(value)
    return [entry.strip() for entry in value.split(",") if entry.strip()]


def parse_json_list(text: str) -> object:
    """Return the parsed JSON document.

    Raises:
        ValueError: it is not valid JSON.

    """
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError("not a valid JSON list") from None


def empty_to_none(value: object) -> object:
    """Return None for an empty text: Compose files and shells pass an unset variable on as an empty one."""
    return None if value == "" else value


TextList = Annotated[list[str], NoDecode, BeforeValidator(parse_list)]
"""A list of texts, comma-separated or as a JSON list."""


def split_url(url: str, schemes: set[str], *, host_required: bool = True) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        ValueError: it has another scheme, no host, an impossible port or white space.

    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("not a valid URL") from None
    if parts.scheme not in schemes:
        raise ValueError(f"must start with {' or '.join(f'{scheme}://' for scheme in sorted(schemes))}")
    if (host_required and not parts.hostname) or port == 0 or any(character.isspace() for character in url):
        raise ValueError("not a valid URL")
    return parts
