"""Demo client for a running system, through Nginx: `make demo`.

It registers a new user, logs in, creates a session and asks two questions; answering the second requires the first.
BASE_URL is the URL of the system; the default is the stack in this folder.
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
_REQUEST_TIMEOUT = 90.0


class DemoError(Exception):
    """The system did not behave as expected; the message describes the difference."""


@dataclass(frozen=True)
class Answer:
    """The fields of an answer that the demo shows."""

    content: str
    model: str
    input_tokens: int
    output_tokens: int
    milliseconds: int
    history_messages: int
    seconds: float
    """Duration of the request as seen by the client."""


class Client:
    """Client for the API operations that a chat needs."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=_REQUEST_TIMEOUT)

    def register(self, username: str, password: str) -> None:
        """Register an account."""
        email = f"{username}@example.com"
        account = {"email": email, "username": username, "password": password, "full_name": "Ada (demo)"}
        self._call("POST", "/api/v1/auth/register", json=account)

    def log_in(self, username: str, password: str) -> None:
        """Log in, and send the access token with all further requests."""
        tokens = self._call("POST", "/api/v1/auth/login", data={"username": username, "password": password})
        self._http.headers["Authorization"] = f"Bearer {tokens['access_token']}"

    def open_session(self, title: str) -> str:
        """Create a session and return its id."""
        return str(self._call("POST", "/api/v1/chat/sessions", json={"title": title})["session_id"])

    def ask(self, session: str, question: str) -> Answer:
        """Ask a question and return the answer.

        Raises:
            DemoError: the request or the turn failed.

        """
        began = time.monotonic()
        turn = self._call("POST", f"/api/v1/chat/sessions/{session}/messages", json={"message": question})
        answer = turn["ai_response"]
        if answer["status"] != "complete":
            code = answer["metadata"].get("error")
            msg = f"the answer has the status {answer['status']} (error: {code}); see the log of the chat service"
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
            msg = f"cannot connect to {self._http.base_url} ({error}). Is the system running? `make run` starts it."
            raise DemoError(msg) from error
        if response.is_error:
            msg = f"{method} {path} returned {response.status_code}: {response.text[:500]}"
            raise DemoError(msg)
        body: dict[str, Any] = response.json()
        return body


def base_url() -> str:
    """Return the URL of the system: from BASE_URL, else PORT, else the running stack in this folder, else port 8080."""
    settings = user_settings()
    if url := settings.get("BASE_URL"):
        return url
    if port := os.environ.get("PORT"):
        return f"http://localhost:{port}"
    running = running_stack(HOME)
    return running.url if running else f"http://localhost:{settings.get('PORT') or '8080'}"


def run_demo(url: str, console: Console) -> None:
    """Register a user and ask the questions, printing each step.

    Raises:
        DemoError: a step failed.

    """
    client = Client(url)
    username, password = f"demo-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    client.register(username, password)
    client.log_in(username, password)
    console.print(f"Registered and logged in as [bold]{username}[/bold] at {url}\n")
    session = client.open_session("Demo")
    answers = []
    for question in _QUESTIONS:
        console.print(f"[bold]user [/bold] {question}")
        answer = client.ask(session, question)
        answers.append(answer)
        console.print(f"[bold]model[/bold] {escape(answer.content)}")
        console.print(
            f"      [dim]{escape(answer.model)}: {answer.input_tokens} tokens in, {answer.output_tokens} out, "
            f"{answer.milliseconds} ms in the service, {answer.seconds:.2f} s in total\n"
        )
    first, second = answers
    if second.history_messages != len(_QUESTIONS):
        msg = "the second question was sent to the model without the first one"
        raise DemoError(msg)
    console.print(
        f"The second question was sent with {second.history_messages} earlier messages of the session "
        f"({first.input_tokens} input tokens for the first question, {second.input_tokens} for the second)."
    )


def main() -> int:
    """Run the demo and return the exit code."""
    try:
        run_demo(base_url(), Console(highlight=False, soft_wrap=True))
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
