"""A model that is not asked twice for the same."""

import asyncio
import logging

from app.graph.ports.chat_model import ChatModel, Completion, ModelRequest, PublishText, StreamTimeouts, TurnOwner
from app.services.llm.response_cache import ResponseCache
from app.services.llm.single_flight import ModelCall, SingleFlightCall

logger = logging.getLogger(__name__)

_CLOSE_TIMEOUT = 1.0
"""Seconds for storing the last answers when the process ends."""


class CachingChatModel:
    """`ChatModel` over another one and a cache.

    Who asks what is being asked at the moment joins the call under way. That is so within a process: two of them may
    ask for the same at the same time.
    """

    def __init__(self, model: ChatModel, cache: ResponseCache) -> None:
        self._model = model
        self._cache = cache
        self._calls: dict[str, SingleFlightCall] = {}

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        """Make one attempt, or none; see `ChatModel`."""

        async def ask(_: PublishText) -> Completion:
            return await self._model.complete(request, max_seconds=max_seconds)

        return await self._answer(request, ask, None, StreamTimeouts(max_seconds, max_seconds, max_seconds))

    async def stream(self, request: ModelRequest, publish: PublishText, *, timeouts: StreamTimeouts) -> Completion:
        """Make one streamed attempt, or none; see `ChatModel`."""

        async def ask(show: PublishText) -> Completion:
            return await self._model.stream(request, show, timeouts=timeouts)

        return await self._answer(request, ask, publish, timeouts)

    async def close(self) -> None:
        """Wait for what is being stored, a moment at most."""
        if self._calls:
            await asyncio.wait([call.task for call in self._calls.values()], timeout=_CLOSE_TIMEOUT)

    async def _answer(
        self, request: ModelRequest, ask: ModelCall, publish: PublishText | None, timeouts: StreamTimeouts
    ) -> Completion:
        key = self._cache.key(request)
        while (call := self._calls.get(key)) is not None:
            if call.is_open:
                return await call.join(request.owner, publish, timeouts)
            # Soon the cache has its answer, and notes who gets it; or everybody has left it.
            await asyncio.wait({call.task})
        return await self._begin(key, request.owner, ask).join(request.owner, publish)

    def _begin(self, key: str, asker: TurnOwner, ask: ModelCall) -> SingleFlightCall:
        async def know_or_ask(show: PublishText) -> Completion:
            return await self._cache.find(key, asker) or await ask(show)

        async def keep(call: SingleFlightCall, completion: Completion) -> None:
            try:
                if completion.is_cached:
                    for owner in {*call.waiting} - {asker}:
                        await self._cache.find(key, owner)  # which notes that they have it too
                else:
                    await self._cache.store(key, tuple(call.waiting), completion)
            except Exception:
                logger.exception("answer cache failed")

        call = self._calls[key] = SingleFlightCall(know_or_ask, keep)
        call.task.add_done_callback(lambda _: self._calls.pop(key))
        return call
