"""A provider in `LLM_PROVIDERS`: an OpenAI-compatible API, its key, and the headers of its requests."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from app.config.base import ENV_FILE, Seconds, Url, split_url
from app.config.llm_models import MaxTokensField

DEFAULT_PROVIDER: Final = "default"
"""Name of the provider that `OPENAI_API_KEY` and `OPENAI_BASE_URL` describe."""
_OPENAI_URL: Final = "https://api.openai.com/v1"
_COMPLETIONS: Final = "/chat/completions"
_MAX_HEADERS: Final = 20
_MAX_KEY_BYTES: Final = 16_384
_HEADER_TOKEN: Final = re.compile(r"[!#-&(-_a-~]+")
"""ASCII characters without spaces, control characters and quotes."""
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
"""A token of RFC 9110, section 5.6.2."""
_HEADER_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")
_SET_BY_THE_CLIENT: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class ProviderSetting(BaseModel):
    """A provider of models, in `LLM_PROVIDERS`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=50)
    base_url: Url | None = None
    """Without `/chat/completions`; its query is sent with every request. None: OpenAI itself."""
    api_key_env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)
    """Name of the environment variable that holds the key, also in `.env`."""
    api_key_file: str | None = Field(None, min_length=1, max_length=1000)
    """Path of the file that holds the key."""
    api_key_header: str = "Authorization"
    """Header of the key. In `Authorization` it is sent as a bearer token, in others, such as `api-key`, as it is."""
    headers: dict[str, SecretStr] = Field({}, max_length=_MAX_HEADERS)
    """Other headers of every request."""
    max_tokens_field: MaxTokensField | None = None
    """Name of the token limit in a request. None: `max_completion_tokens` for OpenAI itself, else `max_tokens`."""
    connect_timeout: Seconds | None = None
    attempt_timeout: Seconds | None = None
    """Timeout of an attempt in seconds. None: `LLM_ATTEMPT_TIMEOUT`."""
    stream_pause: Seconds | None = None
    """Maximum pause between two chunks of a streamed answer. None: `LLM_STREAM_PAUSE`."""

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, url: str | None) -> str | None:
        return None if url is None else check_base_url(url)

    @field_validator("api_key_header")
    @classmethod
    def _check_key_header(cls, name: str) -> str:
        return _check_header_name(name)

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            _check_header_name(name)
            if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
                raise ValueError(
                    f"{name}: must consist of ASCII characters, without control characters or outer spaces"
                )
        if len({name.lower() for name in headers}) < len(headers):
            raise ValueError("a header is listed twice")
        return headers

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.api_key_env is not None and self.api_key_file is not None:
            raise ValueError("api_key_env and api_key_file: at most one of them")
        has_key = self.api_key_env is not None or self.api_key_file is not None
        if has_key and self.api_key_header.lower() in {name.lower() for name in self.headers}:
            raise ValueError("headers: must not contain the header of the key")
        return self


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider with its key."""

    name: str
    base_url: str
    api_key: SecretStr | None = None
    """None: requests have no key."""
    api_key_header: str = "Authorization"
    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    max_tokens_field: MaxTokensField = "max_tokens"
    connect_timeout: float | None = None
    attempt_timeout: float | None = None
    stream_pause: float | None = None


def resolve_provider(setting: ProviderSetting, api_key: SecretStr | None = None) -> Provider:
    """Return the provider with its key, which is read from the environment or a file unless `api_key` is given.

    Raises:
        ValueError: there is no such variable or file, or it holds no key.

    """
    url = setting.base_url or _OPENAI_URL
    # OpenAI's newer models reject the old name of this field, and other engines may not support the new one.
    is_openai = urlsplit(url).hostname == urlsplit(_OPENAI_URL).hostname
    return Provider(
        name=setting.name,
        base_url=url,
        api_key=api_key or _read_key(setting),
        api_key_header=setting.api_key_header,
        headers=setting.headers,
        max_tokens_field=setting.max_tokens_field or ("max_completion_tokens" if is_openai else "max_tokens"),
        connect_timeout=setting.connect_timeout,
        attempt_timeout=setting.attempt_timeout,
        stream_pause=setting.stream_pause,
    )


def check_base_url(url: str) -> str:
    """Return the base URL of an API without a slash at the end of its path.

    Raises:
        ValueError: it is not one.

    """
    parts = split_url(url, {"http", "https"})
    if "#" in url or parts.username is not None:
        raise ValueError("must have neither a user name nor a fragment")
    path = parts.path.rstrip("/")
    if unquote(path).lower().endswith(_COMPLETIONS):
        raise ValueError(f"must be the base URL, which ends before {_COMPLETIONS}")
    return url if path == parts.path else urlunsplit(parts._replace(path=path))


def check_key(key: str) -> str:
    """Return a key, which is sent in a header.

    Raises:
        ValueError: it cannot be sent.

    """
    if not _HEADER_TOKEN.fullmatch(key):
        raise ValueError("must consist of ASCII letters, digits and punctuation, without spaces and quotes")
    return key


def _check_header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("one of the names is not that of a header")
    if name.lower() in _SET_BY_THE_CLIENT:
        raise ValueError(f"{name}: is set by the service")
    return name


def _read_key(setting: ProviderSetting) -> SecretStr | None:
    if setting.api_key_env is not None:
        source = f"the environment variable {setting.api_key_env}"
        key = os.environ.get(setting.api_key_env) or dotenv_values(ENV_FILE, encoding="utf-8-sig").get(
            setting.api_key_env
        )
    elif setting.api_key_file is not None:
        source = f"the file {setting.api_key_file}"
        key = _read_file(Path(setting.api_key_file))
    else:
        return None
    key = (key or "").strip()
    if not key:
        raise ValueError(f"the key is missing: {source} is not set or empty")
    try:
        return SecretStr(check_key(key))
    except ValueError as error:
        raise ValueError(f"the key in {source} {error}") from None


def _read_file(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY_BYTES).decode("utf-8-sig")
    except (OSError, ValueError):
        return None
