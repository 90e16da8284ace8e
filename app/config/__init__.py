"""Settings, read from the environment and from `.env`."""

from app.config.database import DatabaseSettings
from app.config.llm import DEFAULT_SYSTEM_PROMPT, LlmSettings, ModelSetting
from app.config.settings import ConfigurationError, Settings, get_database_settings, get_llm_settings, get_settings

__all__ = [
    "DEFAULT_SYSTEM_PROMPT",
    "ConfigurationError",
    "DatabaseSettings",
    "LlmSettings",
    "ModelSetting",
    "Settings",
    "get_database_settings",
    "get_llm_settings",
    "get_settings",
]
