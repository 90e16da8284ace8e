"""Waiting for a cancelled turn ends when the turn has stopped, or after the timeout."""

import pytest

from app.services import turn_end_polling
from app.services.turn_end_polling import wait_until_stopped


class Answer:
    """Answer that has the given statuses in successive reads; the last one remains."""

    def __init__(self, *statuses: str) -> None:
        self.statuses = list(statuses)
        self.reads = 0

    async def read(self) -> str:
        self.reads += 1
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


async def test_the_answer_is_read_until_it_has_stopped() -> None:
    answer = Answer("streaming", "cancelled", "never read")
    assert await wait_until_stopped("pending", answer.read, status_of=str) == "cancelled"
    assert answer.reads == 2


async def test_an_answer_that_has_stopped_is_not_read_again() -> None:
    answer = Answer("never read")
    assert await wait_until_stopped("complete", answer.read, status_of=str) == "complete"
    assert answer.reads == 0


async def test_an_answer_that_does_not_stop_is_returned_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_end_polling, "CANCEL_TIMEOUT", 0.01)
    answer = Answer("streaming")
    assert await wait_until_stopped("streaming", answer.read, status_of=str) == "streaming"
    assert answer.reads == 1
