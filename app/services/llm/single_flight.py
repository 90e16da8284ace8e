"""Single flight: one model call that serves several identical requests."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from app.graph.ports.chat_model import (
    Completion,
    ModelError,
    ModelTokenCounts,
    PublishText,
    SharedCallLeftError,
    StreamTimeouts,
    TurnOwner,
)

_MIN_CHUNK_LENGTH = 200
"""Minimum length of a chunk in characters."""
_MAX_CHUNKS = 20
"""Approximate maximum number of chunks of a text."""

ModelCall = Callable[[PublishText, PublishText], Awaitable[Completion]]
"""Makes the call, and publishes the text and the reasoning as they arrive."""
CompletionHandler = Callable[["SingleFlightCall", Completion], Awaitable[None]]
"""Called once with the completion of a call."""


async def publish_in_chunks(text: str, publish: PublishText) -> None:
    """Publish a complete text in chunks, and let other tasks run between them."""
    for piece in _chunks(text):
        publish(piece)
        await asyncio.sleep(0)


def _chunks(text: str) -> Iterator[str]:
    size = max(_MIN_CHUNK_LENGTH, len(text) // _MAX_CHUNKS)
    start = 0
    while start < len(text):
        end = start + size
        if end < len(text) and (space := text.rfind(" ", start + 1, end)) != -1:
            end = space  # between words
        yield text[start:end]
        start = end


class _Waiter:
    """A request that waits for a call, with its own timeouts. None: those of the call are its own."""

    def __init__(
        self, publish: PublishText | None, publish_reasoning: PublishText | None, timeouts: StreamTimeouts | None
    ) -> None:
        self._publish = publish
        self._publish_reasoning = publish_reasoning
        self._timeouts = timeouts
        self._now = asyncio.get_running_loop().time
        self._started = self._now()
        self._has_text = False
        self._has_reasoning = False
        self.limit = asyncio.timeout(None if timeouts is None else timeouts.first_token)

    def publish(self, piece: str) -> None:
        if not self._has_text:
            self._has_text = True
            if self._timeouts is not None:
                # After reasoning, the time of the text begins with the text; not for a request without stream.
                start = self._now() if self._has_reasoning and self._timeouts.reasoning else self._started
                self._reschedule(start + self._timeouts.total)
        if self._publish is not None:
            self._publish(piece)

    def publish_reasoning(self, piece: str) -> None:
        self._has_reasoning = True
        if not self._has_text and self._timeouts is not None:
            end = min(self._started + self._timeouts.reasoning, self._now() + self._timeouts.idle)
            self._reschedule(max(end, self._started + self._timeouts.first_token))
        if self._publish_reasoning is not None:
            self._publish_reasoning(piece)

    def _reschedule(self, when: float) -> None:
        # The timeout may have expired before this waiter's task has run, and cannot be rescheduled then.
        if not self.limit.expired():
            self.limit.reschedule(when)


class SingleFlightCall:
    """Model call with any number of waiters. It is cancelled when the last of them stops waiting.

    One waiter accounts for the tokens: the first to receive the outcome, or the last one to leave before it. The others
    receive the completion as a cached one. All waiters receive a failure.
    """

    def __init__(self, call_model: ModelCall, on_completed: CompletionHandler) -> None:
        """Start the call. `on_completed` runs after the waiters have been notified."""
        self.owners: list[TurnOwner] = []
        """Owners of the waiting requests. They stay in the list until they have received the outcome."""
        self._outcome: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiters: list[_Waiter] = []
        self._pieces: list[str] = []
        self._reasoning: list[str] = []
        self._is_accounted_for = False
        self.task = asyncio.create_task(self._run(call_model, on_completed))
        """Ends after `on_completed`."""

    @property
    def is_joinable(self) -> bool:
        """Whether further requests may join: the call has no outcome yet and has not been cancelled."""
        return not self._outcome.done() and not self.task.cancelling()

    async def join(
        self,
        owner: TurnOwner,
        publish: PublishText | None,
        publish_reasoning: PublishText | None = None,
        timeouts: StreamTimeouts | None = None,
    ) -> Completion:
        """Wait for the completion. Publish text and reasoning so far in one piece each, and the rest as it arrives.

        `timeouts`: None for the request that started the call, which limits its own time.

        Raises:
            ModelError: the call failed, or a timeout expired.
            SharedCallLeftError: the request was cancelled, and another one accounts for the tokens.

        """
        waiter = _Waiter(publish, publish_reasoning, timeouts)
        self.owners.append(owner)
        self._waiters.append(waiter)
        try:
            async with waiter.limit:
                if self._reasoning:
                    waiter.publish_reasoning("".join(self._reasoning))
                if self._pieces:
                    waiter.publish("".join(self._pieces))
                # Cancelling one waiter does not cancel the call.
                completion = await asyncio.shield(self._outcome)
        except TimeoutError:
            tokens = ModelTokenCounts() if self._has_other_account else None
            raise ModelError("provider_timeout", retryable=True, is_model_fault=False, token_counts=tokens) from None
        except ModelError as error:
            is_accounted_for, self._is_accounted_for = self._is_accounted_for, True
            raise ModelError(
                error.code,
                retryable=error.retryable,
                retry_after=error.retry_after,
                # One failure of the model, which the request that started the call reports.
                is_model_fault=error.is_model_fault and timeouts is None,
                may_have_used_tokens=error.may_have_used_tokens,
                token_counts=ModelTokenCounts() if is_accounted_for else error.token_counts,
            ) from error
        except asyncio.CancelledError:
            if self._has_other_account:
                raise SharedCallLeftError from None
            raise
        finally:
            self.owners.remove(owner)
            self._waiters.remove(waiter)
            if not self.owners and not self._outcome.done():
                self.task.cancel()
        if self._is_accounted_for:
            return replace(completion, is_cached=True)
        self._is_accounted_for = True
        return completion

    @property
    def _has_other_account(self) -> bool:
        """Whether another waiter accounts for the tokens if one leaves now."""
        return self._is_accounted_for or len(self._waiters) > 1

    def _publish(self, piece: str) -> None:
        self._pieces.append(piece)
        for waiter in self._waiters:
            waiter.publish(piece)

    def _publish_reasoning(self, piece: str) -> None:
        if piece:
            self._reasoning.append(piece)
        for waiter in self._waiters:
            waiter.publish_reasoning(piece)

    async def _run(self, call_model: ModelCall, on_completed: CompletionHandler) -> None:
        try:
            completion = await call_model(self._publish, self._publish_reasoning)
            # A cached answer, or one requested without streaming, has not been published yet.
            await publish_in_chunks(completion.text[sum(map(len, self._pieces)) :], self._publish)
        except asyncio.CancelledError:
            self._outcome.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - raised again in every waiter
            self._outcome.set_exception(error)
            self._outcome.exception()  # marks it as retrieved, in case there is no waiter left
            return
        self._outcome.set_result(completion)
        await on_completed(self, completion)
