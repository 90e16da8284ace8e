"""Subscriptions to answers: nothing of them stays when they end."""

import asyncio
from contextlib import aclosing
from unittest.mock import Mock
from uuid import UUID

from app.chat.streaming.answer_text import AnswerText
from app.chat.streaming.encoders import MessageEventEncoder
from app.chat.streaming.revocation import RevocationWatch
from app.chat.streaming.subscriber import StreamSubscriber
from app.database.connection import Database
from app.database.repositories.accounts.callers import Principal

USER = Principal(id=1, uuid=UUID(int=1), role="user", is_verified=True, session_uuid=UUID(int=2))


async def test_nothing_stays_registered_when_a_subscriber_leaves() -> None:
    revocations = RevocationWatch(Mock(spec=Database))  # which is not used
    answer_text = AnswerText()
    answer_text.text = "Hello."
    answer_text.show(6)
    for _ in range(2):
        subscriber = StreamSubscriber(answer_text, 0, revocations, USER, MessageEventEncoder())
        async with aclosing(subscriber.frames()) as frames:
            assert b"Hello." in await anext(frames)
            assert len(answer_text._subscribers) == 1
            assert list(revocations._streams) == [USER.credential]
            assert subscriber._timer is not None
            # Proxies close connections without data, often after 30 s or 60 s.
            assert 10 < subscriber._timer.when() - asyncio.get_running_loop().time() <= 15
        assert answer_text._subscribers == set()
        assert revocations._streams == {}
