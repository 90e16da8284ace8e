"""Table of the log events, from the calls of loggers, with their meanings."""

import ast
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from docs.generator.markdown import code, codes, sentence, table, with_blocks
from docs.generator.paths import REFERENCE, ROOT
from docs.generator.source import called_name, calls, constant, keyword, modules

PAGE = REFERENCE / "log-events.md"
_LEVELS = {
    "debug": "DEBUG",
    "info": "INFO",
    "warning": "WARNING",
    "error": "ERROR",
    "exception": "ERROR",
    "critical": "CRITICAL",
}
_BUG = "error in this code, with a traceback"

_REQUEST = "METHOD OPERATION: STATUS"
_WITH_PLACEHOLDERS: Mapping[str, str] = {"%s %s: %s": _REQUEST}
"""How the table shows messages with placeholders."""

MEANINGS: Mapping[str, str] = {
    _REQUEST: "a request has ended, such as `GET get_session: 200`. DEBUG: a health check or a reading of the metrics "
    "with status 200",
    "cached answer invalid": "an entry of the response cache could not be parsed; it was not used",
    "cached answer mismatch": "Redis returned an entry of another user or request; it was not used. Report it",
    "cancel channel failed": f"{_BUG}. Cancellations are noticed through PostgreSQL, within a second",
    "circuit breaker closed": "the model is called again",
    "circuit breaker opened": "for `seconds`, other models answer, if there are any",
    "email delivery failed permanently": "an email was not sent. The recipient is not notified: check the mail server",
    "email delivery failed, will be retried": "one attempt failed",
    "email delivery loop failed": _BUG,
    "email sent": "the mail server has accepted an email, or it was written to the directory of `MAIL_URL`",
    "graph failed": _BUG,
    "heartbeat failed": "unexpected error in a heartbeat, with a traceback; the next one is attempted",
    "import failed": _BUG,
    "import stopped: database unavailable": "the import is `failed`; the sessions that it stored stay",
    "invalid turn id on cancel channel": "another program has published to the channel in Redis; it was ignored",
    "job completed": "a run of the job `job` has processed `count` items. DEBUG: none",
    "job failed": "error in the job `job` of the worker, with a traceback",
    "job recovered": "the job runs again",
    "job waiting for database": "the worker cannot reach PostgreSQL, or the run timed out; once per job and outage",
    "lease renewal failed": "unexpected error in a background task, with a traceback; the task continues",
    "model attempt failed": "one attempt failed. Another attempt may have answered the question",
    "model does not support a parameter": "the parameter, or its `value`, is renamed or not sent from now on",
    "reasoning buffer write failed": f"{_BUG}. The answer is generated and stored nevertheless",
    "reconciliation window skipped": "PostgreSQL cancelled the comparison of the window that starts at `begins`, "
    "usually because it has too many calls for one statement; it is compared again in the next pass",
    "redis available": "the circuit breaker of Redis has closed",
    "redis probe failed": _BUG,
    "redis unavailable": "once per outage, until `redis available`",
    "remote stream failed": f"{_BUG}. The answer is generated and stored nevertheless",
    "response aborted": "a response that had begun was cut, for example because the login ended, the session was "
    "deleted, PostgreSQL was unavailable for too long, or the process shut down; `code` is the reason",
    "response cache failed": f"{_BUG}. The answer is generated and stored nevertheless",
    "revocation check failed": "unexpected error in a background task, with a traceback; the task continues",
    "roll-ups differed from the ledger": "the worker has corrected them; INFO in the first pass. Otherwise report it",
    "session not imported": _BUG,
    "stream buffer write failed": f"{_BUG}. The answer is generated and stored nevertheless",
    "stream update failed": _BUG,
    "summary failed": "the summary of a conversation was not created; it is attempted again after the next turn. Level "
    f"ERROR: {_BUG}",
    "text not indexed": "a text cannot be indexed and is not found by searches. Report it",
    "title failed": f"the model wrote no title for a session. Level ERROR: {_BUG}",
    "turn failed": "no model gave a complete answer; `code` is the reason, `attempts` the number of attempts",
    "turn recovery failed": "unexpected error in a background task, with a traceback; the task continues",
    "unexpected error in webhook delivery": _BUG,
    "unhandled exception": f"{_BUG}. The client got 500 `internal_error`; if the response had begun, it was cut",
    "webhook delivered": "the receiver has accepted an event",
    "webhook retry scheduled": "one attempt failed; the next one is scheduled",
    "webhook delivery failed": "all attempts to deliver an event failed, or the receiver answered 410",
    "webhook endpoint disabled": "events are no longer delivered to `endpoint`",
    "worker started": "a worker process has started",
    "worker stopped": "a worker process has stopped",
}

_DYNAMIC = (
    (_REQUEST, ("DEBUG", "INFO"), "app/http/middleware.py"),
    ("job completed", ("DEBUG", "INFO"), "app/worker/periodic_job.py"),
    ("roll-ups differed from the ledger", ("INFO", "WARNING"), "app/worker/reconciliation.py"),
    ("webhook delivered", ("DEBUG",), "app/worker/webhook_delivery.py"),
    ("webhook delivery failed", ("WARNING",), "app/worker/webhook_delivery.py"),
    ("webhook retry scheduled", ("INFO",), "app/worker/webhook_delivery.py"),
)
"""Events whose level or text is computed; a check finds the text in the module."""


@cache
def events() -> dict[str, tuple[set[str], set[str], set[Path]]]:
    """Return levels, fields and modules of each message."""
    found: dict[str, tuple[set[str], set[str], set[Path]]] = defaultdict(lambda: (set(), set(), set()))
    for path in modules("app"):
        for call in calls(path):
            function = call.func
            if (
                isinstance(function, ast.Attribute)
                and ast.unparse(function.value) in {"logger", "_logger"}
                and function.attr in {*_LEVELS, "log"}
                and (texts := call.args[1:] if function.attr == "log" else call.args)
                and (message := constant(texts[0]))
            ):
                levels, fields, paths = found[_WITH_PLACEHOLDERS.get(message, message)]
                if function.attr in _LEVELS:
                    levels.add(_LEVELS[called_name(call)])
                fields |= _fields(keyword(call, "extra"))
                paths.add(path)
    for text, names, module in _DYNAMIC:
        found[text][0].update(names)
        found[text][2].add(ROOT / module)
    return found


def _fields(extra: ast.expr | None) -> set[str]:
    return (
        {text for key in getattr(extra, "keys", ()) if (text := constant(key))}
        if isinstance(extra, ast.Dict)
        else set()
    )


def undescribed_events() -> list[str]:
    """Return the messages without a meaning, and the meanings of messages that do not exist."""
    literals = {shown: message for message, shown in _WITH_PLACEHOLDERS.items()}
    absent = [text for text, _, path in _DYNAMIC if literals.get(text, text) not in (ROOT / path).read_text()]
    return sorted({*(events().keys() ^ MEANINGS.keys()), *absent})


def documents() -> dict[Path, str]:
    """Return the page with its table."""
    rows = [
        (
            code(message),
            ", ".join(sorted(levels)),
            codes(sorted(fields)),
            sentence(MEANINGS.get(message, "")),
            codes(sorted(path.stem for path in paths)),
        )
        for message, (levels, fields, paths) in sorted(events().items())
    ]
    return {PAGE: with_blocks(PAGE, {"events": table(("`message`", "Level", "Fields", "Meaning", "Module"), rows)})}
