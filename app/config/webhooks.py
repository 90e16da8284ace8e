"""Webhooks."""

from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from app.config.base import Seconds, SettingsBase, TextList, empty_to_none
from app.core.public_addresses import AllowedHosts
from app.core.webhook_secrets import parse_secrets


class WebhookSettings(SettingsBase):
    """Signature, timeout and permitted internal receivers of webhooks."""

    WEBHOOK_SECRET: Annotated[SecretStr | None, BeforeValidator(empty_to_none)] = Field(
        None,
        description="Signs webhooks to endpoints without a secret of their own: `whsec_` and 24 to 64 bytes in base64. "
        "Several, separated by spaces, all sign: use them while receivers change to a new secret.",
    )
    WEBHOOK_TIMEOUT: Seconds = Field(
        30, description="Timeout of a request to a receiver in seconds, including name resolution and response."
    )
    WEBHOOK_ALLOWED_HOSTS: TextList = Field(
        [],
        max_length=1000,
        description="Receivers on internal networks, which are refused otherwise: `host`, `host:port`, an address or "
        "a network such as `10.1.0.0/16`; comma-separated or a JSON list.",
    )

    @field_validator("WEBHOOK_ALLOWED_HOSTS")
    @classmethod
    def _check_allowed_hosts(cls, entries: list[str]) -> list[str]:
        AllowedHosts.parse(entries)
        return entries

    @field_validator("WEBHOOK_SECRET")
    @classmethod
    def _check_webhook_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not parse_secrets(secret.get_secret_value()):
            raise ValueError("must not be blank")
        return secret

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Secrets in `WEBHOOK_SECRET`."""
        return parse_secrets(self.WEBHOOK_SECRET.get_secret_value()) if self.WEBHOOK_SECRET else ()
