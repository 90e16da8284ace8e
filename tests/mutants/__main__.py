"""Runs the tests of each mutation on a copy of the project with that mutation, and prints which were not noticed.

The failed test is printed with each mutation, because a test that fails for another reason, such as a timeout on a busy
machine, has not noticed the mutation.

`python -m tests.mutants [TEXT ...]` runs those whose name contains one of the texts. Exit code 1: one was not noticed.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.forked_tests import run_tests, shared_servers
from tests.mutants.mutation import Mutation
from tests.mutants.mutations import MUTATIONS

_PROJECT = Path(__file__).parents[2]
_COPIED = (
    "app",
    "alembic",
    "deploy",
    "local",
    "tests",
    "docs",
    "pyproject.toml",
    "docker-compose.yml",
    "nginx.conf",
    ".env.example",
)
_TIMEOUT = 900.0
"""Seconds after which a mutation counts as noticed: it hangs."""
_TESTS_FAILED = 1
"""Exit code of pytest."""


def main() -> int:
    """Run the mutations, and return the exit code."""
    selected = [
        mutation for mutation in MUTATIONS if not sys.argv[1:] or any(part in mutation.name for part in sys.argv[1:])
    ]
    survivors = []
    with tempfile.TemporaryDirectory(prefix="chat-mutants-") as directory, shared_servers():
        copy = Path(directory, "project")
        _copy_project(copy)
        for number, mutation in enumerate(selected, start=1):
            started = time.monotonic()
            outcome, reason = run(mutation, copy)
            if outcome != "caught":
                survivors.append(mutation)
            print(
                f"{number}/{len(selected)} {outcome:8} {time.monotonic() - started:5.0f} s  {mutation.name}\n"
                f"    {reason}",
                flush=True,
            )
    print(f"{len(selected) - len(survivors)} of {len(selected)} mutations were caught.")
    for mutation in survivors:
        print(f"not caught: {mutation.name} ({mutation.file})")
    return 1 if survivors else 0


def run(mutation: Mutation, copy: Path) -> tuple[str, str]:
    """Run the tests of a mutation on the copy, and restore it.

    Returns `caught`, `survived` or `error`, and the failed test with the first line of its error.
    """
    file = copy / "app" / mutation.file
    text = file.read_text()
    if text.count(mutation.original) != 1:
        return "error", "the original text does not occur once"
    file.write_text(text.replace(mutation.original, mutation.mutated))
    tests = [f"tests/{argument}" if argument.endswith(".py") else argument for argument in mutation.tests]
    output = copy.parent / "output"
    try:
        code = run_tests(copy, tests, output, max_seconds=_TIMEOUT)
    finally:
        file.write_text(text)
    if code is None:
        return "caught", f"the tests did not end in {_TIMEOUT:.0f} s"
    lines = output.read_text(errors="replace").splitlines()
    failed = next((line for line in lines if line.startswith("FAILED tests")), None)
    if code == 0:
        return "survived", ""
    if code != _TESTS_FAILED or failed is None:
        # Such as an error of a fixture, before the test has begun.
        return "error", "\n    ".join(lines[-5:])
    return "caught", failed


def _copy_project(copy: Path) -> None:
    copy.mkdir()
    for name in _COPIED:
        source = _PROJECT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "images"))
        else:
            shutil.copy(source, copy / name)
    (copy / ".local").symlink_to(_PROJECT / ".local")


if __name__ == "__main__":
    sys.exit(main())
