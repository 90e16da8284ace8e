"""The settings of all services: one class composed of a mixin per topic."""

import re
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from app.config.auth import AuthSettings
from app.config.base import ENV_FILE, SettingsBase
from app.config.database import DatabaseSettings
from app.config.email import EmailSettings
from app.config.env_file import check_env_file
from app.config.limits import LimitSettings
from app.config.llm import LlmSettings
from app.config.logs import LoggingSettings
from app.config.monitoring import MonitoringSettings
from app.config.redis import RedisSettings
from app.config.registration import RegistrationSettings
from app.config.retention import RetentionSettings
from app.config.sharing import SharingSettings
from app.config.web import WebSettings
from app.config.webhooks import WebhookSettings

_SHOWN = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Names of fields that errors show. Others are not those of a setting, and may be anything."""
_S = TypeVar("_S", bound=SettingsBase)


class Settings(
    RetentionSettings,
    SharingSettings,
    WebhookSettings,
    LimitSettings,
    MonitoringSettings,
    LoggingSettings,
    LlmSettings,
    EmailSettings,
    RegistrationSettings,
    AuthSettings,
    RedisSettings,
    WebSettings,
    DatabaseSettings,
):
    """One field per environment variable; the name of the field is the name of the variable.

    `docs/reference/settings.md` is generated from the fields' descriptions, in the reverse order of the mixins.
    """


class ConfigurationError(SystemExit):
    """A setting is missing or invalid. Ends the process with one line that names the settings and the reasons."""

    def __init__(self, problems: str) -> None:
        line = "".join(character if character.isprintable() else "?" for character in problems)
        super().__init__(f"configuration: {line}")


@lru_cache
def get_settings() -> Settings:
    """Read the settings once per process. For entry modules and the command line only.

    Raises:
        ConfigurationError: settings are missing or invalid; the message names them without their values.

    """
    return _read(Settings)


def get_database_settings() -> DatabaseSettings:
    """Read the settings of PostgreSQL only. For Alembic and the command line.

    Raises:
        ConfigurationError: as `get_settings`.

    """
    return _read(DatabaseSettings)


def get_registration_settings() -> RegistrationSettings:
    """Read the settings of the registration only. For the command line.

    Raises:
        ConfigurationError: as `get_settings`.

    """
    return _read(RegistrationSettings)


def get_web_settings() -> WebSettings:
    """Read the settings of the HTTP services only. For the command line.

    Raises:
        ConfigurationError: as `get_settings`.

    """
    return _read(WebSettings)


def get_migration_url() -> str:
    """Read the URL of the database for migrations. For Alembic and the command line.

    Raises:
        ConfigurationError: as `get_settings`; or there is only the URL of a pooler in transaction mode.

    """
    try:
        return get_database_settings().migration_url()
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def get_llm_settings() -> LlmSettings:
    """Read the settings of the language models only. For the command line.

    Raises:
        ConfigurationError: as `get_settings`.

    """
    return _read(LlmSettings)


def _read(settings_class: type[_S]) -> _S:
    try:
        check_env_file(Path(ENV_FILE))
        return settings_class()
    except ValidationError as error:
        raise ConfigurationError(_describe(error)) from None
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _describe(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        name = ".".join(part if _SHOWN.fullmatch(part) else "?" for part in map(str, problem["loc"]))
        reason = "is required" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
        problems.append(f"{name}: {reason}" if name else reason)
    return "; ".join(problems)
