"""What the routes of webhooks take and give."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import MISSING, AfterValidator, ConfigDict, Field, StrictBool, StringConstraints, model_validator

from app.core.types import Instant, RequestModel, ResponseModel, Storable
from app.database.repositories.webhooks.endpoints import Status
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
    if not parts.hostname or port == 0 or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("must be a URL")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or a password")
    if "#" in url:
        raise ValueError("must not have a fragment")
    try:
        parse_url(url)
    except OutgoingRequestError:
        raise ValueError("must be a URL") from None
    return url


def _check_distinct(events: list[str]) -> list[str]:
    if len(set(events)) < len(events):
        raise ValueError("must not name anything twice")
    return events


WebhookUrl = Annotated[str, StringConstraints(min_length=1, max_length=2048), Storable, AfterValidator(_check_url)]
Description = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), Storable]
Events = Annotated[
    list[SubscribableEvent | Literal["*"]], Field(min_length=1, max_length=20), AfterValidator(_check_distinct)
]

_URL = "`http` or `https`, without user and fragment. What it stands for is checked when it is connected to."
_EVENTS = "What it is told of. `*`: everything, also what is added later."
_SHARED = "Signed with `WEBHOOK_SECRET` of the settings, not with a secret of its own."


class WebhookCreate(RequestModel):
    """A new endpoint."""

    url: WebhookUrl = Field(examples=["https://hooks.example.com/chat"], description=_URL)
    events: Events = Field(examples=[["turn.completed", "turn.failed"]], description=_EVENTS)
    description: Description | None = Field(None, examples=["billing"])
    is_enabled: StrictBool = True
    uses_shared_secret: StrictBool = Field(default=False, description=_SHARED)


class WebhookUpdate(RequestModel):
    """Changes of an endpoint. What is absent stays as it is."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    url: WebhookUrl | MISSING = Field(MISSING, examples=["https://hooks.example.com/chat"], description=_URL)
    events: Events | MISSING = Field(MISSING, examples=[["*"]], description=_EVENTS)
    description: Description | MISSING | None = Field(MISSING, examples=["billing"], description="`null` clears it.")
    is_enabled: StrictBool | MISSING = Field(
        MISSING, examples=[True], description="True also forgets that it has failed."
    )
    uses_shared_secret: StrictBool | MISSING = Field(MISSING, examples=[False], description=_SHARED)

    @model_validator(mode="after")
    def _refuse_nothing(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must name at least one field")
        return self


class SecretRotation(RequestModel):
    """How to change the secret of an endpoint."""

    grace_hours: int = Field(
        24,
        strict=True,
        ge=0,
        le=168,
        examples=[24],
        description="So long the secret until now signs, too. 0: it is void at once.",
    )


class WebhookResponse(ResponseModel):
    """An endpoint, without its secret."""

    id: UUID = Field(validation_alias="uuid")
    url: str
    events: list[str]
    description: str | None
    is_enabled: bool
    disabled_reason: Literal["gone", "failing"] | None = Field(
        description="Why the system has disabled it: `gone`, it answered 410; `failing`, it took nothing for long."
    )
    failing_since: Instant | None = Field(description="The first failure since the last success.")
    uses_shared_secret: bool
    previous_secret_until: Instant | None = Field(
        description="Until then the secret from before the rotation signs, too."
    )
    created_at: Instant
    updated_at: Instant


class WebhookWithSecret(WebhookResponse):
    """An endpoint with its secret. It is shown when it is new, and not again."""

    secret: str | None = Field(description="Checks the signatures. Null where `WEBHOOK_SECRET` signs.")


class WebhookList(ResponseModel):
    """All endpoints, newest first."""

    webhooks: list[WebhookResponse]


class DeliveryQuery(RequestModel):
    """A part of the events of an endpoint, newest first."""

    status: Status | None = None
    after: UUID | None = Field(None, description="`next` of the part before.")
    limit: int = Field(50, ge=1, le=200)


class DeliveryResponse(ResponseModel):
    """An event for an endpoint, and what became of it."""

    id: UUID = Field(validation_alias="event_id", description="`webhook-id`, the same at each attempt.")
    type: str
    status: Status
    attempts: int
    next_attempt_at: Instant | None = Field(description="Null: it is delivered, or given up.")
    response_status: int | None = Field(description="Of the last attempt. Null: no answer.")
    error_code: str | None = Field(description="Why the last attempt failed.")
    created_at: Instant = Field(description="When it happened.")


class DeliveryDetail(DeliveryResponse):
    """An event with what was sent, and the log of its attempts."""

    data: dict[str, Any]
    log: list[dict[str, Any]] = Field(
        description="The last attempts, oldest first, with the heads of request and answer, without secrets.",
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
    """Events of an endpoint, newest first."""

    deliveries: list[DeliveryResponse]
    next: UUID | None = Field(description="`after` of the next part. Null: there is none.")
