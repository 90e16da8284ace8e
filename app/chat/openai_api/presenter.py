"""Documents of complete answers."""

import json
from typing import Any, Literal, cast
from uuid import UUID

from app.chat.openai_api.schemas import AnswerMessage, ChatCompletion, Choice, CompletionUsage
from app.database.repositories.turns.turns import Answer, StartedTurn, Turn

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


def completion_id(answer_id: UUID) -> str:
    """Return the id of an answer as this API writes it."""
    return f"chatcmpl-{answer_id.hex}"


def finish_reason(metadata: dict[str, Any]) -> FinishReason:
    """Return the finish reason, for which clients know four values only."""
    reason = metadata.get("finish_reason")
    return cast("FinishReason", reason) if reason in {"length", "tool_calls", "content_filter"} else "stop"


def usage(metadata: dict[str, Any]) -> CompletionUsage:
    """Return the tokens of an answer."""
    tokens = metadata["tokens_used"]
    return CompletionUsage(
        prompt_tokens=tokens["input"], completion_tokens=tokens["output"], total_tokens=tokens["total"]
    )


def created_at(started: StartedTurn) -> int:
    """Return the time of an answer that is stored in a session, in seconds since 1970: that of its question."""
    return int(started.created_at.timestamp())


def stored_completion(turn: Turn, *, model: str) -> ChatCompletion:
    """Return the response for a complete answer in a session: the same bytes whenever it is built."""
    return chat_completion(turn.started.answer_uuid, turn.answer, created=created_at(turn.started), model=model)


def chat_completion(answer_id: UUID, answer: Answer, *, created: int, model: str) -> ChatCompletion:
    """Return the response for a complete answer. `model`: the requested one."""
    meta = answer.meta
    tool_calls = _sort_keys(meta.get("tool_calls"))
    logprobs = _sort_keys(meta.get("logprobs"))
    return ChatCompletion(
        id=completion_id(answer_id),
        created=created,
        model=meta.get("model_used") or model,
        choices=[
            Choice(
                index=0,
                message=AnswerMessage(
                    content=answer.content if answer.content or not tool_calls else None,
                    reasoning_content=meta.get("reasoning"),
                    tool_calls=tool_calls,
                ),
                logprobs={"content": logprobs, "refusal": None} if logprobs else None,
                finish_reason=finish_reason(meta),
            )
        ],
        usage=usage(meta),
    )


def _sort_keys(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON data with sorted keys: a replay has the bytes of the first response, but `jsonb` its own order."""
    return json.loads(json.dumps(value, sort_keys=True)) if value else value
