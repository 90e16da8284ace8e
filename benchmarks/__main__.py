"""Benchmark runner: `python -m benchmarks [name ...]`. Writes the results to docs/reference/benchmarks.md."""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    admission,
    analytics,
    completions,
    conversations,
    login_security,
    long_sessions,
    streams,
    tables,
    turns,
)

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "benchmarks.md"

BENCHMARKS: dict[str, Callable[[], str]] = {
    "turns": turns.stored_turns,
    "admission": admission.admission,
    "streams": streams.slow_streams,
    "completions": completions.completions,
    "long-sessions": long_sessions.long_sessions,
    "analytics": analytics.analytics,
    "conversations": conversations.conversations,
    "tables": tables.tables,
    "accounts": login_security.account_enumeration,
    "login-flood": login_security.login_flood,
}


def write(name: str, report: str) -> None:
    """Write a report into its block of the page."""
    pattern = re.compile(rf"(<!-- measured: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    text, count = pattern.subn(lambda match: f"{match[1]}\n{report}\n\n{match[2]}", PAGE.read_text())
    if count != 1:
        raise SystemExit(f"{PAGE.name}: the block '{name}' is missing")
    PAGE.write_text(text)


def main() -> int:
    """Run the named benchmarks, by default all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"unknown benchmarks: {', '.join(sorted(unknown))}")
    for name in names:
        report = BENCHMARKS[name]()
        print(f"\n{report}\n")
        write(name, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
