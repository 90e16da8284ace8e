"""The reference has everything that the code has, and the checks notice what is missing."""

from pathlib import Path

import pytest

from app.database.base import Base
from docs.generator import code_names, commands, data_model, documents, error_codes, log_events, operations
from docs.generator.links import long_pages
from docs.generator.paths import REFERENCE


def test_nothing_of_the_code_is_missing() -> None:
    assert documents.undocumented() == []


def test_nothing_is_documented_that_the_code_lacks() -> None:
    assert documents.unknown() == []


def test_names_in_documents_exist_in_the_code() -> None:
    assert code_names.unknown_names() == []


@pytest.mark.parametrize("table", sorted(Base.metadata.tables))
def test_every_column_is_written_somewhere(table: str) -> None:
    rows = data_model.columns_table(table).splitlines()[2:]
    assert [row for row in rows if "|  |" in row] == []


def test_pages_are_short() -> None:
    assert long_pages() == []


PAGES = {
    "errors.md": ("| 409 | `turn_active` |", "| 409 | `turn_activ` |", "error code: turn_active"),
    "audit-actions.md": ("`login.replayed`", "`login.replay`", "audit action: login.replayed"),
    "settings.md": ("`LLM_TURN_TIMEOUT`", "`LLM_TURN`", "setting: LLM_TURN_TIMEOUT"),
    "stream-events.md": ("`message.snapshot`", "`message.picture`", "event of a stream: message.snapshot"),
    "metrics.md": ("`chatbot_streams_open`", "`chatbot_streams`", "metric: chatbot_streams_open"),
    "log-events.md": ("`circuit breaker opened`", "`breaker opened`", "log event: circuit breaker opened"),
    "webhooks.md": ("`quota.exceeded`", "`quota.over`", "webhook event: quota.exceeded"),
    "commands.md": ("`account-collisions`", "`collisions`", "command: account-collisions"),
}


@pytest.mark.parametrize("file", PAGES)
def test_a_missing_name_is_found(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, replacement, finding = PAGES[file]
    read = Path.read_text

    def read_changed(path: Path, *arguments: str, **options: str) -> str:
        text = read(path, *arguments, **options)
        return text.replace(name, replacement) if path == REFERENCE / file else text

    monkeypatch.setattr(Path, "read_text", read_changed)
    assert finding in documents.undocumented()


def test_an_unknown_error_code_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_codes, "api_codes", lambda: {"turn_active"})
    assert "error code: not_found" in documents.unknown()


def test_a_target_and_a_variable_that_are_not_described_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "make_targets", lambda: {"fly": "fly"})
    monkeypatch.setattr(commands, "tool_variables", lambda: {"WINGS"})
    assert {"target of the Makefile: fly", "variable of tools: WINGS"} <= {*documents.undocumented()}


def test_a_log_event_without_meaning_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_events, "MEANINGS", {**log_events.MEANINGS, "nobody logs this": "nothing"})
    assert log_events.undescribed_events() == ["nobody logs this"]


def test_an_operation_without_example_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "examples", dict)
    assert "GET /api/v1/auth/me" in operations.without_example()


def test_a_name_that_the_code_does_not_have_is_found(tmp_path: Path) -> None:
    missing = "z_" * 9 + "z"  # not as it is: it would be a word of the code
    page = tmp_path / "page.md"
    page.write_text(f"`build_chat_graph` `app/cli.py` `make test` `{missing}` `app/nothing.py` `Usage.{missing}`\n")
    assert code_names.unknown_names_of(page) == [f"Usage.{missing}", "app/nothing.py", missing]
