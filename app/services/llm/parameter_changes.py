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

_OTHER_NAMES: Final = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_OPTIONAL: Final = frozenset(
    {*_OTHER_NAMES, "temperature", "top_p", "frequency_penalty", "presence_penalty", "stream_options"}
)
_STATUSES: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
_NAMES: Final = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter", "extra_forbidden"})
_WORDING: Final = re.compile(
    r"unsupported|not supported|n[o']t support|unrecognized|unknown|unexpected|not permitted|not allowed|not available"
    r"|not compatible|cannot find field|deprecated|only the default|instead"
)


class ParameterChanges:
    """The changes of each model. They apply to this process until it ends."""

    def __init__(self) -> None:
        self._changes: defaultdict[str, dict[str, str | None]] = defaultdict(dict)

    @property
    def by_model(self) -> dict[str, dict[str, str | None]]:
        """New names of parameters, by model and name; None: the parameter is not sent."""
        return {model: dict(changes) for model, changes in self._changes.items()}

    def apply(self, model: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of a request with the changes of its model."""
        changes = self._changes.get(model)
        if not changes:
            return dict(body)
        names = ((changes.get(name, name), value) for name, value in body.items())
        return {name: value for name, value in names if name is not None}

    def learn(self, model: str, sent: Mapping[str, Any], report: ErrorReport) -> bool:
        """Take the refusal of a request. Return whether it names a parameter that was sent and can be changed."""
        refused = _refused_parameter(sent, report)
        if refused is None:
            return False
        changes = self._changes[model]
        original = next((name for name, new in changes.items() if new == refused), refused)
        if changes.get(original, refused) != refused:
            return True  # another request has changed it since this one was sent
        changes[original] = None if original in changes else _OTHER_NAMES.get(refused)
        logger.warning(
            "model does not support a parameter",
            extra={"model": model, "parameter": refused, "replacement": changes[original]},
        )
        return True


def _refused_parameter(sent: Mapping[str, Any], report: ErrorReport) -> str | None:
    if report.status not in _STATUSES or classify(report) not in {BAD_REQUEST, REJECTED}:
        return None
    if not (_NAMES & report.names or _WORDING.search(report.wording)):
        return None
    candidates = _OPTIONAL & sent.keys()
    named = candidates & report.parameters
    if not named:
        words = re.findall(r"\w+", report.wording)
        named = candidates & set(words)
    return min(named, default=None)
