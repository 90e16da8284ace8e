"""Base class, field types and parsers that all settings share."""

import json
import re
from decimal import Decimal
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from app.config.secret_files import has_secret_type, read_secret_files, secret_names

ENV_FILE: Final = ".env"
_MAY_BE_EMPTY: Final = frozenset({"LLM_FALLBACK_MODEL"})
"""Settings whose empty value differs from their default."""

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_IN_URLS: Final = re.compile(
    r"[\s\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ud800-\udfff\ufeff]"
)
"""White space, control characters, surrogates, and characters without width, which copied text may contain."""

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
        return init_settings, _Values(env_settings), _Values(dotenv_settings)


class _Values(PydanticBaseSettingsSource):
    """A source of settings without its empty values, except those of `_MAY_BE_EMPTY`, and with secrets from files."""

    def __init__(self, source: PydanticBaseSettingsSource) -> None:
        super().__init__(source.settings_cls)
        self._source = source

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the value of a field; see the base class."""
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        """Return the values of the source that count, without surrounding white space unless they are secrets.

        Raises:
            ValueError: a value is not text in UTF-8; or see `read_secret_files`.

        """
        fields = self.settings_cls.model_fields
        variables = getattr(self._source, "env_vars", {})
        values = self._source() | read_secret_files(variables, secret_names(self.settings_cls))
        values = {name: value for name, value in values.items() if name in fields}
        for name, value in values.items():
            if isinstance(value, str) and not _is_utf8(value):
                raise ValueError(f"{name}: is not text in UTF-8")
            if not has_secret_type(fields[name]):
                values[name] = strip(value)
        return {name: value for name, value in values.items() if value != "" or name in _MAY_BE_EMPTY}


def _is_utf8(text: str) -> bool:
    """Return whether a text has no surrogates: Python decodes other bytes of the environment to them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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


def parse_json_list(text: str) -> list[object]:
    """Return the items of a JSON list.

    Raises:
        ValueError: it is not one, or has unpaired surrogates.

    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, list) or not all(_is_utf8(item) for item in document if isinstance(item, str)):
        raise ValueError("not a valid JSON list")
    return document


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


def check_line(text: str) -> str:
    """Return a text that has no line breaks and no other control characters.

    Raises:
        ValueError: it has.

    """
    if _UNPRINTABLE.search(text):
        raise ValueError("must not contain line breaks or other control characters")
    return text


Line = Annotated[str, AfterValidator(check_line)]
Url = Annotated[str, BeforeValidator(strip)]
OptionalUrl = Annotated[str | None, BeforeValidator(strip_to_none)]


TextList = Annotated[list[str], NoDecode, BeforeValidator(parse_list)]
"""A list of texts, comma-separated or as a JSON list."""


def split_url(url: str, schemes: set[str], *, host_required: bool = True) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        ValueError: it is in quotes, has another scheme, no host, an impossible port, or impossible characters.

    """
    check_url_characters(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("not a valid URL") from None
    if parts.scheme not in schemes:
        raise ValueError(f"must start with {' or '.join(f'{scheme}://' for scheme in sorted(schemes))}")
    if (host_required and not parts.hostname) or port == 0:
        raise ValueError("not a valid URL")
    return parts


def percent_decode(text: str) -> str:
    """Return a percent-encoded part of a URL.

    Raises:
        ValueError: the encoding is not valid, or that of other bytes than text in UTF-8, or of NUL.

    """
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        decoded = "\0"
    if "\0" in decoded or _BAD_PERCENT.search(text):
        raise ValueError("not a valid URL: a % must be written as %25, and other characters as UTF-8")
    return decoded


def check_url_characters(url: str) -> None:
    """Check that a URL is not in quotes, and has no white space, control characters or characters without width.

    Raises:
        ValueError: it is, or has.

    """
    if url[:1] in {'"', "'"}:
        raise ValueError("must not be in quotes")
    if _NOT_IN_URLS.search(url):
        raise ValueError("not a valid URL: other characters than letters and digits must be percent-encoded")
