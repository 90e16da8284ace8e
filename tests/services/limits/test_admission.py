"""Admission control of one process: sizes of its queues, and places of requests that wait for something else."""

from app.config import Settings
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
