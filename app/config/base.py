"""Base class, field types and parsers that all settings share."""

import json
from decimal import Decimal
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

ENV_FILE: Final = ".env"
_MAY_BE_EMPTY: Final = frozenset({"LLM_FALLBACK_MODEL"})
"""Settings whose empty value differs from their default."""

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class SettingsBase(BaseSettings):
    """Reads fields from the environment and from `.env`; the name of a field is the name of its variable."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        # Some editors write a byte order mark, which must not become a part of the first name.
        env_file_encoding="utf-8-sig",
        case_sensitive=True,
        extra="ignore",
        # A value may be a secret: validation errors must not repeat it.
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, without empty values: Compose files and shells pass an unset variable on as empty."""
        del settings_cls, file_secret_settings
        return init_settings, _NonEmptyValues(env_settings), _NonEmptyValues(dotenv_settings)


class _NonEmptyValues(PydanticBaseSettingsSource):
    """A source of settings without its empty values, except those of `_MAY_BE_EMPTY`."""

    def __init__(self, source: PydanticBaseSettingsSource) -> None:
        super().__init__(source.settings_cls)
        self._source = source

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the value of a field; see the base class."""
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        """Return the values of the source that count."""
        return {name: value for name, value in self._source().items() if value != "" or name in _MAY_BE_EMPTY}


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
    """Return None for an empty text, which counts as unset."""
    return None if value == "" else value


def strip(value: object) -> object:
    """Return a text without surrounding white space, which copied values may have; a secret one stays a secret."""
    if isinstance(value, SecretStr):
        return SecretStr(value.get_secret_value().strip())
    return value.strip() if isinstance(value, str) else value


def strip_to_none(value: object) -> object:
    """Return a text without surrounding white space, or None if nothing remains."""
    return empty_to_none(strip(value))


Url = Annotated[str, BeforeValidator(strip)]
OptionalUrl = Annotated[str | None, BeforeValidator(strip_to_none)]


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
