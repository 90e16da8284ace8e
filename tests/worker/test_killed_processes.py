"""Answers of chat processes that were killed."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from httpx2 import HTTPError

from app.config import Settings
from tests.fixtures.database import Sql
from tests.fixtures.processes import ChatProcess, WorkerProcess
from tests.fixtures.services import CHAT, Chat
from tests.fixtures.streaming import ChatServer, Event, text_of
from tests.support.provider import Provider, answers, chunk, stalls, streams
from tests.worker.abandoned_turns import ANSWER_STATUS, NONE_PENDING, expire_leases


def test_the_answer_of_a_killed_process_is_interrupted_and_its_session_can_be_used(
    chat: Chat, chat_process: ChatProcess, worker: WorkerProcess, provider: Provider, sql: Sql
) -> None:
    session = chat.open()
    provider.script(stalls())
    with ThreadPoolExecutor(1) as pool:
        path = f"{CHAT}/sessions/{session}/messages"
        future = pool.submit(chat_process.client.post, path, json={"message": "Hi"}, headers=chat.user.headers)
        provider.wait_for_calls(1)
        chat_process.kill()
        assert isinstance(future.exception(), HTTPError)
    assert sql.value(ANSWER_STATUS) == "pending"
    sql.do("UPDATE chat_messages SET lease_expires_at = now() + interval '1 second' WHERE status = 'pending'")
    Provider.wait_until(lambda: sql.value(ANSWER_STATUS) == "interrupted")
    _, answer = chat.request("GET", f"/sessions/{session}").json()["messages"]
    assert (answer["status"], answer["metadata"]["error"]) == ("interrupted", "interrupted")
    assert chat.ask(session, "And now?")["ai_response"]["status"] == "complete"
    Provider.wait_until(lambda: worker.recovered_turns() == 1)


def read_and_kill(chat_process: ChatProcess, chat: Chat, provider: Provider, session: str) -> tuple[str, str]:
    """Read the start of a streamed answer and kill its process; return the answer's id and the text received."""
    provider.script(streams(*(chunk(f"word{number} ") for number in range(500)), every=0.02, hold=True))
    server = ChatServer(chat_process.url, chat.user)
    events: list[Event] = []
    is_killed = False
    with suppress(httpx.HTTPError), server.ask(session) as reader:
        for event in reader:
            events.append(event)
            if not is_killed and len(text_of(events)) > 50:
                chat_process.kill()
                is_killed = True
    server.http.close()
    text = text_of(events)
    assert text.startswith("word0 word1")
    assert not events[-1].name.startswith("message.completed")
    return events[0].data["message_id"], text


def assert_stored(answer: dict[str, Any], received_text: str, sql: Sql) -> None:
    assert answer["status"] == "interrupted"
    assert answer["content"].startswith(received_text)
    (call,) = sql.rows("SELECT status, completion_tokens, is_estimated FROM llm_calls ORDER BY id LIMIT 1")
    assert call == {"status": "cancelled", "completion_tokens": -(-len(answer["content"]) // 4), "is_estimated": True}


def test_the_published_text_of_a_killed_process_is_stored(
    chat: Chat, chat_process: ChatProcess, settings: Settings, home: Path, provider: Provider, sql: Sql
) -> None:
    session = chat.open()
    _, received_text = read_and_kill(chat_process, chat, provider, session)
    expire_leases(sql)
    worker = WorkerProcess(settings, home)
    try:
        Provider.wait_until(lambda: sql.value(NONE_PENDING))
    finally:
        worker.stop()
    assert_stored(chat.request("GET", f"/sessions/{session}").json()["messages"][1], received_text, sql)


def test_the_next_question_stores_the_published_text_without_the_worker(
    chat: Chat, chat_process: ChatProcess, provider: Provider, sql: Sql
) -> None:
    session = chat.open()
    _, received_text = read_and_kill(chat_process, chat, provider, session)
    problem = chat.request("POST", f"/sessions/{session}/messages", json={"message": "And now?"})
    assert problem.json()["code"] == "turn_active"
    expire_leases(sql)
    provider.always(answers("Hello."))
    assert chat.ask(session, "And now?")["ai_response"]["content"] == "Hello."
    assert_stored(chat.request("GET", f"/sessions/{session}").json()["messages"][1], received_text, sql)
