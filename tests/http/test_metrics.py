"""Metrics of requests, turns and processes."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fastapi.testclient import TestClient

from app.config import Settings
from tests.chat.turns.test_fallback import service_with
from tests.fixtures.processes import WorkerProcess, free_port
from tests.fixtures.services import CHAT, Chat, User
from tests.support.provider import Provider, answers, fails


@pytest.fixture
def service(settings: Settings) -> Iterator[TestClient]:
    with service_with(settings, LLM_CACHE_TTL=60) as client:
        yield client


def samples(client: TestClient) -> dict[str, float]:
    """Return the value of each sample of the service."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_requests_are_counted_by_template_of_their_route(service: TestClient, chat: Chat, ada: User) -> None:
    client = Chat(service, ada)
    session = client.open()
    client.request("GET", f"/sessions/{session}")
    client.request("HEAD", f"/sessions/{session}")
    client.request("GET", "/sessions/not-an-id")
    service.get(f"{CHAT}/unknown/secret")
    service.request("BREW", f"{CHAT}/sessions")
    found = samples(service)

    def requests(method: str, route: str, status: str) -> float | None:
        return found.get(f'chatbot_http_requests_total{{method="{method}",route="{route}",status="{status}"}}')

    route = f"{CHAT}/sessions/{{session_id}}"
    assert requests("GET", route, "2xx") == 1
    assert requests("HEAD", route, "2xx") == 1
    assert requests("GET", route, "4xx") == 1
    assert requests("POST", f"{CHAT}/sessions", "2xx") == 1
    assert requests("GET", "unmatched", "4xx") == 1
    assert requests("other", "unmatched", "5xx") == 1
    assert found[f'chatbot_http_request_duration_seconds_count{{method="GET",route="{route}"}}'] == 2
    assert found["chatbot_http_requests_in_progress"] == 1  # this one
    assert not any(session in name or "secret" in name for name in found)


def test_every_metric_of_the_services_has_a_help_text_of_its_own(
    auth_client: TestClient, service: TestClient, admin_client: TestClient
) -> None:
    for client in (auth_client, service, admin_client):
        helps = dict(re.findall(r"^# HELP (\S+) (.*)$", client.get("/metrics").text, re.MULTILINE))
        assert [name for name, text in helps.items() if text.startswith("Statistic ")] == []
    text = auth_client.get("/metrics").text
    assert "# HELP chatbot_hashing Requests that hash a password" in text
    assert 'chatbot_hashing{state="refused"} 0.0' in text


def test_turns_calls_tokens_and_cache_are_counted(
    service: TestClient, chat: Chat, ada: User, provider: Provider
) -> None:
    client = Chat(service, ada)
    for _ in range(2):
        assert client.request("POST", "/direct", json={"message": "the same"}).status_code == 200
    provider.always(fails(500), model="gpt-primary")
    provider.always(answers("from the fallback"), model="gpt-fallback")
    client.request("POST", "/direct", json={"message": "another"})
    found = samples(service)
    assert found['chatbot_turns_total{status="complete",streamed="no"}'] == 3
    calls = "chatbot_model_calls_total"
    assert found[f'{calls}{{model="gpt-primary",outcome="ok",purpose="answer"}}'] == 1
    assert found[f'{calls}{{model="gpt-primary",outcome="cached",purpose="answer"}}'] == 1
    assert found[f'{calls}{{model="gpt-fallback",outcome="ok",purpose="answer"}}'] == 1
    assert found['chatbot_response_cache_requests_total{result="hit"}'] == 1
    assert found['chatbot_model_errors_total{code="provider_error",model="gpt-primary"}'] >= 1
    assert found['chatbot_model_fallbacks_total{model="gpt-fallback",reason="provider_error"}'] == 1
    assert found['chatbot_model_tokens_total{kind="completion",model="gpt-fallback"}'] > 0
    assert found['chatbot_model_breaker_state{model="gpt-primary",state="closed"}'] == 1
    assert found["chatbot_turns_in_progress"] == 0


def test_time_to_first_token_is_measured(service: TestClient, chat: Chat, ada: User) -> None:
    client = Chat(service, ada)
    session = client.open()
    client.request("POST", f"/sessions/{session}/messages/stream", json={"message": "Hi"})
    found = samples(service)
    assert found['chatbot_model_first_token_seconds_count{model="gpt-primary"}'] == 1
    assert found['chatbot_turns_total{status="complete",streamed="yes"}'] == 1


def test_every_service_has_metrics_of_its_process(
    auth_client: TestClient, chat_client: TestClient, admin_client: TestClient
) -> None:
    for client, name in ((auth_client, "auth"), (chat_client, "chat"), (admin_client, "admin")):
        found = samples(client)
        assert found["process_open_fds"] > 3
        assert found['chatbot_database_connections{state="max"}'] > 0
        assert found['chatbot_requests{state="running"}'] == 0
        assert found['chatbot_expensive_requests{state="running"}'] == 0
        assert any(re.fullmatch(rf'chatbot_build_info{{service="{name}-service",version=.*', line) for line in found)


def test_a_worker_serves_metrics_and_health(settings: Settings, home: Path) -> None:
    port = free_port()
    worker = WorkerProcess(settings.model_copy(update={"WORKER_METRICS_PORT": port}), home)
    try:
        worker.wait_for("worker started")
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            Provider.wait_until(lambda: 'chatbot_job_runs_total{job="sum up usage"}' in client.get("/metrics").text)
            metrics = client.get("/metrics").text
            assert 'chatbot_webhook_attempts_total{outcome="delivered"} 0.0' in metrics
            assert 'chatbot_build_info{service="worker"' in metrics
            assert client.get("/readyz").status_code == client.get("/livez").status_code == 200
            assert client.get("/docs").status_code == 404
    finally:
        worker.stop()
    assert worker.exit_code() is None or worker.exit_code() == 0
