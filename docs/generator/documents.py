"""All generated documents, and what the code has and the documents lack."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import get_args

from app.config import Settings
from app.database.base import Base
from app.database.repositories.audit.audit_log import AuditAction
from app.database.repositories.webhooks.event_outbox import EventType, SubscribableEvent
from docs.generator import (
    commands,
    data_model,
    error_codes,
    graph,
    log_events,
    metrics,
    module_pages,
    openapi,
    operations,
    schemas,
    settings,
    stream_events,
)
from docs.generator.paths import REFERENCE

_GENERATORS: tuple[Callable[[], Mapping[Path, str]], ...] = (
    settings.documents,
    openapi.documents,
    data_model.documents,
    operations.documents,
    schemas.documents,
    stream_events.documents,
    metrics.documents,
    log_events.documents,
    module_pages.documents,
    commands.documents,
    graph.documents,
)


def documents() -> dict[Path, str]:
    """Return the content of each generated document by path."""
    return {path: text for generate in _GENERATORS for path, text in generate().items()}


def section(path: Path, heading: str) -> str:
    """Return the text below a heading, up to the next one of the same level."""
    text = path.read_text()
    level = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    if level is None:
        return ""
    rest = text[level.end() :]
    following = re.search(rf"^#{{1,{len(level[1])}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def _missing(kind: str, names: Iterable[str], text: str) -> list[str]:
    return [f"{kind}: {name}" for name in sorted(names) if f"`{name}`" not in text]


def _page(name: str) -> str:
    return (REFERENCE / name).read_text()


def undocumented() -> list[str]:
    """Return what the code has and the reference lacks, as `kind: name`."""
    errors = REFERENCE / "errors.md"
    models = "\n".join(path.read_text() for path in data_model.FOLDER.glob("*.md"))
    api = "\n".join(path.read_text() for path in operations.FOLDER.glob("*.md"))
    fields = "\n".join(path.read_text() for path in schemas.FOLDER.glob("*.md"))
    found = [
        *_missing("error code", error_codes.api_codes(), _codes_of_problems()),
        *_missing("code of a field", error_codes.field_codes(), section(errors, "Codes of invalid fields")),
        *_missing("code of a failed answer", error_codes.turn_codes(), section(errors, "Codes of failed answers")),
        *_missing("code of /v1", error_codes.openai_codes(), section(errors, "Codes of the OpenAI-compatible API")),
        *_missing("code of a delivery", error_codes.webhook_codes(), section(errors, "Codes of webhook deliveries")),
        *_missing(
            "reason of an import",
            error_codes.import_reasons(),
            section(errors, "Reasons for parts of a file that are not imported"),
        ),
        *_missing("route", (f"{method} {path}" for method, path, *_ in operations.operations()), api),
        *_missing("schema", schemas.pages_of_schemas(), fields),
        *_missing("table", Base.metadata.tables, models),
        *_missing("setting", Settings.model_fields, _page("settings.md")),
        *_missing("event of a stream", stream_events.event_names(), _page("stream-events.md")),
        *_missing("metric", (entry.name for entry in metrics.metrics()), _page("metrics.md")),
        *_missing("log event", log_events.events(), _page("log-events.md")),
        *_missing("audit action", get_args(AuditAction), _page("audit-actions.md")),
        *_missing("webhook event", [*get_args(SubscribableEvent), "webhook.test"], _page("webhooks.md")),
        *_missing("command", commands.cli_commands(), _page("commands.md")),
        *_missing("command of the local stack", commands.local_commands(), _page("commands.md")),
        *_missing("target of the Makefile", commands.make_targets(), _page("commands.md")),
    ]
    found += [f"column without meaning: {name}" for name in data_model.undescribed_columns()]
    found += [f"table on no page: {name}" for name in Base.metadata.tables if not _has_page(name)]
    found += [f"module without docstring, or on no page: {name}" for name in module_pages.undescribed_modules()]
    found += [f"log event without meaning: {name}" for name in log_events.undescribed_events()]
    found += [f"variable of tools: {name}" for name in commands.undescribed_variables()]
    found += [f"POST without idempotency: {name}" for name in operations.posts_without_idempotency()]
    found += [f"operation without example: {name}" for name in operations.without_example()]
    return found


def _codes_of_problems() -> str:
    """Return the codes in the tables of the API and of `/v1`. Other columns name codes, too."""
    errors = REFERENCE / "errors.md"
    codes = _column(section(errors, "Codes of the API and the gateway"), 1)
    return " ".join(f"`{code}`" for code in codes + _column(section(errors, "Codes of the OpenAI-compatible API"), 0))


def _has_page(table: str) -> bool:
    return any(table in names for names in data_model.PAGES.values())


def unknown() -> list[str]:
    """Return what the reference has in its tables and the code lacks."""
    errors = REFERENCE / "errors.md"
    checks = (
        ("error code", _column(section(errors, "Codes of the API and the gateway"), 1), error_codes.api_codes()),
        (
            "code of a field",
            _column(section(errors, "Codes of invalid fields").partition("The other")[0], 0),
            error_codes.field_codes(),
        ),
        ("audit action", _column(_page("audit-actions.md"), 0), set(get_args(AuditAction))),
        (
            "webhook event",
            _column(section(REFERENCE / "webhooks.md", "Events").partition("`data` of a turn")[0], 0),
            _all_events(),
        ),
        (
            "operation with example",
            operations.examples(),
            {f"{method} {path}" for method, path, *_ in operations.operations()},
        ),
    )
    return [f"{kind}: {name}" for kind, names, known in checks for name in sorted({*names} - known)]


def _all_events() -> set[str]:
    return {*get_args(SubscribableEvent), *(name for each in get_args(EventType) for name in get_args(each) or (each,))}


def _column(text: str, number: int) -> list[str]:
    """Return the names in one column of the tables of a text."""
    rows = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    # A header has a line of dashes below it.
    headers = set(re.findall(r"^\| (.*) \|\n\|---", text, re.MULTILINE))
    cells = [re.split(r" (?<!\\)\| ", row) for row in rows if row not in headers]
    return [name for row in cells if len(row) > number for name in re.findall(r"^`([\w.]+)`$", row[number].strip())]
