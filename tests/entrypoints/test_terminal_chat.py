"""The command `chat`: streamed answers in the terminal, resumed after a cut."""

import json
import os
import subprocess
import sys

import pytest

from app.terminal_chat import ChatClient, ChatError
from local.paths import PROJECT
from tests.clients.cutting_proxy import cutting_proxy
from tests.fixtures.streaming import ChatServer
from tests.support.provider import Provider, answers


def url_of(server: ChatServer) -> str:
    return f"http://{server.http.base_url.host}:{server.http.base_url.port}"


def run(server: ChatServer, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CHAT_API_KEY": server.user.access_token, "NO_COLOR": "1"}
    command = [sys.executable, "-m", "app.cli", "chat", "--url", url_of(server), *arguments]
    return subprocess.run(
        command, cwd=PROJECT, env=environment, input=text, capture_output=True, text=True, check=False, timeout=120
    )


def test_answer_is_printed_as_json_and_the_session_continues(server: ChatServer, provider: Provider) -> None:
    provider.always(answers("Hello **there**."))
    first = run(server, "--json", "Hi", "you")
    assert first.returncode == 0, first.stderr
    document = json.loads(first.stdout)
    assert (document["content"], document["status"]) == ("Hello **there**.", "complete")
    assert {"session_id", "id", "tokens_used", "cost_usd"} <= document.keys()
    second = run(server, "--session", document["session_id"], text="Again\n\n")
    assert second.returncode == 0, second.stderr
    assert "Hello there." in second.stdout
    assert "15 tokens" in second.stdout
    assert [message["content"] for message in server.messages(document["session_id"])][::2] == ["Hi you", "Again"]


def test_cut_stream_is_resumed(server: ChatServer, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.terminal_chat._RECONNECT_DELAY", 0.05)
    text = " ".join(f"word{number}" for number in range(150))
    provider.always(answers(text, every=0.02))
    session = server.open()
    host, port = server.http.base_url.host, server.http.base_url.port
    with cutting_proxy(host, port or 80, cuts=10) as proxy:
        client = ChatClient(proxy.url, server.user.access_token)
        events = list(client.ask(session, "Hi"))
        client.close()
    assert proxy.cuts == 10
    assert "".join(event.data["text"] for event in events if event.name == "message.delta") == text
    assert events[-1].data["message"]["content"] == text
    assert len(provider.calls) == 1


def test_refusal_is_one_line(server: ChatServer) -> None:
    client = ChatClient(url_of(server), "wrong")
    with pytest.raises(ChatError, match="Could not validate credentials"):
        client.open_session()
    client.close()
    unreachable = ChatClient("http://127.0.0.1:9", "x")
    with pytest.raises(ChatError, match="cannot be reached"):
        unreachable.open_session()
    unreachable.close()
