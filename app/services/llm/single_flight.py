"""One call of a model that several wait for."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from app.graph.ports.chat_model import Completion, ModelError, PublishText, StreamTimeouts, TurnOwner

_MIN_CHUNK_LENGTH = 200
"""Characters of a text that are handed over at once, at least."""
_MAX_CHUNKS = 20
"""Pieces of a long text, about."""

ModelCall = Callable[[PublishText], Awaitable[Completion]]
"""Makes the call, and hands over the text as it comes."""


async def publish_in_chunks(text: str, publish: PublishText) -> None:
    """Hand over a text that is there as a whole, piece by piece, without a pause."""
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


class SingleFlightCall:
    """Belongs to all who wait for it: it goes on as long as one of them does.

    It is paid for once, by the first to get the answer; to the others it is a cached one. A failure is shared by those
    who wait at that moment.
    """

    def __init__(self, ask: ModelCall, then: Callable[["SingleFlightCall", Completion], Awaitable[None]]) -> None:
        """Begin. What comes `then` is done with the answer while those who waited have it already."""
        self.waiting: list[TurnOwner] = []
        """Whose it is. They are in the list until they have heard of the end."""
        self._answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._readers: list[PublishText] = []
        self._pieces: list[str] = []
        self._is_paid = False
        self.task = asyncio.create_task(self._run(ask, then))
        """Over when all of it is, `then` included."""

    @property
    def is_open(self) -> bool:
        """Whether it can still be joined: it is neither answered nor left by all."""
        return not self._answer.done() and not self.task.cancelling()

    async def join(
        self, owner: TurnOwner, publish: PublishText | None, timeouts: StreamTimeouts | None = None
    ) -> Completion:
        """Wait for the answer, and be handed over its text: what there is at once, the rest as it comes.

        `timeouts`: None for the one who made the call, which has its own limits.

        Raises:
            ModelError: there is no answer, or it took too long.

        """
        first = True

        def show(piece: str) -> None:
            nonlocal first
            # It may be over already, and its joiner not know yet: who shows this is somebody else.
            if first and timeouts is not None and not limit.expired():
                limit.reschedule(began + timeouts.total)
            first = False
            if publish is not None:
                publish(piece)

        began = asyncio.get_running_loop().time()
        self.waiting.append(owner)
        self._readers.append(show)
        try:
            async with asyncio.timeout(None if timeouts is None else timeouts.first_token) as limit:
                if self._pieces:
                    show("".join(self._pieces))
                # The call is not cancelled with one of those who wait for it.
                completion = await asyncio.shield(self._answer)
        except TimeoutError:
            raise ModelError("provider_timeout", retryable=True, is_model_fault=False) from None
        except ModelError as error:
            if timeouts is None:
                raise
            # It failed once, however many waited for it.
            raise ModelError(
                error.code, retryable=error.retryable, retry_after=error.retry_after, is_model_fault=False
            ) from error
        finally:
            self.waiting.remove(owner)
            self._readers.remove(show)
            if not self.waiting and not self._answer.done():
                self.task.cancel()
        if self._is_paid:
            return replace(completion, is_cached=True)
        self._is_paid = True
        return completion

    def _show(self, piece: str) -> None:
        self._pieces.append(piece)
        for show in self._readers:
            show(piece)

    async def _run(self, ask: ModelCall, then: Callable[["SingleFlightCall", Completion], Awaitable[None]]) -> None:
        try:
            completion = await ask(self._show)
            # Known, or asked for in one piece, it has not been shown to those who read along.
            await publish_in_chunks(completion.text[sum(map(len, self._pieces)) :], self._show)
        except asyncio.CancelledError:
            self._answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - raised again by all who wait
            self._answer.set_exception(error)
            self._answer.exception()  # seen, also where nobody waits any more
            return
        self._answer.set_result(completion)
        await then(self, completion)
