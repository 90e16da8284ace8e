"""Errors of the OpenAI-compatible API: problem documents with the member `error` that its clients read."""

import json
import re
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.errors import PROBLEM_JSON

PREFIX: Final = "/v1"
_CODES: Final = {
    "unauthorized": "invalid_api_key",
    "rate_limited": "rate_limit_exceeded",
    "quota_exceeded": "insufficient_quota",
    "message_too_long": "context_length_exceeded",
    "turn_active": "conversation_locked",
    "missing": "missing_required_parameter",
}
"""Codes of OpenAI for codes of this system. Others are the same."""
_TYPES: Final = {"insufficient_quota": "insufficient_quota", "rate_limit_exceeded": "requests"}
_HINTS: Final = {
    "/v1/responses": "The Responses API is not supported. Use POST /v1/chat/completions: most clients have a setting "
    "for it, such as use_responses_api=False.",
    "/v1/completions": "Legacy completions are not supported. Use POST /v1/chat/completions.",
    "/v1/embeddings": "Embeddings are not supported.",
    "/v1/assistants": "Assistants are not supported. Use POST /v1/chat/completions.",
    "/v1/images": "Images are not generated.",
    "/v1/audio": "Audio is not supported.",
    "/v1/files": "Files are not supported.",
    "/v1/moderations": "Moderations are not supported.",
}
_INDEX: Final = re.compile(r"\.(\d+)(?=\.|$)")


def is_openai_path(path: str) -> bool:
    """Return whether a path belongs to this API."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def error_document(status: int, code: str, detail: str, errors: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """Return the object `error` for an error of this system. `errors` are the invalid fields of a problem document."""
    parameter, message = None, detail
    if errors:
        first = errors[0]
        field = first["field"].removeprefix("body").removeprefix(".")
        parameter = _INDEX.sub(r"[\1]", field) or None
        code = first["code"]
        message = f"Invalid value for '{parameter}': {first['message']}" if parameter else first["message"]
    code = _CODES.get(code, code)
    if code == "model_not_found":
        parameter = "model"
    elif code == "context_length_exceeded":
        parameter = "messages"
    default = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    return {"message": message, "type": _TYPES.get(code, default), "param": parameter, "code": code}


class OpenAIErrorMiddleware:
    """Adds `error` to the problem documents of this API, and gives invalid requests the status 400 as OpenAI does.

    It is outside of all middleware that refuses requests, so that every refusal has this form.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not is_openai_path(scope["path"]):
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def send_converted(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                if Headers(raw=message["headers"]).get("content-type") == PROBLEM_JSON:
                    start = message
                    return
            elif start is not None:
                body += message.get("body", b"")
                if message.get("more_body", False):
                    return
                if scope["method"] != "HEAD":
                    body = _convert(start, body, scope["path"])
                await send(start)
                message = {"type": "http.response.body", "body": body}
                start = None
            await send(message)

        await self.app(scope, receive, send_converted)


def _convert(start: Message, body: bytes, path: str) -> bytes:
    """Return the document with the member `error`, and change status and headers of the response accordingly."""
    problem: dict[str, Any] = json.loads(body)
    if start["status"] == HTTPStatus.UNPROCESSABLE_ENTITY:
        start["status"] = HTTPStatus.BAD_REQUEST.value
        problem |= {"status": HTTPStatus.BAD_REQUEST.value, "title": HTTPStatus.BAD_REQUEST.phrase}
    if start["status"] == HTTPStatus.NOT_FOUND and (hint := _hint(path)):
        problem["detail"] = hint
    problem["error"] = error_document(problem["status"], problem["code"], problem["detail"], problem.get("errors"))
    converted = json.dumps(problem, ensure_ascii=False).encode()
    headers = MutableHeaders(raw=start["headers"])
    headers["Content-Length"] = str(len(converted))
    if problem["error"]["code"] == "insufficient_quota":
        headers["X-Should-Retry"] = "false"  # the client would repeat it at once
    start["headers"] = headers.raw
    return converted


def _hint(path: str) -> str | None:
    first = "/".join(path.split("/")[:3])
    return _HINTS.get(first)


def remove_validation_errors(document: dict[str, Any]) -> None:
    """Remove the responses with status 422, which FastAPI describes and this API does not send."""
    for path, methods in document["paths"].items():
        if is_openai_path(path):
            for operation in methods.values():
                operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def schemas() -> dict[str, Any]:
    """Return the schemas of this module for the OpenAPI document."""
    error = {
        "type": "object",
        "required": ["message", "type", "param", "code"],
        "properties": {
            "message": {"type": "string", "description": "Human-readable description."},
            "type": {"type": "string", "description": "Category of the error.", "examples": ["invalid_request_error"]},
            "param": {"type": ["string", "null"], "description": "The invalid parameter."},
            "code": {"type": ["string", "null"], "description": "Stable code of the reason."},
        },
    }
    return {
        "OpenAIError": error,
        "OpenAIProblem": {
            "description": "A problem document with the error as clients of OpenAI read it.",
            "allOf": [{"$ref": "#/components/schemas/Problem"}],
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "$ref": "#/components/schemas/OpenAIError",
                    "description": "The error as OpenAI describes it.",
                }
            },
        },
    }
