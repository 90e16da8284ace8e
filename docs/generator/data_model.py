"""Pages of the data model: an ER diagram for each domain, and the columns and constraints of each table."""

import ast
import inspect
import re
from functools import cache
from pathlib import Path

from sqlalchemy import CheckConstraint, Column, DefaultClause, ForeignKeyConstraint, Index, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex

from app.database.base import Base
from docs.generator import column_api, column_usage
from docs.generator.markdown import code, codes, sentence, table, with_blocks
from docs.generator.paths import REFERENCE
from docs.generator.source import attribute_docs, classes

FOLDER = REFERENCE / "data-model"
PAGES: dict[str, tuple[str, ...]] = {
    "accounts": (
        "users",
        "auth_sessions",
        "api_keys",
        "one_time_tokens",
        "outgoing_mails",
        "invitations",
        "login_throttles",
    ),
    "chat": ("chat_sessions", "chat_messages", "chat_summaries", "message_feedback", "idempotency_keys"),
    "sharing-and-import": ("chat_shares", "chat_imports", "imported_sessions"),
    "ledger": ("llm_calls", "usage_pending", "quota_reservations"),
    "analytics": (
        "usage_quarters",
        "user_usage_quarters",
        "user_usage_days",
        "user_usage_weeks",
        "latency_quarters",
        "error_quarters",
        "feedback_quarters",
        "usage_repair",
    ),
    "provider-analytics": ("provider_usage_quarters", "provider_latency_quarters", "provider_error_quarters"),
    "search": ("search_documents", "search_pending", "search_owners", "search_backfill"),
    "webhooks": ("webhook_endpoints", "webhook_deliveries"),
    "audit": ("audit_log",),
    "operations": ("service_instances", "worker_jobs"),
}
"""Tables of each page."""

_TIMES: dict[tuple[str, str], str] = {
    ("auth_sessions", "created_at"): "time of the login",
    ("users", "created_at"): "time of the registration",
    ("users", "updated_at"): "last change, set at each update, including that of a login",
    ("webhook_deliveries", "created_at"): "time of the event",
    ("chat_sessions", "created_at"): "time of creation",
    ("chat_sessions", "updated_at"): "time of the last question or answer, or of the creation; order of the list",
    ("idempotency_keys", "created_at"): "time of the request",
    ("llm_calls", "created_at"): "time of the insertion, at the end of the turn",
    ("message_feedback", "created_at"): "time of the first rating, under which it is counted",
    ("audit_log", "created_at"): "time of the action",
    ("one_time_tokens", "created_at"): "time when the email was rendered",
    ("outgoing_mails", "created_at"): "time of the request",
    ("chat_messages", "created_at"): "time of the question, or of the request for another answer; kept in "
    "copies and imports",
    ("chat_messages", "updated_at"): "time when an answer ended, otherwise equal to `created_at`",
    ("invitations", "created_at"): "time of the invitation",
    ("imported_sessions", "created_at"): "time of the import, from which the retention period counts",
    ("webhook_endpoints", "updated_at"): "last change, excluding those of `failing_since`",
    ("search_pending", "created_at"): "time of the change",
    ("chat_imports", "created_at"): "start of the import",
    ("chat_imports", "updated_at"): "last progress, or end of the import",
    ("chat_shares", "created_at"): "time of the snapshot",
}
"""Meaning of the columns that all tables have from the mixins, where it is not the general one."""

_WHOLE_ROWS: dict[str, tuple[str, ...]] = {
    "api_keys": ("accounts/api_keys",),
    "auth_sessions": ("accounts/auth_sessions",),
    "chat_imports": ("transfer/imports",),
    "chat_messages": ("turns/turn_start",),
    "chat_sessions": ("chat/sessions",),
    "chat_shares": ("sharing/snapshots",),
    "error_quarters": ("usage/rollup", "usage/reconciliation"),
    "feedback_quarters": ("chat/feedback",),
    "idempotency_keys": ("turns/idempotency_keys",),
    "invitations": ("accounts/invitations",),
    "latency_quarters": ("usage/rollup", "usage/reconciliation"),
    "llm_calls": ("usage/ledger",),
    "one_time_tokens": ("accounts/one_time_tokens",),
    "outgoing_mails": ("accounts/email_outbox",),
    "provider_error_quarters": ("usage/rollup", "usage/reconciliation"),
    "provider_latency_quarters": ("usage/rollup", "usage/reconciliation"),
    "provider_usage_quarters": ("usage/rollup", "usage/reconciliation"),
    "search_backfill": ("search/backfill",),
    "service_instances": ("operations/instances",),
    "usage_quarters": ("usage/rollup", "usage/reconciliation"),
    "user_usage_quarters": ("usage/rollup", "usage/reconciliation"),
    "user_usage_days": ("usage/rollup", "usage/reconciliation"),
    "user_usage_weeks": ("usage/rollup", "usage/reconciliation"),
    "users": ("accounts/users",),
    "webhook_deliveries": ("webhooks/event_outbox",),
    "webhook_endpoints": ("webhooks/endpoints",),
    "worker_jobs": ("operations/job_statistics",),
}
"""Modules that write rows with values that they do not name one by one."""
_SHOWN_MODULES = 4


@cache
def _model(name: str) -> type[Base]:
    return next(mapper.class_ for mapper in Base.registry.mappers if mapper.class_.__tablename__ == name)


@cache
def _docs(name: str) -> dict[str, str]:
    """Return the docstrings of the attributes of a model and of its mixins."""
    docs: dict[str, str] = {}
    for base in reversed(_model(name).__mro__):
        if base.__module__.startswith("app."):
            path = Path(inspect.getsourcefile(base) or "")
            definition = next(node for node in classes(path) if node.name == base.__name__)
            assert isinstance(definition, ast.ClassDef)  # noqa: S101 - narrows the type
            docs |= attribute_docs(definition)
    return docs


def attribute(column: Column[object]) -> str:
    """Return the name of the attribute of a column."""
    mapper = _model(column.table.name).__mapper__
    return mapper.get_property_by_column(column).key


def meaning(column: Column[object]) -> str:
    """Return what a column means; empty if its model does not say it."""
    text = _TIMES.get((column.table.name, column.name)) or _docs(column.table.name).get(attribute(column), "")
    return sentence(text)


def _type(column: Column[object]) -> str:
    return str(column.type.compile(dialect=postgresql.dialect())).lower()  # type: ignore[no-untyped-call]


def _constraints(column: Column[object]) -> str:
    parts = ["primary key"] if column.primary_key else []
    parts += [
        f"→ `{key.column.table.name}`" + (f", on delete {str(key.ondelete).lower()}" if key.ondelete else "")
        for key in column.foreign_keys
    ]
    if any(isinstance(each, UniqueConstraint) and list(each.columns) == [column] for each in column.table.constraints):
        parts.append("unique")
    if column.nullable:
        parts.append("nullable")
    if column.identity is not None:
        parts.append("identity")
    elif isinstance(column.server_default, DefaultClause):
        default = column.server_default.arg
        parts.append(f"default `{str(default).strip()}`")
    return "; ".join(parts)


def _modules(found: set[str], whole: tuple[str, ...]) -> str:
    others = found - column_usage.LISTED
    names = sorted(others or whole) + sorted(found & column_usage.LISTED)
    more = f" and {len(names) - _SHOWN_MODULES} more" if len(names) > _SHOWN_MODULES else ""
    return codes(names[:_SHOWN_MODULES]) + more


def columns_table(name: str) -> str:
    """Return the table of the columns of a table."""
    writers, readers, _ = column_usage.usage()
    whole_writers = _WHOLE_ROWS.get(name, ())
    rows = []
    for column in Base.metadata.tables[name].columns:
        written = writers.get((name, column.name), set())
        if column.name in column_usage.TRIGGERS.get(name, ()):
            by = ", ".join(filter(None, ["a trigger", _modules(written, ())]))
        elif (
            column.identity is not None
            or (not written and column.server_default is not None and name not in _WHOLE_ROWS)
            or (not written and column.name in {"created_at", "updated_at"})
        ):
            by = "PostgreSQL"
        else:
            by = _modules(written, whole_writers)
        rows.append(
            (
                code(column.name),
                " ".join(filter(None, [code(_type(column)), _constraints(column)])),
                meaning(column),
                by,
                _modules(readers.get((name, column.name), set()), ()) or "-",
                codes(column_api.fields(name, column.name, attribute(column))) or "-",
            )
        )
    return table(("Column", "Type", "Meaning", "Written in", "Queried in", "API field"), rows)


def constraints_table(name: str) -> str:
    """Return the table of the constraints and indexes of a table, apart from those of single columns."""
    rows: list[tuple[str, str]] = []
    model_table: Table = Base.metadata.tables[name]
    for constraint in sorted(model_table.constraints, key=lambda each: str(each.name)):
        if isinstance(constraint, CheckConstraint):
            rows.append((code(constraint.name), code(" ".join(str(constraint.sqltext).split()))))
        elif isinstance(constraint, UniqueConstraint):
            rows.append((code(constraint.name), f"unique {codes(column.name for column in constraint.columns)}"))
        elif isinstance(constraint, ForeignKeyConstraint):
            continue
    rows += [
        (code(index.name), code(_index(index)))
        for index in sorted(model_table.indexes, key=lambda each: str(each.name))
    ]
    return table(("Constraint or index", "Definition"), rows) if rows else ""


def _index(index: Index) -> str:
    sql = str(CreateIndex(index).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    return re.sub(r"^CREATE (UNIQUE )?INDEX \w+ ON \w+ ", lambda match: (match[1] or "").lower(), " ".join(sql.split()))


def er_diagram(names: tuple[str, ...]) -> str:
    """Return a Mermaid ER diagram of some tables, with the tables that they refer to."""
    lines = ["```mermaid", "erDiagram"]
    for name in names:
        lines.append(f"    {name} {{")
        for column in Base.metadata.tables[name].columns:
            keys = [key for key, is_set in (("PK", column.primary_key), ("FK", column.foreign_keys)) if is_set]
            column_type = re.sub(r"\W+", "_", _type(column)).strip("_")
            nullable = ' "nullable"' if column.nullable else ""
            lines.append(f"        {column_type} {column.name} {','.join(keys)}{nullable}".rstrip())
        lines.append("    }")
    for name in names:
        for key in sorted(Base.metadata.tables[name].foreign_keys, key=lambda key: key.parent.name):
            cardinality = "|o--o{" if key.parent.nullable else "||--o{"
            lines.append(f"    {key.column.table.name} {cardinality} {name} : {key.parent.name}")
    return "\n".join([*lines, "```"])


def index_table() -> str:
    """Return the table of all tables with their pages."""
    rows = [
        (
            f"[`{name}`]({page}.md#{name})",
            f"`{_model(name).__name__}`",
            sentence((inspect.getdoc(_model(name)) or "").partition("\n\n")[0]),
            str(len(Base.metadata.tables[name].columns)),
        )
        for page, names in PAGES.items()
        for name in names
    ]
    return table(("Table", "Model", "Content", "Columns"), rows)


def overview_diagram() -> str:
    """Return a Mermaid ER diagram of the references between all tables, without columns."""
    lines = ["```mermaid", "erDiagram"]
    for model_table in Base.metadata.sorted_tables:
        for key in sorted(model_table.foreign_keys, key=lambda key: key.parent.name):
            cardinality = "|o--o{" if key.parent.nullable else "||--o{"
            lines.append(f"    {key.column.table.name} {cardinality} {model_table.name} : {key.parent.name}")
    return "\n".join([*lines, "```"])


def documents() -> dict[Path, str]:
    """Return the pages with their generated parts."""
    pages = {
        FOLDER / "README.md": with_blocks(
            FOLDER / "README.md", {"tables": index_table(), "er-diagram": overview_diagram()}
        )
    }
    for page, names in PAGES.items():
        blocks = {"er-diagram": er_diagram(names)}
        for name in names:
            blocks[f"table {name}"] = "\n\n".join(filter(None, [columns_table(name), constraints_table(name)]))
        pages[FOLDER / f"{page}.md"] = with_blocks(FOLDER / f"{page}.md", blocks)
    return pages


def undescribed_columns() -> list[str]:
    """Return the columns whose models do not say what they mean."""
    return [
        f"{model_table.name}.{column.name}"
        for model_table in Base.metadata.sorted_tables
        for column in model_table.columns
        if not meaning(column)
    ]
