"""Metrics and traces."""

from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from app.config.base import Line, SettingsBase, split_url, strip_to_none


class MonitoringSettings(SettingsBase):
    """Metrics of the worker, and export of traces."""

    WORKER_METRICS_HOST: Line = Field(
        "127.0.0.1", description="Address on which a worker serves `/metrics`, `/livez` and `/readyz`."
    )
    WORKER_METRICS_PORT: int = Field(
        0, ge=0, le=65_535, description="Its port. 0: none. The services serve them on their own port."
    )
    OTEL_EXPORTER_OTLP_ENDPOINT: Annotated[str | None, BeforeValidator(strip_to_none)] = Field(
        None,
        repr=False,
        description="Base URL of an OpenTelemetry collector that takes traces as OTLP over HTTP, such as "
        "`http://collector:4318`. Unset: no traces.",
    )
    OTEL_TRACES_SAMPLER_ARG: float = Field(
        1.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Share of the requests that are traced. Requests continue the trace of their `traceparent` header; "
        "they are not traced if it is not sampled.",
    )

    @field_validator("OTEL_EXPORTER_OTLP_ENDPOINT")
    @classmethod
    def _check_endpoint(cls, url: str | None) -> str | None:
        if url is not None:
            parts = split_url(url, {"http", "https"})
            if "?" in url or "#" in url or parts.username is not None:
                raise ValueError("must have neither a user name, a query nor a fragment")
        return url
