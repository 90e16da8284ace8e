"""Log format."""

import json
import logging
from collections.abc import Iterator

import pytest

from app.config import Settings
from app.observability.logging import configure_logging, request_id_var

FORMAT = str(Settings.model_fields["LOG_FORMAT"].default)


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_log_line_is_json_object_with_request_id(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(service="chat-service", level="INFO", json_lines=True, line_format=FORMAT)
    token = request_id_var.set("a-request")
    logging.getLogger("app.test").info("said %s", "this", extra={"number": 7})
    request_id_var.reset(token)
    line = json.loads(capsys.readouterr().err)
    assert line.pop("timestamp").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "app.test",
        "message": "said this",
        "request_id": "a-request",
        "service": "chat-service",
        "number": 7,
    }


def test_log_format_can_be_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(service="chat-service", level="WARNING", json_lines=False, line_format=FORMAT)
    logging.getLogger("app.test").info("not this")
    logging.getLogger("app.test").warning("but this")
    assert capsys.readouterr().err.rstrip().endswith(" - app.test - WARNING - but this")
