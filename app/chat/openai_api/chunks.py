"""Event stream of an answer as chunks of the chat completions API."""

import json
from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import Any

from app.chat.openai_api.answer_errors import answer_error
from app.chat.openai_api.presenter import finish_reason, usage
from app.chat.openai_api.schemas import ChatCompletion, CompletionUsage
from app.chat.streaming.answer_text import Ending
from app.core.exceptions import AppError, ServiceUnavailableError
from app.graph.ports.tool_calls import ToolCallPiece
from app.http.openai_errors import error_document

DONE = b"data: [DONE]\n\n"


class ChunkEncoder:
    """`EventEncoder` of this API. Positions are not used: such a stream cannot be resumed."""

    with_reasoning = True
    with_tool_calls = True

    def __init__(self, completion_id: str, model: str, *, created: int, include_usage: bool, window: int) -> None:
        """`window`: context window of the model in tokens."""
        self._model = model
        self._envelope = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._include_usage = include_usage
        self._window = window
        # Each token is written between these two texts: a JSON encoder would take most of the time of a token.
        before, after = json.dumps(self._chunk({"content": "@"})).split('"@"')
        self._before, self._after = f"data: {before}", f"{after}\n\n"

    def first(self) -> bytes:
        """Return the first chunk, which has the role."""
        return _data(self._chunk({"role": "assistant", "content": ""}))

    def delta(self, text: str, _position: int) -> bytes:
        """See `EventEncoder`."""
        return f"{self._before}{encode_basestring(text)}{self._after}".encode()

    def reasoning(self, text: str, _position: int) -> bytes:
        """See `EventEncoder`."""
        return _data(self._chunk({"reasoning_content": text}))

    def tool_calls(self, pieces: Sequence[ToolCallPiece], _position: int) -> bytes:
        """See `EventEncoder`."""
        return _data(self._chunk({"tool_calls": [_tool_call(piece) for piece in pieces]}))

    def ending(self, end: Ending, _position: int) -> bytes:
        """See `EventEncoder`."""
        message = end.message
        if message.status != "complete":
            code = end.code or ("cancelled" if message.status == "cancelled" else "internal_error")
            return self.error(answer_error(code, message.metadata, window=self._window))
        meta = message.metadata
        self._envelope["model"] = meta.get("model_used") or self._model
        return self._end(finish_reason(meta), usage(meta), meta.get("logprobs"))

    def _end(self, reason: str, tokens: CompletionUsage, logprobs: list[Any] | None) -> bytes:
        frames = []
        if logprobs:
            chunk = self._chunk({})
            chunk["choices"][0]["logprobs"] = {"content": logprobs, "refusal": None}
            frames.append(_data(chunk))
        frames.append(_data(self._chunk({}, reason)))
        if self._include_usage:
            frames.append(_data({**self._envelope, "choices": [], "usage": tokens.model_dump()}))
        return b"".join([*frames, DONE])

    def cut(self) -> bytes:
        """See `EventEncoder`. Without the error, clients would take the stream as complete."""
        return self.error(ServiceUnavailableError("The stream was ended.", code="stream_ended"))

    def whole(self, completion: ChatCompletion) -> bytes:
        """Return the stream of an answer that is complete."""
        choice = completion.choices[0]
        message = choice.message
        frames = [self.first()]
        if message.reasoning_content:
            frames.append(self.reasoning(message.reasoning_content, 0))
        if message.content:
            frames.append(self.delta(message.content, 0))
        if message.tool_calls:
            calls = [{"index": index, **call} for index, call in enumerate(message.tool_calls)]
            frames.append(_data(self._chunk({"tool_calls": calls})))
        logprobs = choice.logprobs["content"] if choice.logprobs else None
        return b"".join([*frames, self._end(choice.finish_reason, completion.usage, logprobs)])

    @staticmethod
    def error(error: AppError) -> bytes:
        """Return the event of an error, which clients raise."""
        return _data({"error": error_document(error.status, error.code, error.detail)})

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        chunk: dict[str, Any] = {**self._envelope, "choices": [choice]}
        return {**chunk, "usage": None} if self._include_usage else chunk


def _tool_call(piece: ToolCallPiece) -> dict[str, Any]:
    if piece.id is None:
        return {"index": piece.index, "function": {"arguments": piece.arguments}}
    function = {"name": piece.name, "arguments": piece.arguments}
    return {"index": piece.index, "id": piece.id, "type": "function", "function": function}


def _data(document: object) -> bytes:
    return f"data: {json.dumps(document, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
