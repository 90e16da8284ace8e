"""Chat in the terminal: asks questions through the HTTP API, streams the answers, and resumes them after a cut."""

import getpass
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import httpx
from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown

_TERMINAL: Final = frozenset({"message.completed", "message.failed", "message.cancelled"})
_MAX_RECONNECTS: Final = 20
_RECONNECT_DELAY: Final = 1.0
_TIMEOUT: Final = httpx.Timeout(30, read=60)
"""Seconds. The service sends a comment every 15 s while a model thinks."""


class ChatError(Exception):
    """The API refused a request, or cannot be reached. The message is for the terminal."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event of an answer's stream."""

    name: str
    data: dict[str, Any]


class ChatClient:
    """Client of the chat API for one account."""

    def __init__(self, url: str, credential: str) -> None:
        """`credential`: an access token, or an API key with the scopes `chat:read` and `chat:write`."""
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/api/v1/chat",
            headers={"Authorization": f"Bearer {credential}"},
            timeout=_TIMEOUT,
        )

    @classmethod
    def log_in(cls, url: str, username: str, password: str) -> "ChatClient":
        """Log in and return the client.

        Raises:
            ChatError: the login was refused.

        """
        try:
            response = httpx.post(
                f"{url.rstrip('/')}/api/v1/auth/login",
                data={"username": username, "password": password},
                timeout=_TIMEOUT,
            )
        except httpx.TransportError:
            raise ChatError(f"{url} cannot be reached.") from None
        return cls(url, _checked(response)["access_token"])

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def open_session(self, model: str | None = None) -> str:
        """Create a session and return its id.

        Raises:
            ChatError: the request was refused.

        """
        return str(self._request("POST", "/sessions", {"model": model} if model else {})["session_id"])

    def ask(self, session: str, message: str, **options: object) -> Iterator[StreamEvent]:
        """Ask a question, and yield the events of the answer up to the terminal one.

        A stream that is cut is resumed where it was: the question is asked, and billed, once.

        Raises:
            ChatError: the request was refused, or the API cannot be reached any more.

        """
        headers = {"Idempotency-Key": str(uuid4())}
        for attempt in range(_MAX_RECONNECTS):
            if attempt:
                time.sleep(_RECONNECT_DELAY)
            try:
                path = f"/sessions/{session}/messages/stream"
                with self._http.stream("POST", path, json={"message": message, **options}, headers=headers) as response:
                    if attempt and response.status_code == httpx.codes.CONFLICT:
                        continue  # the first request is still in progress, and nothing of it was received
                    if response.is_error:
                        response.read()
                        _checked(response)
                    for position, event in _events(response):
                        headers["Last-Event-ID"] = position
                        yield event
                        if event.name in _TERMINAL:
                            return
            except httpx.TransportError:
                continue
        raise ChatError("The connection was lost too often.")

    def _request(self, method: str, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        try:
            return _checked(self._http.request(method, path, json=body))
        except httpx.TransportError:
            raise ChatError(f"{self._http.base_url} cannot be reached.") from None


def _checked(response: httpx.Response) -> dict[str, Any]:
    try:
        document: dict[str, Any] = response.json()
    except ValueError:
        raise ChatError(f"The response is not JSON (status {response.status_code}).") from None
    if response.is_error:
        raise ChatError(str(document.get("detail", f"The request was refused (status {response.status_code}).")))
    return document


def _events(response: httpx.Response) -> Iterator[tuple[str, StreamEvent]]:
    """Yield the events of a stream, each with its position."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield fields["id"], StreamEvent(fields["event"], json.loads(fields["data"]))
            fields = {}


def chat(
    url: str, *, username: str | None, session: str | None, model: str | None, message: str | None, as_json: bool
) -> int:
    """Ask one question, or those that are typed, and return the exit code: 1 if an answer failed.

    The credential is that of CHAT_API_KEY, or else of a login whose password is CHAT_PASSWORD or asked for.

    Raises:
        ChatError: a request was refused, or the API cannot be reached.

    """
    client = _open_client(url, username)
    try:
        session = session or client.open_session(model)
        if message is not None:
            return _ask(client, session, message, as_json=as_json)
        console = Console(stderr=True)
        console.print(f"Session {session}. An empty line ends the chat.", style="dim")
        result = 0
        while question := _read_question():
            result = max(result, _ask(client, session, question, as_json=as_json))
        return result
    finally:
        client.close()


def _open_client(url: str, username: str | None) -> ChatClient:
    key = os.environ.get("CHAT_API_KEY")
    if key and username is None:
        return ChatClient(url, key)
    if username is None:
        raise ChatError("Set CHAT_API_KEY, or log in with --username.")
    password = os.environ.get("CHAT_PASSWORD") or getpass.getpass("Password: ")
    return ChatClient.log_in(url, username, password)


def _read_question() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


def _ask(client: ChatClient, session: str, question: str, *, as_json: bool) -> int:
    events = client.ask(session, question)
    final = _read_quietly(events) if as_json else _show(events)
    message = final["message"]
    if as_json:
        answer = {name: message[name] for name in ("id", "content", "status", "tokens_used")}
        document = {"session_id": session, **answer, "cost_usd": message["metadata"].get("cost_usd")}
        print(json.dumps(document, ensure_ascii=False))
    return 0 if message["status"] == "complete" else 1


def _read_quietly(events: Iterator[StreamEvent]) -> dict[str, Any]:
    final: dict[str, Any] = {}
    for event in events:
        final = event.data
    return final


def _show(events: Iterator[StreamEvent]) -> dict[str, Any]:
    console = Console()
    text, final = "", {}
    with Live(console=console, refresh_per_second=12, vertical_overflow="visible") as live:
        for event in events:
            if event.name == "message.delta":
                text += event.data["text"]
            elif event.name in {"message.snapshot", *_TERMINAL}:
                text = event.data["message"]["content"]
                final = event.data
            live.update(Markdown(text))
    message = final["message"]
    cost = message["metadata"].get("cost_usd")
    price = "price unknown" if cost is None else f"{float(cost):.6f} US dollars"
    model = message["metadata"].get("model_used") or "no model"
    console.print(f"{model}, {message['tokens_used']} tokens, {price}", style="dim")
    if message["status"] != "complete":
        console.print(f"The answer is {message['status']}: {final.get('code', 'no code')}", style="red")
    return final
