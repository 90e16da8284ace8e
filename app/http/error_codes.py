"""Error codes that each operation may return, for the enumerations of `Problem.code` in the OpenAPI document."""

from collections.abc import Mapping
from typing import Any, Final

_Codes = Mapping[int, tuple[str, ...]]

_EVERY_OPERATION: Final[_Codes] = {
    400: ("bad_request", "invalid_json"),
    401: ("unauthorized",),
    404: ("not_found",),
    408: ("request_timeout",),
    413: ("content_too_large",),
    415: ("unsupported_media_type",),
    422: ("validation_error",),
    429: ("rate_limited", "too_many_requests"),
    503: ("database_timeout", "database_unavailable", "overloaded", "service_unavailable", "shutting_down"),
}
"""Codes for each status that an operation declares."""

_BY_TAG: Final[Mapping[str, _Codes]] = {
    "auth": {403: ("admin_required",)},
    "chat": {403: ("email_not_verified", "scope_required")},
    "openai": {400: ("validation_error",), 403: ("email_not_verified", "scope_required")},
    "admin": {403: ("admin_required",)},
}
"""Further codes for the operations with a tag."""

_MAIL: Final[_Codes] = {429: ("too_many_attempts",), 503: ("mail_disabled",)}
_PASSWORD: Final[_Codes] = {
    400: ("wrong_password",),
    409: ("password_changed",),
    429: ("too_many_attempts", "too_many_logins"),
    503: ("too_many_logins",),
}
_QUOTA: Final = ("quota_exceeded", "quota_reserved")
_KEY: Final[_Codes] = {409: ("idempotency_in_progress",), 422: ("idempotency_key_reused",)}
_QUESTION: Final[_Codes] = {
    409: (
        "conflict",
        "idempotency_in_progress",
        "session_archived",
        "too_many_versions",
        "turn_active",
        "turn_interrupted",
    ),
    422: ("idempotency_key_reused", "message_too_long"),
    429: (*_QUOTA, "too_many_questions"),
}
_STREAM: Final[_Codes] = {
    400: ("use_events_to_resume",),
    404: ("idempotency_key_unknown",),
    409: _QUESTION[409],
    422: _QUESTION[422],
    429: (*_QUOTA, "too_many_streams"),
}
_TRANSFER: Final[_Codes] = {429: ("too_many_transfers",)}
_SEARCH: Final[_Codes] = {429: ("too_many_searches",), 503: ("search_timeout",)}
_LAST_ADMIN: Final[_Codes] = {409: ("last_admin",)}

_BY_OPERATION: Final[Mapping[str, _Codes]] = {
    "register": {
        400: ("already_registered", "invalid_token"),
        403: ("invitation_required", "registration_closed"),
        429: ("too_many_attempts", "too_many_logins"),
        503: ("mail_disabled", "too_many_logins"),
    },
    "update_profile": {400: ("already_registered",)},
    "change_password": _PASSWORD,
    "erase_account": {**_PASSWORD, 409: ("conflict", "last_admin", "password_changed")},
    "login": {
        401: ("invalid_credentials",),
        429: ("too_many_attempts", "too_many_logins"),
        503: ("too_many_logins",),
    },
    "refresh": {401: ("invalid_refresh_token",)},
    "create_api_key": {409: ("too_many_api_keys",)},
    "forgot_password": _MAIL,
    "resend_verification": _MAIL,
    "reset_password": {400: ("invalid_token",), 429: ("too_many_logins",), 503: ("too_many_logins",)},
    "verify_email": {400: ("invalid_token",)},
    "invite_user": {**_MAIL, 409: ("already_registered",)},
    "update_user": _LAST_ADMIN,
    "erase_user": {409: ("conflict", "last_admin", "own_account")},
    "send_password_reset": {**_MAIL, 409: ("account_disabled",)},
    "direct_chat": _QUESTION,
    "send_message": _QUESTION,
    "regenerate_answer": _QUESTION,
    "create_session": _QUESTION,
    "stream_direct_chat": _STREAM,
    "stream_message": _STREAM,
    "stream_regenerated_answer": _STREAM,
    "follow_message": {429: ("too_many_streams",)},
    "delete_message": {409: ("turn_active",)},
    "store_feedback": {409: ("turn_active",), 422: ("not_an_answer",)},
    "withdraw_feedback": {409: ("turn_active",), 422: ("not_an_answer",)},
    "chat.list_sessions": _SEARCH,  # the admin service has an operation of this name
    "search_conversations": _SEARCH,
    "share_session": {
        403: ("sharing_disabled",),
        409: ("empty_session", "too_many_shares", "turn_active"),
        422: ("share_too_large",),
    },
    "copy_share": {**_KEY, 429: _TRANSFER[429]},
    "duplicate_session": {
        409: (*_KEY[409], "session_changed"),
        422: (*_KEY[422], "session_too_long"),
        429: _TRANSFER[429],
    },
    "export_account": _TRANSFER,
    "export_session": _TRANSFER,
    "export_sessions": _TRANSFER,
    "import_sessions": {
        400: ("invalid_form", "upload_incomplete"),
        409: ("import_running",),
        422: (
            "import_format_invalid",
            "import_format_unknown",
            "import_nested_too_deep",
            "import_too_large",
            "import_version_unknown",
        ),
        429: ("too_many_imports", "too_many_transfers"),
    },
    "create_chat_completion": {
        400: ("content_filter", "context_length_exceeded", "idempotency_key_reused", "message_too_long",
              "provider_rejected", "reasoning_exhausted"),
        404: ("model_not_found",),
        409: ("cancelled", *_QUESTION[409]),
        429: (*_QUOTA, "too_many_questions", "too_many_streams"),
        502: ("internal_error", "provider_bad_response", "provider_rejected"),
        503: ("interrupted", "provider_error", "provider_quota_exceeded", "provider_rate_limited",
              "provider_unreachable"),
        504: ("provider_timeout", "turn_timeout"),
    },
    "get_completion_model": {404: ("model_not_found",)},
    "create_webhook": {409: ("no_shared_secret", "too_many_webhooks")},
    "rotate_webhook_secret": {409: ("shared_secret", "too_many_secrets")},
    "change_webhook": {409: ("no_shared_secret", "shared_secret")},
    "test_webhook": {409: ("webhook_disabled",)},
    "redeliver_webhook": {409: ("delivery_pending", "webhook_disabled")},
}  # fmt: skip


def codes_of(operation: str, tag: str, status: int) -> list[str]:
    """Return the codes with which an operation may answer a status that it declares."""
    named = (_BY_OPERATION.get(name, {}) for name in (operation, f"{tag}.{operation}"))
    sources = (_EVERY_OPERATION, _BY_TAG.get(tag, {}), *named)
    return sorted({code for source in sources for code in source.get(status, ())})


def enumerate_codes(document: dict[str, Any]) -> None:
    """Replace the schema of each error response in an OpenAPI document by one that lists its codes."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                content = response.get("content", {}).get("application/problem+json")
                if content is None or "$ref" not in content["schema"]:
                    continue
                codes = codes_of(operation["operationId"], (operation.get("tags") or [""])[0], int(status))
                code = {"type": "string", "enum": codes, "description": "Stable code of the reason."}
                response["content"]["application/problem+json"] = {
                    "schema": {"allOf": [content["schema"], {"type": "object", "properties": {"code": code}}]}
                }
