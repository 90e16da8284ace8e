"""Architecture decision records are numbered, dated, and listed in their index."""

import re
from itertools import count
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
SECTIONS = ["Context", "Decision", "Consequences", "Alternatives considered"]


def test_records_are_numbered_without_gaps() -> None:
    assert all(record.name.startswith(f"{number:04}-") for number, record in zip(count(1), RECORDS, strict=False))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_follows_the_template_and_is_in_the_index(record: Path) -> None:
    text = record.read_text()
    head = re.match(
        r"# (?P<number>\d+)\. (?P<title>.+)\n\n- Status: (?P<status>.+)\n- Date: (?P<date>\d{4}-\d\d-\d\d)\n", text
    )
    assert head is not None
    assert int(head["number"]) == int(record.name[:4])
    assert re.fullmatch(r"proposed|accepted|superseded by \[ADR \d+\]\(.+\)", head["status"])
    assert [
        section for section in re.findall(r"^## (.+)$", text, re.MULTILINE) if section != "Measurements"
    ] == SECTIONS
    row = f"| {head['number']} | [{head['title']}]({record.name}) | {head['status']} | {head['date']} |"
    assert row in (FOLDER / "README.md").read_text().splitlines()
