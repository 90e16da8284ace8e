"""Measures the running system: `python -m benchmarks [name ...]`. Results go into docs/benchmarks.md."""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import accounts, analytics, long_sessions, streams, turns

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

BENCHMARKS: dict[str, Callable[[], str]] = {
    "turns": turns.stored_turns,
    "streams": streams.slow_streams,
    "long-sessions": long_sessions.long_sessions,
    "analytics": analytics.analytics,
    "accounts": accounts.telling_apart,
    "login-flood": accounts.login_flood,
}


def write(name: str, report: str) -> None:
    """Put a report into its block of the page."""
    pattern = re.compile(rf"(<!-- measured: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    text, count = pattern.subn(lambda match: f"{match[1]}\n{report}\n\n{match[2]}", PAGE.read_text())
    if count != 1:
        raise SystemExit(f"{PAGE.name}: the block '{name}' is not there")
    PAGE.write_text(text)


def main() -> int:
    """Run the benchmarks named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    for name in names:
        report = BENCHMARKS[name]()
        print(f"\n{report}\n")
        write(name, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
