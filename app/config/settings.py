"""The settings of all services: one class composed of a mixin per topic."""

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
from app.config.redis import RedisSettings
from app.config.registration import RegistrationSettings
from app.config.retention import RetentionSettings
from app.config.sharing import SharingSettings
from app.config.web import WebSettings
from app.config.webhooks import WebhookSettings

_S = TypeVar("_S", bound=SettingsBase)


class Settings(
    RetentionSettings,
    SharingSettings,
    WebhookSettings,
    LimitSettings,
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

    `docs/settings.md` is generated from the fields' descriptions, in the reverse order of the mixins.
    """


class ConfigurationError(SystemExit):
    """A setting is missing or invalid. Ends the process with one line that names the settings and the reasons."""

    def __init__(self, problems: str) -> None:
        super().__init__(f"configuration: {problems}")


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
        name = ".".join(str(part) for part in problem["loc"])
        reason = "is required" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
        problems.append(f"{name}: {reason}" if name else reason)
    return "; ".join(problems)
