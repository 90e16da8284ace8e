"""The worked examples of `docs/how-to/extend` apply to the code, and their tests pass."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.paths import PROJECT

PAGES = PROJECT / "docs" / "how-to" / "extend"
FOLDERS = ("app", "tests", "local", "alembic", "frontend", "requirements", "docs")
FILES = ("pyproject.toml", ".env.example", "docker-compose.yml", "nginx.conf", "langgraph.json")
REVISION = max(int(file.name.split("_")[1]) for file in (PROJECT / "alembic" / "versions").glob("*_*.py"))


def with_next_revision(diff: str) -> str:
    """Return a diff whose migration, if it has one, follows the newest one: the code has got others since."""
    found = re.search(r'^\+revision = "(\d{4})"\n\+down_revision = "(\d{4})"$', diff, re.MULTILINE)
    if found is None:
        return diff
    numbers = {found[1]: f"{REVISION + 1:04}", found[2]: f"{REVISION:04}"}
    return re.sub("|".join(numbers), lambda number: numbers[number[0]], diff)


DIFFS = {
    page.stem: with_next_revision(
        "".join(re.findall(r"^```diff\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))
    )
    for page in sorted(PAGES.glob("*.md"))
    if "```diff" in page.read_text()
}


def apply(name: str, copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Not as a part of a repository around it. One line of context is enough.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(copy.parent)}
    command = ["git", "apply", "-C1", *arguments]
    return subprocess.run(
        command, cwd=copy, env=environment, input=DIFFS[name], text=True, capture_output=True, check=False
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code without what was built from it."""
    copy = tmp_path_factory.mktemp("code")
    ignored = shutil.ignore_patterns("node_modules", "__pycache__", "dist", "coverage")
    for folder in FOLDERS:
        shutil.copytree(PROJECT / folder, copy / folder, ignore=ignored, symlinks=True)
    for file in FILES:
        shutil.copy(PROJECT / file, copy)
    return copy


@pytest.mark.parametrize("name", DIFFS)
def test_an_example_applies_to_the_code(name: str, copy: Path) -> None:
    checked = apply(name, copy, "--check")
    assert checked.returncode == 0, checked.stderr


def test_the_tests_of_the_examples_pass(copy: Path) -> None:
    # Together, except those that change the same lines as another one; the graph has such a pair.
    groups: list[list[str]] = [[name for name in DIFFS if name != "tool"], ["tool"]]
    for group in groups:
        for name in group:
            assert apply(name, copy).returncode == 0, name
        added = re.findall(r"^\+\+\+ b/(tests/\S*test_\S*\.py)$", "".join(DIFFS[name] for name in group), re.MULTILINE)
        assert added
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *added],
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
        )
        for name in group:
            apply(name, copy, "--reverse")
        assert run.returncode == 0, run.stdout
