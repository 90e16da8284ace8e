"""The receiver of webhooks in the documents verifies signatures."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from local.paths import PROJECT
from tests.fixtures.processes import free_port
from tests.support.waiting import wait_until

GUIDE = PROJECT / "docs" / "how-to" / "receive-webhooks.md"
EXAMPLE = GUIDE.parent / "examples" / "webhook_receiver.py"
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"type": "turn.completed", "timestamp": "2026-11-30T10:00:00+00:00", "data": {"status": "complete"}}'


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """URL of the running example, and the file with its output."""
    port = free_port()
    output = tmp_path / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, EXAMPLE, str(port)], env=os.environ | {"WEBHOOK_SECRET": SECRET}, stdout=file
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _responds(url))
            yield url, output
        finally:
            process.kill()
            process.wait()


def _responds(url: str) -> bool:
    try:
        httpx.post(url, trust_env=False)
    except httpx.TransportError:
        return False
    return True


def send(url: str, *, secret: str = SECRET, age: int = 0, body: str = BODY) -> int:
    time = datetime.now(UTC) - timedelta(seconds=age)
    signature = Webhook(secret).sign("event-1", time, BODY)
    headers = {
        "webhook-id": "event-1",
        "webhook-timestamp": str(int(time.timestamp())),
        "webhook-signature": f"v1,b2xk {signature}",
    }
    return httpx.post(url, content=body, headers=headers, trust_env=False).status_code


def test_authentic_events_are_processed_once_and_others_are_refused(receiver: tuple[str, Path]) -> None:
    url, output = receiver
    assert send(url, body=BODY.replace("complete", "failed")) == 401
    assert send(url, secret="whsec_" + "A" * 32) == 401
    assert send(url, age=600) == 401
    assert [send(url), send(url)] == [204, 204]
    wait_until(lambda: bool(output.read_text()))
    assert output.read_text() == "turn.completed {'status': 'complete'}\n"


def test_the_guide_shows_the_example() -> None:
    assert f"```python\n{EXAMPLE.read_text().strip()}\n```" in GUIDE.read_text()
