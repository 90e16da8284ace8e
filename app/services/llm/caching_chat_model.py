"""Caching decorator of a chat model, with single flight for identical requests."""

import asyncio
import logging

from app.graph.ports.chat_model import ChatModel, Completion, ModelRequest, PublishText, StreamTimeouts, TurnOwner
from app.graph.ports.tool_calls import PublishToolCalls
from app.services.llm.response_cache import ResponseCache
from app.services.llm.single_flight import ModelCall, SingleFlightCall

logger = logging.getLogger(__name__)

_CLOSE_TIMEOUT = 1.0
"""Timeout in seconds for storing the last answers when the process stops."""


class CachingChatModel:
    """`ChatModel` that answers from a cache, and calls another model for answers that are missing.

    Identical requests share one call (single flight) within a process, but not between processes.
    """

    def __init__(self, model: ChatModel, cache: ResponseCache) -> None:
        self._model = model
        self._cache = cache
        self._calls: dict[str, SingleFlightCall] = {}

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        """Return the cached answer, or make one attempt; see `ChatModel`."""
        if not request.is_cacheable:
            return await self._model.complete(request, max_seconds=max_seconds)

        async def call_model(_publish: PublishText, _publish_reasoning: PublishText) -> Completion:
            return await self._model.complete(request, max_seconds=max_seconds)

        return await self._answer(request, call_model, StreamTimeouts(max_seconds, max_seconds, max_seconds))

    async def stream(
        self,
        request: ModelRequest,
        publish: PublishText,
        *,
        timeouts: StreamTimeouts,
        publish_reasoning: PublishText | None = None,
        publish_tool_calls: PublishToolCalls | None = None,
    ) -> Completion:
        """Stream the cached answer, which has no reasoning, or make one streamed attempt; see `ChatModel`."""
        if not request.is_cacheable:
            return await self._model.stream(
                request,
                publish,
                timeouts=timeouts,
                publish_reasoning=publish_reasoning,
                publish_tool_calls=publish_tool_calls,
            )

        async def call_model(publish_piece: PublishText, publish_reasoning_piece: PublishText) -> Completion:
            return await self._model.stream(
                request, publish_piece, timeouts=timeouts, publish_reasoning=publish_reasoning_piece
            )

        return await self._answer(request, call_model, timeouts, publish, publish_reasoning)

    async def close(self) -> None:
        """Wait until the results of running calls are stored, up to `_CLOSE_TIMEOUT` seconds."""
        if self._calls:
            await asyncio.wait([call.task for call in self._calls.values()], timeout=_CLOSE_TIMEOUT)

    async def _answer(
        self,
        request: ModelRequest,
        call_model: ModelCall,
        timeouts: StreamTimeouts,
        publish: PublishText | None = None,
        publish_reasoning: PublishText | None = None,
    ) -> Completion:
        key = self._cache.key(request)
        while (call := self._calls.get(key)) is not None:
            if call.is_joinable:
                return await call.join(request.owner, publish, publish_reasoning, timeouts)
            # The call has ended or been cancelled. When its task is done, the cache has the answer, if there is one.
            await asyncio.wait({call.task})
        return await self._start(key, request.owner, call_model).join(request.owner, publish, publish_reasoning)

    def _start(self, key: str, owner: TurnOwner, call_model: ModelCall) -> SingleFlightCall:
        async def find_or_call(publish: PublishText, publish_reasoning: PublishText) -> Completion:
            return await self._cache.find(key, owner) or await call_model(publish, publish_reasoning)

        async def store(call: SingleFlightCall, completion: Completion) -> None:
            try:
                if completion.is_cached:
                    for other in {*call.owners} - {owner}:
                        await self._cache.find(key, other)  # adds the entry to the index of this owner
                else:
                    await self._cache.store(key, tuple(call.owners), completion)
            except Exception:
                logger.exception("response cache failed")

        call = self._calls[key] = SingleFlightCall(find_or_call, store)
        call.task.add_done_callback(lambda _: self._calls.pop(key))
        return call
