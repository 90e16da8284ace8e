"""Logging."""

import logging
from typing import Literal

from pydantic import Field, field_validator

from app.config.base import Line, SettingsBase


class LoggingSettings(SettingsBase):
    """Level and format of the logs."""

    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="Lowest level that is logged."
    )
    LOG_JSON: bool = Field(default=True, description="True: one JSON object per line. False: lines of `LOG_FORMAT`.")
    LOG_FORMAT: Line = Field(
        "%(asctime)s - %(name)s - %(levelname)s - %(message)s", description="Line format when `LOG_JSON` is false."
    )

    @field_validator("LOG_FORMAT")
    @classmethod
    def _check_format(cls, line_format: str) -> str:
        record = logging.makeLogRecord({"request_id": None})
        try:
            logging.Formatter(line_format).format(record)
        except (ValueError, TypeError, KeyError):
            raise ValueError("must be a %-format with fields of log records, such as %(message)s") from None
        return line_format
