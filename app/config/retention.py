"""Retention of data."""

from pydantic import Field

from app.config.base import SettingsBase


class RetentionSettings(SettingsBase):
    """Periods after which data is deleted."""

    RETENTION_SESSION_DAYS: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days without a question or answer after which a session is deleted, as if by its owner; without "
        "any, they count from its creation or import. 0: never.",
    )
    RETENTION_DELIVERY_DAYS: int = Field(
        30, ge=1, le=3650, description="Days for which webhook deliveries and their attempts are kept."
    )
