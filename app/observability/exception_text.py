"""Text of exceptions for logs, without the row values that database drivers put into their messages."""

import re
import sys
import traceback
from collections.abc import Iterator
from textwrap import indent
from types import TracebackType
from typing import Final

_DRIVERS: Final = frozenset({"asyncpg", "psycopg2", "sqlalchemy"})
"""Packages whose errors contain values: `Key (email)=(...) already exists`, `Failing row contains (...)`."""
_DATA_EXCEPTION: Final = "22"
"""Class of errors whose first line contains values too (PostgreSQL manual, appendix A)."""
_DETAIL: Final = re.compile(
    r"DETAIL:.*?(?=\n(?:HINT:|CONTEXT:|\[SQL|\(Background|Traceback|The above|During handling)|\Z)", re.DOTALL
)


def format_exception(error: BaseException) -> str:
    """Return the traceback of an exception with its causes. Of a driver's error it has class, code and constraint."""
    return "".join(_lines(error, set())).rstrip("\n")


def without_details(text: str) -> str:
    """Return a text without the details of driver errors that were formatted into it."""
    return _DETAIL.sub("DETAIL: (removed)", text) if "DETAIL:" in text else text


def install_excepthook() -> None:
    """Print exceptions that end the process to standard error as `format_exception` does."""
    sys.excepthook = _print_exception


def _print_exception(_type: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
    sys.stderr.write(f"{format_exception(error)}\n")


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    if error.__cause__ is not None and id(error.__cause__) not in seen:
        yield from _lines(error.__cause__, seen)
        yield "\nThe above exception was the direct cause of the following exception:\n\n"
    elif error.__context__ is not None and not error.__suppress_context__ and id(error.__context__) not in seen:
        yield from _lines(error.__context__, seen)
        yield "\nDuring handling of the above exception, another exception occurred:\n\n"
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    if type(error).__module__.partition(".")[0] in _DRIVERS:
        yield f"{type(error).__module__}.{type(error).__qualname__}: {_driver_message(error)}\n"
    else:
        yield from map(without_details, traceback.format_exception_only(error))
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield indent("".join(_lines(part, seen)), "  | ")


def _driver_message(error: BaseException) -> str:
    origin: BaseException = getattr(error, "orig", None) or error
    # SQLAlchemy wraps an adapter's error around that of asyncpg; psycopg2 calls the code `pgcode`.
    cause: BaseException = origin.__cause__ or origin
    code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if not code:
        return "(message removed)"
    parts = [f"SQLSTATE {code}"]
    if not str(code).startswith(_DATA_EXCEPTION) and cause.args:
        parts.append(without_details(str(cause.args[0])).partition("\n")[0])
    diagnostics = getattr(cause, "diag", cause)
    if constraint := getattr(diagnostics, "constraint_name", None):
        parts.append(f"constraint {constraint}")
    return ", ".join(parts)
