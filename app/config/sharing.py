"""Sharing of conversations."""

from pydantic import Field

from app.config.base import SettingsBase


class SharingSettings(SettingsBase):
    """Sharing of conversations by link."""

    SHARING_ENABLED: bool = Field(
        default=True,
        description="False: no conversation can be shared, and existing links do not work. They work again when it is "
        "true again.",
    )
    SHARES_PER_USER: int = Field(
        200, ge=1, le=10_000, description="Conversations that an account may have shared at the same time."
    )
