"""Password hashing."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator

import pytest
from passlib.hash import argon2

from app.core import password_hashing
from app.core.password_hashing import PasswordHasher
from tests.support.waiting import LONGEST_WAIT, eventually

REAL_HASHER = password_hashing._HASHER  # before fixtures make hashing cheap


@pytest.fixture
async def hasher(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PasswordHasher]:
    monkeypatch.setattr(password_hashing, "_HASHER", REAL_HASHER)
    hasher = PasswordHasher(concurrency=2)
    yield hasher
    hasher.close()


async def test_correct_password_matches_and_wrong_does_not(hasher: PasswordHasher) -> None:
    password_hash = await hasher.hash("correct horse")
    assert await hasher.verify("correct horse", password_hash)
    assert not await hasher.verify("correct horsf", password_hash)


async def test_long_passwords_are_not_truncated(hasher: PasswordHasher) -> None:
    password_hash = await hasher.hash("x" * 255 + "y")
    assert not await hasher.verify("x" * 255 + "z", password_hash)


async def test_hashes_are_salted_argon2id(hasher: PasswordHasher) -> None:
    one, two = await hasher.hash("same"), await hasher.hash("same")
    assert one != two
    assert one.startswith("$argon2id$v=19$m=65536,t=3,p=1$")


async def test_missing_account_never_matches_and_takes_as_long(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []

    class RecordingHasher:
        @staticmethod
        def verify(password: str, password_hash: str) -> bool:
            compared.append(password_hash)
            return bool(REAL_HASHER.verify(password, password_hash))

    monkeypatch.setattr(password_hashing, "_HASHER", RecordingHasher)
    assert not await hasher.verify("wrong", None)
    (dummy_hash,) = compared
    assert dummy_hash.startswith("$argon2id$v=19$m=65536,t=3,p=1$")


async def test_dummy_password_does_not_match_missing_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_urlsafe", lambda: "decoy")
    hasher = PasswordHasher(concurrency=1)
    assert not await hasher.verify("decoy", None)
    assert await hasher.verify("decoy", hasher._dummy_hash)
    hasher.close()


async def test_hashing_does_not_block_event_loop(hasher: PasswordHasher) -> None:
    hashing = asyncio.ensure_future(hasher.hash("correct horse"))
    ticks = 0
    while not hashing.done():
        await asyncio.sleep(0.001)
        ticks += 1
    assert ticks > 5


class BlockingHasher:
    """A hasher that blocks until it is released."""

    def __init__(self) -> None:
        self.release_all = threading.Event()
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def hash(self, _: str) -> str:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.release_all.wait(LONGEST_WAIT)
        with self._lock:
            self.running -= 1
        return ""


async def test_concurrency_two_runs_two_hashes_at_a_time(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocking = BlockingHasher()
    monkeypatch.setattr(password_hashing, "_HASHER", blocking)
    hashing = [asyncio.create_task(hasher.hash("x")) for _ in range(10)]
    try:
        await eventually(lambda: blocking.running == 2)
    finally:
        blocking.release_all.set()
    await asyncio.gather(*hashing)
    assert blocking.most == 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
async def test_hashing_threads_have_low_priority(hasher: PasswordHasher) -> None:
    await hasher.hash("correct horse")
    (thread,) = hasher._threads._threads
    assert thread.native_id is not None
    assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == 15
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == 0


async def test_hashes_with_other_parameters_are_outdated(hasher: PasswordHasher) -> None:
    weak = argon2.using(type="ID", memory_cost=64, time_cost=1, parallelism=1).hash("x")
    assert hasher.is_outdated(weak)
    assert not hasher.is_outdated(await hasher.hash("x"))
