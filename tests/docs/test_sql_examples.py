"""The SQL of the documents runs."""

import re

import pytest

from local.paths import PROJECT
from tests.fixtures.database import Sql

_BLOCK = re.compile(r"^( *)```sql\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_COPY = re.compile(r"^\s*\\copy \((.*)\) TO .*$", re.MULTILINE)


def examples() -> dict[str, list[str]]:
    """Return the examples of each page that has some."""
    blocks = {page: _BLOCK.findall(page.read_text()) for page in sorted((PROJECT / "docs").glob("**/*.md"))}
    return {page.stem: [text for _, text in found] for page, found in blocks.items() if found}


EXAMPLES = examples()


@pytest.mark.parametrize("page", EXAMPLES)
def test_examples_of_a_page_run(page: str, sql: Sql) -> None:
    for example in EXAMPLES[page]:
        sql.do(_COPY.sub(r"\1;", example).replace("'...'", "'00000000-0000-0000-0000-000000000000'"))


def test_examples_are_found() -> None:
    assert {"analytics", "audit-log", "retention", "webhooks"} <= EXAMPLES.keys()
