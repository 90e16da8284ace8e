"""What a receiver of webhooks is sent, as Standard Webhooks say, and what the log keeps of it."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from standardwebhooks import Webhook

from app.database.repositories.webhooks.deliveries import ClaimedDelivery
from app.services.http.ssrf_safe_client import ResponseHead

_USER_AGENT = "Chat-Bot-System-Webhooks/1"
_SIGNATURE = "webhook-signature"
_SECRET = re.compile("auth|cookie|credential|key|password|secret|session|signature|token", re.IGNORECASE)
"""Names of headers whose values are none of the log's business."""
_MAX_HEADERS = 40
_MAX_VALUE = 200


def serialize_event(delivery: ClaimedDelivery) -> bytes:
    """Write an event: the same bytes for each attempt."""
    event = {"type": delivery.type, "timestamp": delivery.created_at.isoformat(), "data": delivery.data}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def signed_headers(delivery: ClaimedDelivery, body: bytes, *, secrets: Iterable[str], now: datetime) -> dict[str, str]:
    """Write the headers of an attempt, with a signature by each of the secrets."""
    event = str(delivery.event_id)
    signatures = [Webhook(secret).sign(event, now, body.decode()) for secret in secrets]
    return {
        "content-type": "application/json",
        "user-agent": _USER_AGENT,
        "webhook-id": event,
        "webhook-timestamp": str(int(now.timestamp())),
        _SIGNATURE: " ".join(signatures),
    }


def redacted_request_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return what the log keeps of a request's head. The address is the endpoint's."""
    return {"method": "POST", "headers": {name: headers[name] for name in headers if name != _SIGNATURE}}


def redacted_response_headers(reply: ResponseHead) -> dict[str, Any]:
    """Return what the log keeps of an answer's head: so much of it, and no secrets."""
    return {
        "status": reply.status,
        "headers": [[name[:_MAX_VALUE], _redact_value(name, value)] for name, value in reply.headers[:_MAX_HEADERS]],
    }


def _redact_value(name: str, value: str) -> str:
    if _SECRET.search(name):
        return "(removed)"
    if name.lower() == "location":
        value = value.partition("?")[0]
    return value[:_MAX_VALUE]
