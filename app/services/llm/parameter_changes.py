"""Parameters that a model does not support, learned from its refusals: they are left out, or get their other name."""

import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from app.services.llm.error_classes import BAD_REQUEST, REJECTED, classify
from app.services.llm.error_reports import ErrorReport

logger = logging.getLogger(__name__)

MAX_CHANGES: Final = 6
"""Maximum number of changes of one request: at most this many refusals are answered with another request."""
MAX_VALUES: Final = 100
"""Maximum number of refused values that are remembered for one model."""

Changes = Mapping[tuple[str, str | None], str | None]
"""New names by the name of the parameter and its refused value. Value None: any value; new name None: it is not sent.

A refused value does not change requests with other values: clients choose some of them.
"""

_OTHER_NAMES: Final = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_OPTIONAL: Final = frozenset(
    {
        *_OTHER_NAMES,
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
        "reasoning_effort",
        "stream_options",
    }
)
_STATUSES: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
_REFUSED_VALUE: Final = "unsupported_value"
_NAMES: Final = frozenset({_REFUSED_VALUE, "unsupported_parameter", "unknown_parameter", "extra_forbidden"})
_ONE_VALUE: Final = re.compile(r"only the default|only \S+ is (?:allowed|supported)")
"""Wording of models that accept one value only: for them, every other one is refused too."""
_WORDING: Final = re.compile(
    r"unsupported|not supported|n[o']t support|unrecognized|unknown|unexpected|not permitted|not allowed|not available"
    rf"|not compatible|cannot find field|deprecated|instead|{_ONE_VALUE.pattern}"
)


class ParameterChanges:
    """The changes of each model of one provider. They apply to this process until it ends."""

    def __init__(self, provider: str) -> None:
        """Start without changes. `provider`: its name, for the log."""
        self._provider = provider
        self._changes: defaultdict[str, dict[tuple[str, str | None], str | None]] = defaultdict(dict)

    def of(self, model: str) -> dict[str, str | None]:
        """Return the new names of the parameters of a model, whatever their values; None: the parameter is not sent."""
        return {name: new for (name, _), new in self._changes.get(model, {}).items()}

    def current(self, model: str) -> Changes:
        """Return the changes of a model at this moment."""
        return dict(self._changes.get(model, {}))

    def remember(self, model: str, known: Changes, changes: Changes) -> None:
        """Remember what `changes` adds to `known`, because a request with them was accepted.

        A refusal alone proves nothing: engines quote the request in it, such as the name of a function.
        """
        remembered = self._changes[model]
        for key, new in changes.items():
            # Concurrent requests learn the same.
            if any(key in each and each[key] == new for each in (known, remembered)):
                continue
            remembered[key] = new
            values = [each for each in remembered if each[1] is not None]
            if len(values) > MAX_VALUES:
                del remembered[values[0]]
            name, value = key
            logger.warning(
                "model does not support a parameter",
                extra={
                    "model": model,
                    "provider": self._provider,
                    "parameter": name,
                    "value": value,
                    "replacement": new,
                },
            )


def apply_changes(changes: Changes, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a request with changes."""
    if not changes:
        return dict(body)
    names = ((_new_name(changes, name, value), value) for name, value in body.items())
    return {name: value for name, value in names if name is not None}


def next_changes(changes: Changes, body: Mapping[str, Any], report: ErrorReport) -> Changes | None:
    """Return the changes for another request, after that with `body` and `changes` was refused.

    None: the refusal names no parameter that was sent and can be changed.
    """
    refused = _refused_parameter(apply_changes(changes, body), report)
    if refused is None:
        return None
    original, value = next(item for item in body.items() if _new_name(changes, *item) == refused)
    previous = _key(changes, original, value)
    is_value = previous[1] is not None if previous else _is_value_refused(value, report)
    return {
        **changes,
        (original, str(value) if is_value else None): None if previous else _OTHER_NAMES.get(refused),
    }


def _key(changes: Changes, name: str, value: object) -> tuple[str, str | None] | None:
    """Return the key of the change that applies to a parameter. None: it is sent as it is."""
    if name not in _OPTIONAL:
        return None
    return next((key for key in ((name, str(value)), (name, None)) if key in changes), None)


def _new_name(changes: Changes, name: str, value: object) -> str | None:
    key = _key(changes, name, value)
    return name if key is None else changes[key]


def _refused_parameter(sent: Mapping[str, Any], report: ErrorReport) -> str | None:
    if report.status not in _STATUSES or classify(report, sent) not in {BAD_REQUEST, REJECTED}:
        return None
    if not (_NAMES & report.names or _WORDING.search(report.wording)):
        return None
    candidates = _OPTIONAL & sent.keys()
    named = candidates & report.parameters
    if not named:
        words = re.findall(r"\w+", report.wording)
        named = candidates & set(words)
    return min(named, default=None)


def _is_value_refused(value: object, report: ErrorReport) -> bool:
    """Return whether a refusal concerns the value of a parameter, not the parameter."""
    if _ONE_VALUE.search(report.wording):
        return False
    if names := _NAMES & report.names:
        return names == {_REFUSED_VALUE}
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return False
    return re.search(rf"(?<![\w.]){re.escape(str(value).lower())}(?!\w)", report.wording) is not None
