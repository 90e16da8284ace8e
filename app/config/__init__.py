"""Settings, read from the environment and from `.env`."""

from app.config.database import DatabaseSettings
from app.config.llm import DEFAULT_SYSTEM_PROMPT, LlmSettings
from app.config.llm_models import ModelSetting
from app.config.llm_providers import DEFAULT_PROVIDER, Provider, ProviderSetting
from app.config.settings import (
    ConfigurationError,
    Settings,
    get_database_settings,
    get_llm_settings,
    get_migration_url,
    get_registration_settings,
    get_settings,
    get_web_settings,
)

__all__ = [
    "DEFAULT_PROVIDER",
    "DEFAULT_SYSTEM_PROMPT",
    "ConfigurationError",
    "DatabaseSettings",
    "LlmSettings",
    "ModelSetting",
    "Provider",
    "ProviderSetting",
    "Settings",
    "get_database_settings",
    "get_llm_settings",
    "get_migration_url",
    "get_registration_settings",
    "get_settings",
    "get_web_settings",
]
