"""Traces: their spans, the header that continues them, and what they must not contain."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app import main
from app.chat.turns.question_builder import QuestionBuilder
from app.config import Settings
from local.paths import PROJECT
from tests.fixtures.services import Chat, User
from tests.support.provider import Provider, answers, fails

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
SECRET_TEXT = "a sentence that must not be exported"


class Collector:
    """OpenTelemetry collector that keeps the spans it receives."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.raw = b""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.raw += body
                request = ExportTraceServiceRequest.FromString(body)
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


@pytest.mark.parametrize("path", ["messages", "messages/stream"])
def test_spans_of_a_question_follow_its_traceparent_to_the_provider(
    settings: Settings, collector: Collector, chat: Chat, ada: User, provider: Provider, path: str
) -> None:
    provider.always(fails(500), model="gpt-primary")
    provider.always(answers(SECRET_TEXT), model="gpt-fallback")
    traced = settings.model_copy(update={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    with TestClient(main.create(traced)) as service:
        client = Chat(service, ada)
        session = client.open()
        response = client.request(
            "POST", f"/sessions/{session}/{path}", json={"message": SECRET_TEXT}, headers={"traceparent": PARENT}
        )
        assert response.status_code == 200
    spans = {span.span_id: span for span in collector.spans if span.trace_id.hex() == TRACE}
    by_name = {span.name: span for span in spans.values()}

    def ancestors(name: str) -> list[str]:
        names, span = [], by_name[name]
        while (span := spans.get(span.parent_span_id)) is not None:
            names.append(span.name)
        return names

    request = f"POST /api/v1/chat/sessions/{{session_id}}/{path}"
    assert by_name[request].parent_span_id.hex() == PARENT.split("-")[2]
    assert ancestors("turn") == [request]
    assert ancestors("node preprocess") == ["turn", request]
    assert ancestors("chat gpt-primary") == ["node llm", "turn", request]
    assert ancestors("chat gpt-fallback") == ["node llm", "turn", request]
    assert by_name["chat gpt-primary"].status.code == 2
    statements = [span for span in spans.values() if any(item.key == "db.query.text" for item in span.attributes)]
    assert {spans[span.parent_span_id].name for span in statements} >= {"turn", request}
    sent = [call.headers["traceparent"] for call in provider.calls]
    assert {header.split("-")[1] for header in sent} == {TRACE}
    assert {bytes.fromhex(header.split("-")[2]) for header in sent} <= spans.keys()
    for text in (SECRET_TEXT, ada.access_token, ada.email, session):
        assert text.encode() not in collector.raw


def test_the_span_of_a_request_that_an_exception_ends_has_its_route_and_id(
    settings: Settings, collector: Collector, chat: Chat, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_questions: QuestionBuilder) -> None:
        raise RuntimeError(SECRET_TEXT)

    monkeypatch.setattr(QuestionBuilder, "available_models", fail)
    traced = settings.model_copy(update={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    with TestClient(main.create(traced)) as service:
        response = Chat(service, ada).request("GET", "/models")
        assert response.status_code == 500
    span = next(span for span in collector.spans if span.name == "GET /api/v1/chat/models")
    attributes = {item.key: item.value.string_value for item in span.attributes}
    assert attributes["chatbot.request_id"] == response.headers["X-Request-ID"]
    assert attributes["error.type"] == "RuntimeError"
    assert "http.response.status_code" not in attributes
    assert SECRET_TEXT.encode() not in collector.raw


def test_a_client_cannot_have_more_requests_traced(
    settings: Settings, collector: Collector, chat: Chat, ada: User
) -> None:
    update = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER_ARG": 0.0}
    with TestClient(main.create(settings.model_copy(update=update))) as service:
        Chat(service, ada).request("GET", "/sessions", headers={"traceparent": PARENT})
    assert collector.spans == []


def test_the_trace_id_of_a_client_does_not_decide_whether_a_request_is_traced(
    settings: Settings, collector: Collector, chat: Chat, ada: User
) -> None:
    update = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER_ARG": 0.5}
    lowest = f"00-{1:032x}-{1:016x}-01"
    with TestClient(main.create(settings.model_copy(update=update))) as service:
        for _ in range(40):
            Chat(service, ada).request("GET", "/sessions", headers={"traceparent": lowest})
    traced = [span for span in collector.spans if span.parent_span_id == (1).to_bytes(8, "big")]
    assert 0 < len(traced) < 40


def test_a_collector_that_does_not_answer_changes_nothing(settings: Settings, chat: Chat, ada: User) -> None:
    update = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with TestClient(main.create(settings.model_copy(update=update))) as service:
        assert Chat(service, ada).request("GET", "/sessions").status_code == 200


def test_without_a_collector_no_exporter_is_imported(settings: Settings) -> None:
    unwanted = "('opentelemetry.exporter', 'google.protobuf')"
    script = f"import sys, app.main; print([name for name in sys.modules if name.startswith({unwanted})])"
    variables = {"DATABASE_URL": settings.DATABASE_URL, "SECRET_KEY": "x" * 32, "OPENAI_API_KEY": "sk-test"}
    result = subprocess.run(
        [sys.executable, "-c", script], env=variables, cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
