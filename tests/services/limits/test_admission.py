"""Admission control of one process: sizes of its queues, and places of requests that wait for something else."""

import asyncio
import time

import pytest

from app.config import Settings
from app.core.exceptions import OverloadedError, TooManyRequestsError
from app.services.limits.admission import AdmissionControl, expensive_operation, released_slot


async def test_requests_leave_a_fifth_of_the_connection_pool_to_background_tasks(settings: Settings) -> None:
    changes = {"DATABASE_POOL_SIZE": 20, "DATABASE_MAX_OVERFLOW": 10}
    limits = {"REQUESTS_PER_PROCESS": 1000, "EXPENSIVE_REQUESTS_PER_PROCESS": 1000}
    stats = AdmissionControl(settings.model_copy(update=changes | limits)).stats()
    assert stats["running_max"] == 24
    assert stats["expensive"]["running_max"] == 6


async def test_an_expensive_operation_has_a_place_in_the_second_queue_only_while_it_runs(settings: Settings) -> None:
    control = AdmissionControl(settings)
    request = await control.admit("client")
    async with expensive_operation():
        assert (control.stats()["running"], control.stats()["expensive"]["running"]) == (0, 1)
    assert (control.stats()["running"], control.stats()["expensive"]["running"]) == (1, 0)
    request.slot.release()
    assert control.stats()["running"] == 0


async def test_a_request_that_waits_elsewhere_is_counted_again_afterwards(settings: Settings) -> None:
    control = AdmissionControl(settings)
    request = await control.admit("client")
    with released_slot() as seconds:
        assert seconds is not None
        assert 0 < seconds <= settings.REQUEST_QUEUE_TIMEOUT
        assert control.stats()["running"] == 0
    assert control.stats()["running"] == 1
    request.slot.release()


async def test_a_client_has_at_most_half_of_the_places(settings: Settings) -> None:
    changes = {"REQUESTS_PER_PROCESS": 4, "EXPENSIVE_REQUESTS_PER_PROCESS": 2, "REQUESTS_PER_CLIENT": 100}
    control = AdmissionControl(settings.model_copy(update=changes | {"REQUEST_QUEUE_TIMEOUT": 0.1}))
    first, second = [await control.admit("client") for _ in range(2)]
    with pytest.raises(TooManyRequestsError):
        await control.admit("client")
    other = await control.admit("another client")
    await control.enter_expensive(first)
    with pytest.raises(TooManyRequestsError):
        await control.enter_expensive(second)
    await control.enter_expensive(other)


async def test_waits_in_both_queues_are_bounded_together(settings: Settings) -> None:
    changes = {"EXPENSIVE_REQUESTS_PER_PROCESS": 1, "REQUEST_QUEUE_TIMEOUT": 60}
    control = AdmissionControl(settings.model_copy(update=changes))
    await control.enter_expensive(await control.admit("client"))
    other = await control.admit("another client")
    other.queue_deadline = time.monotonic()  # it has waited elsewhere
    async with asyncio.timeout(30):
        with pytest.raises(OverloadedError):
            await control.enter_expensive(other)
