"""Examples of fields for the OpenAPI document, where the models have none of their own."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

Document = dict[str, Any]

_ID: Final = "0199c2f0-7c5e-7a3b-9b1e-3f5a6c7d8e90"
_TIME: Final = "2026-11-30T12:00:00Z"
_BY_FORMAT: Final[Mapping[str, Any]] = {"uuid": _ID, "date-time": _TIME, "date": "2026-11-30"}

_BY_NAME: Final[Mapping[str, Any]] = {
    "access_token": "eyJhbGciOiJIUzI1NiIs...",
    "action": "user.updated",
    "active": 12,
    "already_imported_sessions": 0,
    "api_keys": 20,
    "applied": "0031",
    "arguments": '{"city": "Rome"}',
    "attempts": 1,
    "by_fallback_model": 3,
    "cache_hit_rate": 0.05,
    "cached": 40,
    "cached_answers": 2,
    "calls": 130,
    "calls_estimated": 0,
    "calls_failed": 4,
    "calls_unpriced": 0,
    "capabilities": ["vision", "tools"],
    "changed": 3,
    "clients": 12,
    "code": "validation_error",
    "comment": "Seville is in Andalusia.",
    "completion": 34_000,
    "completion_price": "0.60",
    "completion_tokens": 34,
    "connections": 24,
    "content": "It is warm in Seville.",
    "context": {"tone": "casual"},
    "context_window": 128_000,
    "cost_usd": "0.000012450",
    "count": 2,
    "created": 1_796_040_000,
    "deleted": 2,
    "description": "Returns the weather of a city.",
    "detail": "The request is not valid.",
    "display_name": "GPT-4o mini",
    "down": 3,
    "duration_ms": 120,
    "email": "ada@example.com",
    "enabled": 118,
    "error": "provider_timeout",
    "error_code": "provider_timeout",
    "error_rate": 0.03,
    "events": ["turn.completed", "turn.failed"],
    "expires_in": 1800,
    "failed": 4,
    "failures": 0,
    "fallback_rate": 0.02,
    "feedback_comment_length": 2000,
    "field": "body.message",
    "first_token_p50_ms": 320,
    "first_token_p90_ms": 600,
    "first_token_p95_ms": 750,
    "first_token_p99_ms": 1400,
    "full_name": "Ada Lovelace",
    "full_name_length": 200,
    "group": "gpt-4o-mini",
    "handled": 5,
    "host": "chat-7c9d",
    "id": _ID,
    "ids": [_ID],
    "import_bytes": 104_857_600,
    "import_id": _ID,
    "imported_messages": 240,
    "imported_sessions": 12,
    "index": 0,
    "interval_seconds": 5.0,
    "ip": "192.0.2.7",
    "json_schema": {"name": "city", "schema": {"type": "object"}},
    "key": "cbk_q83vEjRWeJq83vA...",
    "language": "de",
    "last_handled": 5,
    "last_message_preview": "It is warm in Seville.",
    "latency_p50_ms": 900,
    "latency_p90_ms": 1900,
    "latency_p95_ms": 2400,
    "latency_p99_ms": 4100,
    "left_out_parts": 1,
    "left_out_sessions": 0,
    "length": 22,
    "limit": 50,
    "login_notice": "Only for employees.",
    "logit_bias": {"50256": -100},
    "logprobs": {"content": [{"token": "It", "logprob": -0.02, "top_logprobs": []}]},
    "max_connections": 100,
    "max_length": 256,
    "max_output_tokens": 16_384,
    "max_tokens": 2048,
    "message": "Done.",
    "message_count": 2,
    "message_id": _ID,
    "message_length": 32_000,
    "messages": 240,
    "metadata": {"model_used": "gpt-4o-mini"},
    "min_length": 8,
    "modalities": ["text"],
    "model": "gpt-4o-mini",
    "n": 1,
    "name": "get_weather",
    "needed": "0031",
    "next": "q83vEjRWeJq83vA...",
    "next_cursor": "q83vEjRWeJq83vA...",
    "not_found": [_ID],
    "owned_by": "chat-bot-system",
    "page": 1,
    "pages": 7,
    "param": "messages",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$",
    "period": 1,
    "pid": 4242,
    "prefix": "cbk_q83vEjRW",
    "processing_time_ms": 940,
    "product_name": "Chat Bot System",
    "prompt": 96_000,
    "prompt_price": "0.15",
    "prompt_tokens": 96,
    "provider": "openai",
    "queues": {"emails": {"waiting": 0, "oldest_at": None}},
    "quota": "tokens_per_day",
    "ratings": 15,
    "reason": "Kept for billing.",
    "reasoning_content": "The user asks about Spain.",
    "reasons": ["accurate", "clear"],
    "refresh_token": "q83vEjRWeJq83vA...",
    "remaining": 87_000,
    "request_id": "635f49e756b04d76b4e36980240548d5",
    "reserved": 1000,
    "response": "It is warm in Seville.",
    "response_status": 204,
    "rounds": 1200,
    "search_length": 200,
    "secret": "whsec_MfKQ9r8GKYqrTwjU...",
    "seed": 42,
    "session_ids": [_ID],
    "session_title": "Holiday plans",
    "session_title_length": 200,
    "sessions": 18,
    "sessions_done": 12,
    "sessions_total": 12,
    "sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "share": 0.4,
    "share_up": 0.8,
    "size": 20,
    "status": 422,
    "stop": ["END"],
    "streams": 110,
    "summary": "The user plans a holiday in Spain.",
    "system_prompt_length": 4000,
    "tag_length": 50,
    "tags": ["travel", "italy"],
    "text": "It is warm in Seville.",
    "timezone": "Europe/Berlin",
    "title": "Holiday plans",
    "token": "q83vEjRWeJq83vA...",
    "tokens_used": 130,
    "tool_call_id": "call_1",
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}
    ],
    "top_logprobs": 5,
    "total": 130,
    "total_tokens": 130,
    "turns": 120,
    "turns_by_fallback": 3,
    "turns_cached": 6,
    "turns_cancelled": 2,
    "turns_failed": 1,
    "type": "about:blank",
    "unpriced": 0,
    "unpriced_calls": 0,
    "up": 12,
    "url": "https://hooks.example.com/chat",
    "used": 12_000,
    "used_memory_bytes": 8_388_608,
    "user_agent": "Mozilla/5.0",
    "username": "ada",
    "users": 40,
    "users_active": 25,
    "users_registered": 5,
    "version": "1.0.0",
    "waiting": 0,
    "what": "sessions",
}
"""Examples by the name of a field, for all schemas that have no other one."""

_BY_FIELD: Final[Mapping[str, Any]] = {
    "ApiKeyCreated.name": "nightly report",
    "ApiKeyResponse.name": "nightly report",
    "ChatCompletion.id": "chatcmpl-0199c2f07c5e7a3b9b1e3f5a6c7d8e90",
    "CompletionModel.created": 0,
    "CompletionModel.id": "gpt-4o-mini",
    "CostAllowance.limit": "2.500000000",
    "CostAllowance.remaining": "2.450000000",
    "CostAllowance.reserved": "0.010000000",
    "CostAllowance.used": "0.040000000",
    "DatabaseState.version": "17.2",
    "DeliveryDetail.data": {"user_id": _ID},
    "DeliveryDetail.error_code": "timeout",
    "DeliveryDetail.type": "turn.completed",
    "DeliveryResponse.error_code": "timeout",
    "DeliveryResponse.type": "turn.completed",
    "JobState.error": "DatabaseUnavailableError",
    "JobState.name": "email_delivery",
    "Limits.tags": 20,
    "ModelResponse.description": "Fast and inexpensive.",
    "OpenAIError.code": "context_length_exceeded",
    "OpenAIError.message": "This model's maximum context length is 128000 tokens.",
    "Problem.title": "Unprocessable Content",
    "ProblemField.code": "string_too_short",
    "ProblemField.message": "String should have at least 1 character",
    "RedisState.version": "7.4.1",
    "RequestMessage.name": "ada",
    "RequestToolCall.id": "call_1",
    "ShareResponse.url": "https://chat.example.com/shared/q83vEjRWeJq83vA...",
    "UsageRow.name": "ada",
    "WebhookResponse.description": "billing",
    "WebhookWithSecret.description": "billing",
}
"""Examples of fields of one schema."""

_BY_PARAMETER: Final[Mapping[str, Any]] = {
    "Idempotency-Key": "9e0e1a64-1f6f-4f43-8a3c-0f6c6b1f3c55",
    "model_id": "gpt-4o-mini",
    "token": "q83vEjRWeJq83vA...",
    "days": 30,
    "limit": 50,
    "message_limit": 50,
    "page": 1,
    "search": "holiday",
    "size": 20,
    "tag": "travel",
    "to": "2026-12-01T00:00:00Z",
}
"""Examples of parameters. Optional ones that name what may not exist have none: documentation pages send examples."""


def add_examples(document: Document) -> None:
    """Add an example to each field and parameter without one whose value is a text, a number, a list or an object.

    Objects with described fields, and lists of them, have the examples of these fields.
    """
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        for field, value in schema.get("properties", {}).items():
            if not has_example(value, schemas):
                value["examples"] = [_example(f"{name}.{field}", field, value, schemas)]
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                schema, name = parameter["schema"], parameter["name"]
                if has_example(schema, schemas):
                    continue
                if name in _BY_PARAMETER:
                    schema["examples"] = [_BY_PARAMETER[name]]
                elif parameter.get("required", False) or _has_choices(schema, schemas):
                    schema["examples"] = [_example(name, name, schema, schemas)]


def has_example(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> bool:
    """Return whether a field has an example, or values that need none: constants and objects with described fields."""
    if schema.get("examples"):
        return True
    variants = [variant for variant in variants_of(schema, schemas) if variant.get("type") != "null"]
    return all(
        "const" in variant
        or "properties" in variant
        or (variant.get("type") == "array" and has_example(variant.get("items", {}), schemas) and _has_objects(variant))
        for variant in variants
    )


def variants_of(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the schemas of all kinds of values of a field, without references."""
    if "$ref" in schema:
        yield from variants_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
        return
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        for alternative in alternatives:
            yield from variants_of(alternative, schemas)
    else:
        yield schema


def _has_choices(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> bool:
    return any("enum" in variant or variant.get("type") == "boolean" for variant in variants_of(schema, schemas))


def _has_objects(array: Mapping[str, Any]) -> bool:
    return "enum" not in array["items"] and array["items"].get("type") not in {"string", "integer", "number", "boolean"}


def _example(key: str, name: str, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:  # noqa: ANN401
    if key in _BY_FIELD:
        return _BY_FIELD[key]
    for variant in variants_of(schema, schemas):
        if "enum" in variant:
            return variant["enum"][0]
        if variant.get("type") == "boolean":
            return schema.get("default", True)
        if variant.get("format") in _BY_FORMAT:
            return _BY_FORMAT[variant["format"]]
        if variant.get("type") == "array" and "enum" in (items := variant["items"]):
            return items["enum"][:1]
    # None: the fields that must be null, and those of operations that are not supported.
    return _BY_NAME.get(name)
