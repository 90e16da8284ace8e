"""Retention of data."""

from pydantic import Field

from app.config.base import SettingsBase


class RetentionSettings(SettingsBase):
    """Periods after which data is deleted."""

    RETENTION_SESSION_DAYS: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days without a question after which a session is deleted, as if by its owner. Its import counts "
        "as a question. 0: never.",
    )
    RETENTION_DELIVERY_DAYS: int = Field(
        30, ge=1, le=3650, description="Days for which webhook deliveries and their attempts are kept."
    )
