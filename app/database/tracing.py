"""Spans of the statements that SQLAlchemy executes; `app.database.statements` records those of the driver."""

from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from app.observability.tracing import statement_span

_KEY = "chatbot_span"


def trace_statements(engine: Engine) -> None:
    """Record a span for each statement of an engine."""
    event.listen(engine, "before_cursor_execute", _start)
    event.listen(engine, "after_cursor_execute", _end)
    event.listen(engine, "handle_error", _end_failed)


def _start(_connection: object, _cursor: object, sql: str, _parameters: object, context: Any, _many: object) -> None:  # noqa: ANN401 - an execution context of SQLAlchemy
    span = statement_span(sql)
    span.__enter__()
    setattr(context, _KEY, span)


def _end(_connection: object, _cursor: object, _sql: str, _parameters: object, context: Any, _many: object) -> None:  # noqa: ANN401 - as above
    _finish(context, None)


def _end_failed(error: ExceptionContext) -> None:
    _finish(error.execution_context, error.original_exception)


def _finish(context: Any, error: BaseException | None) -> None:  # noqa: ANN401 - as above
    span = getattr(context, _KEY, None)
    if span is None:
        return
    delattr(context, _KEY)
    if error is None:
        span.__exit__(None, None, None)
        return
    try:
        span.__exit__(type(error), error, error.__traceback__)
    except type(error):
        pass  # raised by SQLAlchemy itself
