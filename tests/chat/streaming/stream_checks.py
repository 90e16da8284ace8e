"""Checks of event streams and of refusals."""

import hashlib
from typing import Any

import httpx

from tests.fixtures.streaming import Event, text_of
from tests.support.provider import chunk

LONG_TEXT = " ".join(f"word{number}" for number in range(200))
STOP = chunk(finish_reason="stop")


def assert_complete_stream(events: list[Event], stored: dict[str, Any]) -> None:
    """Check that the stream matches the stored answer and its own length and checksum."""
    last = events[-1].data
    assert text_of(events) == stored["content"] == last["message"]["content"]
    assert last["message"]["status"] == stored["status"]
    assert last["length"] == len(stored["content"])
    assert last["sha256"] == hashlib.sha256(stored["content"].encode()).hexdigest()
    ids = [event.id for event in events]
    assert ids == sorted(set(ids))


def status_and_code(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["code"]
