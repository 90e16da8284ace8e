"""Time after which a provider accepts requests again, from the headers of a response or its error report."""

import math
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from app.services.llm.error_reports import ErrorReport

_LIMITS: Final = ("requests", "tokens", "input-tokens", "output-tokens")
_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_MAX_LENGTH: Final = 100
"""Maximum length of a duration in characters."""
_FIRST_EPOCH: Final = 1_000_000_000
"""Larger numbers are points in time, not durations; those above a thousand times this are in milliseconds."""


def retry_after(headers: Mapping[str, str], report: ErrorReport | None = None) -> float | None:
    """Return the seconds to wait, or None if the provider says nothing that can be understood.

    Sources in order: `retry-after-ms` (OpenAI, Azure), `Retry-After` (RFC 9110, section 10.2.3: seconds or a date), the
    delay in the report (Gemini), and the reset times of the limits that are used up.
    """
    delays = (
        _milliseconds(headers.get("retry-after-ms")),
        _seconds(headers.get("retry-after")),
        _duration(report.retry_delay) if report else None,
        max(_resets(headers), default=None) if report and report.status == HTTPStatus.TOO_MANY_REQUESTS else None,
    )
    return next((delay for delay in delays if delay is not None), None)


def _resets(headers: Mapping[str, str]) -> Iterator[float]:
    """Yield the times until the limits that are used up are reset."""
    names = [(f"x-ratelimit-remaining-{limit}", f"x-ratelimit-reset-{limit}") for limit in _LIMITS]
    names += [("x-ratelimit-remaining", "x-ratelimit-reset"), ("ratelimit-remaining", "ratelimit-reset")]
    for remaining, reset in names:
        if (
            headers.get(remaining, "0").strip() in {"", "0"}
            and (delay := _point_or_duration(headers.get(reset))) is not None
        ):
            yield delay


def _milliseconds(value: str | None) -> float | None:
    delay = _number(value)
    return None if delay is None else delay / 1000


def _seconds(value: str | None) -> float | None:
    if (delay := _number(value)) is not None:
        return delay
    return _date(value)


def _point_or_duration(value: str | None) -> float | None:
    number = _number(value)
    if number is None:
        delay = _duration(value)
        return delay if delay is not None else _date(value)
    if number < _FIRST_EPOCH:
        return number
    point = number / 1000 if number >= _FIRST_EPOCH * 1000 else number
    return max(point - time.time(), 0)


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _duration(value: str | None) -> float | None:
    """Return the seconds of a duration such as `6m0s` or `120ms`."""
    text = (value or "").strip()
    if len(text) > _MAX_LENGTH:
        return None  # engines may send megabytes
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _date(value: str | None) -> float | None:
    try:
        return max(parsedate_to_datetime(value or "").timestamp() - time.time(), 0)
    except (ValueError, OverflowError, OSError, TypeError):
        return None
