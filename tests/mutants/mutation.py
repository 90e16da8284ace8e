"""Description of a mutation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """A small mistake in one file, and the tests that should fail because of it."""

    name: str
    file: str
    """Path relative to `app`."""
    original: str
    """Text that occurs once in the file."""
    mutated: str
    tests: tuple[str, ...]
    """Arguments of pytest, relative to `tests`."""
