"""Checks of Schemathesis for rules that JSON Schema cannot express. The tool loads this file, not pytest."""

import os
import re
from typing import Any
from uuid import uuid4

import schemathesis
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import EnsureResourceAvailability, RejectedPositiveData
from schemathesis.specs.openapi.checks import ensure_resource_availability, positive_data_acceptance

CODES = {
    # A password, a token or a file whose content the schema does not know.
    "wrong_password",
    "invalid_token",
    "already_registered",
    "import_format_invalid",
    "import_format_unknown",
    "import_nested_too_deep",
    "import_version_unknown",
    "upload_incomplete",
    # Depends on a header, on what is stored, or on the settings.
    "use_events_to_resume",
    "idempotency_key_reused",
    "not_an_answer",
    "session_too_long",
    "message_too_long",
    "context_length_exceeded",
}
"""Codes of rules that a schema of one request cannot express."""
MESSAGES = (
    # Two fields together.
    r"either session_ids or all",
    r"page and cursor exclude each other",
    r"cannot be combined with .*",
    r"must be before `to`",
    r"must not (result in|divide the range into) more than \d+ .*",
    r"model and parameters are for the answer to initial_message, which is missing",
    r"these reasons are not for the rating '\w+'",
    r"top_logprobs requires logprobs",
    r"tool_choice (names a function that is not one of|requires) tools",
    r"tool_call_id is required with the role tool",
    r"content must not be null",
    r"only messages of the user may have images",
    r"json_schema must be an object with a name",
    r"differs from the header X-Session-ID",
    # Values that the service has issued, stored or configured.
    r"must be (a `next` value|`next_cursor`) of an earlier page.*",
    r"must be a next_cursor of the same list.*",
    r"is not a message of the active branch",
    r"is not one of GET /models",
    r"is not an answer of this session",
    r"must be at most \d+",
    # Sets of values that are too large, or rules that are too complex, for a schema.
    r"must be a full quarter-hour",
    r"must be from \d+ to \d+",
    r"must be the name of a time zone.*",
    r"must be at a domain of the internet",
    r"must be an email address",
    r"must be a URL",
    r"the (data URL|url) of an image must be .*",
    r"an image part must have an image_url with a url",
    r"a text part must have a text",
    r"must not (have a fragment|contain a user or a password)",
    r"must not be blank",
    r"is one of the most common passwords",
    # The tool compares large integers as floats.
    r"Input should be less than or equal to 9223372036854775807",
    # Limits on objects of any content.
    r"must not exceed \d+ bytes of JSON",
    r"must not be nested deeper than \d+ levels",
    r"must not have more than \d+ (fields|characters)",
    r"Decimal input should have no more than \d+ decimal places",
    r"must be a UUID",
    r"in a session, the last message must be a text of the user",
    r"cannot be used with a session",
    r"numbers must lie within 2\^53.*",
    r"tone must be .*|language must be .*|system_prompt must be .*",
)
"""Messages of further rules, for each field."""
OTHER_RESOURCES = {
    # An invitation is no account, and a new session is not shared.
    "POST /api/v1/auth/admin/users": "/api/v1/auth/admin/users/{user_id}",
    "POST /api/v1/chat/sessions": "/api/v1/chat/sessions/{session_id}/share",
}
"""Operations, and paths of resources that they do not create."""
_MESSAGE = re.compile("|".join(MESSAGES))


def is_expressible(operation: str, problem: dict[str, Any]) -> bool:
    """Return whether a request that was refused violates a rule that its schema should express."""
    errors = problem.get("errors", ())
    if operation == "refresh" and [error["code"] for error in errors] == ["missing"]:
        return False  # the token is in the body, or in the cookie
    if operation == "import_sessions" and problem["code"] == "invalid_json":
        return False  # the uploaded file
    known = bool(errors) and all(_MESSAGE.fullmatch(error["message"]) for error in errors)
    return not known and problem["code"] not in CODES


@schemathesis.hook
def before_call(_context: Any, case: schemathesis.Case[Any], _kwargs: dict[str, Any]) -> None:  # noqa: ANN401
    """Change no account of the run: an admin could disable or erase it."""
    identities = os.environ["SCHEMATHESIS_IDENTITIES"].split()
    if case.method not in {"GET", "HEAD"} and case.path_parameters.get("user_id") in identities:
        case.path_parameters["user_id"] = str(uuid4())


@schemathesis.check
def created_resources_are_available(ctx: Any, response: Response, case: schemathesis.Case[Any]) -> bool | None:  # noqa: ANN401
    """Check what `ensure_resource_availability` checks, except where the tool takes one resource for another one."""
    try:
        return ensure_resource_availability(ctx, response, case)
    except EnsureResourceAvailability as failure:
        if OTHER_RESOURCES.get(failure.created_with) != case.operation.path:
            raise
    return None


@schemathesis.check
def valid_requests_are_accepted(ctx: Any, response: Response, case: schemathesis.Case[Any]) -> bool | None:  # noqa: ANN401
    """Check what `positive_data_acceptance` checks, except for rules that JSON Schema cannot express."""
    try:
        return positive_data_acceptance(ctx, response, case)
    except RejectedPositiveData:
        if is_expressible(case.operation.definition.raw["operationId"], response.json()):
            raise
    return None
