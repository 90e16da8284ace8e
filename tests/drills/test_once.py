"""Concurrent requests: idempotency keys, sessions, cancellation, and isolation between users."""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from uuid import uuid4

import pytest

from local.redis import Redis as RedisServer
from tests.drills import FULL_SIZE
from tests.drills.clients import Client, Reading, Refused, resume_to_the_end
from tests.drills.conftest import Report
from tests.drills.replicas import Replica
from tests.fixtures.services import User
from tests.support.provider import Call, Provider, Wire, answers, chunk, held, streams
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    "route", ["/direct", "/direct/stream", "/sessions/{}/messages", "/sessions/{}/messages/stream"]
)
async def test_20_concurrent_requests_with_one_idempotency_key_call_the_model_once(
    replicas: list[Replica], make_users: Callable[[int], list[User]], provider: Provider, route: str
) -> None:
    outcomes: Counter[int] = Counter()
    async with Client.of(*make_users(1)) as (client,):
        gate = threading.Event()
        provider.always(held(gate))
        session = await client.open(replicas[0].url)

        async def ask(number: int) -> None:
            outcomes[
                await client.status(
                    replicas[number % 2].url, route.format(session), {"message": "Hi"}, {"Idempotency-Key": "k" * 20}
                )
            ] += 1
            if outcomes[409] == 19:
                gate.set()

        await asyncio.gather(*(ask(number) for number in range(20)))
        assert outcomes == {200: 1, 409: 19}
        await ask(0)
        assert outcomes[200] == 2
    assert len(provider.calls) == 1


async def test_20_concurrent_questions_in_one_session_start_one_turn(
    replicas: list[Replica], make_users: Callable[[int], list[User]], provider: Provider
) -> None:
    refused: list[Refused] = []
    async with Client.of(*make_users(1)) as (client,):
        session = await client.open(replicas[0].url)
        gate = threading.Event()
        provider.always(held(gate))

        async def ask(number: int) -> Reading | None:
            try:
                return await client.ask(replicas[number % 2].url, session)
            except Refused as error:
                refused.append(error)
                if len(refused) == 19:
                    gate.set()
                return None

        outcomes = await asyncio.gather(*(ask(number) for number in range(20)))
        (answered,) = [one for one in outcomes if one is not None]
        assert len(refused) == 19
        for one in refused:
            assert (one.status, one.problem["code"]) == (409, "turn_active")
            assert one.problem["message_id"] == answered.message
        assert len(await client.messages(replicas[0].url, session)) == 2
    assert len(provider.calls) == 1


@pytest.mark.parametrize(("redis_state", "seconds"), [("up", 1.0), ("down", 2.5)])
async def test_20_turns_are_cancelled_from_the_other_replica(
    replicas: list[Replica],
    redis_server: RedisServer,
    make_users: Callable[[int], list[User]],
    provider: Provider,
    report: Report,
    redis_state: str,
    seconds: float,
) -> None:
    provider.always(streams(chunk("Once upon"), chunk(" a time"), every=0.05, hold=True))
    first_url, second_url = (replica.url for replica in replicas)
    async with Client.of(*make_users(20)) as clients:

        async def cancel(client: Client) -> float:
            """Return the seconds from the cancellation to the end of the provider's connection."""
            question = str(uuid4())
            session = await client.open(first_url)
            reading = Reading(session)
            request_task = asyncio.create_task(client.ask(first_url, session, question, reading=reading))
            await eventually(lambda: reading.text == "Once upon a time")
            assert [message["id"] for message in await client.messages(second_url, session)][1] == reading.message
            cancelled_at = time.monotonic()
            message_after = await client.cancel(second_url, reading)
            assert (message_after["status"], message_after["content"]) == ("cancelled", "Once upon a time")
            await request_task
            assert (reading.text, reading.status) == ("Once upon a time", "cancelled")
            (call,) = [call for call in provider.calls if call.messages[-1]["content"] == question]
            await eventually(lambda: call.abandoned is not None)
            assert call.abandoned is not None
            return call.abandoned - cancelled_at

        if redis_state == "down":
            await asyncio.to_thread(redis_server.stop)
        try:
            slowest = max(await asyncio.gather(*(cancel(client) for client in clients)))
        finally:
            if redis_state == "down":
                await asyncio.to_thread(redis_server.start)
    assert slowest < seconds or not FULL_SIZE
    report(cancelled=20, provider_connection_closed_after=f"{slowest:.2f} s at most")


async def test_200_concurrent_streams_contain_only_their_own_text(
    replicas: list[Replica], make_users: Callable[[int], list[User]], provider: Provider, report: Report
) -> None:
    async def repeat_the_canary(call: Call, wire: Wire) -> None:
        await answers(" ".join([call.messages[-1]["content"]] * 30), every=0.15)(call, wire)

    provider.always(repeat_the_canary)
    rng = random.Random(6)  # noqa: S311 - not a secret
    actions: Counter[str] = Counter()

    async def stream(client: Client) -> None:
        canary = f"canary-{uuid4().hex}"
        first_url, second_url = rng.sample([replica.url for replica in replicas], 2)
        action = rng.choice(["stays", "disconnects", "cancels", "resumes"])
        actions[action] += 1
        await asyncio.sleep(rng.uniform(0, 3))
        session = await client.open(first_url)
        until = None if action == "stays" else rng.randint(1, 500)
        reading = await client.ask(first_url, session, canary, until=until)
        if action == "cancels" and reading.end is None:
            await client.cancel(rng.choice([first_url, second_url]), reading)
        if action in {"cancels", "resumes"}:
            await resume_to_the_end(client, lambda: second_url, reading)
        full_text = " ".join([canary] * 30)
        assert full_text.startswith(reading.text)
        for message in await client.messages(second_url, session):
            assert full_text.startswith(message["content"])

    async with Client.of(*make_users(20)) as clients:
        await asyncio.gather(*(stream(client) for client in clients * 10))
    report(streams=200, **actions, leaked=0)
