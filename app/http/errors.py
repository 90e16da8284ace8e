"""Error responses as RFC 9457 problem documents, and their OpenAPI descriptions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from app.core.exceptions import AppError, FieldError, InvalidFieldError
from app.observability.logging import request_id_var

PROBLEM_JSON = "application/problem+json"

_SAFE_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_MAX_FIELD_ERRORS = 20
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait before a retry.", "schema": {"type": "integer"}}}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}}},
    429: _RETRY_AFTER
    | {
        "RateLimit": {
            "description": "Remaining requests, and seconds until there are more.",
            "schema": {"type": "string"},
        },
        "RateLimit-Policy": {
            "description": "Number of requests per window, and length of the window in seconds.",
            "schema": {"type": "string"},
        },
    },
    503: _RETRY_AFTER,
}
"""Headers of the responses with a status, for OpenAPI."""


class ProblemField(BaseModel):
    """An invalid field of the request."""

    field: str = Field(description="Dotted path of the field, from `body`, `query`, `path` or `header`.")
    code: str = Field(description="Stable code of the violated rule.")
    message: str = Field(description="Human-readable description of the violated rule.")


class Problem(BaseModel):
    """RFC 9457 problem document. `detail` is human-readable; programs should use `code`."""

    type: str = Field("about:blank", description="Always `about:blank`: `code` identifies the reason.")
    title: str = Field(description="Reason phrase of the status code.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="Human-readable explanation, without input of the client.")
    code: str = Field(description="Stable code of the reason.")
    request_id: str | None = Field(
        None, description="Id of the request. Log lines contain it; quote it in support requests."
    )
    errors: list[ProblemField] | None = Field(
        None, description="With `validation_error` and similar codes: the invalid fields."
    )
    message_id: str | None = Field(
        None, description="With `turn_active` and `idempotency_in_progress`: the running answer."
    )
    import_id: str | None = Field(None, description="With `import_running`: the running import.")
    quota: str | None = Field(None, description="With `quota_exceeded`: the exceeded quota.")
    resets_at: datetime | None = Field(None, description="With `quota_exceeded`: time at which the quota resets.")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of error responses, for `responses=` of a route."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": _reason_phrase(status),
            "content": {PROBLEM_JSON: {"schema": schema}},
            **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
        }
        for status in statuses
    }


def problem_schemas() -> dict[str, Any]:
    """Return the schemas that `responses()` refers to. FastAPI would declare them as `application/json`."""
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "Problem": schema}


def problem_response(
    status: int,
    *,
    code: str,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem response; `extra` are additional members of the document."""
    problem = Problem.model_validate(
        {
            "title": _reason_phrase(status),
            "status": status,
            "detail": detail,
            "code": code,
            "request_id": request_id_var.get(),
            "errors": [asdict(error) for error in errors] or None,
            **(extra or {}),
        }
    )
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=status,
        headers=dict(headers or {}),
        media_type=PROBLEM_JSON,
    )


def app_error_response(error: AppError) -> Response:
    """Return the response for an expected error."""
    return problem_response(
        error.status,
        code=error.code,
        detail=error.detail,
        errors=error.errors,
        headers=error.headers,
        extra=error.extra,
    )


def internal_error_response() -> Response:
    """Return the response for an unexpected exception, without details: those are in the log."""
    return problem_response(500, code="internal_error", detail="An internal error occurred.")


def install_handlers(app: FastAPI) -> None:
    """Install handlers that convert errors of the framework and of the services to problem documents."""
    app.add_exception_handler(AppError, _handle_app_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)


def _handle_app_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, AppError)  # noqa: S101 - narrows the type that Starlette's signature requires
    return app_error_response(error)


def _handle_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    # FastAPI's own handler returns the input: it fails on NaN and lone surrogates, and echoes megabytes.
    field_errors = [
        FieldError(field=_field_path(problem["loc"]), code=problem["type"], message=_message(problem))
        for problem in error.errors()[:_MAX_FIELD_ERRORS]
    ]
    if field_errors and field_errors[0].code == "json_invalid":
        return problem_response(400, code="invalid_json", detail="The body is not valid JSON.")
    return problem_response(422, code=InvalidFieldError.code, detail=InvalidFieldError.detail, errors=field_errors)


def _handle_http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    phrase = _reason_phrase(error.status_code)
    return problem_response(
        error.status_code,
        code=re.sub(r"[^a-z]+", "_", phrase.lower()),
        detail=f"{phrase}.",
        headers=error.headers,
    )


def _reason_phrase(status: int) -> str:
    # The names of RFC 9110, which Python uses from 3.13 on.
    return {413: "Content Too Large", 422: "Unprocessable Content"}.get(status) or HTTPStatus(status).phrase


def _field_path(location: Sequence[object]) -> str:
    # A part may be a key from the client's input, which is returned only if it is a plain identifier.
    parts = [str(part) if isinstance(part, int) or _SAFE_FIELD.fullmatch(str(part)) else "?" for part in location]
    return ".".join(parts)


def _message(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "uuid_parsing":
        return "must be a UUID"  # pydantic's message contains a character of the input
    return str(problem["msg"]).removeprefix("Value error, ")[:200]
