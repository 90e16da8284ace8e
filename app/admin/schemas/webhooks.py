"""Request and response schemas of webhooks."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import MISSING, AfterValidator, ConfigDict, Field, StrictBool, StringConstraints, model_validator

from app.core.schema_types import DisplayText, Instant, Integral, RequestModel, ResponseModel, Storable
from app.core.text import is_blank
from app.database.repositories.webhooks.endpoints import DeliveryStatus
from app.database.repositories.webhooks.event_outbox import SubscribableEvent
from app.services.http.ssrf_safe_client import OutgoingRequestError, parse_url


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("must be a URL") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must begin with http:// or https://")
    if not parts.hostname or port == 0 or any(map(is_blank, url)) or "\\" in url:
        raise ValueError("must be a URL")
    if "@" in parts.netloc:
        raise ValueError("must not contain a user or a password")
    if "#" in url:
        raise ValueError("must not have a fragment")
    try:
        parse_url(url)
    except OutgoingRequestError:
        raise ValueError("must be a URL") from None
    return url


def _check_distinct(events: list[str]) -> list[str]:
    if len(set(events)) < len(events):
        raise ValueError("must not contain duplicates")
    return events


WebhookUrl = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2048),
    Storable,
    AfterValidator(_check_url),
    Field(json_schema_extra={"pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^/?#]"}),
]
Description = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), DisplayText]
Events = Annotated[
    list[SubscribableEvent | Literal["*"]],
    Field(min_length=1, max_length=20, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_check_distinct),
]

_URL = "`http` or `https` URL without user information and fragment. Its addresses are checked at connection time."
_EVENTS = "Subscribed events. `*`: all events, including those of later releases."
_SHARED = "Sign with the setting `WEBHOOK_SECRET` instead of a secret of the endpoint."


class WebhookCreate(RequestModel):
    """New webhook endpoint."""

    url: WebhookUrl = Field(examples=["https://hooks.example.com/chat"], description=_URL)
    events: Events = Field(examples=[["turn.completed", "turn.failed"]], description=_EVENTS)
    description: Description | None = Field(None, examples=["billing"], description="Description for admins.")
    is_enabled: StrictBool = Field(default=True, description="False: it gets no events until it is enabled.")
    uses_shared_secret: StrictBool = Field(default=False, description=_SHARED)


class WebhookUpdate(RequestModel):
    """Changes of an endpoint. Omitted fields are not changed."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    url: WebhookUrl | MISSING = Field(MISSING, examples=["https://hooks.example.com/chat"], description=_URL)
    events: Events | MISSING = Field(MISSING, examples=[["*"]], description=_EVENTS)
    description: Description | MISSING | None = Field(MISSING, examples=["billing"], description="`null` clears it.")
    is_enabled: StrictBool | MISSING = Field(
        MISSING, examples=[True], description="Enabling a disabled endpoint also resets the failure state."
    )
    uses_shared_secret: StrictBool | MISSING = Field(MISSING, examples=[False], description=_SHARED)

    @model_validator(mode="after")
    def _require_one_field(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must contain at least one field")
        return self


class SecretRotation(RequestModel):
    """Options of a secret rotation."""

    grace_hours: Annotated[int, Field(strict=True, ge=0, le=168), Integral] = Field(
        24,
        examples=[24],
        description="Hours for which deliveries are also signed with the old secret. 0: it is revoked at once. "
        "Secrets of earlier rotations stay valid until the end of their own hours.",
    )


class WebhookResponse(ResponseModel):
    """Webhook endpoint without its secret."""

    id: UUID = Field(validation_alias="uuid", description="Public id.")
    url: str = Field(description="Address that receives the events.")
    events: list[str] = Field(description="Subscribed event types; `*`: all.")
    description: str | None = Field(description="Description for admins. Null: none.")
    is_enabled: bool = Field(description="Whether events are delivered.")
    disabled_reason: Literal["gone", "failing"] | None = Field(
        description="Why it was disabled. `gone`: it responded with 410; `failing`: deliveries failed for too long. "
        "Null: not disabled by a worker."
    )
    failing_since: Instant | None = Field(
        description="First failure since the last successful delivery, change of the URL or enabling. Null: none."
    )
    uses_shared_secret: bool = Field(description="Whether requests are signed with `WEBHOOK_SECRET`.")
    previous_secret_until: Instant | None = Field(
        description="Time until which deliveries are also signed with the previous secret."
    )
    created_at: Instant = Field(description="Time of creation.")
    updated_at: Instant = Field(description="Time of the last change.")


class WebhookWithSecret(WebhookResponse):
    """Webhook endpoint with its new secret, which is returned only once."""

    secret: str | None = Field(description="Secret for verifying signatures. Null if `WEBHOOK_SECRET` is used.")


class WebhookList(ResponseModel):
    """All webhook endpoints, newest first."""

    webhooks: list[WebhookResponse] = Field(description="All endpoints.")


class DeliveryQuery(RequestModel):
    """Filter and position of a page of deliveries, newest first."""

    status: DeliveryStatus | None = Field(None, description="`pending`, `delivered` or `failed`.")
    after: UUID | None = Field(None, description="`next` of the previous page.")
    limit: int = Field(50, ge=1, le=200, description="Maximum number of items of the page.")


class DeliveryResponse(ResponseModel):
    """Delivery of an event to an endpoint."""

    id: UUID = Field(validation_alias="event_id", description="Event id, sent as `webhook-id` with each attempt.")
    type: str = Field(description="Event type.")
    status: DeliveryStatus = Field(description="`pending`, `delivered`, or `failed` after the last attempt.")
    attempts: int = Field(description="Number of attempts so far.")
    next_attempt_at: Instant | None = Field(description="Null: no further attempt is made.")
    response_status: int | None = Field(description="HTTP status of the last completed attempt. Null: none.")
    error_code: str | None = Field(description="Error code of the last completed attempt, if it failed.")
    created_at: Instant = Field(description="Time of the event.")


class DeliveryDetail(DeliveryResponse):
    """Delivery with its payload and the log of its attempts."""

    data: dict[str, Any] = Field(description="Data of the event: ids, states and numbers.")
    log: list[dict[str, Any]] = Field(
        description="Last attempts, oldest first, with the headers of request and response, without secrets.",
        examples=[
            [
                {
                    "at": "2026-11-23T04:13:21.502917+00:00",
                    "attempt": 1,
                    "duration_ms": 84,
                    "error_code": None,
                    "request": {"method": "POST", "headers": {"webhook-id": "01a204a8-d644-7663-8033-d1697640d612"}},
                    "response": {"status": 204, "headers": [["server", "nginx"]]},
                }
            ]
        ],
    )


class DeliveryPage(ResponseModel):
    """Page of deliveries, newest first."""

    deliveries: list[DeliveryResponse] = Field(description="Deliveries of the page.")
    next: UUID | None = Field(description="Value of `after` for the next page. Null: this is the last page.")
