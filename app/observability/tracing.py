"""Traces with OpenTelemetry, off unless a collector is configured. The exporter is imported only then.

Spans have names, models, codes, numbers and SQL with placeholders. They never contain parameters of statements, message
texts, tokens, or the text of an exception.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

SpanKind = Literal["internal", "server", "client"]
Attribute = str | bool | int | float

_SHUTDOWN_TIMEOUT = 3.0
"""Maximum time for exporting the last spans, in seconds."""
_EXPORT_TIMEOUT = 2
"""Timeout of one export in seconds."""

_tracer: "Tracer | None" = None
"""Tracer of this process, as the logging configuration is one of the process. None: nothing is traced."""


def is_active() -> bool:
    """Return whether spans are recorded in this process."""
    return _tracer is not None


@asynccontextmanager
async def exporting_traces(*, service: str, version: str, endpoint: str | None, ratio: float) -> AsyncIterator[None]:
    """Record spans and send them to a collector until the block ends. `endpoint` None: does nothing."""
    global _tracer  # noqa: PLW0603 - see its docstring
    if endpoint is None:
        yield
        return
    # Takes 0.15 s to import. Libraries import the rest of OpenTelemetry anyway, if it is installed.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_TIMEOUT)
    provider, tracer = _open_provider(exporter, service, version, ratio)
    _tracer = tracer
    try:
        yield
    finally:
        if _tracer is tracer:
            _tracer = None
        # In a thread, because it waits for the collector.
        await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(provider.shutdown))], timeout=_SHUTDOWN_TIMEOUT)


def _open_provider(exporter: "SpanExporter", service: str, version: str, ratio: float) -> "tuple[Any, Tracer]":
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBased  # noqa: PLC0415

    from app.observability.trace_sampling import RandomSampler  # noqa: PLC0415

    sampled = RandomSampler(ratio)
    provider = TracerProvider(
        resource=Resource.create({"service.name": service, "service.version": version}),
        # A client may continue its trace, but its flag does not decide that more requests are traced.
        sampler=ParentBased(sampled, remote_parent_sampled=sampled),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider, provider.get_tracer("chatbot")


def span(
    name: str,
    attributes: Mapping[str, Attribute] | None = None,
    *,
    kind: SpanKind = "internal",
    carrier: Mapping[str, str] | None = None,
) -> "AbstractContextManager[Span | None]":
    """Return a context manager that records a span around its block, and gives the span; None if nothing is traced.

    `carrier` has the headers of a caller whose trace is continued.
    """
    return nullcontext() if _tracer is None else _record(_tracer, name, attributes, kind, carrier)


def statement_span(sql: str) -> "AbstractContextManager[Span | None]":
    """Return a context manager as `span`, for a statement with placeholders. Only within another span."""
    if _tracer is None:
        return nullcontext()
    from opentelemetry.trace import get_current_span  # noqa: PLC0415 - imported already

    if not get_current_span().is_recording():
        return nullcontext()
    operation = sql.split(maxsplit=1)[0].upper() if sql.strip() else "statement"
    attributes: dict[str, Attribute] = {"db.system.name": "postgresql", "db.query.text": sql}
    return _record(_tracer, operation, attributes, "client", None)


def inject(headers: MutableMapping[str, str]) -> None:
    """Add the `traceparent` header of the current span, if there is one (W3C Trace Context)."""
    if _tracer is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        TraceContextTextMapPropagator().inject(headers)


@contextmanager
def _record(
    tracer: "Tracer",
    name: str,
    attributes: Mapping[str, Attribute] | None,
    kind: SpanKind,
    carrier: Mapping[str, str] | None,
) -> "Iterator[Span]":
    from opentelemetry.trace import SpanKind as Kind  # noqa: PLC0415
    from opentelemetry.trace import StatusCode  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    context = TraceContextTextMapPropagator().extract(carrier) if carrier is not None else None
    with tracer.start_as_current_span(
        name,
        context=context,
        kind=Kind[kind.upper()],
        attributes=attributes,
        # Both would record the text of the exception.
        record_exception=False,
        set_status_on_exception=False,
    ) as recorded:
        try:
            yield recorded
        except BaseException as error:
            recorded.set_attribute("error.type", type(error).__name__)
            recorded.set_status(StatusCode.ERROR)
            raise
