"""Logging."""

from typing import Literal

from pydantic import Field

from app.config.base import SettingsBase


class LoggingSettings(SettingsBase):
    """Level and format of the logs."""

    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="Lowest level that is logged."
    )
    LOG_JSON: bool = Field(default=True, description="True: one JSON object per line. False: lines of `LOG_FORMAT`.")
    LOG_FORMAT: str = Field(
        "%(asctime)s - %(name)s - %(levelname)s - %(message)s", description="Line format when `LOG_JSON` is false."
    )
