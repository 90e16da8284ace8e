"""Minimal runs of the benchmarks."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import admission, charts, completions, conversations, long_sessions, streams, tables, turns
from benchmarks.conversation_data import jump_depths
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(charts, "DIRECTORY", tmp_path)
    return tmp_path


def test_stored_turns_benchmark_reports_ratios_and_writes_chart(directory: Path) -> None:
    report = turns.stored_turns(rounds=1, turns=40)

    assert report.count("**ratio**") == len(turns.CLIENTS)
    ET.parse(directory / "turns.svg")  # noqa: S314 - a file that the test has written


def test_admission_benchmark_reports_the_difference() -> None:
    assert "**difference**" in admission.admission(rounds=1, requests=10)


def test_slow_streams_benchmark_reports_ratios_and_writes_chart(directory: Path) -> None:
    report = streams.slow_streams(rounds=1, streams=(10,), ramp=0.1, steady=1)

    assert report.count("**ratio**") == 1
    ET.parse(directory / "streams.svg")  # noqa: S314 - a file that the test has written


def test_completions_benchmark_reports_a_ratio_for_answers_and_streams() -> None:
    report = completions.completions(rounds=1, requests=10)

    assert [line.split(" | ")[0] for line in report.splitlines()[-2:]] == ["| answer", "| stream"]


def test_turn_in_long_session_reads_as_much_as_in_short_session() -> None:
    lines = long_sessions.long_sessions(rounds=1, turns=5).splitlines()

    _, statements, messages, *_ = next(line for line in lines if "**ratio**" in line).strip("| ").split(" | ")
    assert 0.9 <= float(statements.strip("*")) <= 1.1
    assert 0.9 <= float(messages.strip("*")) <= 1.1


def test_generated_messages_have_the_jump_pointers_of_the_trigger(chat: Chat, sql: Sql) -> None:
    chat.open()
    sql.do(
        "INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)"
        " SELECT gen_random_uuid(), s.id, number, 'user', '', 'complete'"
        " FROM chat_sessions s, generate_series(1, 70) AS number"
    )
    rows = sql.rows(
        "SELECT m.jump_depth, coalesce(jump.depth, 0) AS depth FROM chat_messages m"
        " LEFT JOIN chat_messages jump ON jump.id = m.jump_id ORDER BY m.seq"
    )
    assert [row["jump_depth"] for row in rows] == [row["depth"] for row in rows] == jump_depths(70)[1:]


def test_conversations_benchmark_reports_each_operation_and_its_plan(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "PLANS", directory / "plans.md")
    report = conversations.conversations(small=50, large=500, requests=2, cold_requests=0)

    plans = (directory / "plans.md").read_text()
    for title in conversations.OPERATIONS:
        assert f"| {title} |" in report
        assert f"## {title[:1].upper()}{title[1:]}, heavy user" in plans
    assert "ix_search_documents_terms" in plans


def test_tables_benchmark_reports_each_table_and_the_partitioned_copy() -> None:
    report = tables.tables(rows=3000, requests=2, inserts=5, bulk_rows=100, deliveries=40)

    for table in ("audit_log", "webhook_deliveries", "llm_calls"):
        assert f"| `{table}` | " in report
    assert "| ix_" not in report
    assert "12 partitions" in report
