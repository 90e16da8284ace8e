"""A conversation with the running system, through the gateway: `make demo`.

It registers a new user, logs in, opens a session and asks two questions of which the second needs the first. BASE_URL
says where the system is; by default it is the stack of this folder.
"""

import os
import secrets
import sys
import time
from dataclasses import dataclass
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from local.environment import user_settings
from local.lock import running_stack
from local.stack import HOME

_QUESTIONS = ("My name is Ada.", "What is my name?")
_LONGEST_TURN = 90.0


class DemoError(Exception):
    """The system did not do what it should; the text says what."""


@dataclass(frozen=True)
class Answer:
    """What the demo looks at in a model's answer."""

    content: str
    model: str
    input_tokens: int
    output_tokens: int
    milliseconds: int
    history_messages: int
    seconds: float
    """How long the client waited."""


class Client:
    """The few calls that a chat needs."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=_LONGEST_TURN)

    def register(self, username: str, password: str) -> None:
        """Make an account."""
        email = f"{username}@example.com"
        account = {"email": email, "username": username, "password": password, "full_name": "Ada of the demo"}
        self._call("POST", "/api/v1/auth/register", json=account)

    def log_in(self, username: str, password: str) -> None:
        """Log in; the calls that follow are this user's."""
        tokens = self._call("POST", "/api/v1/auth/login", data={"username": username, "password": password})
        self._http.headers["Authorization"] = f"Bearer {tokens['access_token']}"

    def open_session(self, title: str) -> str:
        """Begin a conversation; return its id."""
        return str(self._call("POST", "/api/v1/chat/sessions", json={"title": title})["session_id"])

    def ask(self, session: str, question: str) -> Answer:
        """Put a question and wait for the answer."""
        began = time.monotonic()
        turn = self._call("POST", f"/api/v1/chat/sessions/{session}/messages", json={"message": question})
        answer = turn["ai_response"]
        if answer["status"] != "complete":
            code = answer["metadata"].get("error")
            msg = (
                f"the answer is {answer['status']} ({code}); the log of the chat service says more: {answer['content']}"
            )
            raise DemoError(msg)
        metadata = answer["metadata"]
        return Answer(
            content=answer["content"],
            model=metadata["model_used"],
            input_tokens=metadata["tokens_used"]["input"],
            output_tokens=metadata["tokens_used"]["output"],
            milliseconds=answer["processing_time_ms"],
            history_messages=metadata["history_messages"],
            seconds=time.monotonic() - began,
        )

    def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx's own arguments
        try:
            response = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            msg = f"nothing answers at {self._http.base_url} ({error}): is the system running? `make run` starts it"
            raise DemoError(msg) from error
        if response.is_error:
            msg = f"{method} {path} was answered {response.status_code}: {response.text[:500]}"
            raise DemoError(msg)
        body: dict[str, Any] = response.json()
        return body


def base_url() -> str:
    """Return where the system is: BASE_URL, else PORT, else the running stack of this folder, else the default port."""
    given = user_settings()
    if url := given.get("BASE_URL"):
        return url
    if port := os.environ.get("PORT"):
        return f"http://localhost:{port}"
    running = running_stack(HOME)
    return running.url if running else f"http://localhost:{given.get('PORT') or '8080'}"


def talk(url: str, console: Console) -> None:
    """Have the conversation.

    Raises:
        DemoError: it did not go as it should.

    """
    client = Client(url)
    username, password = f"demo-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    client.register(username, password)
    client.log_in(username, password)
    console.print(f"Registered and logged in as [bold]{username}[/bold] at {url}\n")
    session = client.open_session("Demo")
    answers = []
    for question in _QUESTIONS:
        console.print(f"[bold]you  [/bold] {question}")
        answer = client.ask(session, question)
        answers.append(answer)
        console.print(f"[bold]model[/bold] {escape(answer.content)}")
        console.print(
            f"      [dim]{escape(answer.model)}: {answer.input_tokens} tokens in, {answer.output_tokens} out, "
            f"{answer.milliseconds} ms in the service, {answer.seconds:.2f} s for the client\n"
        )
    first, second = answers
    if second.history_messages != len(_QUESTIONS):
        msg = "the second question reached the model without the first"
        raise DemoError(msg)
    console.print(
        f"The second question reached the model with {second.history_messages} earlier messages "
        f"({first.input_tokens} tokens in, then {second.input_tokens})."
    )


def main() -> int:
    """Run the demo; return the exit code."""
    try:
        talk(base_url(), Console(highlight=False, soft_wrap=True))
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
