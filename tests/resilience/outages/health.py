"""Health of services during outages."""

from fastapi.testclient import TestClient

from tests.support.waiting import wait_until


def wait_for_health(client: TestClient, status: str) -> None:
    wait_until(lambda: client.get("/health").json()["status"] == status)
