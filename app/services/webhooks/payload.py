"""Payload and headers of webhook requests (Standard Webhooks), and the redacted headers for the delivery log."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from standardwebhooks import Webhook

from app.database.repositories.webhooks.delivery_queue import ClaimedDelivery
from app.services.http.ssrf_safe_client import ResponseHead

_USER_AGENT = "Chat-Bot-System-Webhooks/1"
_SIGNATURE_HEADER = "webhook-signature"
_SENSITIVE_HEADER = re.compile("auth|cookie|credential|key|password|secret|session|signature|token", re.IGNORECASE)
"""Headers whose values are not logged."""
_MAX_HEADERS = 40
"""Maximum number of response headers in the log."""
_MAX_HEADER_LENGTH = 200
"""Maximum length of a logged name or value in characters."""


def serialize_event(delivery: ClaimedDelivery) -> bytes:
    """Return the request body of an event: the same bytes for each attempt."""
    event = {"type": delivery.type, "timestamp": delivery.created_at.isoformat(), "data": delivery.data}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def signed_headers(delivery: ClaimedDelivery, body: bytes, *, secrets: Iterable[str], now: datetime) -> dict[str, str]:
    """Return the headers of an attempt, with a signature for each of the secrets."""
    event = str(delivery.event_id)
    signatures = [Webhook(secret).sign(event, now, body.decode()) for secret in secrets]
    return {
        "content-type": "application/json",
        "user-agent": _USER_AGENT,
        "webhook-id": event,
        "webhook-timestamp": str(int(now.timestamp())),
        _SIGNATURE_HEADER: " ".join(signatures),
    }


def redacted_request_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return method and headers of a request for the log, without the signature."""
    return {"method": "POST", "headers": {name: headers[name] for name in headers if name != _SIGNATURE_HEADER}}


def redacted_response_headers(response: ResponseHead) -> dict[str, Any]:
    """Return status and headers of a response for the log, shortened and without secrets."""
    return {
        "status": response.status,
        "headers": [
            [name[:_MAX_HEADER_LENGTH], _redact_value(name, value)] for name, value in response.headers[:_MAX_HEADERS]
        ],
    }


def _redact_value(name: str, value: str) -> str:
    if _SENSITIVE_HEADER.search(name):
        return "(removed)"
    if name.lower() == "location":
        value = value.partition("?")[0]
    return value[:_MAX_HEADER_LENGTH]
