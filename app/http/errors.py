"""Every error of a service leaves through here, as an RFC 9457 problem document."""

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
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}}},
    429: _RETRY_AFTER
    | {
        "RateLimit": {"description": "How many requests are left, and for how long.", "schema": {"type": "string"}},
        "RateLimit-Policy": {"description": "How many there are, and for how long.", "schema": {"type": "string"}},
    },
    503: _RETRY_AFTER,
}
"""What comes with every problem of a status."""


class ProblemField(BaseModel):
    """One field that was refused."""

    field: str = Field(description="Dotted path of the field, from `body`, `query`, `path` or `header`.")
    code: str = Field(description="Stable code of the rule that was broken.")
    message: str = Field(description="The rule, for people.")


class Problem(BaseModel):
    """RFC 9457 problem document. `detail` is for people; programs go by `code`."""

    type: str = "about:blank"
    title: str = Field(description="The status in words.")
    status: int
    detail: str
    code: str = Field(description="Stable code of the reason.")
    request_id: str | None = Field(None, description="Quote this when asking for help: every log line carries it.")
    errors: list[ProblemField] | None = Field(None, description="With `validation_error` and the like: the fields.")
    message_id: str | None = Field(
        None, description="With `turn_active` and `idempotency_in_progress`: the answer that is under way."
    )
    quota: str | None = Field(None, description="With `quota_exceeded`: which one.")
    resets_at: datetime | None = Field(None, description="With `quota_exceeded`: when there is one again.")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error responses for OpenAPI: `responses=responses(404, 409)`."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": _phrase(status),
            "content": {PROBLEM_JSON: {"schema": schema}},
            **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
        }
        for status in statuses
    }


def problem_schemas() -> dict[str, Any]:
    """Return the schemas that `responses()` refers to. The framework would file them under `application/json`."""
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
    """Make the response; `extra` are further members of the document."""
    problem = Problem.model_validate(
        {
            "title": _phrase(status),
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
    """Answer with an expected refusal."""
    return problem_response(
        error.status,
        code=error.code,
        detail=error.detail,
        errors=error.errors,
        headers=error.headers,
        extra=error.extra,
    )


def internal_error_response() -> Response:
    """Answer for a fault of ours. The log has the rest."""
    return problem_response(500, code="internal_error", detail="An internal error occurred.")


def install_handlers(app: FastAPI) -> None:
    """Route every refusal of the framework and of the services into a problem document."""
    app.add_exception_handler(AppError, _handle_app_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)


def _handle_app_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, AppError)  # noqa: S101 - narrows what the framework's signature cannot
    return app_error_response(error)


def _handle_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    # The framework's own handler repeats the input: it fails on NaN and lone surrogates, and echoes megabytes.
    problems = [
        FieldError(field=_field(problem["loc"]), code=problem["type"], message=_rule(problem))
        for problem in error.errors()[:_MAX_FIELD_ERRORS]
    ]
    if problems and problems[0].code == "json_invalid":
        return problem_response(400, code="invalid_json", detail="The body is not valid JSON.")
    return problem_response(422, code=InvalidFieldError.code, detail=InvalidFieldError.detail, errors=problems)


def _handle_http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    phrase = _phrase(error.status_code)
    return problem_response(
        error.status_code,
        code=re.sub(r"[^a-z]+", "_", phrase.lower()),
        detail=f"{phrase}.",
        headers=error.headers,
    )


def _phrase(status: int) -> str:
    # Python 3.13 renamed these as RFC 9110 did.
    return {413: "Content Too Large", 422: "Unprocessable Content"}.get(status) or HTTPStatus(status).phrase


def _field(location: Sequence[object]) -> str:
    # A part may be a key that the client chose: shown only where it is a harmless name.
    parts = [str(part) if isinstance(part, int) or _SAFE_FIELD.fullmatch(str(part)) else "?" for part in location]
    return ".".join(parts)


def _rule(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "uuid_parsing":
        return "must be a UUID"  # the library's text repeats a character of the input
    return str(problem["msg"]).removeprefix("Value error, ")[:200]
