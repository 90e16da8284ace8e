"""Scriptable engines that speak the dialects of real ones: streaming, reasoning, usage, errors, refused parameters.

A question whose text is one of the situations of an engine, such as `rate limit`, gets that response; all others get
the answer. `tests/chat/turns/test_engines.py` asks all of them through the service.
"""

from tests.support.engines.engine import (
    ANSWER,
    CODES,
    FILTERED,
    NO_BALANCE,
    RATE_LIMITED,
    TEXT,
    TOO_LONG,
    WRONG_KEY,
    Engine,
)
from tests.support.engines.hosted import HOSTED
from tests.support.engines.self_hosted import SELF_HOSTED

ENGINES = (*HOSTED, *SELF_HOSTED)

__all__ = [
    "ANSWER",
    "CODES",
    "ENGINES",
    "FILTERED",
    "NO_BALANCE",
    "RATE_LIMITED",
    "TEXT",
    "TOO_LONG",
    "WRONG_KEY",
    "Engine",
]
